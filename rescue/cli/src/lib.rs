//! The command line of the engine, on any Linux host and in the live image.

#![forbid(unsafe_code)]

mod command;
mod consent;
mod exit;
mod progress;
mod secret;
pub mod terminal;
mod virtual_pc;
mod words;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;
use clap::error::ErrorKind;
use zeroize::Zeroizing;

pub use exit::Exit;
use words::Words;

/// Where a command talks to.
pub struct Streams<'a> {
    pub out: &'a mut dyn Write,
    pub err: &'a mut (dyn Write + Send),
    /// Asks a person for a line; `None` where there is no terminal to ask on.
    pub ask: Option<&'a mut Ask<'a>>,
    /// Likewise for a line that is not shown.
    pub ask_secret: Option<&'a mut AskSecret<'a>>,
    /// Whether `err` is a terminal, where a progress line may be drawn over the last one.
    pub live: Live,
}

/// Shows a question and returns the line that was typed.
pub type Ask<'a> = dyn FnMut(&str) -> std::io::Result<String> + 'a;

/// [`Ask`] for what nobody else may see.
pub type AskSecret<'a> = dyn FnMut(&str) -> std::io::Result<Zeroizing<Vec<u8>>> + 'a;

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Live {
    Terminal,
    Plain,
}

/// The whole program: `args` without its name.
pub fn run(args: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> Exit {
    let args = std::iter::once(OsString::from("rescue")).chain(args);
    match Words::try_parse_from(args) {
        Ok(words) => command::start(words, streams),
        Err(error) => {
            let text = error.render();
            // Nothing is left to do when the streams are closed.
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    let _ = write!(streams.out, "{text}");
                    Exit::Done
                }
                _ => {
                    let _ = write!(streams.err, "{text}");
                    Exit::BadWords
                }
            }
        }
    }
}
