//! JFS: what its block allocation map proves free, where the log has nothing left to say.
//!
//! After the kernel's `fs/jfs` (`jfs_superblock.h`, `jfs_dmap.h`, `jfs_xtree.h`, `jfs_logmgr.h`, Linux 6.12). A log
//! that waits is not replayed here: such a filesystem is kept whole, and its own `fsck.jfs` replays it.

mod block_map;
mod superblock;
mod xtree;

use crate::fs::trouble::Trouble;
use crate::fs::{Basis, Filesystem, Reader, State, Used};
use crate::source::{BlockSource, ReadError};
use superblock::{Names, Superblock};

pub const READER: Reader = Reader {
    name: "jfs",
    read,
    tree: None,
};

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some(raw) = superblock::raw(source)? else {
        return Ok(None);
    };
    let names = Names::of(&raw);
    let mut found = Filesystem {
        kind: "jfs".into(),
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
    let superblock = Superblock::parse(raw)?;
    found.block_size = superblock::BLOCK_SIZE;
    found.size_bytes = superblock.end * superblock::BLOCK;
    if found.size_bytes > source.size_bytes() {
        return Err(Trouble::Refused(
            "the filesystem is larger than its partition",
        ));
    }
    superblock.settled(source)?;
    Ok(Used::Map {
        basis: Basis::Records,
        extents: block_map::used(source, &superblock)?,
    })
}
