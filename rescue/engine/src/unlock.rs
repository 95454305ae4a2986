//! Encrypted volumes and the keys that a person gave for them.

use std::fmt;

use disk::fs::State;
use disk::layer::Keys;
use disk::layout::Layout;
use disk::source::{BlockSource, ReadError};

/// Why nothing was unlocked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    Read(ReadError),
    /// Keys were given, and everything that is encrypted stays locked; the text says why the first of it does.
    Locked(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Read(error) => error.fmt(f),
            Trouble::Locked(why) => write!(
                f,
                "what was given unlocks nothing on it ({why}); give another passphrase or key file, or none"
            ),
        }
    }
}

/// What is on a disk or in an image, as far as the keys open it.
pub fn layout(source: &dyn BlockSource, keys: &Keys) -> Result<Layout, Trouble> {
    let layout = Layout::read_with(source, keys).map_err(Trouble::Read)?;
    match locked(&layout) {
        Some(why) if !keys.is_empty() => Err(Trouble::Locked(why)),
        _ => Ok(layout),
    }
}

/// Why the first locked layer is, where none is open.
fn locked(layout: &Layout) -> Option<String> {
    if layout.encrypted().any(|layer| layer.state != State::Locked) {
        return None;
    }
    let first = layout.encrypted().next()?;
    let why = first.whole.clone().unwrap_or_default();
    Some(
        why.strip_prefix("locked; ")
            .map_or(why.clone(), str::to_owned),
    )
}
