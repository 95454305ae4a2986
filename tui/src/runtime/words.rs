//! The words of the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::theme::{Glyphs, Theme};

/// Images, clones, restores and verifies disks, screen by screen.
#[derive(Parser, Debug)]
#[command(name = "rescue-tui", version)]
pub struct Words {
    /// A regular file to show among the disks; may be given several times
    #[arg(long = "disk", value_name = "FILE")]
    pub disks: Vec<PathBuf>,

    /// A directory to show among the places for images; may be given several times
    #[arg(long = "store", value_name = "DIRECTORY")]
    pub stores: Vec<PathBuf>,

    /// Draw with plain letters only
    #[arg(long)]
    ascii: bool,
}

impl Words {
    pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Words, clap::Error> {
        let name = OsString::from("rescue-tui");
        Words::try_parse_from(std::iter::once(name).chain(args))
    }

    pub fn theme(&self) -> Theme {
        let var = |name| std::env::var(name).unwrap_or_default();
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .map(var)
            .find(|value| !value.is_empty())
            .unwrap_or_default();
        let no_color = !var("NO_COLOR").is_empty();
        let mut theme = Theme::of(&var("TERM"), &locale, no_color);
        if self.ascii {
            theme.glyphs = Glyphs::Ascii;
        }
        theme
    }
}

/// Help and version are no trouble; everything else is 64.
pub fn explain(error: &clap::Error) -> ExitCode {
    // Where even this cannot be printed there is nobody to read it.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_directories_are_taken_as_often_as_given() {
        let args = ["--disk", "a", "--disk", "b c", "--store", "/s", "--ascii"];
        let words = Words::parse(args.iter().map(OsString::from)).unwrap();
        assert_eq!(words.disks, [PathBuf::from("a"), PathBuf::from("b c")]);
        assert_eq!(words.stores, [PathBuf::from("/s")]);
        assert_eq!(words.theme().glyphs, Glyphs::Ascii);
        assert!(Words::parse([OsString::from("x")].into_iter()).is_err());
    }
}
