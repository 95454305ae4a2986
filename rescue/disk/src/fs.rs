//! Filesystems: what each one is, which bytes it uses, and the files in it.
//!
//! One filesystem a file in `fs/`, one line in [`READERS`].

mod apfs;
mod array;
mod bits;
mod blank;
mod btrfs;
mod exfat;
mod ext;
mod f2fs;
mod fat;
mod gather;
mod hfsplus;
mod jfs;
mod locked;
mod look;
mod named;
mod nilfs2;
mod ntfs;
mod overlay;
mod parts;
mod reiserfs;
pub mod swap;
pub mod tree;
mod trouble;
mod xfs;
mod zfs;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use look::{Seen, look};
pub use parts::Parts;

use crate::extent::ExtentMap;
use crate::source::{BlockSource, ReadError};
use tree::{Tree, TreeError};

/// What a reader found at the start of a partition. Extents and sizes are in bytes from there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Filesystem {
    /// As `blkid` names it: `ext2`, `ext3`, `ext4`, `ntfs`, `vfat`, `exfat`, `xfs`, `swap`.
    pub kind: String,
    /// What a person calls it where `kind` says less: `FAT12`, `FAT16`, `FAT32`.
    pub variant: Option<String>,
    pub label: Option<String>,
    /// As `blkid` prints it.
    pub uuid: Option<String>,
    /// The filesystem's own unit of allocation.
    pub block_size: u32,
    /// How much of the partition the filesystem claims; what follows it is kept verbatim.
    pub size_bytes: u64,
    pub state: State,
    pub used: Used,
    #[serde(default, skip_serializing_if = "is_empty")]
    pub parts: Box<Parts>,
}

fn is_empty(parts: &Parts) -> bool {
    *parts == Parts::default()
}

/// In what state its last user left a filesystem.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Clean,
    /// Was not unmounted, or says of itself that it has errors; the text says what was seen.
    Dirty(String),
    /// A sleeping system will go on from here: may be copied as it is, never resized.
    Hibernated,
    /// Encrypted and not unlocked.
    Locked,
    /// Encrypted, and read with its key.
    Unlocked,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Clean => f.write_str("clean"),
            State::Dirty(why) => write!(f, "dirty: {why}"),
            State::Hibernated => f.write_str("hibernated"),
            State::Locked => f.write_str("locked"),
            State::Unlocked => f.write_str("unlocked"),
        }
    }
}

/// Which bytes hold something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Used {
    /// Everything outside the map is proven free. The map ends at the partition's end at most and includes
    /// what lies behind the filesystem.
    Map { basis: Basis, extents: ExtentMap },
    /// Nothing is proven free; the text says why.
    Whole(String),
}

impl Used {
    /// As a map over a partition of this size.
    pub fn extents(&self, size_bytes: u64) -> ExtentMap {
        match self {
            Used::Map { extents, .. } => extents.clone(),
            Used::Whole(_) => ExtentMap::whole(size_bytes),
        }
    }
}

/// Where a used map comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The filesystem's own allocation records, as they stand on the disk.
    Records,
    /// The records after its journal was replayed in memory, together with those on the disk.
    Replayed,
    /// The union of several records that disagree.
    Union,
}

/// Opens the files of a filesystem.
pub type OpenTree = for<'a> fn(&'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError>;

/// One filesystem the program knows.
pub struct Reader {
    /// Name for messages and tests: `ext`, `ntfs`, `fat`, `exfat`, `xfs`, `swap`.
    pub name: &'static str,
    /// `Ok(None)`: it is not this filesystem. Damage inside one is `Used::Whole` or `State::Dirty`, not an
    /// error; an error is returned only when the bytes themselves could not be had.
    pub read: fn(&dyn BlockSource) -> Result<Option<Filesystem>, ReadError>,
    /// Opens its files; `None` where it has none (swap).
    pub tree: Option<OpenTree>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Tried in this order; the first that knows the bytes takes them.
pub const READERS: &[Reader] = &[
    locked::READER,
    ext::READER,
    ntfs::READER,
    fat::READER,
    exfat::READER,
    f2fs::READER,
    xfs::READER,
    btrfs::READER,
    hfsplus::READER,
    apfs::READER,
    reiserfs::READER,
    jfs::READER,
    nilfs2::READER,
    swap::READER,
    named::READER,
    locked::SECOND,
];

/// What stands on a partition, by the first reader that knows it.
///
/// All of them look: where a second one knows the bytes too, nothing is proven free, because the first may have
/// found only the remnant of an older filesystem. Where one cannot see whether its signature is there, its place is
/// kept.
pub fn recognise(
    source: &dyn BlockSource,
) -> Result<Option<(&'static Reader, Filesystem)>, ReadError> {
    Ok(look(source)?.map(Seen::judged))
}

/// The reader of a kind of filesystem.
pub fn reader_of(kind: &str) -> Option<&'static Reader> {
    let name = match kind {
        "ext2" | "ext3" | "ext4" => "ext",
        "ntfs" => "ntfs",
        "vfat" => "fat",
        "exfat" => "exfat",
        "f2fs" => "f2fs",
        "xfs" => "xfs",
        "btrfs" => "btrfs",
        "hfsplus" => "hfsplus",
        "apfs" => "apfs",
        "reiserfs" => "reiserfs",
        "jfs" => "jfs",
        "nilfs2" => "nilfs2",
        "swap" | "swsuspend" => "swap",
        _ => return None,
    };
    READERS.iter().find(|reader| reader.name == name)
}

/// The kind of array that a disk with a table of its own is part of, as `blkid` names it.
pub fn array_member(source: &dyn BlockSource) -> Result<Option<String>, ReadError> {
    match array::member(source) {
        Ok(found) => Ok(found.map(|found| found.kind)),
        Err(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A UUID as `blkid` prints it; all zeros is none.
pub(crate) fn uuid(bytes: [u8; 16]) -> Option<String> {
    let mut printed = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            printed.push('-');
        }
        printed.push_str(&format!("{byte:02x}"));
    }
    (bytes != [0; 16]).then_some(printed)
}
