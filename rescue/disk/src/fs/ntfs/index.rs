//! A directory: a B-tree of file names, its root in the file record and the rest in blocks of its own.

use std::ops::ControlFlow;

use super::mft::{Volume, is_unreadable, length};
use super::record::{Record, Reference, What, mend};
use super::stream::{Stream, Value};
use crate::fields::Fields;
use crate::fs::tree::TreeError;

const ROOT: What = What {
    kind: 0x90,
    name: "$I30",
};
pub(super) const BLOCKS: What = What {
    kind: 0xA0,
    name: "$I30",
};
/// Names of a few units, each block at least half full: real trees are lower than this.
const DEPTH_LIMIT: usize = 24;
/// A root lies in a file record.
const ROOT_LIMIT: u64 = 64 << 10;
const DAMAGED: TreeError = TreeError::Damaged("a directory is damaged");

/// One name of a file, as its directory keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Name {
    pub file: Reference,
    pub text: String,
    /// Attributes of the file, as they were when the name was last brought up to date.
    pub attributes: u32,
    /// Which kind of reparse point it is, if it is one.
    pub tag: u32,
}

/// Shows the names in a directory in their order, without the short ones made for DOS, until there are no more or
/// `each` has enough.
pub(super) fn names(
    volume: &Volume<'_>,
    directory: &Record<Vec<u8>>,
    number: u64,
    each: &mut dyn FnMut(Name) -> ControlFlow<()>,
) -> Result<(), TreeError> {
    let root = volume.value(directory, number, ROOT)?;
    let root = root.ok_or(TreeError::Damaged("a directory has no root"))?;
    let root = root.read(volume.source, ROOT_LIMIT)?;
    let fields = Fields(&root);
    let block = u64::from(fields.u32(8).ok_or(DAMAGED)?);
    let blocks = match volume.value(directory, number, BLOCKS)? {
        Some(Value::Stream(stream)) => Some(stream),
        Some(Value::Resident(_)) => return Err(DAMAGED),
        None => None,
    };
    let mut walk = Walk {
        volume,
        block,
        left: blocks
            .as_ref()
            .map_or(0, |blocks| blocks.size / block.max(1)),
        blocks,
        each,
        unread: None,
    };
    let flow = walk.node(&root, 16, 0)?;
    match walk.unread {
        Some(error) if flow.is_continue() => Err(error),
        _ => Ok(()),
    }
}

struct Walk<'v> {
    volume: &'v Volume<'v>,
    /// Length of a block in bytes.
    block: u64,
    blocks: Option<Stream>,
    /// Blocks that can still be met, so that a loop ends.
    left: u64,
    each: &'v mut dyn FnMut(Name) -> ControlFlow<()>,
    /// The first block that cannot be read: the names below it are missing, those beside it are not.
    unread: Option<TreeError>,
}

impl Walk<'_> {
    /// The entries of a node, whose index header stands at `head`, and what hangs below them.
    fn node(
        &mut self,
        bytes: &[u8],
        head: usize,
        depth: usize,
    ) -> Result<ControlFlow<()>, TreeError> {
        let fields = Fields(bytes);
        let place = |at| usize::try_from(fields.u32(at)?).ok()?.checked_add(head);
        let (Some(mut at), Some(end)) = (place(head), place(head + 4)) else {
            return Err(DAMAGED);
        };
        loop {
            let entry = Entry::parse(fields, at, end).ok_or(DAMAGED)?;
            if let Some(below) = entry.below {
                if depth >= DEPTH_LIMIT {
                    return Err(TreeError::Damaged("a directory is too deep"));
                }
                match self.read(below) {
                    Ok(bytes) => {
                        if self.node(&bytes, 24, depth + 1)?.is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    Err(error) if is_unreadable(&error) => {
                        self.unread.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if entry.last {
                return Ok(ControlFlow::Continue(()));
            }
            let name = Name::parse(entry.file, entry.key).ok_or(DAMAGED)?;
            if name.is_some_and(|name| (self.each)(name).is_break()) {
                return Ok(ControlFlow::Break(()));
            }
            at += entry.len;
        }
    }

    /// The block at this place, which is counted in clusters, or in 512 bytes where a cluster holds several.
    fn read(&mut self, place: u64) -> Result<Vec<u8>, TreeError> {
        let blocks = self.blocks.as_ref().ok_or(DAMAGED)?;
        let possible = self.block.is_power_of_two() && (512..=64 << 10).contains(&self.block);
        self.left = self
            .left
            .checked_sub(1)
            .filter(|_| possible)
            .ok_or(DAMAGED)?;
        let cluster = self.volume.boot.cluster;
        let unit = if self.block < cluster { 512 } else { cluster };
        let offset = place.checked_mul(unit).ok_or(DAMAGED)?;
        let mut bytes = vec![0; length(self.block)];
        blocks.read_at(self.volume.source, offset, &mut bytes)?;
        mend(&mut bytes, b"INDX").map_err(TreeError::Damaged)?;
        if Fields(&bytes).u64(16) == Some(place) {
            Ok(bytes)
        } else {
            Err(DAMAGED)
        }
    }
}

struct Entry<'a> {
    file: Reference,
    len: usize,
    key: &'a [u8],
    /// The block with the names before this one.
    below: Option<u64>,
    /// Has no name.
    last: bool,
}

impl<'a> Entry<'a> {
    fn parse(fields: Fields<'a>, at: usize, end: usize) -> Option<Entry<'a>> {
        let len = usize::from(fields.u16(at.checked_add(8)?)?);
        let own = Fields(fields.bytes(at, len)?);
        let flags = own.u16(12)?;
        if at + len > end {
            return None;
        }
        Some(Entry {
            file: Reference(own.u64(0)?),
            len,
            key: own.bytes(16, usize::from(own.u16(10)?))?,
            below: if flags & 1 != 0 {
                Some(own.u64(len.checked_sub(8)?)?)
            } else {
                None
            },
            last: flags & 2 != 0,
        })
    }
}

impl Name {
    /// `None` is damage; nothing inside is a name for DOS.
    fn parse(file: Reference, key: &[u8]) -> Option<Option<Name>> {
        const DOS: u8 = 2;
        let fields = Fields(key);
        let units = fields.bytes(66, 2 * usize::from(fields.u8(64)?))?;
        let (attributes, tag) = (fields.u32(56)?, fields.u32(60)?);
        let text = || {
            let units = units
                .chunks_exact(2)
                .map(|c| u16::from_le_bytes([c[0], c[1]]));
            char::decode_utf16(units)
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        };
        Some((fields.u8(65)? != DOS).then(|| Name {
            file,
            text: text(),
            attributes,
            tag,
        }))
    }
}
