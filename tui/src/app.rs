//! What follows from what: a screen and a message give the next screen and at most one effect.

use std::path::PathBuf;

use disk::layer::Secret;
use engine::event::Event;
use engine::event::Paused;
use engine::plan::{Approved, Plan, Refusal};
use engine::report::Report;
use engine::request::{Origin, Place, Request};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::ask::Ask;
use crate::screen::files::Listing;
use crate::screen::help::Help;
use crate::screen::images::ImageRow;
use crate::screen::menu::Menu;
use crate::widget::{chrome, text};
use crate::world::{Directory, Home, Inventory, Terminal, World};

/// Something happened.
#[derive(Debug)]
pub enum Message {
    Key(Key),
    /// The disks were looked at again, because one came or went.
    Inventory(Inventory),
    Directories(Vec<Directory>),
    Resized {
        columns: u16,
        rows: u16,
    },
    /// The answer to [`Effect::Prepare`]; the request tells which one.
    Planned {
        request: Box<Request>,
        result: Result<Box<Plan>, Vec<Refusal>>,
    },
    /// The answer to [`Effect::List`].
    Listed {
        place: Place,
        images: Result<Vec<ImageRow>, String>,
    },
    /// The answer to [`Effect::Browse`].
    Browsed {
        from: Origin,
        path: String,
        result: Result<Listing, String>,
    },
    Job(Event),
    Reported(Box<Report>),
    /// The job ended without a report: a defect of the program. The text is for the person.
    Broken(String),
    Saved(Result<PathBuf, String>),
    /// Something could not be done that is not a job.
    Failed(String),
}

/// Something to be done, by the runtime alone.
#[derive(Debug)]
pub enum Effect {
    /// Looks, and writes nothing.
    Prepare(Box<Request>),
    /// Takes a passphrase for sealed images, then looks as [`Effect::Prepare`] does.
    Unseal {
        secret: Secret,
        request: Box<Request>,
    },
    /// Looks for images, and writes nothing.
    List(Place),
    /// Looks into a directory of an image or a disk, and writes nothing.
    Browse {
        from: Origin,
        path: String,
    },
    /// Looks at the disks again.
    Look,
    /// The only effect that writes to a disk or a store. Only the engine makes an `Approved`, from a consent.
    Start(Box<Approved>),
    /// Asks the running job to stop; its report follows.
    Stop,
    /// Lets a failing disk rest, or goes on with it.
    Pause(Paused),
    /// Leaves the area of a failing disk that the job is in; it comes back last.
    Skip,
    SaveReport {
        report: Box<Report>,
        /// The directory of the image, where it has one.
        beside: Option<PathBuf>,
    },
    Redraw,
    Shell,
    Reboot,
    PowerOff,
    Leave,
}

pub type Next = (Screen, Option<Effect>);

/// The screen that is shown, and what is the same for all of them.
#[derive(Debug)]
pub struct App {
    pub world: World,
    pub screen: Screen,
}

impl App {
    pub fn new(home: Home, terminal: Terminal) -> App {
        App {
            world: World {
                inventory: Inventory::Looking,
                directories: Vec::new(),
                home,
                terminal,
            },
            screen: Screen::Menu(Menu::default()),
        }
    }

    pub fn update(&mut self, message: Message) -> Option<Effect> {
        match &message {
            Message::Inventory(inventory) => self.world.inventory = inventory.clone(),
            Message::Directories(directories) => self.world.directories.clone_from(directories),
            Message::Resized { columns, rows } => {
                self.world.terminal.columns = *columns;
                self.world.terminal.rows = *rows;
            }
            _ => {}
        }
        let screen = std::mem::replace(&mut self.screen, Screen::Menu(Menu::default()));
        let (screen, effect) = update(screen, &self.world, message);
        self.screen = screen;
        effect
    }

    pub fn draw(&self, area: Rect, buf: &mut Buffer) {
        draw(&self.screen, &self.world, area, buf);
    }
}

/// Pure. Keys that mean the same everywhere are met here, all else by the screen.
pub fn update(screen: Screen, world: &World, message: Message) -> Next {
    match message {
        Message::Key(Key::Redraw) => (screen, Some(Effect::Redraw)),
        Message::Key(Key::Interrupt) => (Ask::interrupt(screen), None),
        Message::Key(Key::Help) => (Help::over(screen), None),
        Message::Key(Key::Char('?')) if !screen.types() => (Help::over(screen), None),
        message => screen.update(world, message),
    }
}

pub fn draw(screen: &Screen, world: &World, area: Rect, buf: &mut Buffer) {
    let theme = world.terminal.theme;
    buf.set_style(area, theme.base());
    let (columns, rows) = chrome::LEAST;
    if area.width < columns || area.height < rows {
        let words = format!(
            "This window has {} columns and {} rows; {columns} and {rows} are needed. Make it larger, or the \
             letters smaller.",
            area.width, area.height
        );
        for (y, line) in (area.y..area.bottom()).zip(text::wrap(&words, usize::from(area.width))) {
            buf.set_string(area.x, y, line, theme.plain());
        }
        return;
    }
    chrome::header(&screen.title(world), screen.state(), theme, area, buf);
    screen.draw(world, chrome::body(area), buf);
    chrome::footer(&screen.keys(), theme, area, buf);
}
