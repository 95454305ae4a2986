//! The first question.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Effect, Message, Next};
use crate::draft::Task;
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::ask::{Ask, Question};
use crate::screen::disks::{Disks, Purpose};
use crate::screen::stores::{Search, Stores};
use crate::widget::{chrome, page, pick, text};
use crate::world::{Home, Inventory, World};

#[derive(Debug, Default)]
pub struct Menu {
    at: usize,
    /// A sentence about what could not be done.
    trouble: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Item {
    Do(Task),
    Disks,
    Shell,
    Reboot,
    PowerOff,
    Leave,
}

const ON_MEDIUM: &[Item] = &[
    Item::Do(Task::Image),
    Item::Do(Task::Clone),
    Item::Do(Task::Restore),
    Item::Do(Task::Verify),
    Item::Do(Task::Check),
    Item::Do(Task::Extract),
    Item::Do(Task::Mend),
    Item::Disks,
    Item::Shell,
    Item::Reboot,
    Item::PowerOff,
];

/// Somebody else's system is not ours to switch off.
const ON_SYSTEM: &[Item] = &[
    Item::Do(Task::Image),
    Item::Do(Task::Clone),
    Item::Do(Task::Restore),
    Item::Do(Task::Verify),
    Item::Do(Task::Check),
    Item::Do(Task::Extract),
    Item::Do(Task::Mend),
    Item::Disks,
    Item::Shell,
    Item::Leave,
];

impl Item {
    fn all(world: &World) -> &'static [Item] {
        match world.home {
            Home::Medium => ON_MEDIUM,
            Home::System => ON_SYSTEM,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Item::Do(task) => task.title(),
            Item::Disks => "Disks",
            Item::Shell => "Command line",
            Item::Reboot => "Restart",
            Item::PowerOff => "Switch off",
            Item::Leave => "Leave",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Item::Do(Task::Image) => "keep a whole disk in one file on another disk",
            Item::Do(Task::Clone) => "copy a disk onto another disk",
            Item::Do(Task::Restore) => "write an image back onto a disk",
            Item::Do(Task::Verify) => "compare a disk with its image or its clone",
            Item::Do(Task::Check) => "read an image whole and prove that it is sound",
            Item::Do(Task::Extract) => "take single files out of an image or a disk",
            Item::Do(Task::Mend) => "make a damaged image whole, as far as it can be",
            Item::Do(Task::Words) | Item::Shell => {
                "a shell, for those who know it; 'exit' comes back"
            }
            Item::Disks => "look at every disk and what is on it",
            Item::Reboot => "start the computer again, without the medium",
            Item::PowerOff => "switch the computer off",
            Item::Leave => "end this program",
        }
    }
}

impl Menu {
    pub fn with_trouble(text: String) -> Screen {
        Screen::Menu(Menu {
            at: 0,
            trouble: Some(text),
        })
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        let items = Item::all(world);
        match message {
            Message::Failed(text) => self.trouble = Some(text),
            Message::Key(Key::Enter) => return self.choose(world),
            Message::Key(Key::Char(c)) => {
                let digit = c.to_digit(10).and_then(|d| usize::try_from(d).ok());
                if let Some(at) = digit
                    .and_then(|d| d.checked_sub(1))
                    .filter(|&a| a < items.len())
                {
                    self.at = at;
                    return self.choose(world);
                }
            }
            Message::Key(key) => {
                if let Some(at) = pick::moved(key, Some(self.at), items.len()) {
                    self.at = at;
                }
            }
            _ => {}
        }
        (Screen::Menu(self), None)
    }

    fn choose(mut self, world: &World) -> Next {
        let item = Item::all(world)
            .get(self.at)
            .copied()
            .unwrap_or(Item::Disks);
        self.trouble = None;
        let back = Box::new(Screen::Menu(self));
        let screen = match item {
            Item::Do(Task::Image) => Disks::open(Purpose::Image, world, back),
            Item::Do(Task::Clone) => Disks::open(Purpose::CloneFrom, world, back),
            Item::Do(Task::Restore) => Stores::to_search(Search::Restore, world, back),
            Item::Do(Task::Verify) => Disks::open(Purpose::Verify, world, back),
            Item::Do(Task::Check) => Stores::to_search(Search::Check, world, back),
            Item::Disks => Disks::open(Purpose::Look, world, back),
            Item::Do(Task::Extract) => Stores::to_search(Search::Files, world, back),
            Item::Do(Task::Mend) => Stores::to_search(Search::Mend, world, back),
            Item::Do(Task::Words) | Item::Shell => {
                return (*back, Some(Effect::Shell));
            }
            Item::Reboot => Ask::over(Question::Reboot, *back),
            Item::PowerOff => Ask::over(Question::PowerOff, *back),
            Item::Leave => Ask::over(Question::Leave, *back),
        };
        (screen, None)
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let items = Item::all(world);
        let rows = items.iter().enumerate().map(|(n, item)| {
            Line::from(vec![
                Span::raw(format!("{:>2}  ", n + 1)),
                Span::styled(text::fit(item.name(), 20), theme.strong()),
                Span::raw(item.about()),
            ])
        });
        let height = u16::try_from(items.len())
            .unwrap_or(u16::MAX)
            .saturating_add(4);
        let list = Rect {
            height: height.min(area.height),
            ..area
        };
        let inner = chrome::frame("What do you want to do?", theme, list, buf);
        let inner = Rect {
            y: inner.y + 1,
            height: inner.height.saturating_sub(1),
            ..inner
        };
        pick::draw(rows.collect(), Some(self.at), theme, inner, buf);
        let below = Rect {
            x: area.x + 2,
            y: list.bottom(),
            width: area.width - 4,
            height: area.height - list.height,
        };
        page::draw(
            self.below(world, usize::from(below.width)),
            0,
            theme,
            below,
            buf,
        );
    }

    /// What the machine has, and what one may rely on.
    fn below(&self, world: &World, columns: usize) -> Vec<Line<'static>> {
        let theme = world.terminal.theme;
        let mut lines = vec![Line::raw("")];
        match (&self.trouble, &world.inventory) {
            (Some(trouble), _) => {
                lines.extend(text::paragraph(
                    "! ",
                    &theme.clean(trouble),
                    theme.warn(),
                    columns,
                ));
            }
            (None, Inventory::Looking) => lines.push(Line::raw("Looking at the disks ...")),
            (None, Inventory::Failed(why)) => {
                lines.extend(text::paragraph(
                    "! ",
                    &theme.clean(why),
                    theme.bad(),
                    columns,
                ));
            }
            (None, Inventory::Known(disks)) => {
                let words = match disks.len() {
                    0 => "No disk is there. Connect one: it shows up by itself.",
                    1 => "1 disk is there. More show up by themselves when connected.",
                    n => {
                        &format!("{n} disks are there. More show up by themselves when connected.")
                    }
                };
                lines.extend(text::paragraph("", words, theme.plain(), columns));
            }
        }
        lines.push(Line::raw(""));
        let promise = "Nothing is written to any disk before you have seen the plan and agreed to it. The disk \
                       you copy from is never written.";
        lines.extend(text::paragraph("", promise, theme.plain(), columns));
        lines
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("?", "help"),
            ("Up/Down", "choose"),
            ("Enter", "go on"),
            ("1-9", "choose at once"),
        ]
    }
}
