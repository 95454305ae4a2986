//! The items of files: inodes, names in directories, and where bytes lie.

use super::node::Key;
use crate::fields::Fields;
use crate::fs::tree::NodeKind;

pub(super) const INODE_ITEM: u8 = 1;
pub(super) const INODE_REF: u8 = 12;
pub(super) const INODE_EXTREF: u8 = 13;
pub(super) const DIR_LOG_INDEX: u8 = 72;
pub(super) const DIR_INDEX: u8 = 96;
pub(super) const EXTENT_DATA: u8 = 108;
pub(super) const ROOT_ITEM: u8 = 132;
pub(super) const ROOT_REF: u8 = 156;

const NAME_LIMIT: usize = 255;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Inode {
    /// Zero in a log that has only its names.
    pub generation: u64,
    pub size: u64,
    pub modified: i64,
    pub kind: NodeKind,
}

impl Inode {
    /// Of the log: its size and its bytes too, not its names only.
    pub fn is_all(&self) -> bool {
        self.generation != 0
    }
}

pub(super) fn inode(item: Fields<'_>) -> Option<Inode> {
    let kind = match item.u32(52)? & 0o170_000 {
        0o100_000 => NodeKind::File,
        0o040_000 => NodeKind::Directory,
        0o120_000 => NodeKind::Symlink,
        _ => NodeKind::Special,
    };
    Some(Inode {
        generation: item.u64(0)?,
        size: item.u64(16)?,
        modified: item.u64(136)?.cast_signed(),
        kind,
    })
}

/// A name in a directory, and what it leads to: an inode of the same subvolume, or another subvolume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Name {
    pub target: Key,
    pub kind: NodeKind,
    pub raw: Vec<u8>,
}

impl Name {
    /// As it can be printed and joined with `/`; what cannot is replaced.
    pub fn shown(&self) -> String {
        let printable = |c: char| match c.is_control() || c == '/' {
            true => char::REPLACEMENT_CHARACTER,
            false => c,
        };
        let name = String::from_utf8_lossy(&self.raw);
        name.chars().map(printable).collect()
    }
}

pub(super) fn name(item: Fields<'_>) -> Option<Name> {
    let len = usize::from(item.u16(27)?);
    let kind = match item.u8(29)? {
        1 => NodeKind::File,
        2 => NodeKind::Directory,
        7 => NodeKind::Symlink,
        _ => NodeKind::Special,
    };
    Some(Name {
        target: Key::at(item, 0)?,
        kind,
        raw: item.bytes(30, len).filter(|_| len <= NAME_LIMIT)?.to_vec(),
    })
}

/// Whether this `ROOT_REF` is of that name in that directory.
pub(super) fn refers(item: Fields<'_>, directory: u64, name: &[u8]) -> bool {
    item.u64(0) == Some(directory)
        && item.u16(16).map(usize::from) == Some(name.len())
        && item.bytes(18, name.len()) == Some(name)
}

/// How many bytes of a file an extent is.
pub(super) fn span(item: Fields<'_>, sector: u64) -> Option<u64> {
    match item.u8(20)? {
        0 => item.u64(8)?.checked_next_multiple_of(sector),
        _ => item.u64(45),
    }
}

/// Where bytes of a file lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Data {
    Hole,
    /// In the item itself.
    Inline(Vec<u8>),
    InlinePacked,
    Stored {
        start: u64,
        len: u64,
        packed: bool,
    },
}

impl Data {
    /// A part of it. What is packed has none: its bytes are known as a whole only.
    pub fn part(&self, offset: u64, len: u64) -> Data {
        match self {
            Data::Stored {
                start,
                packed: false,
                ..
            } => Data::Stored {
                start: start.saturating_add(offset),
                len,
                packed: false,
            },
            whole => whole.clone(),
        }
    }
}

pub(super) fn data(item: Fields<'_>) -> Option<Data> {
    // Neither encryption nor another encoding was ever made.
    if item.u8(17)? != 0 || item.u16(18)? != 0 {
        return None;
    }
    let packed = item.u8(16)? != 0;
    let kind = item.u8(20)?;
    if kind == 0 {
        return Some(match packed {
            true => Data::InlinePacked,
            false => Data::Inline(item.0.get(21..)?.to_vec()),
        });
    }
    let (start, whole) = (item.u64(21)?, item.u64(29)?);
    let (offset, len) = (item.u64(37)?, item.u64(45)?);
    match kind {
        1 if start == 0 => Some(Data::Hole),
        // Set aside and not written yet.
        2 => Some(Data::Hole),
        // What lies there packed is read as a whole.
        1 if packed => Some(Data::Stored {
            start,
            len: whole,
            packed,
        }),
        1 => {
            let inside = offset.checked_add(len)? <= whole;
            let start = start.checked_add(offset)?;
            inside.then_some(Data::Stored { start, len, packed })
        }
        _ => None,
    }
}
