//! The block allocation map: pages of bits for 8192 blocks each, in a file of the aggregate.

use super::Trouble;
use super::superblock::{BLOCK, Superblock, extent};
use super::xtree::Runs;
use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::bits::Bits;
use crate::fs::gather::Gather;
use crate::source::{BlockSource, read_vec};

/// The inode of the map in the aggregate.
const INODE: u32 = 2;
/// Blocks that a page speaks of.
const PAGE: u64 = 1 << 13;
/// The bits a mounted filesystem works with, and those its log has confirmed.
const WORKING_AT: usize = 2048;
const CONFIRMED_AT: usize = 3072;
const BITS: usize = 1024;

/// Maps what is used: by the map, and all that lies behind the blocks it speaks of.
pub fn used(source: &dyn BlockSource, superblock: &Superblock) -> Result<ExtentMap, Trouble> {
    let runs = Runs::of(source, superblock, INODE)?;
    let control = page(source, &runs, 0)?;
    let control = Fields(&control);
    if control.u64(0) != Some(superblock.blocks) {
        return Err(Trouble::Refused(
            "its superblock and its block allocation map speak of other sizes",
        ));
    }
    let mut gather = Gather::new(BLOCK);
    let mut free = 0;
    for number in 0..superblock.blocks.div_ceil(PAGE) {
        let start = number * PAGE;
        // Behind the control page and the three first of the levels of its index; each of those speaks of 1024.
        let at = number + (number >> 10) + (number >> 20) + 4;
        let raw = page(source, &runs, at)?;
        let len = PAGE.min(superblock.blocks - start);
        let bits = bits(&raw, start, len)?;
        free += bits.free();
        for (from, to) in bits.used_runs() {
            gather.push((start + from) * BLOCK, (start + to) * BLOCK);
        }
    }
    if control.u64(8) != Some(free) {
        return Err(contradiction());
    }
    let mut used = gather.finish();
    let places = runs.runs.iter().map(|run| (run.start, run.count));
    let tree = runs.pages.iter().map(|block| (*block, 1));
    let mut own = superblock
        .own()
        .chain(places.chain(tree).filter_map(extent));
    if !own.all(|extent| used.covers(extent)) {
        return Err(Trouble::Refused(
            "its block allocation map calls blocks of its own records free",
        ));
    }
    let behind = Extent::between(superblock.blocks * BLOCK, source.size_bytes());
    if let Some(behind) = behind {
        used.insert(behind);
    }
    Ok(used)
}

fn page(source: &dyn BlockSource, runs: &Runs, number: u64) -> Result<Vec<u8>, Trouble> {
    let missing = Trouble::Refused("its block allocation map has no page for some blocks");
    let block = runs.block(number).ok_or(missing)?;
    Ok(read_vec(source, block * BLOCK, BLOCK)?)
}

/// The used blocks of a page, whose counts must agree with its bits, and both sets of bits with each other.
fn bits(raw: &[u8], start: u64, len: u64) -> Result<Bits, Trouble> {
    let fields = Fields(raw);
    let counted = |at: usize| fields.u32(at).map(u64::from);
    let working = words(fields, WORKING_AT).ok_or_else(contradiction)?;
    let confirmed = words(fields, CONFIRMED_AT).ok_or_else(contradiction)?;
    if (counted(0), fields.u64(8)) != (Some(len), Some(start)) || working != confirmed {
        return Err(contradiction());
    }
    let bits = Bits::from_bytes(&working, len);
    if counted(4) == Some(bits.free()) {
        Ok(bits)
    } else {
        Err(contradiction())
    }
}

/// Words of 32 bits, whose highest bit is the first block, as bits whose lowest is.
fn words(fields: Fields, at: usize) -> Option<Vec<u8>> {
    let raw = fields.bytes(at, BITS)?;
    let turned = raw.chunks_exact(4).flat_map(|word| {
        let word: [u8; 4] = word.try_into().expect("a chunk has four bytes");
        u32::from_le_bytes(word).reverse_bits().to_le_bytes()
    });
    Some(turned.collect())
}

fn contradiction() -> Trouble {
    Trouble::Refused("its block allocation map contradicts itself")
}
