//! The segment information of F2FS: a bit a block, the highest bit of a byte first.

use std::collections::HashSet;

use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::bits::Bits;
use crate::fs::f2fs::checkpoint::{Checkpoint, Records};
use crate::fs::f2fs::journal::{self, SEGMENT_BYTES};
use crate::fs::f2fs::superblock::Superblock;
use crate::fs::f2fs::{BLOCK, SEGMENT_BLOCKS, Trouble};
use crate::fs::gather::Gather;
use crate::source::{BlockSource, read_vec};

/// Entries of a block.
const ENTRIES: u64 = 55;
/// Kinds of segments from here on are for nodes.
const NODES: u16 = 3;
const DAMAGED: Trouble = Trouble::Refused("its segment information contradicts itself");

/// Everything before the segments and behind them, and what is valid in them. Where the counts do not agree with the
/// bits nothing is said.
pub fn used(
    source: &dyn BlockSource,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
) -> Result<ExtentMap, Trouble> {
    let journal = journal::segments(source, superblock, checkpoint)?;
    let blocks = superblock.information_blocks;
    let sets = checkpoint.set_bits(superblock, Records::Segments, blocks);
    let sets = sets.ok_or(DAMAGED)?;
    let current: HashSet<u64> = checkpoint.current_segments().collect();
    let mut gather = Gather::new(BLOCK);
    gather.push(0, superblock.main * BLOCK);
    let mut counts = Counts::default();
    for index in 0..superblock.main_segments.div_ceil(ENTRIES) {
        let at = place(superblock, sets, index).ok_or(DAMAGED)?;
        let bytes = read_vec(source, at, BLOCK)?;
        let first = index * ENTRIES;
        for segment in first..(first + ENTRIES).min(superblock.main_segments) {
            let at = usize::try_from(segment - first).map_err(|_| DAMAGED)? * SEGMENT_BYTES;
            let entry = Fields(&bytes).array(at).ok_or(DAMAGED)?;
            // The last word on a segment is the journal's.
            let newer = journal
                .iter()
                .rfind(|(number, _)| u64::from(*number) == segment);
            let entry = newer.map_or(&entry, |(_, entry)| entry);
            let bits = counts.valid_bits(entry).ok_or(DAMAGED)?;
            counts.empty += u64::from(bits.is_none() && !current.contains(&segment));
            let start = superblock.main + segment * SEGMENT_BLOCKS;
            for (from, to) in bits.iter().flat_map(Bits::used_runs) {
                gather.push((start + from) * BLOCK, (start + to) * BLOCK);
            }
        }
    }
    let agreement = counts.agree_with(checkpoint).ok_or(DAMAGED)?;
    let mut extents = gather.finish();
    let tail = Extent::between(superblock.main_end() * BLOCK, source.size_bytes());
    let mut kept: Vec<Extent> = tail.into_iter().collect();
    if agreement == Agreement::Probable {
        let start = |segment| superblock.main + segment * SEGMENT_BLOCKS;
        let inside = current
            .into_iter()
            .filter(|n| *n < superblock.main_segments);
        kept.extend(
            inside
                .filter_map(|segment| Extent::new(start(segment) * BLOCK, SEGMENT_BLOCKS * BLOCK)),
        );
    }
    for extent in kept {
        extents.insert(extent);
    }
    Ok(extents)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Agreement {
    Exact,
    /// It says nothing of the segments that are being filled.
    Probable,
}

/// What all segments together have.
#[derive(Default)]
struct Counts {
    valid: u64,
    nodes: u64,
    /// Segments with nothing valid that are not being filled.
    empty: u64,
}

impl Counts {
    /// `Some(None)` when nothing is valid; `None` when their number is another than the entry says.
    fn valid_bits(&mut self, entry: &[u8; SEGMENT_BYTES]) -> Option<Option<Bits>> {
        let head = Fields(entry).u16(0)?;
        let count = u64::from(head & 0x3FF);
        if count == 0 {
            return entry[2..66].iter().all(|byte| *byte == 0).then_some(None);
        }
        let map: Vec<u8> = entry[2..66]
            .iter()
            .map(|byte| byte.reverse_bits())
            .collect();
        let bits = Bits::from_bytes(&map, SEGMENT_BLOCKS);
        self.valid += count;
        if head >> 10 >= NODES {
            self.nodes += count;
        }
        (SEGMENT_BLOCKS - bits.free() == count).then_some(Some(bits))
    }

    /// The checkpoint counts blocks, too, that are promised to files and were not written (preallocated, or written
    /// after it): their number is nowhere. Then all nodes must be there, and not one segment too many be free.
    fn agree_with(&self, checkpoint: &Checkpoint) -> Option<Agreement> {
        let all = checkpoint.valid_blocks()?;
        if self.valid == all {
            return Some(Agreement::Exact);
        }
        let probable = self.valid < all
            && self.nodes == checkpoint.valid_nodes()?
            && self.empty == checkpoint.free_segments()?;
        probable.then_some(Agreement::Probable)
    }
}

/// Where this block of the information is now: in the first set or in the second.
fn place(superblock: &Superblock, sets: &[u8], index: u64) -> Option<u64> {
    let byte = sets.get(usize::try_from(index / 8).ok()?)?;
    let second = byte >> (7 - index % 8) & 1 != 0;
    let set = if second {
        superblock.information_blocks
    } else {
        0
    };
    Some((superblock.information + set + index) * BLOCK)
}
