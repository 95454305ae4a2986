//! What opens encrypted layers, as the user gave it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::source::ReadError;

/// One secret. What it is decides which layers try it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As typed, without the end of line.
    Passphrase(Zeroizing<Vec<u8>>),
    /// The bytes of a key file.
    KeyFile(Zeroizing<Vec<u8>>),
}

/// Never shows the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Secret::Passphrase(_) => "passphrase",
            Secret::KeyFile(_) => "key file",
        })
    }
}

/// What trying a key may cost. Headers name the price, and headers are hostile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Of memory while a key is derived.
    pub memory_bytes: u64,
    /// Rounds of PBKDF2, or KiB of Argon2 in all passes, for one layer: each takes a microsecond or less.
    pub rounds: u64,
}

impl Default for Limits {
    /// cryptsetup asks for 1 GiB at most and for two seconds.
    fn default() -> Limits {
        Limits {
            memory_bytes: 1 << 30,
            rounds: 1 << 27,
        }
    }
}

/// Layers that may ask for as much as [`Limits`] let one ask for; those behind them stay locked.
const COSTLY: u64 = 16;

/// The key of a layer's data.
pub type Key = Zeroizing<Vec<u8>>;

/// All secrets of a person; every encrypted layer tries each that fits its kind. Clones share what was found, so
/// that no key is derived twice.
#[derive(Clone, Default)]
pub struct Keys {
    secrets: Arc<[Secret]>,
    limits: Limits,
    tried: Arc<Mutex<Tried>>,
}

#[derive(Default)]
struct Tried {
    /// By the header that was tried: its key, or why there is none.
    headers: BTreeMap<Vec<u8>, Result<Key, String>>,
    spent: u64,
}

/// What was found with them makes no difference.
impl PartialEq for Keys {
    fn eq(&self, other: &Keys) -> bool {
        self.secrets == other.secrets && self.limits == other.limits
    }
}

impl Eq for Keys {}

/// Never shows a secret or a key.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.secrets).finish()
    }
}

impl Keys {
    pub fn none() -> Keys {
        Keys::default()
    }

    pub fn new(secrets: Vec<Secret>) -> Keys {
        Keys {
            secrets: secrets.into(),
            ..Keys::default()
        }
    }

    pub fn with_limits(self, limits: Limits) -> Keys {
        Keys { limits, ..self }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The key of the layer with this header, searched for once only. The search is told how many rounds it may
    /// spend, and takes off what it spent. One at a time: there is memory for one.
    pub(super) fn once(
        &self,
        header: &[u8],
        search: impl FnOnce(&mut u64) -> Result<Result<Key, String>, ReadError>,
    ) -> Result<Result<Key, String>, ReadError> {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tried.headers.get(header) {
            return Ok(known.clone());
        }
        let left = (self.limits.rounds.saturating_mul(COSTLY)).saturating_sub(tried.spent);
        let given = self.limits.rounds.min(left);
        let mut budget = given;
        let found = search(&mut budget)?;
        tried.spent += given - budget;
        tried.headers.insert(header.to_vec(), found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let keys = Keys::new(vec![
            Secret::Passphrase(b"hunter2".to_vec().into()),
            Secret::KeyFile(b"hunter2".to_vec().into()),
        ]);
        assert!(!format!("{keys:?}").contains("hunter"));
    }

    #[test]
    fn a_key_is_searched_for_once_and_all_searches_together_have_a_limit() {
        let keys = Keys::none().with_limits(Limits {
            memory_bytes: 0,
            rounds: 100,
        });
        let mut searches = 0;
        let mut search = |header: u8| {
            let found = keys.clone().once(&[header], |budget| {
                searches += 1;
                let enough = budget.checked_sub(100);
                *budget = enough.unwrap_or(*budget);
                Ok(enough.map(|_| Key::default()).ok_or("time".into()))
            });
            found.unwrap().is_ok()
        };
        for header in 0..16 {
            assert!(search(header) && search(header));
        }
        assert!(!search(16));
        assert_eq!(searches, 17);
    }
}
