//! APFS: what the space manager of a container's newest checkpoint proves free. All volumes of the container share it,
//! locked ones too.
//!
//! After Apple's "Apple File System Reference"; what that leaves out (where the addresses of the chunk-info blocks stand,
//! how the checkpoint areas wrap around) is as libfsapfs documents it and apfsprogs checks it.

mod btree;
mod container;
mod files;
mod node;
mod object;
mod omap;
mod reach;
mod record;
mod space;
mod superblock;
mod volume;

use std::fmt;

use crate::fs::{Basis, Filesystem, Reader, State, Used};
use crate::source::{BlockSource, ReadError};
use container::Container;
use volume::Volume;

pub const READER: Reader = Reader {
    name: "apfs",
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
    let Some(head) = superblock::head(source)? else {
        return Ok(None);
    };
    let mut found = Filesystem {
        kind: "apfs".into(),
        variant: None,
        label: None,
        uuid: superblock::uuid(&head),
        block_size: 4096,
        size_bytes: 0,
        state: State::Clean,
        used: Used::Whole(String::new()),
        parts: Box::default(),
    };
    found.used = match judge(source, &head, &mut found) {
        Ok(used) => used,
        Err(Trouble::Read(ReadError::Gone(what))) => return Err(ReadError::Gone(what)),
        Err(trouble) => Used::Whole(trouble.to_string()),
    };
    Ok(Some(found))
}

/// The used map. Fills in what `found` says on the way.
fn judge(source: &dyn BlockSource, head: &[u8], found: &mut Filesystem) -> Result<Used, Trouble> {
    let container = Container::open(source, head)?;
    found.block_size = u32::try_from(container.block_size()).expect("64 KiB at most");
    found.size_bytes = container.size_bytes();
    let volumes = volume::all(&container)?;
    found.label = told(&volumes);
    let used = space::map(&container)?;
    reach::check(&container, &volumes, &used)?;
    Ok(Used::Map {
        basis: Basis::Records,
        extents: used,
    })
}

/// The volumes by name and role, as one label.
fn told(volumes: &[Volume]) -> Option<String> {
    let told: Vec<String> = volumes.iter().map(Volume::told).collect();
    (!told.is_empty()).then(|| told.join(", "))
}
