//! The used map: what the bitmap calls used, both headers, and what lies behind the volume.

use super::bitmap::{self, Bitmap};
use super::header::PLACE;
use super::volume::{ALLOCATION_ID, CATALOG_ID, EXTENTS_ID, Volume, Which};
use super::{Trouble, refused};
use crate::extent::{Extent, ExtentMap};
use crate::fs::gather::Gather;
use crate::source::BlockSource;

const STARTUP_ID: u32 = 7;
const ATTRIBUTES_ID: u32 = 8;

/// Maps what `now` shows. `before` is the disk without its journal replayed, and what the journal touches: what is
/// used there stays used, for who restores the disk may also throw the journal away.
pub(super) fn map(
    now: &Volume<'_>,
    before: Option<(&Volume<'_>, &ExtentMap)>,
) -> Result<ExtentMap, Trouble> {
    let (size, blocks) = (now.header.block_size, now.header.blocks);
    let mut gather = Gather::new(size);
    let older = match before {
        Some((before, _)) => Some(bitmap_of(before)?),
        None => None,
    };
    let free = bitmap::used(&bitmap_of(now)?, older.as_ref(), blocks, &mut |from, to| {
        gather.push(from * size, to * size);
    })?;
    if free != now.header.free_blocks {
        return refused(format!(
            "its volume header counts {} free blocks, its bitmap {free}",
            now.header.free_blocks
        ));
    }
    let mut used = gather.finish();
    own_records_are_used(now, &used)?;
    let touched = before.map(|(_, touched)| touched);
    for extent in touched.iter().flat_map(|touched| touched.iter()) {
        if !used.covers(extent) {
            used.insert(extent);
        }
    }
    // Where a block is larger than what is before the header and in it, all of the block is kept.
    let head = Extent::new(0, (PLACE + 512).next_multiple_of(size));
    let copy = (now.header.size_bytes() - PLACE) / size * size;
    let tail = Extent::between(copy, now.source.size_bytes());
    for extent in head.into_iter().chain(tail) {
        used.insert(extent);
    }
    Ok(used)
}

fn bitmap_of<'v>(volume: &'v Volume<'_>) -> Result<Bitmap<'v>, Trouble> {
    Ok(Bitmap {
        source: &volume.source,
        stream: volume.stream(&volume.header.allocation, ALLOCATION_ID, Which::Data)?,
    })
}

/// A bitmap that calls its own blocks or those of the trees free is not one to believe.
fn own_records_are_used(volume: &Volume<'_>, used: &ExtentMap) -> Result<(), Trouble> {
    let header = &volume.header;
    let forks = [
        (&header.allocation, ALLOCATION_ID),
        (&header.extents, EXTENTS_ID),
        (&header.catalog, CATALOG_ID),
        (&header.attributes, ATTRIBUTES_ID),
        (&header.startup, STARTUP_ID),
    ];
    for (fork, id) in forks {
        let stream = volume.stream(fork, id, Which::Data)?;
        if !stream.pieces().all(|(_, extent)| used.covers(extent)) {
            return refused("its bitmap calls blocks of its own records free");
        }
    }
    Ok(())
}
