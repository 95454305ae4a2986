//! XFS: what its free-space trees prove free, read under the replayed log where there is one to replay.
//!
//! After the kernel's documentation ("XFS Self Describing Metadata", "XFS Logging Design"), the document "XFS
//! Algorithms & Data Structures" and `fs/xfs/libxfs/xfs_format.h`, `xfs_log_format.h`.

mod directory;
mod files;
mod free;
mod group;
mod inode;
mod inodes;
mod item;
mod log;
mod logged;
mod record;
mod replay;
mod superblock;
mod transaction;
mod used;

use std::fmt;

use crate::fs::{Basis, Filesystem, Parts, Reader, State, Used, overlay};
use crate::source::{BlockSource, ReadError};
use group::View;
use log::{Ending, Log};
use overlay::Overlay;
use replay::Wanted;
use superblock::{Found, Names, Superblock, Version};
use used::Mapped;

pub const READER: Reader = Reader {
    name: "xfs",
    read,
    tree: Some(files::open),
};

/// Why something cannot be followed.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Trouble {
    Read(ReadError),
    /// A structure contradicts itself or is unknown here; the text says which.
    Refused(String),
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
        }
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Refused(why.into()))
}

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some(found) = superblock::find(source)? else {
        return Ok(None);
    };
    let names = Names::of(found.bytes());
    let superblock = found.superblock(source);
    let mut parts = Parts::default();
    if let Found::Later(_) = found {
        let note = "its superblock cannot be read, that of another group was used";
        parts.notes.push(note.into());
    }
    let mut notes = parts.notes.clone();
    let judged = match &superblock {
        Ok(superblock) => judge(source, superblock, &mut notes, &mut parts),
        Err(trouble) => Err(trouble.clone()),
    };
    let used = match judged {
        Ok(used) => used,
        Err(Trouble::Read(ReadError::Gone(what))) => return Err(ReadError::Gone(what)),
        Err(trouble) => {
            notes.push(trouble.to_string());
            Used::Whole(trouble.to_string())
        }
    };
    let shape = superblock.ok();
    Ok(Some(Filesystem {
        kind: "xfs".into(),
        variant: None,
        label: names.label,
        uuid: names.uuid,
        block_size: shape.as_ref().map_or(512, |s| {
            u32::try_from(s.block_size).expect("64 KiB at most")
        }),
        size_bytes: shape.as_ref().map_or(0, Superblock::size_bytes),
        state: match notes.is_empty() {
            true => State::Clean,
            false => State::Dirty(notes.join("; ")),
        },
        used,
        parts: Box::new(parts),
    }))
}

/// The used map, and what a person should know about it.
fn judge(
    source: &dyn BlockSource,
    superblock: &Superblock,
    notes: &mut Vec<String>,
    parts: &mut Parts,
) -> Result<Used, Trouble> {
    superblock.refuse()?;
    let log = Log::open(source, superblock)?;
    let span = match log.ending()? {
        Ending::Clean => {
            let view = View::new(Overlay::none(source), superblock.clone());
            let mapped = used::map(&view, None)?;
            return finish(mapped, Basis::Records, notes, parts);
        }
        Ending::Dirty(span) => span,
    };
    notes.push("it was not unmounted".into());
    if superblock.version == Version::V4 {
        return refused("its log is without checksums (version 4) and is not replayed here");
    }
    let replay = replay::replay(&log, &span, superblock, Wanted::FreeSpace)?;
    notes.push(format!(
        "its log was replayed in memory ({} items)",
        replay.items
    ));
    if span.torn {
        notes.push("the last write to its log was cut off and left out, as a kernel does".into());
    }
    let disk = View::new(Overlay::none(source), superblock.clone());
    let now = View::new(Overlay::new(source, replay.pieces), superblock.clone());
    let after = superblock::primary(&now.source)?
        .ok_or(Trouble::Refused("its log destroys its superblock".into()))?;
    if !Superblock::replayed(source, &after)?.same_shape(superblock) {
        return refused("its log changes the shape of the filesystem");
    }
    let mapped = used::map(&now, Some((&disk, &replay.touched)))?;
    finish(mapped, Basis::Replayed, notes, parts)
}

fn finish(
    mapped: Mapped,
    basis: Basis,
    notes: &mut Vec<String>,
    parts: &mut Parts,
) -> Result<Used, Trouble> {
    notes.extend(mapped.doubts.sentence());
    if mapped.doubts.is_unreadable() {
        parts.notes.extend(mapped.doubts.sentence());
    }
    parts.unknown = mapped.unknown;
    parts.metadata = mapped.metadata;
    Ok(Used::Map {
        basis,
        extents: mapped.extents,
    })
}
