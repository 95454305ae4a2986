//! One serial line of a machine: everything it said, and waiting for it to say something.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Doing, Failure, Outcome};
use crate::qmp::connect_soon;

/// Where is the cursor? A program that has sent it to the far corner learns the terminal's size.
const QUESTION: &[u8] = b"\x1b[6n";
const ANSWER: &[u8] = b"\x1b[24;80R";
const ROWS: NonZeroU16 = NonZeroU16::new(24).expect("24 is not 0");
const COLUMNS: NonZeroU16 = NonZeroU16::new(80).expect("80 is not 0");

/// Who is at our end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Answers as a terminal of 80 columns and 24 rows does.
    Terminal,
    /// Only what a test sends is sent.
    Plain,
}

struct Heard {
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heard").finish_non_exhaustive()
    }
}

struct State {
    bytes: Vec<u8>,
    ended: bool,
    /// What a terminal shows of the bytes.
    screen: vt100::Parser,
}

#[derive(Debug)]
pub struct Serial {
    to: UnixStream,
    heard: Arc<Heard>,
    /// Up to here `expect` has found what it was asked for.
    seen: usize,
}

impl Serial {
    /// # Errors
    /// When QEMU made no such line.
    pub fn connect(socket: &Path, end: End) -> Outcome<Self> {
        let to = connect_soon(socket)?;
        let mut from = to.try_clone().doing("a serial line")?;
        let state = State {
            bytes: Vec::new(),
            ended: false,
            screen: vt100::Parser::new(ROWS, COLUMNS, 0),
        };
        let heard = Arc::new(Heard {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let mut answers = to.try_clone().doing("a serial line")?;
        let told = Arc::clone(&heard);
        thread::spawn(move || {
            let mut piece = [0; 4096];
            let mut scanned = 0;
            loop {
                let len = from.read(&mut piece).unwrap_or(0);
                let mut state = lock(&told);
                state.bytes.extend_from_slice(&piece[..len]);
                state.screen.process(&piece[..len]);
                state.ended = len == 0;
                let mut asked = 0;
                while let Some(at) = find(&state.bytes[scanned..], QUESTION) {
                    scanned += at + QUESTION.len();
                    asked += 1;
                }
                // The rest may hold the beginning of a question.
                scanned = scanned.max(state.bytes.len().saturating_sub(QUESTION.len()));
                drop(state);
                told.changed.notify_all();
                if end == End::Terminal {
                    // A machine that is gone needs no answer.
                    let _ = answers.write_all(&ANSWER.repeat(asked));
                }
                if len == 0 {
                    return;
                }
            }
        });
        Ok(Self { to, heard, seen: 0 })
    }

    /// # Errors
    /// When the machine is gone.
    pub fn send(&mut self, text: &str) -> Outcome {
        self.to
            .write_all(text.as_bytes())
            .doing("the serial line takes nothing")
    }

    /// Waits for `text` after what was expected before; returns all that came before it.
    ///
    /// # Errors
    /// When it does not come in time or the machine ends without it; with the last lines heard.
    pub fn expect(&mut self, text: &str, within: Duration) -> Outcome<String> {
        let end = Instant::now() + within;
        let mut state = lock(&self.heard);
        loop {
            let rest = &state.bytes[self.seen..];
            if let Some(at) = find(rest, text.as_bytes()) {
                let before = String::from_utf8_lossy(&rest[..at]).into_owned();
                self.seen += at + text.len();
                return Ok(before);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                let why = if state.ended {
                    "the machine ended"
                } else {
                    "no answer"
                };
                return Err(Failure::new(format!(
                    "{text:?} was not said ({why}, after {within:?} at most); last heard:\n{}",
                    last_lines(&String::from_utf8_lossy(rest))
                )));
            }
            state = self
                .heard
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// What stands on a terminal of 80 columns and 24 rows now.
    pub fn shown(&self) -> String {
        lock(&self.heard).screen.screen().contents()
    }

    /// All that was ever said.
    pub fn everything(&self) -> String {
        String::from_utf8_lossy(&lock(&self.heard).bytes).into_owned()
    }
}

fn lock(heard: &Heard) -> std::sync::MutexGuard<'_, State> {
    heard.state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len())
        .position(|window| window == needle)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn line(said: &'static str) -> (tempfile::TempDir, Serial) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("serial");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for piece in said.as_bytes().chunks(3) {
                stream.write_all(piece).unwrap();
            }
        });
        let serial = Serial::connect(&socket, End::Terminal).unwrap();
        (folder, serial)
    }

    #[test]
    fn words_are_found_in_the_order_they_come_and_only_once() {
        let (_folder, mut serial) = line("one two one three");
        let wait = Duration::from_secs(5);
        assert_eq!(serial.expect("one", wait).unwrap(), "");
        assert_eq!(serial.expect("one", wait).unwrap(), " two ");
        assert!(serial.expect("one", wait).is_err());
    }

    #[test]
    fn what_was_overwritten_is_said_but_no_longer_shown() {
        let (_folder, mut serial) = line("first\x1b[2J\x1b[3;2Hsecond");
        serial.expect("second", Duration::from_secs(5)).unwrap();
        assert_eq!(serial.shown().trim(), "second");
        assert!(serial.everything().contains("first"));
    }

    #[test]
    fn a_guest_that_asks_for_the_size_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("serial");
        let listener = UnixListener::bind(&socket).unwrap();
        let _serial = Serial::connect(&socket, End::Terminal).unwrap();
        let (mut guest, _) = listener.accept().unwrap();
        guest.write_all(b"hello \x1b[6").unwrap();
        guest.write_all(b"n").unwrap();
        let mut answer = [0; 8];
        guest.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, ANSWER);
    }

    #[test]
    fn a_machine_that_ends_fails_the_wait_at_once() {
        let (_folder, mut serial) = line("BdsDxe: starting");
        let start = Instant::now();
        let failure = serial.expect("ready", Duration::from_secs(60)).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(failure.to_string().contains("BdsDxe: starting"));
    }
}
