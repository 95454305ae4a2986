//! Disk images of other programs: each a disk like any other, to be read at any byte; what is packed as one stream,
//! cheaply only in order.
//!
//! Pure: files come in as [`BlockSource`]s, and what else an image consists of through a [`Folder`]. Every byte of
//! them is hostile. A place that a damaged table does not lead to is unreadable, as a bad sector is.

#![forbid(unsafe_code)]

pub mod clonezilla;
mod error;
mod mapped;
mod packed;
mod partclone;
pub mod piped;
pub mod qcow2;
mod recent;
mod stream;
pub mod vdi;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;
pub mod write;

use std::sync::Arc;

use disk::source::BlockSource;

pub use error::ForeignError;

/// A file of an image.
pub type File = Arc<dyn BlockSource>;

/// The directory that an image lies in, for formats of several files.
pub trait Folder {
    /// A regular file of this directory; the name has no `/`. The text of an error says why not.
    fn open(&self, name: &str) -> Result<File, String>;

    /// Of its files; the text of an error says why not.
    fn names(&self) -> Result<Vec<String>, String>;
}

/// An image as the disk that it holds.
pub struct Opened {
    /// As people call the format.
    pub format: &'static str,
    pub source: Box<dyn BlockSource>,
    pub order: Order,
    /// What a user should know of it.
    pub notes: Vec<String>,
}

/// How an image is read without decoding it again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Any,
    Forward,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("format", &self.format)
            .field("geometry", &self.source.geometry())
            .field("notes", &self.notes)
            .finish()
    }
}

/// One format.
pub struct Format {
    pub name: &'static str,
    /// `None` for a file of another format.
    pub open: fn(&File, &dyn Folder) -> Result<Option<Opened>, ForeignError>,
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

pub const FORMATS: &[Format] = &[
    qcow2::FORMAT,
    vhdx::FORMAT,
    vhd::FORMAT,
    vmdk::FORMAT,
    vdi::FORMAT,
];

/// `None` for what is no image of another program that is known here: it may be a raw disk.
pub fn open(file: &File, folder: &dyn Folder) -> Result<Option<Opened>, ForeignError> {
    for format in FORMATS {
        if let Some(opened) = (format.open)(file, folder)? {
            return Ok(Some(opened));
        }
    }
    Ok(None)
}
