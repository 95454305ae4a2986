//! The program itself failed in a place that could be contained.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::app::{Message, Next};
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::menu::Menu;
use crate::widget::{chrome, page, text};
use crate::world::World;

#[derive(Debug)]
pub struct Trouble {
    pub text: String,
    pub command: String,
}

impl Trouble {
    pub fn update(self, _world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Enter | Key::Escape) => (Screen::Menu(Menu::default()), None),
            _ => (Screen::Trouble(self), None),
        }
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let inner = chrome::alarm("The job ended without a report", theme, area, buf);
        let columns = usize::from(inner.width);
        let mut lines = vec![Line::raw("")];
        lines.extend(text::paragraph(
            "",
            &theme.clean(&self.text),
            theme.bad(),
            columns,
        ));
        lines.push(Line::raw(""));
        let advice = "This is a defect of the program. Take the result as not done. The same job, started again, \
                      goes on from what was done:";
        lines.extend(text::paragraph("", advice, theme.plain(), columns));
        lines.push(Line::raw(""));
        lines.extend(text::paragraph(
            "  ",
            &theme.clean(&self.command),
            theme.strong(),
            columns,
        ));
        page::draw(lines, 0, theme, inner, buf);
    }
}
