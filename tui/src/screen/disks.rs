//! Which disk? What is on each comes first; `sda` says nothing to anybody.

mod purpose;
mod row;

use std::sync::Arc;

use engine::host::Disk;
use engine::identity::Identity;
use engine::request::{DiskName, Origin};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Effect, Message, Next};
use crate::draft::{Draft, Pick};
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::disk_page::{self, DiskPage};
use crate::screen::files::{Files, Whole};
use crate::screen::options::Options;
use crate::screen::stores::{Search, Stores};
use crate::widget::field::{Field, Taken};
use crate::widget::{bar, chrome, page, pick, text};

use crate::world::{Inventory, World, contents};
pub use purpose::Purpose;
use row::row;

#[derive(Debug)]
pub struct Disks {
    purpose: Purpose,
    at: At,
    typed: Field,
    /// What happened to the list or to what was typed.
    note: Option<String>,
    back: Box<Screen>,
}

/// What is chosen. A disk that goes away leaves nothing chosen: never its neighbour.
#[derive(Clone, PartialEq, Eq, Debug)]
enum At {
    Nothing,
    Disk(Box<Identity>),
    Typed,
}

impl Disks {
    pub fn open(purpose: Purpose, world: &World, back: Box<Screen>) -> Screen {
        let mut disks = Disks {
            purpose,
            at: At::Nothing,
            typed: Field::default(),
            note: None,
            back,
        };
        disks.choose_first(world);
        Screen::Disks(disks)
    }

    fn rows<'a>(&'a self, world: &'a World) -> impl Iterator<Item = &'a Arc<Disk>> {
        let taken = self.purpose.other();
        world
            .disks()
            .iter()
            .filter(move |d| !taken.is_some_and(|t| t.same_device(&d.identity)))
    }

    fn choose_first(&mut self, world: &World) {
        let first = self.rows(world).next().map(|d| d.identity.clone());
        if let Some(identity) = first {
            self.at = At::Disk(Box::new(identity));
        }
    }

    fn index(&self, world: &World) -> Option<usize> {
        match &self.at {
            At::Nothing => None,
            At::Disk(identity) => self
                .rows(world)
                .position(|d| d.identity.same_device(identity)),
            At::Typed => Some(self.rows(world).count()),
        }
    }

    fn chosen<'a>(&'a self, world: &'a World) -> Option<&'a Arc<Disk>> {
        match &self.at {
            At::Disk(identity) => world.find(identity),
            At::Nothing | At::Typed => None,
        }
    }

    pub fn types(&self) -> bool {
        self.at == At::Typed
    }

    fn typable(&self) -> bool {
        self.purpose != Purpose::Look
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Inventory(_) => self.refresh(world),
            Message::Failed(text) => self.note = Some(text),
            Message::Key(key) => return self.key(world, key),
            _ => {}
        }
        (Screen::Disks(self), None)
    }

    fn refresh(&mut self, world: &World) {
        match &self.at {
            At::Disk(identity) if world.find(identity).is_none() => {
                let words = identity.to_string();
                self.note = Some(format!("{words} was disconnected; choose again"));
                self.at = At::Nothing;
            }
            At::Nothing if self.note.is_none() => self.choose_first(world),
            _ => {}
        }
    }

    fn key(mut self, world: &World, key: Key) -> Next {
        if self.types() && self.typed.key(key) == Taken::Yes {
            self.note = None;
            return (Screen::Disks(self), None);
        }
        match key {
            Key::Escape => return (*self.back, None),
            Key::Enter => return self.go_on(world),
            Key::Char('r') => return (Screen::Disks(self), Some(Effect::Look)),
            Key::Char('d') | Key::Right => return (self.look_closer(world), None),
            key => {
                let count = self.rows(world).count() + usize::from(self.typable());
                if let Some(row) = pick::moved(key, self.index(world), count) {
                    let disk = self.rows(world).nth(row).map(|d| d.identity.clone());
                    self.at = disk.map_or(At::Typed, |identity| At::Disk(Box::new(identity)));
                    self.note = None;
                }
            }
        }
        (Screen::Disks(self), None)
    }

    fn look_closer(self, world: &World) -> Screen {
        match self.chosen(world).map(|d| d.identity.clone()) {
            Some(identity) => DiskPage::open(identity, Screen::Disks(self)),
            None => Screen::Disks(self),
        }
    }

    fn go_on(mut self, world: &World) -> Next {
        if self.purpose == Purpose::Look {
            return (self.look_closer(world), None);
        }
        let pick = match (&self.at, self.chosen(world)) {
            (At::Disk(_), Some(disk)) => Pick::disk(disk, world),
            (At::Typed, _) => match self.typed.text().trim().parse::<DiskName>() {
                Ok(name) => Pick::typed(name),
                Err(why) => {
                    self.note = Some(why);
                    return (Screen::Disks(self), None);
                }
            },
            _ => return (Screen::Disks(self), None),
        };
        self.next(world, pick)
    }

    fn next(self, world: &World, pick: Pick) -> Next {
        let purpose = self.purpose.clone();
        let back = Box::new(Screen::Disks(self));
        let screen = match purpose {
            Purpose::Look => *back,
            Purpose::Image => Stores::to_keep(pick, world, back),
            Purpose::CloneFrom => {
                let source = Box::new(pick);
                Disks::open(Purpose::CloneTo { source }, world, back)
            }
            Purpose::CloneTo { source } => Options::open(Draft::clone_to(&source, &pick), "", back),
            Purpose::RestoreTo { image } => {
                let from = world.words_of_image(&image);
                Options::open(Draft::restore(image, from, &pick), "", back)
            }
            Purpose::Verify => {
                let disk = Box::new(pick);
                Stores::to_search(Search::Verify { disk }, world, back)
            }
            Purpose::VerifyAgainst { disk } => {
                let draft = Draft::verify(Origin::Disk(pick.name), &disk);
                return Options::straight(&draft, *back);
            }
            Purpose::Files => {
                let whole = Whole {
                    from: Origin::Disk(pick.name),
                    title: pick.words,
                    identity: pick.identity,
                };
                return Files::open(whole, *back);
            }
        };
        (screen, None)
    }

    pub fn title(&self) -> String {
        match self.purpose.task() {
            Some(task) => format!("{}: {}", task.title(), self.purpose.question()),
            None => self.purpose.question().to_owned(),
        }
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        match (&self.at, &self.purpose) {
            (At::Typed, _) => vec![
                ("F1", "help"),
                ("Up/Down", "choose"),
                ("Enter", "go on"),
                ("Esc", "back"),
            ],
            (_, Purpose::Look) => {
                vec![
                    ("?", "help"),
                    ("Up/Down", "choose"),
                    ("Enter", "all about it"),
                    ("r", "look again"),
                    ("Esc", "back"),
                ]
            }
            _ => vec![
                ("?", "help"),
                ("Up/Down", "choose"),
                ("Enter", "go on"),
                ("d", "all about it"),
                ("r", "look again"),
                ("Esc", "back"),
            ],
        }
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let rows = self.lines(world, usize::from(area.width) - 6);
        let room = (area.height / 2).saturating_sub(2).max(3);
        let height = u16::try_from(rows.len()).unwrap_or(room).clamp(1, room) + 2;
        let top = Rect { height, ..area };
        let inner = chrome::frame(self.purpose.advice(), theme, top, buf);
        // A sentence stands in for the disks where there are none.
        let at = match (&self.at, self.rows(world).next()) {
            (At::Typed, None) => Some(1),
            _ => self.index(world),
        };
        pick::draw(rows, at, theme, inner, buf);
        let below = Rect {
            y: top.bottom(),
            height: area.height - height,
            ..area
        };
        self.draw_below(world, below, buf);
    }

    fn lines(&self, world: &World, columns: usize) -> Vec<Line<'static>> {
        let theme = world.terminal.theme;
        let mut lines: Vec<Line<'static>> =
            self.rows(world).map(|d| row(d, theme, columns)).collect();
        if lines.is_empty() {
            lines.push(Line::raw(match &world.inventory {
                Inventory::Looking => "Looking at the disks ...".to_owned(),
                Inventory::Known(_) => {
                    "No disk is there; connect one and it shows up here.".to_owned()
                }
                Inventory::Failed(why) => theme.clean(why),
            }));
        }
        if self.typable() {
            const LEAD: &str = "another disk or file: ";
            let mut line = vec![Span::raw(LEAD)];
            if self.at == At::Typed {
                line.extend(self.typed.line(theme, columns - LEAD.len()).spans);
            } else {
                line.push(Span::raw(theme.clean(&self.typed.text())));
            }
            lines.push(Line::from(line));
        }
        lines
    }

    fn draw_below(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let disk = self.chosen(world);
        let inner = chrome::frame("", theme, area, buf);
        let columns = usize::from(inner.width);
        let mut lines = Vec::new();
        if let Some(note) = &self.note {
            lines.extend(text::paragraph(
                "! ",
                &theme.clean(note),
                theme.warn(),
                columns,
            ));
        }
        if let Some(disk) = disk {
            let what = theme.clean(&contents(disk));
            lines.extend(text::paragraph("", &what, theme.strong(), columns));
            let which = theme.clean(&disk_page::which(disk));
            lines.extend(text::paragraph("", &which, theme.plain(), columns));
            lines.push(Line::raw(""));
        }
        let Some(disk) = disk else {
            if self.at == At::Typed {
                let advice = "A path like /dev/sdb, a regular file, or serial:S3Z9... as on the label. A file that \
                              does not exist yet can be written to: it is made.";
                lines.extend(text::paragraph("", advice, theme.plain(), columns));
            }
            page::draw(lines, 0, theme, inner, buf);
            return;
        };
        let mut rest = inner;
        let used = u16::try_from(lines.len()).unwrap_or(0).min(inner.height);
        let top = Rect {
            height: used,
            ..inner
        };
        page::draw(lines, 0, theme, top, buf);
        rest.y += used;
        rest.height -= used;
        if let Ok(layout) = &disk.layout
            && rest.height > 4
        {
            bar::draw(&bar::parts(layout), theme, rest, buf);
            rest.y += 3;
            rest.height -= 3;
        }
        let mut lines = disk_page::warnings(disk, theme, columns);
        lines.extend(disk_page::partitions(disk, theme, columns));
        page::draw(
            shortened(lines, usize::from(rest.height)),
            0,
            theme,
            rest,
            buf,
        );
    }
}

/// As much as fits, and how much more there is.
fn shortened(mut lines: Vec<Line<'static>>, height: usize) -> Vec<Line<'static>> {
    if lines.len() > height && height > 0 {
        let more = lines.len() - height + 1;
        lines.truncate(height - 1);
        lines.push(Line::raw(format!("{more} more lines; press d to see all")));
    }
    lines
}
