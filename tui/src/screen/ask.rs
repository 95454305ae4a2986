//! A question over a screen. Only `y` says yes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Widget};

use crate::app::{Effect, Message, Next};
use crate::keys::Key;
use crate::screen::Screen;
use crate::widget::{chrome, page, text};
use crate::world::{Home, World};

#[derive(Debug)]
pub struct Ask {
    question: Question,
    pub under: Box<Screen>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    StopJob,
    Reboot,
    PowerOff,
    Leave,
}

impl Question {
    fn words(self, home: Home) -> &'static str {
        match (self, home) {
            (Question::StopJob, _) => {
                "Stop the job? What was done so far is kept: the same job, started again, goes on from there."
            }
            (Question::Reboot, _) => "Restart the computer now?",
            (Question::PowerOff, _) => "Switch the computer off now?",
            (Question::Leave, Home::System) => "Leave this program?",
            (Question::Leave, Home::Medium) => {
                "Leave this program for a command line? 'exit' comes back to its first screen."
            }
        }
    }

    fn effect(self) -> Effect {
        match self {
            Question::StopJob => Effect::Stop,
            Question::Reboot => Effect::Reboot,
            Question::PowerOff => Effect::PowerOff,
            Question::Leave => Effect::Leave,
        }
    }
}

impl Ask {
    pub fn over(question: Question, under: Screen) -> Screen {
        Screen::Ask(Ask {
            question,
            under: Box::new(under),
        })
    }

    /// Ctrl-C: asks about what can be stopped here; a second one takes the question back.
    pub fn interrupt(screen: Screen) -> Screen {
        match screen {
            Screen::Ask(ask) => *ask.under,
            Screen::Running(running) if running.is_stopping() => Screen::Running(running),
            Screen::Running(running) => Ask::over(Question::StopJob, Screen::Running(running)),
            Screen::Help(help) if help.covers_job() => Ask::over(Question::StopJob, help.closed()),
            other => Ask::over(Question::Leave, other),
        }
    }

    pub fn update(self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Char('y' | 'Y')) => self.yes(),
            Message::Key(Key::Char('n' | 'N') | Key::Escape) => (*self.under, None),
            Message::Key(_) => (Screen::Ask(self), None),
            // Life goes on under the question. A job that has ended cannot be stopped any more.
            message => match (self.question, self.under.update(world, message)) {
                (Question::StopJob, (under, effect)) if !matches!(under, Screen::Running(_)) => {
                    (under, effect)
                }
                (question, (under, effect)) => (Ask::over(question, under), effect),
            },
        }
    }

    fn yes(self) -> Next {
        let under = match (self.question, *self.under) {
            (Question::StopJob, Screen::Running(running)) => Screen::Running(running.stopping()),
            (_, under) => under,
        };
        (under, Some(self.question.effect()))
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        self.under.draw(world, area, buf);
        let columns = 60;
        let mut lines = text::paragraph(
            "",
            self.question.words(world.home),
            theme.strong(),
            columns - 4,
        );
        lines.push(Line::raw(""));
        lines.push(Line::raw("y  yes      n  no"));
        let rows = u16::try_from(lines.len())
            .unwrap_or(u16::MAX)
            .saturating_add(2);
        let columns = u16::try_from(columns).expect("60 columns");
        let place = chrome::middle(area, columns, rows);
        Clear.render(place, buf);
        buf.set_style(place, theme.base());
        let inner = chrome::alarm("", theme, place, buf);
        page::draw(lines, 0, theme, inner, buf);
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        vec![("y", "yes"), ("n", "no"), ("Esc", "no")]
    }
}
