//! HFS+ and HFSX: what the allocation bitmap proves free, read under the replayed journal where there is one to
//! replay.
//!
//! After Apple's Technical Note TN1150 ("HFS Plus Volume Format"), and for what the journal has grown since then
//! after `bsd/vfs/vfs_journal.h` of Apple's published kernel.

mod bitmap;
mod catalog;
mod files;
mod fork;
mod header;
mod journal;
mod node;
mod used;
mod volume;
mod wrapper;

use std::fmt;

use crate::fs::{Basis, Filesystem, Reader, State, Used, overlay};
use crate::source::{BlockSource, ReadError};
use header::Header;
use journal::Journal;
use overlay::Overlay;
use volume::Volume;

pub const READER: Reader = Reader {
    name: "hfsplus",
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
    let Some(sector) = header::primary(source)? else {
        return wrapper::read(source);
    };
    let mut found = Filesystem {
        kind: "hfsplus".into(),
        variant: sector.starts_with(b"HX").then(|| "HFSX".into()),
        label: None,
        uuid: header::uuid(&sector),
        block_size: 512,
        size_bytes: 0,
        state: State::Clean,
        used: Used::Whole(String::new()),
        parts: Box::default(),
    };
    let mut notes = Vec::new();
    found.used = match judge(source, &sector, &mut found, &mut notes) {
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
    sector: &[u8],
    found: &mut Filesystem,
    notes: &mut Vec<String>,
) -> Result<Used, Trouble> {
    let header = Header::parse(source, sector)?;
    found.block_size = u32::try_from(header.block_size).expect("1 MiB at most");
    found.size_bytes = header.size_bytes();
    let before = Volume::new(Overlay::none(source), header.clone());
    found.label = label(&before)?;
    let journal = Journal::open(source, &header)?;
    if !header.unmounted {
        notes.push("it was not unmounted".into());
    }
    if header.inconsistent {
        return refused("it says of itself that it is inconsistent");
    }
    let Some(span) = journal.as_ref().and_then(Journal::waiting) else {
        // Without a journal the bitmap of a mounted volume may be older than its files.
        if !header.unmounted && journal.is_none() {
            return refused("it has no journal that would prove what is free");
        }
        return Ok(Used::Map {
            basis: Basis::Records,
            extents: used::map(&before, None)?,
        });
    };
    let replay = span.replay()?;
    notes.push(format!(
        "its journal was replayed in memory ({} blocks)",
        replay.blocks
    ));
    let after = Volume::replayed(source, replay.pieces)?;
    if !after.header.same_shape(&header) {
        return refused("its journal changes the shape of the filesystem");
    }
    found.label = label(&after)?;
    Ok(Used::Map {
        basis: Basis::Replayed,
        extents: used::map(&after, Some((&before, &replay.touched)))?,
    })
}

/// A label that cannot be read is none: the map does not depend on it.
fn label(volume: &Volume<'_>) -> Result<Option<String>, ReadError> {
    match catalog::label(volume) {
        Ok(label) => Ok(label.filter(|label| !label.is_empty())),
        Err(Trouble::Read(ReadError::Gone(what))) => Err(ReadError::Gone(what)),
        Err(_) => Ok(None),
    }
}
