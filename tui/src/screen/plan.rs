//! What will be done, before anything is.

use engine::plan::{Consent, Plan};
use engine::request::Request;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::app::{Message, Next};
use crate::draft::Task;
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::confirm::Confirm;
use crate::screen::menu::Menu;
use crate::screen::running::Running;
use crate::screen::unlock::Unlock;
use crate::theme::Theme;
use crate::widget::{chrome, page, text};
use crate::world::{Inventory, World};

#[derive(Debug)]
pub struct PlanPage {
    plan: Box<Plan>,
    top: usize,
    back: Box<Screen>,
}

impl PlanPage {
    pub fn open(plan: Box<Plan>, back: Box<Screen>) -> Screen {
        Screen::Plan(PlanPage { plan, top: 0, back })
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Escape) => return (*self.back, None),
            Message::Key(Key::Enter) => return self.agree(),
            Message::Key(Key::Char('u')) if self.locked() > 0 => {
                return (Unlock::open(self), None);
            }
            Message::Key(key) => {
                let inner = chrome::inside(chrome::body(world.terminal.area()));
                let count = lines(&self.plan, world.terminal.theme, usize::from(inner.width)).len();
                if let Some(top) = page::scrolled(key, self.top, count, usize::from(inner.height)) {
                    self.top = top;
                }
            }
            Message::Inventory(inventory) => self.see(world, inventory),
            _ => {}
        }
        (Screen::Plan(self), None)
    }

    /// The disks behind may have changed; the screen to go back to must know.
    pub fn see(&mut self, world: &World, inventory: Inventory) {
        let back = std::mem::replace(&mut *self.back, Screen::Menu(Menu::default()));
        (*self.back, _) = back.update(world, Message::Inventory(inventory));
    }

    pub fn request(&self) -> &Request {
        self.plan.request()
    }

    /// How many encrypted volumes wait for a passphrase.
    pub fn locked(&self) -> usize {
        self.plan.locked()
    }

    /// Another plan in its place.
    pub fn replaced(self, plan: Box<Plan>) -> Screen {
        PlanPage::open(plan, self.back)
    }

    fn agree(self) -> Next {
        if self.plan.word().is_some() {
            return (Confirm::open(self.plan, self.back), None);
        }
        match self.plan.approve(&Consent::NothingOverwritten) {
            Ok(approved) => Running::start(approved),
            Err(plan) => (Confirm::open(plan, self.back), None),
        }
    }

    pub fn title(&self) -> String {
        format!(
            "{}: the plan",
            Task::of(&self.plan.request().action).title()
        )
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        let go = match self.plan.word() {
            Some(_) => "agree to it",
            None => "start",
        };
        let mut keys = vec![("?", "help"), ("Enter", go)];
        if self.locked() > 0 {
            keys.push(("u", "unlock"));
        }
        keys.extend([("Up/Down", "scroll"), ("Esc", "back")]);
        keys
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let inner = chrome::frame("The plan - nothing has been written yet", theme, area, buf);
        let lines = lines(&self.plan, theme, usize::from(inner.width));
        page::draw(lines, self.top, theme, inner, buf);
    }
}

/// The engine's own words; the command that asks for the same is among them.
fn lines(plan: &Plan, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for line in plan.lines() {
        lines.extend(indented(line, theme, columns));
    }
    if !plan.warnings().is_empty() {
        lines.push(Line::raw(""));
    }
    for warning in plan.warnings() {
        lines.extend(text::paragraph(
            "! ",
            &theme.clean(warning),
            theme.warn(),
            columns,
        ));
    }
    lines
}

/// Keeps the indentation that the engine gave a line; what has none heads what follows.
fn indented(line: &str, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let text = theme.clean(line);
    let body = text.trim_start_matches(' ');
    let indent = (text.len() - body.len()).min(columns / 2);
    let style = if indent == 0 {
        theme.strong()
    } else {
        theme.plain()
    };
    text::paragraph(&" ".repeat(indent), body, style, columns)
}
