//! Where a person sits at a made-up PC: sees what stands on a screen, and presses keys.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};
use crate::machine::Running;
use crate::shell::Shell;

/// For anything but a job and a boot; a busy host makes a guest wait for minutes.
const SEEN_WITHIN: Duration = Duration::from_secs(300);
/// Between two looks at the screen.
const OFTEN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(3);
/// No list of a test is longer.
const MOST_ENTRIES: usize = 60;
/// Marks what Enter would choose: as it is, on a line without such a sign, and as its place in the PC's own font.
const MARKS: [&str; 3] = ["► ", "> ", "\u{10} "];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Enter,
    Escape,
    Up,
    Down,
    /// Empties a field.
    Clear,
    Letter(char),
}

#[derive(Debug)]
enum Place {
    /// A terminal at the other end of the serial line.
    Line,
    /// The PC's own screen and keyboard. What is on the screen is read through a shell.
    Screen { shell: Shell, columns: usize },
}

#[derive(Debug)]
pub struct Seat {
    pub pc: Running,
    place: Place,
}

impl Seat {
    pub fn at_the_line(pc: Running) -> Self {
        let place = Place::Line;
        Self { pc, place }
    }

    /// # Errors
    /// When the PC has no shell on its second line.
    pub fn at_the_screen(mut pc: Running) -> Outcome<Self> {
        let mut shell = pc.shell()?;
        let size = shell.run("stty size </dev/tty1")?;
        let columns = size.split(' ').nth(1).and_then(|c| c.parse().ok());
        let columns =
            columns.ok_or_else(|| Failure::new(format!("the screen's size is {size:?}")))?;
        let place = Place::Screen { shell, columns };
        Ok(Self { pc, place })
    }

    /// # Errors
    /// When nobody can tell what is on the screen.
    pub fn rows(&mut self) -> Outcome<Vec<String>> {
        match &mut self.place {
            Place::Line => Ok(self.pc.console.shown().lines().map(str::to_owned).collect()),
            // Of what is not ASCII only the mark is of interest; the serial line to the shell would change it.
            Place::Screen { shell, columns } => {
                let command = format!(
                    "tr '\\020' '>' </dev/vcs1 | tr -c '\\040-\\176' ' ' | fold -w {columns}"
                );
                Ok(shell.run(&command)?.lines().map(str::to_owned).collect())
            }
        }
    }

    /// # Errors
    /// When the key does not arrive.
    pub fn press(&mut self, key: Key) -> Outcome {
        match (&self.place, key) {
            (Place::Line, Key::Enter) => self.pc.console.send("\r"),
            (Place::Line, Key::Escape) => self.pc.console.send("\x1b"),
            (Place::Line, Key::Up) => self.pc.console.send("\x1b[A"),
            (Place::Line, Key::Down) => self.pc.console.send("\x1b[B"),
            (Place::Line, Key::Clear) => self.pc.console.send("\x15"),
            (Place::Line, Key::Letter(c)) => self.pc.console.send(&c.to_string()),
            (Place::Screen { .. }, Key::Enter) => self.pc.qmp.keys(&["ret"]),
            (Place::Screen { .. }, Key::Escape) => self.pc.qmp.keys(&["esc"]),
            (Place::Screen { .. }, Key::Up) => self.pc.qmp.keys(&["up"]),
            (Place::Screen { .. }, Key::Down) => self.pc.qmp.keys(&["down"]),
            (Place::Screen { .. }, Key::Clear) => self.pc.qmp.keys(&["ctrl-u"]),
            (Place::Screen { .. }, Key::Letter(c)) => self.pc.qmp.type_text(&c.to_string()),
        }
    }

    /// # Errors
    /// When a key does not arrive.
    pub fn type_in(&mut self, text: &str) -> Outcome {
        text.chars().try_for_each(|c| self.press(Key::Letter(c)))
    }

    /// Waits until these words stand on the screen; returns its rows.
    ///
    /// # Errors
    /// When they do not come in time; with the screen.
    pub fn see_within(&mut self, words: &str, within: Duration) -> Outcome<Vec<String>> {
        let start = Instant::now();
        loop {
            let rows = self.rows()?;
            if rows.iter().any(|row| row.contains(words)) {
                return Ok(rows);
            }
            if start.elapsed() > within {
                return Err(Failure::new(format!(
                    "{words:?} was not shown within {within:?}, but\n{}",
                    rows.join("\n")
                )));
            }
            // Looking takes time of the guest: seldom while a job is at work.
            sleep((start.elapsed() / 10).clamp(OFTEN, SELDOM));
        }
    }

    /// # Errors
    /// When they do not come in time; with the screen.
    pub fn see(&mut self, words: &str) -> Outcome<Vec<String>> {
        self.see_within(words, SEEN_WITHIN)
    }

    /// Goes through a list to the entry with these words, and takes it.
    ///
    /// # Errors
    /// When there is none.
    pub fn choose(&mut self, words: &str) -> Outcome {
        self.see(words)?;
        self.point_at(words)?;
        self.press(Key::Enter)
    }

    /// Goes through a list to the entry with these words, which need not be in sight.
    ///
    /// # Errors
    /// When there is none.
    pub fn point_at(&mut self, words: &str) -> Outcome {
        let mut rows = self.rows()?;
        for _ in 0..MOST_ENTRIES {
            let entry = rows.iter().position(|row| row.contains(words));
            let mark = rows.iter().position(|row| is_marked(row));
            let key = match (mark, entry) {
                (Some(mark), Some(entry)) if mark == entry => return Ok(()),
                // The typed line is marked when no disk was there yet.
                (Some(mark), Some(entry)) if mark > entry => Key::Up,
                _ => Key::Down,
            };
            self.press(key)?;
            rows = self.changed(&rows)?;
        }
        Err(Failure::new(format!(
            "no entry with {words:?} can be chosen:\n{}",
            rows.join("\n")
        )))
    }

    /// The screen after a key, when it is no longer the same.
    fn changed(&mut self, before: &[String]) -> Outcome<Vec<String>> {
        let end = Instant::now() + SEEN_WITHIN;
        loop {
            let rows = self.rows()?;
            if rows != before {
                return Ok(rows);
            }
            if Instant::now() > end {
                return Err(Failure::new(format!(
                    "a key changed nothing on the screen:\n{}",
                    rows.join("\n")
                )));
            }
            sleep(OFTEN);
        }
    }

    /// # Errors
    /// When QEMU cannot write it.
    pub fn screenshot(&mut self, name: &str) -> Outcome<PathBuf> {
        self.pc.screenshot(name)
    }
}

/// Behind the frame of a list there is only the mark before the words.
fn is_marked(row: &str) -> bool {
    let row = row.trim_start_matches(['│', '║', '|', ' ']);
    MARKS.iter().any(|mark| row.starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_entry_under_the_mark_is_marked() {
        assert!(is_marked("│ ► BACKUP, ext4                │"));
        assert!(is_marked("| > 1  Image a disk             |"));
        assert!(is_marked("  > nothing that is known        "));
        assert!(!is_marked("│   BACKUP, ext4                │"));
        assert!(!is_marked(" Rescue ► Image a disk: where?   "));
        assert!(!is_marked(" Rescue > Image a disk: where?   "));
    }
}
