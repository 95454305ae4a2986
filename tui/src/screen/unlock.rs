//! The passphrase of an encrypted volume, so that only what is used in it is copied.

use disk::layer::{Keys, Secret};
use engine::plan::Refusal;
use engine::request::Request;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::app::{Effect, Message, Next};
use crate::draft::Task;
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::plan::PlanPage;
use crate::screen::refused::Refused;
use crate::theme::Theme;
use crate::widget::field::Taken;
use crate::widget::secret::SecretField;
use crate::widget::{chrome, page, text};
use crate::world::World;

#[derive(Debug)]
pub struct Unlock {
    page: PlanPage,
    field: SecretField,
    state: State,
}

#[derive(Debug)]
enum State {
    Asking,
    /// With what was typed last.
    Trying(Box<Request>),
    /// It opened nothing; why.
    Wrong(String),
}

impl Unlock {
    pub fn open(page: PlanPage) -> Screen {
        Screen::Unlock(Unlock {
            page,
            field: SecretField::default(),
            state: State::Asking,
        })
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Escape) => return (Screen::Plan(self.page), None),
            Message::Key(key) if !matches!(self.state, State::Trying(_)) => return self.key(key),
            Message::Inventory(inventory) => self.page.see(world, inventory),
            Message::Planned { request, result } if matches!(&self.state, State::Trying(wanted) if *wanted == request) =>
            {
                return (self.answer(*request, result), None);
            }
            _ => {}
        }
        (Screen::Unlock(self), None)
    }

    fn key(mut self, key: Key) -> Next {
        if self.field.key(key) == Taken::Yes || key != Key::Enter || self.field.is_empty() {
            return (Screen::Unlock(self), None);
        }
        let mut request = self.page.request().clone();
        let unlock = &mut request.options.unlock;
        let known = unlock.keys.iter().cloned();
        let secrets = known.chain([Secret::Passphrase(self.field.take())]);
        unlock.keys = Keys::new(secrets.collect());
        let request = Box::new(request);
        self.state = State::Trying(request.clone());
        let effect = Effect::Prepare(request);
        (Screen::Unlock(self), Some(effect))
    }

    /// What opens nothing is asked for again; the plan is that of before.
    fn answer(
        mut self,
        request: Request,
        result: Result<Box<engine::plan::Plan>, Vec<Refusal>>,
    ) -> Screen {
        let locked = |refusal: &&Refusal| matches!(refusal, Refusal::Locked { .. });
        match result {
            Ok(plan) if plan.locked() < self.page.locked() => return self.page.replaced(plan),
            Ok(_) => self.state = State::Wrong("this opens none of what is still locked".into()),
            Err(refusals) => match refusals.iter().find(locked) {
                Some(refusal) => self.state = State::Wrong(refusal.to_string()),
                None => return Refused::open(request, refusals, Box::new(Screen::Plan(self.page))),
            },
        }
        Screen::Unlock(self)
    }

    pub fn title(&self) -> String {
        format!("{}: unlock", Task::of(&self.page.request().action).title())
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        match self.state {
            State::Trying(_) => vec![("F1", "help"), ("Esc", "back to the plan")],
            State::Asking | State::Wrong(_) => vec![
                ("F1", "help"),
                ("Enter", "try it"),
                ("Esc", "back to the plan"),
            ],
        }
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let inner = chrome::frame("Unlock what is encrypted", theme, area, buf);
        let lines = self.lines(theme, usize::from(inner.width));
        page::draw(lines, 0, theme, inner, buf);
    }

    fn lines(&self, theme: Theme, columns: usize) -> Vec<Line<'static>> {
        let mut lines = vec![Line::raw("")];
        let say = |lines: &mut Vec<Line<'static>>, words: &str, style| {
            lines.extend(text::paragraph("", &theme.clean(words), style, columns));
            lines.push(Line::raw(""));
        };
        let about = match self.page.locked() {
            1 => "An encrypted volume of the source is locked: all of it would be read.".to_owned(),
            count => {
                format!(
                    "{count} encrypted volumes of the source are locked: all of them would be read."
                )
            }
        };
        say(&mut lines, &about, theme.plain());
        let how = "Type its passphrase, its password, or the recovery key of BitLocker. It is not shown, not kept, and \
                   written nowhere; the copy stays encrypted with the same keys.";
        say(&mut lines, how, theme.plain());
        match &self.state {
            State::Trying(_) => {
                let words = "Trying it. This takes some seconds; nothing is written.";
                say(&mut lines, words, theme.strong());
            }
            State::Asking | State::Wrong(_) => {
                let mut line = self.field.line(theme, columns.saturating_sub(2));
                line.spans.insert(0, "> ".into());
                lines.extend([line, Line::raw("")]);
            }
        }
        if let State::Wrong(why) = &self.state {
            say(&mut lines, why, theme.bad());
        }
        lines
    }
}
