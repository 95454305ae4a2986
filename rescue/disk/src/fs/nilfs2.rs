//! NILFS2: segments that are not proven clean by its segment usage file, and all that its log may go on from.
//!
//! After the kernel's `nilfs2_ondisk.h` and what `fs/nilfs2/recovery.c` does at every mount (Linux 6.12): from the
//! newest superblock the log is followed to its end; the last super root in it counts. The log behind that is kept,
//! so a mount of the copy reads the same bytes as a mount of the disk.

mod bmap;
mod log;
mod superblock;
mod usage;

use crate::fs::trouble::Trouble;
use crate::fs::{Basis, Filesystem, Reader, State, Used};
use crate::source::{BlockSource, ReadError};
use bmap::Blocks;
use log::Log;
use superblock::{Names, Superblock};

pub const READER: Reader = Reader {
    name: "nilfs2",
    read,
    tree: None,
};

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some(raw) = superblock::raw(source)? else {
        return Ok(None);
    };
    let names = Names::of(&raw);
    let mut found = Filesystem {
        kind: "nilfs2".into(),
        variant: None,
        label: names.label,
        uuid: names.uuid,
        block_size: 512,
        size_bytes: 0,
        state: State::Clean,
        used: Used::Whole(String::new()),
        parts: Box::default(),
    };
    found.used = match judge(source, &raw, &mut found) {
        Ok(used) => used,
        Err(Trouble::Read(ReadError::Gone(what))) => return Err(ReadError::Gone(what)),
        Err(trouble) => {
            found.state = State::Dirty(trouble.to_string());
            Used::Whole(trouble.to_string())
        }
    };
    Ok(Some(found))
}

/// The used map. Fills in what `found` says on the way.
fn judge(source: &dyn BlockSource, raw: &[u8], found: &mut Filesystem) -> Result<Used, Trouble> {
    let superblock = Superblock::newest(source, raw)?;
    found.block_size = superblock.block_size;
    found.size_bytes = superblock.size_bytes;
    let mut basis = Basis::Records;
    if !superblock.unmounted {
        found.state = State::Dirty("it was not unmounted".into());
        basis = Basis::Replayed;
    }
    let log = Log::follow(source, &superblock)?;
    let mut blocks = Blocks::new(source, &superblock);
    let extents = usage::used(&mut blocks, &superblock, &log)?;
    Ok(Used::Map { basis, extents })
}
