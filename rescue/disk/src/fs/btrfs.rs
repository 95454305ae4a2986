//! btrfs: what its tree of extents and its log have in use, at every copy on this disk; where they cannot be
//! followed, what its chunks have taken.
//!
//! After the btrfs documentation ("On-disk Format") and `include/uapi/linux/btrfs_tree.h`.

mod chunk;
mod content;
mod extents;
mod files;
mod item;
mod log;
mod logged;
mod node;
mod sums;
mod superblock;
mod used;
mod volume;

use std::fmt;

use crate::extent::ExtentMap;
use crate::fields::{Fields, text};
use crate::fs::named::whole;
use crate::fs::{Basis, Filesystem, Parts, Reader, State, Used, uuid};
use crate::source::{BlockSource, ReadError};
use superblock::Copy;
use volume::Volume;

pub const READER: Reader = Reader {
    name: "btrfs",
    read,
    tree: Some(files::open),
};

/// Why something cannot be followed.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Trouble {
    Read(ReadError),
    /// A structure contradicts itself or is unknown here; the text says which.
    Refused(String),
    /// This disk has no copy of a node.
    Elsewhere,
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Trouble {
        Trouble::Read(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Read(error) => error.fmt(f),
            Trouble::Refused(why) => f.write_str(why),
            Trouble::Elsewhere => f.write_str("its trees lie on other disks too"),
        }
    }
}

fn refused<T>(why: &str) -> Result<T, Trouble> {
    Err(Trouble::Refused(why.into()))
}

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some(raw) = superblock::first(source)? else {
        return Ok(None);
    };
    let fields = Fields(&raw);
    let mut found = whole("btrfs", source.size_bytes());
    found.uuid = fields.array(0x20).and_then(uuid);
    let label = fields.bytes(299, 256).map(text);
    found.label = label.filter(|label| !label.is_empty());
    let mut notes = Vec::new();
    found.used = match judge(source, &raw, &mut found, &mut notes) {
        Ok(used) => used,
        Err(Trouble::Read(ReadError::Gone(what))) => return Err(ReadError::Gone(what)),
        Err(trouble) => {
            notes.push(trouble.to_string());
            Used::Whole(trouble.to_string())
        }
    };
    if !notes.is_empty() {
        found.state = State::Dirty(notes.join("; "));
    }
    Ok(Some(found))
}

/// What the trees say, and beside it their own nodes and what is not known.
fn exact(
    volume: &Volume<'_>,
    copy: Copy,
    parts: &mut Parts,
    notes: &mut Vec<String>,
) -> Result<Result<ExtentMap, Trouble>, Trouble> {
    let exact = used::exact(volume);
    let seconds = volume.seconds.get();
    if seconds > 0 {
        let note = format!("{seconds} nodes of its trees were read from their second copy");
        notes.push(note.clone());
        parts.notes.push(note);
    }
    Ok(match (exact, copy) {
        (Ok(exact), Copy::First) => {
            parts.metadata = exact.metadata;
            Ok(exact.extents)
        }
        // Only the first superblock knows of the log.
        (Ok(exact), Copy::Later) => {
            parts.metadata = exact.metadata;
            parts.unknown = used::allocated(volume)?.difference(&exact.extents);
            refused("its first superblock is damaged")
        }
        (Err(trouble), _) => {
            parts.unknown = used::allocated(volume)?;
            Err(trouble)
        }
    })
}

/// The used map, and what a person should know about it.
fn judge(
    source: &dyn BlockSource,
    raw: &[u8],
    found: &mut Filesystem,
    notes: &mut Vec<String>,
) -> Result<Used, Trouble> {
    let (superblock, copy) = superblock::newest(source, raw)?;
    found.size_bytes = superblock.device.bytes;
    found.block_size = u32::try_from(superblock.sector_size).expect("64 KiB at most");
    if superblock.has_errors() {
        notes.push("it says of itself that it has errors".into());
    }
    let volume = Volume::open(source, superblock)?;
    let map = exact(&volume, copy, &mut found.parts, notes)?;
    let logged = volume.superblock.log_root.is_some();
    if logged {
        notes.push("it was not unmounted".into());
    }
    match map {
        Ok(extents) if logged => {
            notes.push("what was fsynced last was found by its log".into());
            let basis = Basis::Replayed;
            Ok(Used::Map { basis, extents })
        }
        Ok(extents) => Ok(Used::Map {
            basis: Basis::Records,
            extents,
        }),
        Err(Trouble::Read(ReadError::Gone(what))) => Err(ReadError::Gone(what).into()),
        Err(trouble) => {
            let note = format!("{trouble}; what its chunks have taken is kept whole");
            found.parts.notes.push(note.clone());
            notes.push(note);
            let extents = used::allocated(&volume)?;
            let basis = Basis::Records;
            Ok(Used::Map { basis, extents })
        }
    }
}
