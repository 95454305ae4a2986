//! The journals of F2FS: records that are newer in the checkpoint than where they belong.

use crate::fields::Fields;
use crate::fs::f2fs::checkpoint::{Checkpoint, flag};
use crate::fs::f2fs::superblock::Superblock;
use crate::fs::f2fs::{BLOCK, Trouble};
use crate::source::{BlockSource, read_vec};

/// They stand behind 512 entries of 7 bytes in a summary, and one behind another where summaries are compact.
const AT: usize = 512 * 7;
const BYTES: usize = 507;
const SEGMENTS: Kind = Kind {
    log: 2,
    nth: 1,
    entry_bytes: 4 + SEGMENT_BYTES,
    limit: 6,
};
const NODES: Kind = Kind {
    log: 0,
    nth: 0,
    entry_bytes: 4 + NODE_BYTES,
    limit: 38,
};
/// A segment's information, and where a node is.
pub const SEGMENT_BYTES: usize = 74;
pub const NODE_BYTES: usize = 9;

struct Kind {
    /// The log of data whose summary it is in.
    log: u64,
    /// Its place among the journals of compact summaries.
    nth: usize,
    /// With the number it is of.
    entry_bytes: usize,
    limit: u16,
}

const DAMAGED: Trouble = Trouble::Refused("its checkpoint's journal is damaged");

/// The numbers of segments, with their information.
pub fn segments(
    source: &dyn BlockSource,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
) -> Result<Vec<(u32, [u8; SEGMENT_BYTES])>, Trouble> {
    let found = read(source, superblock, checkpoint, &SEGMENTS)?;
    let known = |number: u32| u64::from(number) < superblock.main_segments;
    let sound = found.iter().all(|(number, _)| known(*number));
    sound.then_some(found).ok_or(DAMAGED)
}

/// The numbers of nodes, with their places.
pub fn nodes(
    source: &dyn BlockSource,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
) -> Result<Vec<(u32, [u8; NODE_BYTES])>, Trouble> {
    read(source, superblock, checkpoint, &NODES)
}

fn read<const N: usize>(
    source: &dyn BlockSource,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
    kind: &Kind,
) -> Result<Vec<(u32, [u8; N])>, Trouble> {
    let (block, at) = if checkpoint.has(flag::COMPACT) {
        let start = checkpoint.number(140).ok_or(DAMAGED)?;
        (start, BYTES * kind.nth)
    } else {
        // Summaries of three logs of data, of three of nodes where it was unmounted, then the last block.
        let nodes = if checkpoint.has(flag::UNMOUNTED | flag::FAST_BOOT) {
            3
        } else {
            0
        };
        let first = checkpoint.blocks.checked_sub(3 + nodes + 1);
        (first.ok_or(DAMAGED)? + kind.log, AT)
    };
    if !(1 + superblock.payload..checkpoint.blocks).contains(&block) {
        return Err(DAMAGED);
    }
    let bytes = read_vec(source, (checkpoint.at + block) * BLOCK, BLOCK)?;
    let fields = Fields(&bytes);
    let count = fields.u16(at).filter(|count| *count <= kind.limit);
    (0..usize::from(count.ok_or(DAMAGED)?))
        .map(|index| {
            let entry = at + 2 + index * kind.entry_bytes;
            Some((fields.u32(entry)?, fields.array(entry + 4)?))
        })
        .collect::<Option<_>>()
        .ok_or(DAMAGED)
}
