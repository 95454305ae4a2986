//! What opens encrypted layers, as the user gave it.

use std::fmt;

/// One secret. What it is decides which layers try it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As typed, without the end of line.
    Passphrase(Vec<u8>),
    /// The bytes of a key file.
    KeyFile(Vec<u8>),
    /// BitLocker's 48 digits, with or without dashes.
    RecoveryPassword(String),
}

/// Never shows the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Secret::Passphrase(_) => "passphrase",
            Secret::KeyFile(_) => "key file",
            Secret::RecoveryPassword(_) => "recovery password",
        })
    }
}

/// All secrets of one look at a disk; every encrypted layer tries each that fits its kind.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Keys(pub Vec<Secret>);

impl Keys {
    pub fn none() -> Keys {
        Keys::default()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let keys = Keys(vec![
            Secret::Passphrase(b"hunter2".to_vec()),
            Secret::KeyFile(b"hunter2".to_vec()),
            Secret::RecoveryPassword("hunter2".into()),
        ]);
        assert!(!format!("{keys:?}").contains("hunter"));
    }
}
