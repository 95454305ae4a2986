//! Which image of a store?

use disk::size::Size;
use engine::request::Place;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Message, Next};
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::stores::Search;
use crate::screen::waiting::Waiting;
use crate::widget::{chrome, page, pick, text};
use crate::world::World;

#[derive(Debug)]
pub struct Images {
    search: Search,
    place: Place,
    /// Or the sentence why they could not be listed.
    images: Result<Vec<ImageRow>, String>,
    at: usize,
    back: Box<Screen>,
}

/// An image in a store, as far as a look at it tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageRow {
    /// The name of its file.
    pub name: String,
    /// How many images it needs beside it.
    pub depth: usize,
    pub size_bytes: Option<u64>,
    /// Of which disk and when; or why it cannot be used. Line by line.
    pub about: Vec<String>,
}

impl Images {
    pub fn open(
        search: Search,
        place: Place,
        images: Result<Vec<ImageRow>, String>,
        back: Box<Screen>,
    ) -> Screen {
        Screen::Images(Images {
            search,
            place,
            images,
            at: 0,
            back,
        })
    }

    fn rows(&self) -> &[ImageRow] {
        self.images.as_deref().unwrap_or_default()
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Escape) => return (*self.back, None),
            Message::Key(Key::Char('r')) => {
                return Waiting::images(self.place, self.search, *self.back);
            }
            Message::Key(Key::Enter) => {
                if let Some(row) = self.rows().get(self.at) {
                    let image = within(&self.place, &row.name);
                    return self
                        .search
                        .clone()
                        .found(image, world, Screen::Images(self));
                }
            }
            Message::Key(key) => {
                if let Some(at) = pick::moved(key, Some(self.at), self.rows().len()) {
                    self.at = at;
                }
            }
            Message::Inventory(inventory) => {
                let (back, _) = self.back.update(world, Message::Inventory(inventory));
                self.back = Box::new(back);
            }
            _ => {}
        }
        (Screen::Images(self), None)
    }

    pub fn title(&self) -> String {
        format!("{}: which image?", self.search.task().title())
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("?", "help"),
            ("Up/Down", "choose"),
            ("Enter", "go on"),
            ("r", "look again"),
            ("Esc", "back"),
        ]
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let details = area.height / 3;
        let list = Rect {
            height: area.height - details,
            ..area
        };
        let title = format!("Images in {}", theme.clean(&world.words_of(&self.place)));
        let inner = chrome::frame(&title, theme, list, buf);
        let columns = usize::from(inner.width);
        let below = Rect {
            y: list.bottom(),
            height: details,
            ..area
        };
        match &self.images {
            Err(why) => {
                let lines = text::paragraph("! ", &theme.clean(why), theme.bad(), columns);
                page::draw(lines, 0, theme, inner, buf);
            }
            Ok(rows) if rows.is_empty() => {
                let words = "No image is here. Images have names that end in .img.zst; go back to look in a \
                             directory or in another place.";
                page::draw(
                    text::paragraph("", words, theme.plain(), columns),
                    0,
                    theme,
                    inner,
                    buf,
                );
            }
            Ok(rows) => {
                let line = |row: &ImageRow| {
                    let size = row
                        .size_bytes
                        .map_or(String::new(), |b| Size(b).to_string());
                    let name = format!("{}{}", "  ".repeat(row.depth), theme.clean(&row.name));
                    let name = text::fit(&name, columns.saturating_sub(13));
                    Line::from(vec![
                        Span::styled(name, theme.strong()),
                        Span::raw(text::fit_right(&size, 11)),
                    ])
                };
                pick::draw(
                    rows.iter().map(line).collect(),
                    Some(self.at),
                    theme,
                    inner,
                    buf,
                );
            }
        }
        let about = self.rows().get(self.at).map(|r| r.about.as_slice());
        let inner = chrome::frame("", theme, below, buf);
        let lines = about.unwrap_or_default().iter();
        let lines =
            lines.flat_map(|l| text::paragraph("", &theme.clean(l), theme.plain(), columns));
        page::draw(lines.collect(), 0, theme, inner, buf);
    }
}

/// The file of an image in this directory.
fn within(place: &Place, name: &str) -> Place {
    match place {
        Place::Path(path) => Place::Path(path.join(name)),
        Place::Uuid { uuid, path } => Place::Uuid {
            uuid: uuid.clone(),
            path: path.join(name),
        },
        Place::Label { label, path } => Place::Label {
            label: label.clone(),
            path: path.join(name),
        },
    }
}
