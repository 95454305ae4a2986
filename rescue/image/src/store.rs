//! Where images lie: a directory, a share, a bucket.

use std::fmt;

/// Named files that are appended to and then only read. Names have no `/`.
pub trait Store: Send + Sync {
    /// What a person calls it, for messages: a path or a URL.
    fn describe(&self) -> String;

    /// Starts a file; [`StoreError::Taken`] when the name exists.
    fn create(&self, name: &str) -> Result<Box<dyn Append>, StoreError>;

    /// Goes on with a file after cutting it to `len` bytes.
    fn resume(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError>;

    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StoreError>;

    fn exists(&self, name: &str) -> Result<bool, StoreError>;

    /// Gives a finished file its final name, durably; [`StoreError::Taken`] when that exists.
    fn publish(&self, from: &str, to: &str) -> Result<(), StoreError>;

    /// Gives a finished file the name of another, which goes, durably: at every moment `to` is one of the two.
    fn replace(&self, from: &str, to: &str) -> Result<(), StoreError>;

    /// Whether [`Store::replace`] can do that to this file.
    fn is_replaceable(&self, _name: &str) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Changes bytes of a file that is there, durably. Only the keys of a sealed file are ever changed.
    fn overwrite(&self, name: &str, _offset: u64, _data: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Fault(format!(
            "{}/{name} is in a store that changes no files; copy it to a disk first",
            self.describe()
        )))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError>;

    fn list(&self) -> Result<Vec<String>, StoreError>;

    /// `None` where the store cannot tell.
    fn free_bytes(&self) -> Option<u64>;

    /// Largest file the store can hold (FAT32: 4 GiB − 1).
    fn file_limit(&self) -> Option<u64>;

    /// Longest volume that files are split into.
    fn volume_bytes(&self) -> Option<u64> {
        None
    }
}

/// A file being written, at its end only.
pub trait Append: Send {
    fn len(&self) -> u64;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn append(&mut self, data: &[u8]) -> Result<(), StoreError>;
    /// Everything appended so far survives a power cut after this returns.
    fn sync(&mut self) -> Result<(), StoreError>;
}

/// A file being read; several threads may read at once.
pub trait ReadFile: Send + Sync {
    fn len(&self) -> u64;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What of it is not there, a sentence each.
    fn missing(&self) -> Vec<String> {
        Vec::new()
    }
    /// Fills all of `buf`; reading past the end is [`StoreError::Unreadable`].
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError>;
}

/// Each text names the store and the file, and says what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    Missing(String),
    Taken(String),
    Full(String),
    Gone(String),
    /// It is sealed, and nothing that was given opens it.
    Locked(String),
    /// These bytes cannot be had; others may.
    Unreadable {
        offset: u64,
        len: u64,
        text: String,
    },
    Fault(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Missing(text)
            | StoreError::Taken(text)
            | StoreError::Full(text)
            | StoreError::Gone(text)
            | StoreError::Locked(text)
            | StoreError::Unreadable { text, .. }
            | StoreError::Fault(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}
