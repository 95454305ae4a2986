//! The keys of encrypted volumes: from files, or asked for.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use disk::layer::{Keys, Limits, Secret};
use engine::host::Host;
use engine::request::Unlock;
use zeroize::Zeroizing;

use crate::words::KeyWords;
use crate::{Exit, Streams};

/// As cryptsetup has it.
const FILE_LIMIT: u64 = 8 << 20;
const ASKED_LIMIT: usize = 16;

pub fn get(words: &KeyWords, streams: &mut Streams<'_>) -> Result<Unlock, (Exit, String)> {
    let mut secrets = Vec::new();
    for file in &words.key_files {
        let bytes = read(file).map_err(|error| {
            let sentence = format!(
                "the key file {} cannot be read: {error}; name another with --key-file",
                file.display()
            );
            (Exit::Refused, sentence)
        })?;
        secrets.push(Secret::KeyFile(bytes));
    }
    if words.unlock {
        ask(&mut secrets, streams)?;
    }
    Ok(Unlock {
        keys: Keys::new(secrets).with_limits(limits()),
        files: words.key_files.clone(),
    })
}

fn read(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut read = |from: &mut dyn Read| from.take(FILE_LIMIT + 1).read_to_end(&mut bytes);
    match file.to_str() {
        Some("-") => read(&mut io::stdin().lock())?,
        _ => read(&mut File::open(file)?)?,
    };
    match bytes.len() as u64 {
        0 => Err(io::Error::other("it is empty")),
        FILE_LIMIT.. => Err(io::Error::other("it is larger than any key file")),
        _ => Ok(bytes),
    }
}

/// Until an empty line. What is typed is not shown.
fn ask(secrets: &mut Vec<Secret>, streams: &mut Streams<'_>) -> Result<(), (Exit, String)> {
    let Some(ask) = streams.ask_secret.as_mut() else {
        let sentence = "there is no terminal to ask for a passphrase on; give it in a file with --key-file, or with --key-file - on standard input";
        return Err((Exit::Refused, sentence.into()));
    };
    let mut question = "Passphrase or recovery key (it is not shown): ";
    for _ in 0..ASKED_LIMIT {
        let typed = ask(question).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => {
                (Exit::Cancelled, "cancelled; nothing was written".into())
            }
            _ => {
                let sentence = format!("no passphrase could be read: {error}; nothing was written");
                (Exit::Refused, sentence)
            }
        })?;
        if typed.is_empty() {
            break;
        }
        secrets.push(Secret::Passphrase(typed));
        question = "Another one, or nothing to go on: ";
    }
    Ok(())
}

/// A derivation gets at most three quarters of what memory there is.
fn limits() -> Limits {
    let usual = Limits::default();
    let free = super::host().free_memory().map(|free| free / 4 * 3);
    Limits {
        memory_bytes: free.map_or(usual.memory_bytes, |free| free.min(usual.memory_bytes)),
        ..usual
    }
}
