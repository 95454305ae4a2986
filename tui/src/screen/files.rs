//! What an image or a disk holds: from directory to directory, to take files out.

use std::collections::BTreeSet;

use disk::size::Size;
use engine::identity::Identity;
use engine::request::Origin;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Effect, Message, Next};
use crate::draft::Task;
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::stores::Stores;
use crate::theme::Theme;
use crate::widget::{chrome, page, pick, text};
use crate::world::World;

#[derive(Debug)]
pub struct Files {
    whole: Whole,
    /// From the root to the directory that is shown.
    levels: Vec<Level>,
    /// A directory that is being looked at.
    asked: Option<String>,
    /// Paths from the root of the disk, without those inside of others.
    marked: BTreeSet<String>,
    note: Option<String>,
    back: Box<Screen>,
}

#[derive(Debug)]
struct Level {
    /// From the root of the disk: `2/home`.
    path: String,
    rows: Vec<FileRow>,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// The root of a filesystem.
    Filesystem,
    Directory,
    File,
    Link,
    /// A device, a pipe or a socket.
    Special,
}

/// What has the files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whole {
    pub from: Origin,
    /// In words.
    pub title: String,
    /// Of a disk.
    pub identity: Option<Identity>,
}

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRow {
    pub name: String,
    pub kind: FileKind,
    pub size_bytes: Option<u64>,
    /// When it was changed, or what else there is to say.
    pub about: String,
}

/// What a directory holds: its entries, and a sentence where these are not all.
pub type Listing = (Vec<FileRow>, Option<String>);

impl FileRow {
    fn is_entered(&self) -> bool {
        matches!(self.kind, FileKind::Filesystem | FileKind::Directory)
    }
}

fn join(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        directory => format!("{directory}/{name}"),
    }
}

fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with('/'))
}

impl Files {
    pub fn open(whole: Whole, back: Screen) -> Next {
        let files = Files {
            whole,
            levels: Vec::new(),
            asked: None,
            marked: BTreeSet::new(),
            note: None,
            back: Box::new(back),
        };
        files.ask(String::new())
    }

    fn ask(mut self, path: String) -> Next {
        let effect = Effect::Browse {
            from: self.whole.from.clone(),
            path: path.clone(),
        };
        self.note = None;
        self.asked = Some(path);
        (Screen::Files(self), Some(effect))
    }

    fn level(&self) -> Option<&Level> {
        self.levels.last()
    }

    fn row(&self) -> Option<(String, &FileRow)> {
        let level = self.level()?;
        let row = level.rows.get(level.at)?;
        Some((join(&level.path, &row.name), row))
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(key) => return self.key(world, key),
            Message::Browsed { from, path, result } if self.is_asked(&from, &path) => {
                self.asked = None;
                match result {
                    Ok((rows, note)) => {
                        self.note = note;
                        self.levels.push(Level { path, rows, at: 0 });
                    }
                    Err(why) => self.note = Some(why),
                }
            }
            Message::Inventory(inventory) => {
                let (back, _) = self.back.update(world, Message::Inventory(inventory));
                self.back = Box::new(back);
            }
            _ => {}
        }
        (Screen::Files(self), None)
    }

    /// An older answer may still be under way.
    fn is_asked(&self, from: &Origin, path: &str) -> bool {
        self.whole.from == *from && self.asked.as_deref() == Some(path)
    }

    fn key(mut self, world: &World, key: Key) -> Next {
        match key {
            Key::Escape | Key::Left | Key::Backspace => return self.up(key),
            Key::Enter | Key::Right => {
                if let Some((path, row)) = self.row()
                    && row.is_entered()
                {
                    return self.ask(path);
                }
            }
            Key::Char(' ') => self.mark(),
            Key::Char('c') => return self.take(world),
            key => {
                if let Some(level) = self.levels.last_mut()
                    && let Some(at) = pick::moved(key, Some(level.at), level.rows.len())
                {
                    level.at = at;
                }
            }
        }
        (Screen::Files(self), None)
    }

    /// One directory up; from the first one back.
    fn up(mut self, key: Key) -> Next {
        self.note = None;
        if self.asked.take().is_some() && !self.levels.is_empty() {
            return (Screen::Files(self), None);
        }
        if self.levels.len() > 1 {
            self.levels.pop();
            return (Screen::Files(self), None);
        }
        match key {
            Key::Escape => (*self.back, None),
            _ => (Screen::Files(self), None),
        }
    }

    fn mark(&mut self) {
        let Some((path, _)) = self.row() else { return };
        let above = self.marked.iter().find(|one| is_within(&path, one));
        if let Some(above) = above {
            self.note = Some(format!("{above} is marked with all that is in it"));
            return;
        }
        self.note = None;
        if !self.marked.remove(&path) {
            self.marked.retain(|one| !is_within(one, &path));
            self.marked.insert(path);
        }
        if let Some(level) = self.levels.last_mut() {
            level.at = (level.at + 1).min(level.rows.len().saturating_sub(1));
        }
    }

    /// What is marked, or else what is pointed at.
    fn take(self, world: &World) -> Next {
        let mut paths: Vec<String> = self.marked.iter().cloned().collect();
        if paths.is_empty() {
            paths.extend(self.row().map(|(path, _)| path));
        }
        if paths.is_empty() {
            return (Screen::Files(self), None);
        }
        let whole = Box::new(self.whole.clone());
        let back = Box::new(Screen::Files(self));
        (Stores::to_take(whole, paths, world, back), None)
    }

    pub fn title(&self) -> String {
        format!("{}: which?", Task::Extract.title())
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("?", "help"),
            ("Enter", "open"),
            ("Space", "mark"),
            ("c", "copy out"),
            ("Esc", "back"),
        ]
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        const BELOW: u16 = 4;
        let theme = world.terminal.theme;
        let list = Rect {
            height: area.height - BELOW,
            ..area
        };
        let path = self.level().map_or("", |level| level.path.as_str());
        let title = theme.clean(&format!("/{path}"));
        let inner = chrome::frame(&title, theme, list, buf);
        let columns = usize::from(inner.width);
        match self.level() {
            Some(level) if !level.rows.is_empty() => {
                let lines = level.rows.iter();
                let lines = lines.map(|row| self.line(&level.path, row, theme, columns));
                pick::draw(lines.collect(), Some(level.at), theme, inner, buf);
            }
            Some(_) => page::draw(vec![Line::raw("Nothing is in it.")], 0, theme, inner, buf),
            None => {}
        }
        let below = Rect {
            y: list.bottom(),
            height: BELOW,
            ..area
        };
        let inner = chrome::frame("", theme, below, buf);
        page::draw(self.below(theme, columns), 0, theme, inner, buf);
    }

    fn line(&self, directory: &str, row: &FileRow, theme: Theme, columns: usize) -> Line<'static> {
        const SIZE: usize = 11;
        const ABOUT: usize = 18;
        let path = join(directory, &row.name);
        let within = self.marked.iter().any(|one| is_within(&path, one));
        let mark = if within || self.marked.contains(&path) {
            "* "
        } else {
            "  "
        };
        let ending = match row.kind {
            FileKind::Filesystem | FileKind::Directory => "/",
            FileKind::Link => " ->",
            FileKind::File | FileKind::Special => "",
        };
        let name = theme.clean(&format!("{}{ending}", row.name));
        let size = row
            .size_bytes
            .map_or(String::new(), |b| Size(b).to_string());
        let room = columns.saturating_sub(2 + SIZE + 1 + ABOUT + 2);
        let style = match row.is_entered() {
            true => theme.strong(),
            false => theme.plain(),
        };
        Line::from(vec![
            Span::raw(mark),
            Span::styled(text::fit(&name, room), style),
            Span::raw(text::fit_right(&size, SIZE)),
            Span::raw(" "),
            Span::raw(text::fit(&theme.clean(&row.about), ABOUT)),
        ])
    }

    fn below(&self, theme: Theme, columns: usize) -> Vec<Line<'static>> {
        let words = match (&self.asked, &self.note, self.marked.len()) {
            (Some(path), ..) => format!("Looking at /{path} of {} ...", self.whole.title),
            (None, Some(note), _) => {
                return text::paragraph("! ", &theme.clean(note), theme.warn(), columns);
            }
            (None, None, 0) => format!(
                "{}. Space marks what is to be copied out; without a mark it is what is pointed at.",
                self.whole.title
            ),
            (None, None, marked) => format!("{}; {marked} marked", self.whole.title),
        };
        text::paragraph("", &theme.clean(&words), theme.plain(), columns)
    }
}
