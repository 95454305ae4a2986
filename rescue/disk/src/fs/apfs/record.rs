//! Records of a volume's tree of files: inodes, names, attributes and extents.

use crate::fields::Fields;
use crate::fs::tree::NodeKind;

/// What a record tells of, in the upper bits of its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum About {
    Inode = 3,
    Attribute = 4,
    Extent = 8,
    Name = 9,
}

pub(super) const ID_BITS: u32 = 60;
pub(super) const ID: u64 = (1 << ID_BITS) - 1;
/// Of an extent's length in bytes; the rest are flags.
const LENGTH: u64 = (1 << 56) - 1;
/// `UF_COMPRESSED`.
const COMPRESSED: u32 = 0x20;
/// The extended field with the size of a file's data.
const DATA_STREAM: u8 = 8;
/// `XATTR_DATA_STREAM`: the attribute's data are a stream of their own.
const STREAM: u16 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Inode {
    pub kind: NodeKind,
    /// The number under which its extents are.
    pub data: u64,
    pub size_bytes: u64,
    pub modified: i64,
    pub compressed: bool,
}

impl Inode {
    pub fn parse(value: Fields<'_>) -> Option<Inode> {
        let nanoseconds = i64::try_from(value.u64(24)?).unwrap_or(0);
        let kind = match value.u16(80)? & 0xF000 {
            0x4000 => NodeKind::Directory,
            0x8000 => NodeKind::File,
            0xA000 => NodeKind::Symlink,
            _ => NodeKind::Special,
        };
        Some(Inode {
            kind,
            data: value.u64(8)?,
            size_bytes: data_size(value).unwrap_or(0),
            modified: nanoseconds / 1_000_000_000,
            compressed: value.u32(68)? & COMPRESSED != 0,
        })
    }
}

/// Behind an inode's fields: how many extended fields, a table of them, then their values, each in steps of 8 bytes.
fn data_size(value: Fields<'_>) -> Option<u64> {
    const FRONT: usize = 92;
    let count = usize::from(value.u16(FRONT)?);
    let mut at = FRONT + 4 + count * 4;
    for nth in 0..count {
        let entry = FRONT + 4 + nth * 4;
        if value.u8(entry)? == DATA_STREAM {
            return value.u64(at);
        }
        at += usize::from(value.u16(entry + 2)?).next_multiple_of(8);
    }
    None
}

/// A name in a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Name {
    pub shown: String,
    pub inode: u64,
    pub kind: NodeKind,
}

impl Name {
    /// `hashed`: the key has the name's hash beside its length.
    pub fn parse(key: Fields<'_>, value: Fields<'_>, hashed: bool) -> Option<Name> {
        let (len, at) = match hashed {
            true => (key.u32(8)? & 0x3FF, 12),
            false => (u32::from(key.u16(8)?), 10),
        };
        let raw = key.bytes(at, usize::try_from(len).ok()?)?;
        let kind = match value.u16(16)? & 0xF {
            4 => NodeKind::Directory,
            8 => NodeKind::File,
            10 => NodeKind::Symlink,
            _ => NodeKind::Special,
        };
        Some(Name {
            shown: shown(raw),
            inode: value.u64(0)?,
            kind,
        })
    }
}

/// Up to its NUL; what would steer a terminal or a path is replaced.
fn shown(raw: &[u8]) -> String {
    let end = raw.iter().position(|byte| *byte == 0).unwrap_or(raw.len());
    let printable = |c: char| match c.is_control() || c == '/' {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    };
    let name = String::from_utf8_lossy(raw.get(..end).unwrap_or_default());
    name.chars().map(printable).collect()
}

/// An extended attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attribute<'a> {
    Here(&'a [u8]),
    /// The number under which its extents are.
    Stream(u64),
}

/// Of an attribute's record, its name without the NUL, and what it is.
pub(super) fn attribute<'k, 'v>(
    key: Fields<'k>,
    value: Fields<'v>,
) -> Option<(&'k [u8], Attribute<'v>)> {
    let name = key.bytes(10, usize::from(key.u16(8)?))?;
    let name = name.strip_suffix(&[0]).unwrap_or(name);
    let here = match value.u16(0)? & STREAM {
        0 => Attribute::Here(value.bytes(4, usize::from(value.u16(2)?))?),
        _ => Attribute::Stream(value.u64(4)?),
    };
    Some((name, here))
}

/// Bytes of a file and the block where they begin; block 0 is a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileExtent {
    pub at: u64,
    pub len: u64,
    pub block: u64,
}

impl FileExtent {
    pub fn parse(key: Fields<'_>, value: Fields<'_>) -> Option<FileExtent> {
        Some(FileExtent {
            at: key.u64(8)?,
            len: value.u64(0)? & LENGTH,
            block: value.u64(8)?,
        })
    }
}
