//! Where images are kept: to put one there, or to look for one.

use disk::size::Size;
use engine::request::{Origin, Place};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Effect, Message, Next};
use crate::draft::{Draft, Pick, Task};
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::disks::{Disks, Purpose};
use crate::screen::files::{Files, Whole};
use crate::screen::options::Options;
use crate::screen::waiting::Waiting;
use crate::theme::Theme;
use crate::widget::field::{Field, Taken};
use crate::widget::{chrome, page, pick, text};
use crate::world::{Inventory, StoreRow, World};

#[derive(Debug)]
pub struct Stores {
    aim: Aim,
    at: At,
    typed: Field,
    note: Option<String>,
    back: Box<Screen>,
}

/// To keep something new, or to find an image.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Aim {
    Keep {
        source: Box<Pick>,
    },
    /// To put files there.
    Take {
        whole: Box<Whole>,
        paths: Vec<String>,
    },
    Search(Search),
}

/// What an image is looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Search {
    Restore,
    Verify {
        disk: Box<Pick>,
    },
    Check,
    Mend,
    /// To look into it.
    Files,
}

/// A store that goes away leaves nothing chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
enum At {
    Nothing,
    Store(Place),
    Typed,
}

impl Search {
    pub fn task(&self) -> Task {
        match self {
            Search::Restore => Task::Restore,
            Search::Verify { .. } => Task::Verify,
            Search::Check => Task::Check,
            Search::Mend => Task::Mend,
            Search::Files => Task::Extract,
        }
    }

    /// What follows when the image is known.
    pub fn found(self, image: Place, world: &World, back: Screen) -> Next {
        match self {
            Search::Restore => {
                let purpose = Purpose::RestoreTo { image };
                (Disks::open(purpose, world, Box::new(back)), None)
            }
            Search::Verify { disk } => {
                let draft = Draft::verify(Origin::Image(image), &disk);
                Options::straight(&draft, back)
            }
            Search::Check => Options::straight(&Draft::check(image), back),
            Search::Mend => Options::straight(&Draft::mend(image), back),
            Search::Files => {
                let whole = Whole {
                    title: world.words_of_image(&image),
                    from: Origin::Image(image),
                    identity: None,
                };
                Files::open(whole, back)
            }
        }
    }
}

impl Stores {
    pub fn to_keep(source: Pick, world: &World, back: Box<Screen>) -> Screen {
        let source = Box::new(source);
        Stores::open(Aim::Keep { source }, world, back)
    }

    pub fn to_take(
        whole: Box<Whole>,
        paths: Vec<String>,
        world: &World,
        back: Box<Screen>,
    ) -> Screen {
        Stores::open(Aim::Take { whole, paths }, world, back)
    }

    pub fn to_search(search: Search, world: &World, back: Box<Screen>) -> Screen {
        Stores::open(Aim::Search(search), world, back)
    }

    fn open(aim: Aim, world: &World, back: Box<Screen>) -> Screen {
        let mut stores = Stores {
            aim,
            at: At::Nothing,
            typed: Field::default(),
            note: None,
            back,
        };
        stores.choose_first(world);
        Screen::Stores(stores)
    }

    /// An image is never kept on the disk it is made of.
    fn rows(&self, world: &World) -> Vec<StoreRow> {
        world.stores(match &self.aim {
            Aim::Keep { source } => source.identity.as_ref(),
            Aim::Take { whole, .. } => whole.identity.as_ref(),
            Aim::Search(_) => None,
        })
    }

    fn choose_first(&mut self, world: &World) {
        self.at = match self.rows(world).into_iter().next() {
            Some(row) => At::Store(row.place),
            None => At::Nothing,
        };
    }

    fn index(&self, rows: &[StoreRow]) -> Option<usize> {
        match &self.at {
            At::Nothing => None,
            At::Store(place) => rows.iter().position(|r| r.place == *place),
            At::Typed => Some(rows.len()),
        }
    }

    pub fn types(&self) -> bool {
        self.at == At::Typed
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Inventory(_) | Message::Directories(_) => self.refresh(world),
            Message::Key(key) => return self.key(world, key),
            _ => {}
        }
        (Screen::Stores(self), None)
    }

    fn refresh(&mut self, world: &World) {
        match &self.at {
            At::Store(place) if !self.rows(world).iter().any(|r| r.place == *place) => {
                self.note = Some(format!("{place} is gone with its disk; choose again"));
                self.at = At::Nothing;
            }
            At::Nothing if self.note.is_none() => self.choose_first(world),
            _ => {}
        }
    }

    fn key(mut self, world: &World, key: Key) -> Next {
        if self.at == At::Typed && self.typed.key(key) == Taken::Yes {
            self.note = None;
            return (Screen::Stores(self), None);
        }
        match key {
            Key::Escape => return (*self.back, None),
            Key::Enter => return self.go_on(world),
            Key::Char('r') => return (Screen::Stores(self), Some(Effect::Look)),
            Key::Char('d') => return self.another_disk(world),
            Key::Tab | Key::Right => self.take_into_line(),
            key => {
                let rows = self.rows(world);
                if let Some(row) = pick::moved(key, self.index(&rows), rows.len() + 1) {
                    self.at = rows
                        .get(row)
                        .map_or(At::Typed, |r| At::Store(r.place.clone()));
                    self.note = None;
                }
            }
        }
        (Screen::Stores(self), None)
    }

    /// A disk can be compared with another disk instead of an image, and looked into like one.
    fn another_disk(self, world: &World) -> Next {
        let purpose = match &self.aim {
            Aim::Search(Search::Verify { disk }) => Purpose::VerifyAgainst { disk: disk.clone() },
            Aim::Search(Search::Files) => Purpose::Files,
            _ => return (Screen::Stores(self), None),
        };
        (
            Disks::open(purpose, world, Box::new(Screen::Stores(self))),
            None,
        )
    }

    /// The chosen store as text, to add a directory to it.
    fn take_into_line(&mut self) {
        if let At::Store(place) = &self.at {
            let mut text = place.to_string();
            if !text.ends_with('/') {
                text.push('/');
            }
            self.typed = Field::new(&text);
            self.at = At::Typed;
        }
    }

    fn go_on(mut self, world: &World) -> Next {
        let place = match &self.at {
            At::Nothing => return (Screen::Stores(self), None),
            At::Store(place) => place.clone(),
            At::Typed => match self.typed.text().trim().parse::<Place>() {
                Ok(place) => place,
                Err(why) => {
                    self.note = Some(why);
                    return (Screen::Stores(self), None);
                }
            },
        };
        match self.aim.clone() {
            Aim::Keep { source } => {
                let to = world.words_of(&place);
                let draft = Draft::image(&source, place, to);
                (
                    Options::open(draft, &source.slug, Box::new(Screen::Stores(self))),
                    None,
                )
            }
            Aim::Take { whole, paths } => {
                let to = world.words_of(&place);
                let draft = Draft::extract(&whole, paths, place, to);
                Options::straight(&draft, Screen::Stores(self))
            }
            Aim::Search(search) if names_image(&place) => {
                search.found(place, world, Screen::Stores(self))
            }
            Aim::Search(search) => Waiting::images(place, search, Screen::Stores(self)),
        }
    }

    pub fn title(&self) -> String {
        match &self.aim {
            Aim::Keep { .. } => format!("{}: where to keep it?", Task::Image.title()),
            Aim::Take { .. } => format!("{}: where to?", Task::Extract.title()),
            Aim::Search(search) => format!("{}: where is the image?", search.task().title()),
        }
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        if self.at == At::Typed {
            return vec![
                ("F1", "help"),
                ("Up/Down", "choose"),
                ("Enter", "go on"),
                ("Esc", "back"),
            ];
        }
        let mut keys = vec![
            ("?", "help"),
            ("Up/Down", "choose"),
            ("Enter", "go on"),
            ("Tab", "a directory in it"),
        ];
        match &self.aim {
            Aim::Search(Search::Verify { .. }) => keys.push(("d", "another disk")),
            Aim::Search(Search::Files) => keys.push(("d", "of a disk")),
            _ => {}
        }
        keys.push(("Esc", "back"));
        keys
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let rows = self.rows(world);
        let at = self.index(&rows);
        let columns = usize::from(area.width) - 6;
        let mut lines: Vec<Line<'static>> = rows.iter().map(|r| line(r, theme, columns)).collect();
        lines.push(self.typed_line(theme, columns));
        let room = area.height.saturating_sub(8).max(4);
        let height = u16::try_from(lines.len()).unwrap_or(room).min(room) + 2;
        let top = Rect { height, ..area };
        let title = match &self.aim {
            Aim::Keep { .. } => "Where the image is put",
            Aim::Take { .. } => "Where the files are put",
            Aim::Search(_) => "Where the image is",
        };
        let inner = chrome::frame(title, theme, top, buf);
        pick::draw(lines, at, theme, inner, buf);
        let below = Rect {
            x: area.x + 2,
            y: top.bottom(),
            width: area.width - 4,
            height: area.height - height,
        };
        let lines = self.below(world, rows.is_empty(), usize::from(below.width));
        page::draw(lines, 0, theme, below, buf);
    }

    fn typed_line(&self, theme: Theme, columns: usize) -> Line<'static> {
        const LEAD: &str = "another place: ";
        let mut spans = vec![Span::raw(LEAD)];
        if self.at == At::Typed {
            spans.extend(self.typed.line(theme, columns - LEAD.len()).spans);
        } else {
            spans.push(Span::raw(theme.clean(&self.typed.text())));
        }
        Line::from(spans)
    }

    fn below(&self, world: &World, none: bool, columns: usize) -> Vec<Line<'static>> {
        let theme = world.terminal.theme;
        let mut lines = vec![Line::raw("")];
        if let Some(note) = &self.note {
            lines.extend(text::paragraph(
                "! ",
                &theme.clean(note),
                theme.warn(),
                columns,
            ));
            lines.push(Line::raw(""));
        }
        let advice = match (&self.at, none, &world.inventory) {
            (At::Typed, ..) => {
                "A directory like /mnt/backup, or uuid:... or label:... of a filesystem that is not mounted, with a \
                 directory on it: label:BACKUP/images"
            }
            (_, true, Inventory::Looking) => "Looking at the disks ...",
            (_, true, _) => {
                "No place to keep images is there. Connect a disk with a filesystem on it; it shows up here."
            }
            _ => match &self.aim {
                Aim::Keep { .. } => {
                    "The image needs about as much room as is used on the disk, mostly less. It is never put on the \
                     disk it is made of."
                }
                Aim::Take { .. } => {
                    "The files come into this directory; nothing that is there is overwritten. Tab adds the name \
                     of a directory in it."
                }
                Aim::Search(Search::Files) => {
                    "Where the image is; or press d to look into a disk. Nothing is changed by looking."
                }
                Aim::Search(_) => "The place is only looked at; nothing on it is changed.",
            },
        };
        lines.extend(text::paragraph("", advice, theme.plain(), columns));
        lines
    }
}

/// A file by its name; everything else is taken as a directory.
fn names_image(place: &Place) -> bool {
    let (Place::Path(path) | Place::Uuid { path, .. } | Place::Label { path, .. }) = place;
    path.extension().is_some_and(|e| e == "zst" || e == "img")
}

fn line(row: &StoreRow, theme: Theme, columns: usize) -> Line<'static> {
    const FREE: usize = 13;
    let room = columns.saturating_sub(FREE + 2);
    let first = room / 2;
    let free = row
        .free_bytes
        .map_or(String::new(), |free| format!("{} free", Size(free)));
    Line::from(vec![
        Span::styled(text::fit(&theme.clean(&row.what), first), theme.strong()),
        Span::raw(format!(
            " {} ",
            text::fit(&theme.clean(&row.on), room - first)
        )),
        Span::raw(text::fit_right(&free, FREE)),
    ])
}
