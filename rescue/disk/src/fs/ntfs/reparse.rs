//! Reparse points: links and files that something else than NTFS itself puts together.

use crate::fields::{Fields, text_utf16};
use crate::fs::tree::NodeKind;

/// Set in a file's attributes when it is one.
pub(super) const ATTRIBUTE: u32 = 0x400;

/// What a reparse point makes of its file (Microsoft, "Reparse Tags" and [MS-FSCC] 2.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reparse {
    /// Symbolic link, junction or mount point, to another name.
    Link,
    /// Socket, pipe or device of Linux.
    Special,
    /// Compressed by the Windows overlay filter; its bytes are in a stream of their own.
    Overlay,
    /// Kept in the cloud, as a whole or in part; what is here is stored as usual.
    Cloud,
    /// Something that only another program understands.
    Other,
}

impl Reparse {
    pub fn of(tag: u32) -> Reparse {
        match tag {
            0xA000_0003 | 0xA000_000C | 0xA000_001D => Reparse::Link,
            0x8000_0023..=0x8000_0026 => Reparse::Special,
            0x8000_0017 => Reparse::Overlay,
            _ if tag & 0xFFFF_0FFF == 0x9000_001A => Reparse::Cloud,
            _ => Reparse::Other,
        }
    }

    pub fn kind(self, otherwise: NodeKind) -> NodeKind {
        match self {
            Reparse::Link => NodeKind::Symlink,
            Reparse::Special => NodeKind::Special,
            Reparse::Overlay | Reparse::Cloud | Reparse::Other => otherwise,
        }
    }
}

/// Where a link leads, from the data of its reparse point.
pub(super) fn target(data: &[u8]) -> Option<String> {
    let fields = Fields(data);
    // Behind the names' places; symbolic links have flags before their text.
    let text = match fields.u32(0)? {
        0xA000_0003 => 16,
        0xA000_000C => 20,
        0xA000_001D => {
            let text = fields.bytes(12, usize::from(fields.u16(4)?).checked_sub(4)?)?;
            return Some(crate::fields::text(text));
        }
        _ => return None,
    };
    let name = |at| {
        let (start, len) = (
            usize::from(fields.u16(at)?),
            usize::from(fields.u16(at + 2)?),
        );
        fields
            .bytes(text + start, len)
            .filter(|name| !name.is_empty())
    };
    // The name for people, or else the one for the kernel.
    name(12).or_else(|| name(8)).map(text_utf16)
}
