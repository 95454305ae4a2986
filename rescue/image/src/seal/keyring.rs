//! What a person gave to open sealed images, and what it has opened.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use crate::seal::keys::{DataKey, Keys, Slot, SlotKind};

/// Random bytes, from the system.
pub type Entropy = fn(&mut [u8]) -> Result<(), String>;

/// Asks a person for the passphrase of what is named; `None` when he has none.
pub type AskFor = fn(&str) -> Option<Zeroizing<Vec<u8>>>;

/// Wrong answers to one question.
const TRIES: u32 = 3;

/// Grows only; everybody who opens images shares it.
pub struct Keyring {
    entropy: Entropy,
    ask: Option<AskFor>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    secrets: Vec<Zeroizing<Vec<u8>>>,
    known: Vec<DataKey>,
    /// The slots that a secret does not open, by its place in the list.
    refused: BTreeSet<(usize, Vec<u8>)>,
    /// A person who has no passphrase is not asked again.
    declined: bool,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(..)")
    }
}

impl Keyring {
    pub fn new(entropy: Entropy) -> Keyring {
        Keyring {
            entropy,
            ask: None,
            held: Mutex::default(),
        }
    }

    /// One that asks where nothing opens.
    #[must_use]
    pub fn asking(self, ask: AskFor) -> Keyring {
        Keyring {
            ask: Some(ask),
            ..self
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn random(&self, bytes: &mut [u8]) -> Result<(), String> {
        (self.entropy)(bytes)
    }

    /// A passphrase or the words of a recovery key.
    pub fn add(&self, secret: &[u8]) {
        let secret = Zeroizing::new(secret.to_vec());
        self.held().secrets.push(secret);
    }

    pub fn is_empty(&self) -> bool {
        self.held().secrets.is_empty()
    }

    /// The newest secret that was given.
    pub fn newest(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.held().secrets.last().cloned()
    }

    pub fn know(&self, key: &DataKey) {
        self.held().known.push(key.clone());
    }

    /// What opens a sealed file. `None` where nothing that was given does, and nobody gives more.
    pub fn open(&self, keys: &Keys, title: &str) -> Result<Option<DataKey>, String> {
        let mut held = self.held();
        let mut found = held.open(keys)?;
        for _ in 0..TRIES {
            let Some(ask) = self.ask.filter(|_| found.is_none() && !held.declined) else {
                break;
            };
            match ask(title) {
                Some(secret) => held.secrets.push(secret),
                None => held.declined = true,
            }
            found = held.open(keys)?;
        }
        Ok(found)
    }
}

impl Held {
    fn open(&mut self, keys: &Keys) -> Result<Option<DataKey>, String> {
        let held = self;
        if let Some(known) = held.known.iter().find(|key| keys.is_for(key)) {
            return Ok(Some(known.clone()));
        }
        for nth in 0..held.secrets.len() {
            for slot in &keys.slots {
                let id = (nth, slot.id());
                if held.refused.contains(&id) {
                    continue;
                }
                match slot.open(&told(&held.secrets[nth], slot))? {
                    Some(key) if keys.is_for(&key) => {
                        held.known.push(key.clone());
                        return Ok(Some(key));
                    }
                    _ => held.refused.insert(id),
                };
            }
        }
        Ok(None)
    }
}

/// As it was when the slot was made: words are the same whatever is between them.
pub fn told(secret: &[u8], slot: &Slot) -> Zeroizing<Vec<u8>> {
    match slot.kind {
        SlotKind::Passphrase => Zeroizing::new(secret.to_vec()),
        SlotKind::Recovery => words(secret),
    }
}

/// In small letters, one space between them.
pub fn words(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    for byte in text {
        if byte.is_ascii_alphanumeric() {
            out.push(byte.to_ascii_lowercase());
        } else if out.last().is_some_and(|last| *last != b' ') {
            out.push(b' ');
        }
    }
    if out.last() == Some(&b' ') {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_however_they_are_typed() {
        let plain = words(b"abandon zoo able");
        for typed in [
            "Abandon  zoo\table\n",
            " abandon-zoo-able ",
            "ABANDON, ZOO, ABLE",
        ] {
            assert_eq!(words(typed.as_bytes()), plain, "{typed:?}");
        }
    }
}
