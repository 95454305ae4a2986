//! The entries of a folder of F2FS: in its blocks or in its inode, laid out alike.

use crate::fields::Fields;
use crate::fs::tree::NodeKind;

/// A number for looking names up, an inode, the length of the name, the kind.
const ENTRY_BYTES: usize = 11;
/// Names stand in places of this size, one behind another.
const PLACE_BYTES: usize = 8;
const BLOCK_ENTRIES: usize = 214;

pub struct Name<'a> {
    pub bytes: &'a [u8],
    pub inode: u32,
    /// `None` where it does not say.
    pub kind: Option<NodeKind>,
}

/// Bits for the places that are taken, room, the entries, the names.
pub struct Entries<'a> {
    fields: Fields<'a>,
    count: usize,
    entries: usize,
    names: usize,
}

impl<'a> Entries<'a> {
    pub fn of_block(bytes: &'a [u8]) -> Entries<'a> {
        Entries::laid_out(bytes, BLOCK_ENTRIES)
    }

    pub fn of_inode(bytes: &'a [u8]) -> Entries<'a> {
        let bits = (ENTRY_BYTES + PLACE_BYTES) * 8 + 1;
        Entries::laid_out(bytes, bytes.len() * 8 / bits)
    }

    fn laid_out(bytes: &'a [u8], count: usize) -> Entries<'a> {
        let names = bytes.len().saturating_sub(count * PLACE_BYTES);
        Entries {
            fields: Fields(bytes),
            count,
            entries: names.saturating_sub(count * ENTRY_BYTES),
            names,
        }
    }

    /// Without `.` and `..`; what cannot be is left out.
    pub fn names(&self) -> impl Iterator<Item = Name<'a>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < self.count {
                let (place, found) = (at, self.name(at));
                let places = found
                    .as_ref()
                    .map_or(1, |name| name.bytes.len().div_ceil(PLACE_BYTES).max(1));
                at = place + places;
                if let Some(name) = found
                    && !matches!(name.bytes, b"" | b"." | b"..")
                {
                    return Some(name);
                }
            }
            None
        })
    }

    fn name(&self, place: usize) -> Option<Name<'a>> {
        let taken = self.fields.u8(place / 8)? >> (place % 8) & 1 != 0;
        let entry = self.entries + place * ENTRY_BYTES;
        let len = usize::from(self.fields.u16(entry + 8)?);
        (taken && len <= 255).then_some(())?;
        Some(Name {
            bytes: self.fields.bytes(self.names + place * PLACE_BYTES, len)?,
            inode: self.fields.u32(entry + 4)?,
            kind: match self.fields.u8(entry + 10)? {
                0 => None,
                1 => Some(NodeKind::File),
                2 => Some(NodeKind::Directory),
                7 => Some(NodeKind::Symlink),
                _ => Some(NodeKind::Special),
            },
        })
    }
}

/// A name that can be printed and joined with `/`; what cannot is replaced.
pub fn shown(name: &[u8]) -> String {
    let printable = |c: char| {
        if c.is_control() || c == '/' {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    String::from_utf8_lossy(name)
        .chars()
        .map(printable)
        .collect()
}
