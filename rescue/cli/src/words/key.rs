//! The words of `rescue key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engine::request::Place;

use super::option::{Approval, Output};

#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Shows which keys it has; none is needed for that
    List {
        #[command(flatten)]
        of: KeyOf,
        #[command(flatten)]
        output: Output,
    },
    /// Adds a passphrase
    Add {
        #[command(flatten)]
        of: KeyOf,
        /// The new passphrase; without it, it is asked for twice
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        consent: Approval,
    },
    /// Adds a key that this program makes, and prints it once: words, and a picture of them (QR code)
    Recovery {
        #[command(flatten)]
        of: KeyOf,
        #[command(flatten)]
        consent: Approval,
    },
    /// Removes the key of this number; the last one stays
    Remove {
        #[command(flatten)]
        of: KeyOf,
        /// As `rescue key list` numbers them
        number: usize,
        #[command(flatten)]
        consent: Approval,
    },
}

#[derive(Args, Debug)]
pub struct KeyOf {
    pub image: Place,
}
