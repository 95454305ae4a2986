//! The segment information of F2FS: a bit a block, the highest bit of a byte first.

use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::bits::Bits;
use crate::fs::f2fs::checkpoint::{Checkpoint, ENTRY_BYTES, Journal};
use crate::fs::f2fs::superblock::Superblock;
use crate::fs::f2fs::{BLOCK, SEGMENT_BLOCKS, Trouble};
use crate::fs::gather::Gather;
use crate::source::{BlockSource, read_vec};

/// Entries of a block.
const ENTRIES: u64 = 55;

/// Everything before the segments and behind them, and what is valid in them. Where the counts do not agree with the
/// bits nothing is said.
pub fn used(
    source: &dyn BlockSource,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
    journal: &Journal,
) -> Result<ExtentMap, Trouble> {
    const DAMAGED: Trouble = Trouble::Refused("its segment information contradicts itself");
    let sets = checkpoint.set_bits(superblock).ok_or(DAMAGED)?;
    let mut gather = Gather::new(BLOCK);
    gather.push(0, superblock.main * BLOCK);
    let mut valid = 0;
    for index in 0..superblock.main_segments.div_ceil(ENTRIES) {
        let bytes = read_vec(
            source,
            place(superblock, sets, index).ok_or(DAMAGED)?,
            BLOCK,
        )?;
        let first = index * ENTRIES;
        for segment in first..(first + ENTRIES).min(superblock.main_segments) {
            let at = usize::try_from(segment - first).map_err(|_| DAMAGED)? * ENTRY_BYTES;
            let entry = Fields(&bytes).array(at).ok_or(DAMAGED)?;
            // The last word on a segment is the journal's.
            let newer = journal
                .iter()
                .rfind(|(number, _)| u64::from(*number) == segment);
            let bits = valid_bits(newer.map_or(&entry, |(_, entry)| entry)).ok_or(DAMAGED)?;
            let start = superblock.main + segment * SEGMENT_BLOCKS;
            for (from, to) in bits.used_runs() {
                valid += to - from;
                gather.push((start + from) * BLOCK, (start + to) * BLOCK);
            }
        }
    }
    if checkpoint.valid_blocks() != Some(valid) {
        return Err(DAMAGED);
    }
    let mut extents = gather.finish();
    // The kernel looks there for what was fsynced; it must find what it would have found.
    let next = checkpoint.next_node(superblock).ok_or(DAMAGED)?;
    let end = superblock.main_end() * BLOCK;
    let kept = Extent::between(next * BLOCK, (next * BLOCK + BLOCK).min(end));
    let tail = Extent::between(end, source.size_bytes());
    for extent in kept.into_iter().chain(tail) {
        extents.insert(extent);
    }
    Ok(extents)
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

/// `None` when their number is another than the entry says.
fn valid_bits(entry: &[u8; ENTRY_BYTES]) -> Option<Bits> {
    let count = u64::from(Fields(entry).u16(0)? & 0x3FF);
    let map: Vec<u8> = entry[2..66]
        .iter()
        .map(|byte| byte.reverse_bits())
        .collect();
    let bits = Bits::from_bytes(&map, SEGMENT_BLOCKS);
    (SEGMENT_BLOCKS - bits.free() == count).then_some(bits)
}
