//! F2FS: the used blocks by the segment information of its newest checkpoint, and what was fsynced after it.
//!
//! After the kernel's documentation ("Flash-Friendly File System"), `include/linux/f2fs_fs.h` and
//! `fs/f2fs/recovery.c`.

mod checkpoint;
mod content;
mod directory;
mod files;
mod forward;
mod inode;
mod journal;
mod newer;
mod nodes;
mod segments;
mod superblock;

use crate::fs::tree::TreeError;
use crate::fs::trouble::Trouble;
use crate::fs::{Basis, Filesystem, Reader, State, Used};
use crate::source::{BlockSource, ReadError};
use checkpoint::{Checkpoint, flag};
use superblock::{Names, Superblock};

pub const READER: Reader = Reader {
    name: "f2fs",
    read,
    tree: Some(files::open),
};

/// Everything here is in blocks of this size; filesystems with larger ones are kept whole.
const BLOCK: u64 = 4096;
/// Blocks of a segment, which is what an entry of the segment information has bits for.
const SEGMENT_BLOCKS: u64 = 512;

impl From<Trouble> for TreeError {
    fn from(trouble: Trouble) -> TreeError {
        match trouble {
            Trouble::Read(error) => TreeError::Read(error),
            Trouble::Refused(why) => TreeError::Damaged(why),
        }
    }
}

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let copies = superblock::copies(source)?;
    let Some(names) = copies.iter().flatten().find_map(|raw| Names::of(raw)) else {
        return Ok(None);
    };
    let superblock = Superblock::parse(&copies);
    let size_bytes = superblock.as_ref().map_or(0, |s| s.blocks * BLOCK);
    let judged = superblock.map_err(Trouble::Refused);
    let (state, used) = match judged.and_then(|superblock| judge(source, &superblock)) {
        Ok(judged) => judged,
        Err(Trouble::Read(ReadError::Gone(what))) => return Err(ReadError::Gone(what)),
        Err(Trouble::Read(error)) => (State::Clean, Used::Whole(error.to_string())),
        Err(Trouble::Refused(why)) => (State::Dirty(why.into()), Used::Whole(why.into())),
    };
    Ok(Some(Filesystem {
        kind: "f2fs".into(),
        variant: None,
        label: names.label,
        uuid: names.uuid,
        block_size: 4096,
        size_bytes,
        state,
        used,
        parts: Box::default(),
    }))
}

fn judge(source: &dyn BlockSource, superblock: &Superblock) -> Result<(State, Used), Trouble> {
    let whole = |why: &str| Ok((State::Clean, Used::Whole(why.into())));
    if let Some(why) = superblock.unfollowed {
        return whole(why);
    }
    if superblock.blocks * BLOCK > source.size_bytes() {
        return whole("the filesystem is larger than its partition");
    }
    let checkpoint = Checkpoint::newest(source, superblock)?;
    if checkpoint.has(flag::DOUBTS) {
        return Err(Trouble::Refused("it asks for a check of itself"));
    }
    if checkpoint.is_doubtful {
        return Err(Trouble::Refused("one of its two checkpoints is damaged"));
    }
    let extents = segments::used(source, superblock, &checkpoint)?;
    let kept = forward::kept(source, superblock, &checkpoint)?;
    let nodes = kept.nodes;
    let mut extents = kept.into_map(extents)?;
    // A mount writes no checkpoint: the last one may still say that it was unmounted.
    if checkpoint.has(flag::UNMOUNTED) && nodes == 0 {
        let basis = Basis::Records;
        return Ok((State::Clean, Used::Map { basis, extents }));
    }
    for unfilled in checkpoint.unfilled(superblock) {
        extents.insert(unfilled);
    }
    let state = State::Dirty(format!(
        "it was not unmounted; what was fsynced after its last checkpoint was followed ({nodes} nodes)"
    ));
    let basis = Basis::Replayed;
    Ok((state, Used::Map { basis, extents }))
}

/// The sum of F2FS: CRC-32 begun with its magic number and not inverted.
fn sum(begun: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!begun);
    hasher.update(bytes);
    !hasher.finalize()
}
