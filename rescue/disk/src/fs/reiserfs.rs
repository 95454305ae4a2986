//! ReiserFS 3.5 and 3.6: what its bitmap blocks prove free, read under the replayed journal where there is one to
//! replay.
//!
//! After the kernel's `fs/reiserfs` (`reiserfs.h`, `super.c`, `bitmap.c`, `journal.c`, up to Linux 6.12).

mod journal;
mod superblock;
mod used;

use crate::fs::overlay::Overlay;
use crate::fs::trouble::Trouble;
use crate::fs::{Basis, Filesystem, Reader, State, Used};
use crate::source::{BlockSource, ReadError};
use journal::Waiting;
use superblock::{Names, Superblock};

pub const READER: Reader = Reader {
    name: "reiserfs",
    read,
    tree: None,
};

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some(raw) = superblock::raw(source)? else {
        return Ok(None);
    };
    let names = Names::of(&raw);
    let mut found = Filesystem {
        kind: "reiserfs".into(),
        variant: names.variant,
        label: names.label,
        uuid: names.uuid,
        block_size: 512,
        size_bytes: 0,
        state: State::Clean,
        used: Used::Whole(String::new()),
        parts: Box::default(),
    };
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

/// The used map, and what a person should know about it. Fills in what `found` says on the way.
fn judge(
    source: &dyn BlockSource,
    raw: &[u8],
    found: &mut Filesystem,
    notes: &mut Vec<String>,
) -> Result<Used, Trouble> {
    superblock::no_older_one(source)?;
    let superblock = Superblock::parse(raw)?;
    found.block_size = superblock.block_size;
    found.size_bytes = superblock.size_bytes();
    if superblock.size_bytes() > source.size_bytes() {
        return Err(Trouble::Refused(
            "the filesystem is larger than its partition",
        ));
    }
    if !superblock.unmounted {
        notes.push("it was not unmounted".into());
    }
    let Waiting::Blocks(replay) = journal::waiting(source, &superblock)? else {
        superblock.trusted()?;
        return Ok(Used::Map {
            basis: Basis::Records,
            extents: used::map(source, &superblock, None)?,
        });
    };
    notes.push(format!(
        "its journal was replayed in memory ({} blocks)",
        replay.blocks
    ));
    let overlay = Overlay::new(source, replay.pieces);
    let raw = superblock::raw(&overlay)?;
    let newer = Superblock::parse(raw.as_deref().unwrap_or_default())?;
    if !newer.same_shape(&superblock) {
        return Err(Trouble::Refused(
            "its journal changes the shape of the filesystem",
        ));
    }
    newer.trusted()?;
    let before = Some((source, &replay.touched));
    Ok(Used::Map {
        basis: Basis::Replayed,
        extents: used::map(&overlay, &newer, before)?,
    })
}
