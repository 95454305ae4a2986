//! F2FS: the used blocks by the segment information of its newest checkpoint. Its files are not read.
//!
//! After the kernel's documentation ("Flash-Friendly File System") and `include/linux/f2fs_fs.h`.

mod checkpoint;
mod segments;
mod superblock;

use crate::fs::{Basis, Filesystem, Reader, State, Used};
use crate::source::{BlockSource, ReadError};
use checkpoint::Checkpoint;
use superblock::{Names, Superblock};

pub const READER: Reader = Reader {
    name: "f2fs",
    read,
    tree: None,
};

/// Everything here is in blocks of this size; filesystems with larger ones are kept whole.
const BLOCK: u64 = 4096;
/// Blocks of a segment, which is what an entry of the segment information has bits for.
const SEGMENT_BLOCKS: u64 = 512;

/// Why something cannot be followed.
#[derive(Debug)]
enum Trouble {
    Read(ReadError),
    /// A structure contradicts itself or is unknown here; the text says which.
    Refused(&'static str),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Trouble {
        Trouble::Read(error)
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
        Ok(used) => (State::Clean, used),
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
    }))
}

fn judge(source: &dyn BlockSource, superblock: &Superblock) -> Result<Used, Trouble> {
    if let Some(why) = superblock.unfollowed {
        return Ok(Used::Whole(why.into()));
    }
    if superblock.blocks * BLOCK > source.size_bytes() {
        return Ok(Used::Whole(
            "the filesystem is larger than its partition".into(),
        ));
    }
    let checkpoint = Checkpoint::newest(source, superblock)?;
    checkpoint.refuse(source, superblock)?;
    let journal = checkpoint.journal(source, superblock)?;
    let extents = segments::used(source, superblock, &checkpoint, &journal)?;
    Ok(Used::Map {
        basis: Basis::Records,
        extents,
    })
}

/// The sum of F2FS: CRC-32 begun with its magic number and not inverted.
fn sum(begun: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!begun);
    hasher.update(bytes);
    !hasher.finalize()
}
