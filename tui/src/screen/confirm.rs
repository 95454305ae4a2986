//! The consent: the word that only somebody who looked at the disk can type.

use disk::size::Size;
use engine::host::Disk;
use engine::plan::{Consent, Plan};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Message, Next};
use crate::draft::Task;
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::disk_page;
use crate::screen::plan::PlanPage;
use crate::screen::running::Running;
use crate::theme::Theme;
use crate::widget::field::Field;
use crate::widget::{bar, chrome, page, text};
use crate::world::{World, contents, model};

#[derive(Debug)]
pub struct Confirm {
    plan: Box<Plan>,
    typed: Field,
    /// What was typed before and did not fit.
    wrong: Option<String>,
    back: Box<Screen>,
}

impl Confirm {
    pub fn open(plan: Box<Plan>, back: Box<Screen>) -> Screen {
        Screen::Confirm(Confirm {
            plan,
            typed: Field::default(),
            wrong: None,
            back,
        })
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Escape) => return (PlanPage::open(self.plan, self.back), None),
            Message::Key(Key::Enter) => return self.try_word(),
            Message::Key(key) => {
                self.typed.key(key);
            }
            Message::Inventory(inventory) => {
                let (back, _) = self.back.update(world, Message::Inventory(inventory));
                self.back = Box::new(back);
            }
            _ => {}
        }
        (Screen::Confirm(self), None)
    }

    fn try_word(self) -> Next {
        let typed = self.typed.text();
        if typed.trim().is_empty() {
            return (Screen::Confirm(self), None);
        }
        match self.plan.approve(&Consent::Word(typed.clone())) {
            Ok(approved) => Running::start(approved),
            Err(plan) => {
                let again = Confirm {
                    plan,
                    typed: Field::default(),
                    wrong: Some(typed),
                    back: self.back,
                };
                (Screen::Confirm(again), None)
            }
        }
    }

    pub fn title(&self) -> String {
        format!(
            "{}: your consent",
            Task::of(&self.plan.request().action).title()
        )
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("F1", "help"),
            ("Enter", "start, when the word is right"),
            ("Esc", "back, nothing is written"),
        ]
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let inner = chrome::alarm("All that is on this disk will be lost", theme, area, buf);
        let columns = usize::from(inner.width);
        let ask = self.question(theme, columns);
        let asked = u16::try_from(ask.len()).unwrap_or(0).min(inner.height);
        let above = Rect {
            height: inner.height - asked,
            ..inner
        };
        if let Some(disk) = self.plan.destination() {
            draw_disk(disk, theme, above, buf);
        }
        let below = Rect {
            y: above.bottom(),
            height: asked,
            ..inner
        };
        page::draw(ask, 0, theme, below, buf);
    }

    fn question(&self, theme: Theme, columns: usize) -> Vec<Line<'static>> {
        let mut lines = vec![Line::raw("")];
        let words = match self.plan.destination() {
            Some(disk) => which_word(disk),
            None => "the word that the plan names",
        };
        let question = format!("To overwrite it, type {words}:");
        lines.extend(text::paragraph("", &question, theme.strong(), columns));
        lines.push(Line::raw(""));
        let mut field = vec![Span::raw("  [ ")];
        field.extend(
            self.typed
                .line(theme, columns.saturating_sub(8).min(40))
                .spans,
        );
        field.push(Span::raw(" ]"));
        lines.push(Line::from(field));
        lines.push(Line::raw(""));
        if let Some(wrong) = &self.wrong {
            let sentence = format!(
                "'{wrong}' is not it; nothing was written. Capital and small letters count."
            );
            lines.extend(text::paragraph(
                "! ",
                &theme.clean(&sentence),
                theme.bad(),
                columns,
            ));
        } else {
            lines.push(Line::raw(""));
        }
        lines
    }
}

/// What the word is, in the order in which [`engine::identity::Identity::word`] takes it.
fn which_word(disk: &Disk) -> &'static str {
    let said = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.trim().is_empty());
    let identity = &disk.identity;
    if identity.file.is_some() {
        "the name of the file"
    } else if said(&identity.serial) {
        "the last four characters of its serial number"
    } else if identity.serial.is_none() && said(&identity.wwn) {
        "the last four characters of its world wide name"
    } else {
        "the last four digits of its size in bytes"
    }
}

fn draw_disk(disk: &Disk, theme: Theme, area: Rect, buf: &mut Buffer) {
    let columns = usize::from(area.width);
    let lines = facts(disk, theme, columns);
    let head = u16::try_from(lines.len()).unwrap_or(0).min(area.height);
    let top = Rect {
        height: head,
        ..area
    };
    page::draw(lines, 0, theme, top, buf);
    let mut rest = Rect {
        y: area.y + head,
        height: area.height - head,
        ..area
    };
    if let Ok(layout) = &disk.layout
        && rest.height > 3
    {
        bar::draw(&bar::parts(layout), theme, rest, buf);
        rest.y += 3;
        rest.height -= 3;
    }
    let mut lines = disk_page::partitions(disk, theme, columns);
    if lines.len() > usize::from(rest.height) {
        let more = lines.len() - usize::from(rest.height) + 1;
        lines.truncate(usize::from(rest.height).saturating_sub(1));
        lines.push(Line::raw(format!("and {more} more")));
    }
    page::draw(lines, 0, theme, rest, buf);
}

fn facts(disk: &Disk, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let identity = &disk.identity;
    let mut rows = vec![
        ("On it now", contents(disk)),
        ("Model", model(disk)),
        (
            "Size",
            format!(
                "{} ({} bytes)",
                Size(identity.size_bytes),
                identity.size_bytes
            ),
        ),
    ];
    if let Some(serial) = &identity.serial {
        rows.push(("Serial number", serial.clone()));
    } else if let Some(wwn) = &identity.wwn {
        rows.push(("World wide name", wwn.clone()));
    }
    rows.push((
        "Connection",
        format!("{}, {}", disk.transport, disk.path.display()),
    ));
    let mut lines = vec![Line::raw("")];
    for (name, value) in rows {
        let lead = text::fit(name, 17);
        lines.extend(text::paragraph(
            &lead,
            &theme.clean(&value),
            theme.strong(),
            columns,
        ));
    }
    lines.push(Line::raw(""));
    lines
}
