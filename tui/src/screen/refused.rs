//! Why a job is not done: every reason, each with its remedy.

use engine::plan::Refusal;
use engine::request::Request;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::app::{Message, Next};
use crate::draft::Task;
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::waiting::Waiting;
use crate::theme::Theme;
use crate::widget::{chrome, page, text};
use crate::world::World;

#[derive(Debug)]
pub struct Refused {
    request: Request,
    refusals: Vec<Refusal>,
    top: usize,
    back: Box<Screen>,
}

impl Refused {
    pub fn open(request: Request, refusals: Vec<Refusal>, back: Box<Screen>) -> Screen {
        Screen::Refused(Refused {
            request,
            refusals,
            top: 0,
            back,
        })
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Escape | Key::Enter) => return (*self.back, None),
            Message::Key(Key::Char('r')) => return Waiting::plan(self.request, *self.back),
            Message::Key(key) => {
                let inner = chrome::inside(chrome::body(world.terminal.area()));
                let count = self
                    .lines(world.terminal.theme, usize::from(inner.width))
                    .len();
                if let Some(top) = page::scrolled(key, self.top, count, usize::from(inner.height)) {
                    self.top = top;
                }
            }
            Message::Inventory(inventory) => {
                let (back, _) = self.back.update(world, Message::Inventory(inventory));
                self.back = Box::new(back);
            }
            _ => {}
        }
        (Screen::Refused(self), None)
    }

    fn lines(&self, theme: Theme, columns: usize) -> Vec<Line<'static>> {
        let mut lines = vec![Line::raw("")];
        for refusal in &self.refusals {
            let lead = format!("{} ", theme.bullet());
            let text = theme.clean(&refusal.to_string());
            lines.extend(text::paragraph(&lead, &text, theme.strong(), columns));
            lines.push(Line::raw(""));
        }
        lines.push(Line::raw("Nothing was written. Asked for was:"));
        let command = theme.clean(&self.request.to_string());
        lines.extend(text::paragraph("  ", &command, theme.plain(), columns));
        lines
    }

    pub fn title(&self) -> String {
        format!(
            "{}: not possible like this",
            Task::of(&self.request.action).title()
        )
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("?", "help"),
            ("Enter", "back, to change it"),
            ("r", "try again"),
            ("Up/Down", "scroll"),
        ]
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let title = match self.refusals.len() {
            1 => "This cannot be done".to_owned(),
            n => format!("This cannot be done, for {n} reasons"),
        };
        let inner = chrome::alarm(&title, theme, area, buf);
        page::draw(
            self.lines(theme, usize::from(inner.width)),
            self.top,
            theme,
            inner,
            buf,
        );
    }
}
