//! How the job is to be done. What stands here is right for nearly everybody.

mod row;

use engine::request::{AtDamage, Options as Settings};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Message, Next};
use crate::draft::{Draft, Task};
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::waiting::Waiting;
use crate::theme::Theme;
use crate::widget::field::{Field, Taken};
use crate::widget::{chrome, page, pick, text};
use crate::world::World;
use row::Row;

#[derive(Debug)]
pub struct Options {
    draft: Draft,
    name: Field,
    note: Field,
    settings: Settings,
    at: usize,
    back: Box<Screen>,
}

impl Options {
    pub fn open(draft: Draft, name: &str, back: Box<Screen>) -> Screen {
        // Somebody sits in front of it and reads the report; what the image still gives is the most there is.
        let settings = Settings {
            at_damage: match Task::of(&draft.action) {
                Task::Restore => AtDamage::KeepGoing,
                _ => AtDamage::Stop,
            },
            ..Settings::default()
        };
        Screen::Options(Options {
            draft,
            name: Field::new(name),
            note: Field::default(),
            settings,
            at: 0,
            back,
        })
    }

    /// For a job that has nothing to set.
    pub fn straight(draft: &Draft, back: Screen) -> Next {
        Waiting::plan(draft.request("", Settings::default()), back)
    }

    fn task(&self) -> Task {
        Task::of(&self.draft.action)
    }

    fn row(&self) -> Option<Row> {
        Row::all(self.task()).get(self.at).copied()
    }

    fn field(&mut self) -> Option<&mut Field> {
        match self.row() {
            Some(Row::Name) => Some(&mut self.name),
            Some(Row::Note) => Some(&mut self.note),
            _ => None,
        }
    }

    pub fn types(&self) -> bool {
        matches!(self.row(), Some(Row::Name | Row::Note))
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(key) => self.key(key),
            Message::Inventory(inventory) => {
                let (back, _) = self.back.update(world, Message::Inventory(inventory));
                self.back = Box::new(back);
                (Screen::Options(self), None)
            }
            _ => (Screen::Options(self), None),
        }
    }

    fn key(mut self, key: Key) -> Next {
        if let Some(field) = self.field()
            && field.key(key) == Taken::Yes
        {
            return (Screen::Options(self), None);
        }
        match key {
            Key::Escape => return (*self.back, None),
            Key::Enter => {
                let request = self.draft.request(&self.name.text(), self.settings());
                return Waiting::plan(request, Screen::Options(self));
            }
            Key::Right | Key::Char(' ' | '+') => self.change(1),
            Key::Left | Key::Char('-') => self.change(-1),
            key => {
                let count = Row::all(self.task()).len();
                let key = if key == Key::Tab { Key::Down } else { key };
                if let Some(at) = pick::moved(key, Some(self.at), count) {
                    self.at = at;
                }
            }
        }
        (Screen::Options(self), None)
    }

    fn settings(&self) -> Settings {
        let note = self.note.text().trim().to_owned();
        Settings {
            note: (!note.is_empty()).then_some(note),
            ..self.settings.clone()
        }
    }

    fn change(&mut self, by: isize) {
        if let Some(row) = self.row() {
            row.change(&mut self.settings, by);
        }
    }

    fn value(&self, row: Row) -> String {
        match row {
            Row::Name => self.name.text(),
            Row::Note => self.note.text(),
            row => row.value(&self.settings),
        }
    }

    pub fn title(&self) -> String {
        format!("{}: how?", self.task().title())
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        let mut keys = match self.types() {
            true => vec![("F1", "help"), ("Up/Down", "choose")],
            false => vec![
                ("?", "help"),
                ("Up/Down", "choose"),
                ("Left/Right", "change"),
            ],
        };
        keys.extend([("Enter", "see the plan"), ("Esc", "back")]);
        keys
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let columns = usize::from(area.width) - 4;
        let mut head = text::paragraph(
            "from  ",
            &theme.clean(&self.draft.from),
            theme.strong(),
            columns,
        );
        head.extend(text::paragraph(
            "to    ",
            &theme.clean(&self.draft.to),
            theme.strong(),
            columns,
        ));
        let height = u16::try_from(head.len()).unwrap_or(4).min(area.height / 3) + 2;
        let top = Rect { height, ..area };
        page::draw(
            head,
            0,
            theme,
            chrome::frame(self.task().title(), theme, top, buf),
            buf,
        );
        let rows = Row::all(self.task());
        let lines = rows
            .iter()
            .enumerate()
            .map(|(n, row)| self.line(n, *row, theme, columns - 2));
        let list = Rect {
            y: top.bottom(),
            height: u16::try_from(rows.len()).unwrap_or(0) + 2,
            ..area
        };
        let inner = chrome::frame("Settings", theme, list, buf);
        pick::draw(lines.collect(), Some(self.at), theme, inner, buf);
        let below = Rect {
            x: area.x + 2,
            y: list.bottom() + 1,
            width: area.width - 4,
            height: (area.bottom() - list.bottom()).saturating_sub(1),
        };
        let about = self.row().map_or("", Row::about);
        page::draw(
            text::paragraph("", about, theme.plain(), columns),
            0,
            theme,
            below,
            buf,
        );
    }

    fn line(&self, n: usize, row: Row, theme: Theme, columns: usize) -> Line<'static> {
        const NAME: usize = 16;
        let mut spans = vec![Span::raw(text::fit(row.name(), NAME))];
        let room = columns.saturating_sub(NAME + 1);
        match row {
            Row::Name | Row::Note if n == self.at => {
                let field = if row == Row::Name {
                    &self.name
                } else {
                    &self.note
                };
                spans.extend(field.line(theme, room).spans);
            }
            Row::Name | Row::Note => {
                spans.push(Span::styled(
                    text::fit(&theme.clean(&self.value(row)), room),
                    theme.strong(),
                ));
            }
            _ => {
                let (left, right) = (theme.pick("◄", "<"), theme.pointer());
                spans.push(Span::raw(format!("{left} ")));
                spans.push(Span::styled(self.value(row), theme.strong()));
                spans.push(Span::raw(format!(" {right}")));
            }
        }
        Line::from(spans)
    }
}
