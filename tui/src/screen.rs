//! The screens, one a file. A screen carries all it knows; the screen to go back to is part of it.

pub mod ask;
pub mod confirm;
pub mod disk_page;
pub mod disks;
pub mod files;
pub mod help;
pub mod images;
pub mod menu;
pub mod options;
pub mod plan;
pub mod refused;
pub mod report;
pub mod running;
pub mod stores;
pub mod trouble;
pub mod unlock;
pub mod unseal;
pub mod waiting;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{Message, Next};
use crate::world::World;

#[derive(Debug)]
pub enum Screen {
    Menu(menu::Menu),
    Disks(disks::Disks),
    DiskPage(disk_page::DiskPage),
    Stores(stores::Stores),
    Images(images::Images),
    Files(files::Files),
    Options(options::Options),
    Waiting(waiting::Waiting),
    Plan(plan::PlanPage),
    Refused(refused::Refused),
    Confirm(confirm::Confirm),
    Running(running::Running),
    Report(report::ReportPage),
    Ask(ask::Ask),
    Help(help::Help),
    Trouble(trouble::Trouble),
    Unlock(unlock::Unlock),
    Unseal(unseal::Unseal),
}

impl Screen {
    pub fn update(self, world: &World, message: Message) -> Next {
        match self {
            Screen::Menu(s) => s.update(world, message),
            Screen::Disks(s) => s.update(world, message),
            Screen::DiskPage(s) => s.update(world, message),
            Screen::Stores(s) => s.update(world, message),
            Screen::Images(s) => s.update(world, message),
            Screen::Files(s) => s.update(world, message),
            Screen::Options(s) => s.update(world, message),
            Screen::Waiting(s) => s.update(world, message),
            Screen::Plan(s) => s.update(world, message),
            Screen::Refused(s) => s.update(world, message),
            Screen::Confirm(s) => s.update(world, message),
            Screen::Running(s) => s.update(world, message),
            Screen::Report(s) => s.update(world, message),
            Screen::Ask(s) => s.update(world, message),
            Screen::Help(s) => s.update(world, message),
            Screen::Trouble(s) => s.update(world, message),
            Screen::Unlock(s) => s.update(world, message),
            Screen::Unseal(s) => s.update(world, message),
        }
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        match self {
            Screen::Menu(s) => s.draw(world, area, buf),
            Screen::Disks(s) => s.draw(world, area, buf),
            Screen::DiskPage(s) => s.draw(world, area, buf),
            Screen::Stores(s) => s.draw(world, area, buf),
            Screen::Images(s) => s.draw(world, area, buf),
            Screen::Files(s) => s.draw(world, area, buf),
            Screen::Options(s) => s.draw(world, area, buf),
            Screen::Waiting(s) => s.draw(world, area, buf),
            Screen::Plan(s) => s.draw(world, area, buf),
            Screen::Refused(s) => s.draw(world, area, buf),
            Screen::Confirm(s) => s.draw(world, area, buf),
            Screen::Running(s) => s.draw(world, area, buf),
            Screen::Report(s) => s.draw(world, area, buf),
            Screen::Ask(s) => s.draw(world, area, buf),
            Screen::Help(s) => s.draw(world, area, buf),
            Screen::Trouble(s) => s.draw(world, area, buf),
            Screen::Unlock(s) => s.draw(world, area, buf),
            Screen::Unseal(s) => s.draw(world, area, buf),
        }
    }

    pub fn title(&self, world: &World) -> String {
        match self {
            Screen::Menu(_) => "what do you want to do?".into(),
            Screen::Disks(s) => s.title(),
            Screen::DiskPage(s) => s.title(world),
            Screen::Stores(s) => s.title(),
            Screen::Images(s) => s.title(),
            Screen::Files(s) => s.title(),
            Screen::Options(s) => s.title(),
            Screen::Waiting(s) => s.title(),
            Screen::Plan(s) => s.title(),
            Screen::Refused(s) => s.title(),
            Screen::Confirm(s) => s.title(),
            Screen::Running(s) => s.title(),
            Screen::Report(s) => s.title(),
            Screen::Ask(s) => s.under.title(world),
            Screen::Help(_) => "help".into(),
            Screen::Trouble(_) => "a defect of this program".into(),
            Screen::Unlock(s) => s.title(),
            Screen::Unseal(s) => s.title(),
        }
    }

    /// What has happened to the disks so far.
    pub fn state(&self) -> &'static str {
        match self {
            Screen::Running(_) => "at work",
            Screen::Report(_) | Screen::Trouble(_) => "the job has ended",
            Screen::Ask(s) => s.under.state(),
            Screen::Help(s) => s.under().state(),
            _ => "nothing is being written",
        }
    }

    /// The keys that work here, with a word for each.
    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Screen::Menu(s) => s.keys(),
            Screen::Disks(s) => s.keys(),
            Screen::DiskPage(_) => vec![("?", "help"), ("Up/Down", "scroll"), ("Esc", "back")],
            Screen::Help(_) => vec![("Up/Down", "scroll"), ("Esc", "back")],
            Screen::Stores(s) => s.keys(),
            Screen::Images(s) => s.keys(),
            Screen::Files(s) => s.keys(),
            Screen::Options(s) => s.keys(),
            Screen::Waiting(_) => vec![("?", "help"), ("Esc", "back")],
            Screen::Plan(s) => s.keys(),
            Screen::Refused(s) => s.keys(),
            Screen::Confirm(s) => s.keys(),
            Screen::Running(s) => s.keys(),
            Screen::Report(s) => s.keys(),
            Screen::Ask(s) => s.keys(),
            Screen::Trouble(_) => vec![("?", "help"), ("Enter", "to the start")],
            Screen::Unlock(s) => s.keys(),
            Screen::Unseal(s) => s.keys(),
        }
    }

    /// Whether letters go into a field now, `?` among them; F1 helps there.
    pub fn types(&self) -> bool {
        match self {
            Screen::Disks(s) => s.types(),
            Screen::Stores(s) => s.types(),
            Screen::Options(s) => s.types(),
            Screen::Confirm(_) | Screen::Unlock(_) | Screen::Unseal(_) => true,
            _ => false,
        }
    }
}
