//! The used map: what the bitmap blocks call used, the filesystem's own blocks, and what lies behind it.

use super::Trouble;
use super::superblock::{PLACE, Superblock};
use crate::extent::{Extent, ExtentMap};
use crate::fs::bits::Bits;
use crate::fs::gather::Gather;
use crate::source::{BlockSource, read_vec};

/// Maps what `now` shows. `before` is the disk without its journal replayed, and what the journal touches: what is
/// used there stays used, for who restores the disk may also throw the journal away.
pub fn map(
    now: &dyn BlockSource,
    superblock: &Superblock,
    before: Option<(&dyn BlockSource, &ExtentMap)>,
) -> Result<ExtentMap, Trouble> {
    let size = u64::from(superblock.block_size);
    let mut gather = Gather::new(size);
    let mut free = 0;
    for number in 0..superblock.bitmaps() {
        let start = number * superblock.group();
        let len = superblock.group().min(superblock.blocks - start);
        let at = superblock.at(superblock.bitmap(number));
        let mut bits = Bits::from_bytes(&read_vec(now, at, size)?, len);
        free += bits.free();
        if let Some((disk, _)) = before {
            bits.merge(&Bits::from_bytes(&read_vec(disk, at, size)?, len));
        }
        for (from, to) in bits.used_runs() {
            gather.push((start + from) * size, (start + to) * size);
        }
    }
    if free != superblock.free {
        return Err(Trouble::Refused(
            "its superblock and its bitmaps count other free blocks",
        ));
    }
    let mut used = gather.finish();
    if !own(superblock).all(|extent| used.covers(extent)) {
        return Err(Trouble::Refused(
            "its bitmaps call blocks of its own records free",
        ));
    }
    for extent in before.iter().flat_map(|(_, touched)| touched.iter()) {
        used.insert(extent);
    }
    let tail = Extent::between(superblock.size_bytes(), now.size_bytes());
    if let Some(tail) = tail {
        used.insert(tail);
    }
    Ok(used)
}

/// All up to the first bitmap, the other bitmaps, the journal with its header, and the root of the tree.
fn own(superblock: &Superblock) -> impl Iterator<Item = Extent> {
    let size = u64::from(superblock.block_size);
    let blocks = move |from: u64, count: u64| Extent::new(from * size, count * size);
    let head = blocks(0, PLACE / size + 2);
    let journal = blocks(superblock.journal, superblock.journal_blocks + 1);
    let reserved = blocks(PLACE / size + 2, superblock.reserved);
    let root = blocks(superblock.root, 1);
    let bitmaps =
        (1..superblock.bitmaps()).filter_map(move |number| blocks(superblock.bitmap(number), 1));
    [head, journal, reserved, root]
        .into_iter()
        .flatten()
        .chain(bitmaps)
}
