//! The terminal: taken, asked for its size, given back whatever happens.

use std::io::{self, Stdout, Write, stdin, stdout};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{self, Event};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

use crate::app::{App, Message};
use crate::keys::Key;
use crate::theme::Theme;
use crate::widget::chrome::LEAST;

/// A terminal on a serial line that does not answer within this time has 80 columns and 24 rows.
const ANSWER: Duration = Duration::from_millis(300);

pub struct Console {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    theme: Theme,
    line: Line,
}

/// Whether the kernel knows the size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Sized,
    /// A serial line: only the terminal at its other end knows.
    Unsized,
}

impl Console {
    pub fn open(theme: Theme) -> io::Result<Console> {
        enable_raw_mode()?;
        let line = match kernel_size() {
            Some(_) => Line::Sized,
            None => Line::Unsized,
        };
        if line == Line::Unsized {
            ask_size()?;
        }
        take()?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()));
        let mut console = Console {
            terminal: terminal.inspect_err(|_| restore())?,
            theme,
            line,
        };
        console.wipe().inspect_err(|_| restore())?;
        Ok(console)
    }

    pub fn theme(&self) -> Theme {
        self.theme
    }

    pub fn size(&self) -> (u16, u16) {
        kernel_size().unwrap_or(LEAST)
    }

    pub fn draw(&mut self, app: &App) -> io::Result<()> {
        self.terminal.draw(|frame| {
            let area = frame.area();
            app.draw(area, frame.buffer_mut());
        })?;
        Ok(())
    }

    /// What was pressed, after at most this long. A terminal that is gone is an error: crossterm would read its end
    /// for ever.
    pub fn messages(&self, nap: Duration) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        if wait_for_input(nap) == Input::Gone {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is gone"));
        }
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(key) => messages.extend(Key::from_event(key).map(Message::Key)),
                Event::Resize(columns, rows) => messages.push(Message::Resized { columns, rows }),
                _ => {}
            }
        }
        Ok(messages)
    }

    /// After disturbed lines, or another terminal on the same line: everything anew.
    pub fn redraw(&mut self) -> io::Result<(u16, u16)> {
        if self.line == Line::Unsized {
            ask_size()?;
        }
        self.wipe()?;
        Ok(self.size())
    }

    /// Not ratatui's `clear`: that waits for the terminal to tell where its cursor is, and a serial line may
    /// never answer.
    fn wipe(&mut self) -> io::Result<()> {
        let (columns, rows) = self.size();
        self.terminal.resize(Rect::new(0, 0, columns, rows))
    }

    /// Gives the terminal to somebody else for a while.
    pub fn lend<T>(&mut self, work: impl FnOnce() -> T) -> io::Result<T> {
        restore();
        let result = work();
        enable_raw_mode()?;
        take()?;
        self.redraw()?;
        Ok(result)
    }

    pub fn close(self) {
        restore();
        // Dropped, it shows the cursor once more, and panics when the terminal is gone.
        std::mem::forget(self.terminal);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Input {
    There,
    Gone,
}

/// Sleeps until a key is pressed, a signal comes or the time is over.
fn wait_for_input(nap: Duration) -> Input {
    let input = stdin();
    let mut ready = [PollFd::new(&input, PollFlags::IN)];
    // An interrupted wait is a wait that is over.
    let _ = poll(&mut ready, Timespec::try_from(nap).ok().as_ref());
    if ready[0]
        .revents()
        .intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    {
        Input::Gone
    } else {
        Input::There
    }
}

fn take() -> io::Result<()> {
    // A console without a second screen ignores the request.
    execute!(stdout(), EnterAlternateScreen, Hide)
}

/// The terminal as it was; never fails, since it is called when things have gone wrong.
pub fn restore() {
    let _ = execute!(stdout(), LeaveAlternateScreen);
    if on_kernel_console() {
        // It has one screen only: what is drawn would stay.
        let _ = stdout().write_all(b"\x1b[0m\x1b[2J\x1b[H");
    }
    let _ = execute!(stdout(), Show);
    let _ = disable_raw_mode();
}

fn on_kernel_console() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "linux")
}

fn kernel_size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Sends the cursor to the far corner and asks where it is; the kernel is told the answer, so that every
/// program on this line knows it from then on.
fn ask_size() -> io::Result<()> {
    let mut out = stdout();
    // Save, no scroll region, far corner, where am I, restore (ECMA-48 and DEC VT100).
    out.write_all(b"\x1b7\x1b[r\x1b[999;999H\x1b[6n\x1b8")?;
    out.flush()?;
    let (columns, rows) = answer().unwrap_or(LEAST);
    let size = Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(&out, size)?)
}

fn answer() -> Option<(u16, u16)> {
    let until = Instant::now() + ANSWER;
    let mut heard = Vec::new();
    while heard.len() < 256 {
        let left = until.checked_duration_since(Instant::now())?;
        let timeout = Timespec::try_from(left).ok()?;
        let input = stdin();
        let mut ready = [PollFd::new(&input, PollFlags::IN)];
        if poll(&mut ready, Some(&timeout)).ok()? == 0 {
            return None;
        }
        let mut byte = [0];
        if rustix::io::read(&input, &mut byte).ok()? == 0 {
            return None;
        }
        heard.push(byte[0]);
        if byte[0] == b'R' {
            return position(&heard);
        }
    }
    None
}

/// `ESC [ rows ; columns R`, with whatever was typed before it.
fn position(heard: &[u8]) -> Option<(u16, u16)> {
    let text = String::from_utf8_lossy(heard);
    let (_, answer) = text.rsplit_once("\x1b[")?;
    let (rows, columns) = answer.strip_suffix('R')?.split_once(';')?;
    let sane = |number: &str| number.parse().ok().filter(|n| (2..=1000).contains(n));
    Some((sane(columns)?, sane(rows)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_behind_what_was_typed() {
        assert_eq!(position(b"ab\x1b[50;132R"), Some((132, 50)));
        assert_eq!(position(b"\x1b[A\x1b[24;80R"), Some((80, 24)));
        assert_eq!(position(b"R"), None);
        assert_eq!(position(b"\x1b[0;0R"), None);
        assert_eq!(position(b"\x1b[99999;80R"), None);
    }
}
