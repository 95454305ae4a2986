//! The segment usage file: an entry for each segment, behind a header; no flag means that it is clean.

use super::Trouble;
use super::bmap::{BlockMap, Blocks, Translation};
use super::log::Log;
use super::superblock::Superblock;
use crate::extent::ExtentMap;
use crate::fields::Fields;
use crate::fs::bits::Bits;
use crate::fs::gather::Gather;

const HEADER_BYTES: u64 = 24;
const FLAGS_AT: usize = 12;

/// Maps what is used: every segment that is not clean, those of the log, and what lies outside of segments.
pub fn used(blocks: &mut Blocks, superblock: &Superblock, log: &Log) -> Result<ExtentMap, Trouble> {
    let mut dirty = by_records(blocks, superblock, log)?;
    for segment in &log.segments {
        dirty.mark(*segment, segment + 1);
    }
    let touched = blocks.touched.used_runs();
    let mut both = dirty.clone();
    touched.for_each(|(from, to)| both.mark(from, to));
    if both != dirty {
        return Err(Trouble::Refused(
            "its segment usage calls segments of its own records clean",
        ));
    }
    let mut gather = Gather::new(superblock.block());
    for (from, to) in dirty.used_runs() {
        let start = superblock.range(from).0 * superblock.block();
        gather.push(
            start,
            to * superblock.blocks_per_segment * superblock.block(),
        );
    }
    let mut used = gather.finish();
    for extent in superblock.own(blocks.source.size_bytes()) {
        used.insert(extent);
    }
    Ok(used)
}

/// Segments that are not clean, whose count the header must know.
fn by_records(blocks: &mut Blocks, superblock: &Superblock, log: &Log) -> Result<Bits, Trouble> {
    let damaged = || Trouble::Refused("its segment usage contradicts itself");
    let translation = Translation::of(superblock, &log.translation)?;
    let map = BlockMap::of(&log.usage)?;
    let per_block = superblock.block() / superblock.usage_bytes;
    let before = HEADER_BYTES.div_ceil(superblock.usage_bytes);
    let mut dirty = Bits::new(superblock.segments, false);
    let mut clean = None;
    for number in 0..(superblock.segments + before).div_ceil(per_block) {
        // A hole: none of its segments was ever used.
        let Some(place) = map.place(number, Some(&translation), blocks)? else {
            continue;
        };
        let block = blocks.block(place)?;
        let fields = Fields(&block);
        if number == 0 {
            clean = fields.u64(0);
        }
        for index in 0..per_block {
            let Some(segment) = (number * per_block + index).checked_sub(before) else {
                continue;
            };
            let at = usize::try_from(index * superblock.usage_bytes).map_err(|_| damaged())?;
            if fields.u32(at + FLAGS_AT).ok_or_else(damaged)? != 0 {
                dirty.mark(segment, segment + 1);
            }
        }
    }
    if clean == Some(dirty.free()) {
        Ok(dirty)
    } else {
        Err(damaged())
    }
}
