//! What opens sealed images: from a file, from the environment, or asked for.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use image::seal::Keyring;
use zeroize::Zeroizing;

use crate::words::{Command, Words};
use crate::{Exit, Streams, secret};

/// A passphrase is not longer.
const LIMIT: u64 = 4096;
const VARIABLE: &str = "RESCUE_PASSPHRASE";

/// That of this process: what was given once opens everything.
pub fn keyring() -> Arc<Keyring> {
    static KEYRING: OnceLock<Arc<Keyring>> = OnceLock::new();
    let made = || Arc::new(Keyring::new(engine::random::fill).asking(ask_for));
    Arc::clone(KEYRING.get_or_init(made))
}

fn ask_for(title: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let question = format!("Passphrase of {title} (it is not shown; nothing to go on without): ");
    secret::ask(&question)
        .ok()
        .filter(|typed| !typed.is_empty())
}

/// What the words and the environment give, and what a new image is to be sealed with.
pub fn given(words: &Words, streams: &mut Streams<'_>) -> Result<(), (Exit, String)> {
    let keyring = keyring();
    if let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        keyring.add(value.as_encoded_bytes());
    }
    if let Some(file) = &words.passphrase_file {
        keyring.add(&read(file)?);
    }
    let seals = match &words.command {
        Command::Image(image) => image.seal,
        Command::Import(import) => import.words.seal,
        _ => false,
    };
    if seals && keyring.is_empty() && streams.ask_secret.is_some() {
        keyring.add(&ask_twice(streams)?);
    }
    Ok(())
}

/// Without the end of the line.
pub fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, (Exit, String)> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut take = |from: &mut dyn Read| from.take(LIMIT + 1).read_to_end(&mut bytes);
    let read = match file.to_str() {
        Some("-") => take(&mut io::stdin().lock()),
        _ => File::open(file).and_then(|mut file| take(&mut file)),
    };
    let refused = |why: &str| {
        let sentence = format!(
            "the passphrase in {} cannot be used: {why}; name another file with --passphrase-file",
            file.display()
        );
        (Exit::Refused, sentence)
    };
    read.map_err(|error| refused(&error.to_string()))?;
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    match bytes.len() as u64 {
        0 => Err(refused("it is empty")),
        LIMIT.. => Err(refused("it is longer than any passphrase")),
        _ => Ok(bytes),
    }
}

/// For something new: a slip of the pen would lock it for ever.
pub fn ask_twice(streams: &mut Streams<'_>) -> Result<Zeroizing<Vec<u8>>, (Exit, String)> {
    let Some(ask) = streams.ask_secret.as_mut() else {
        return Err((Exit::Refused, engine::sealing::NO_PASSPHRASE.into()));
    };
    let mut asked = |question: &str| {
        ask(question).map_err(|error| {
            let sentence = format!("no passphrase could be read: {error}; nothing was written");
            (Exit::Cancelled, sentence)
        })
    };
    let first = asked("New passphrase (it is not shown): ")?;
    let second = asked("Once more: ")?;
    let sentence = match first == second {
        true if first.is_empty() => "an empty passphrase seals nothing; nothing was written",
        true => return Ok(first),
        false => "they are not the same; nothing was written",
    };
    Err((Exit::Refused, sentence.into()))
}
