//! The used map of this disk: each used address at each of its places here, or what chunks have taken.

use super::superblock::{COPIES, COPY_ROOM, LENGTH};
use super::volume::Volume;
use super::{Trouble, extents, log};
use crate::extent::{Extent, ExtentMap};
use crate::fs::gather::Gather;

/// Nothing is allocated before this; boot loaders lie here.
const RESERVED: u64 = 1 << 20;

/// What the trees say.
pub(super) struct Exact {
    pub extents: ExtentMap,
    /// Their own nodes, and the superblocks.
    pub metadata: ExtentMap,
}

/// What the tree of extents and the log say.
pub(super) fn exact(volume: &Volume<'_>) -> Result<Exact, Trouble> {
    let found = extents::used(volume)?;
    let mut addresses = found.all;
    if let Some(root) = volume.superblock.log_root {
        addresses = addresses.union(&log::used(volume, root)?);
    }
    Ok(Exact {
        extents: with_fixed(volume, places(volume, &addresses)?),
        metadata: places(volume, &found.nodes)?.union(&fixed(volume)),
    })
}

/// Where addresses lie on this disk, in each copy.
fn places(volume: &Volume<'_>, addresses: &ExtentMap) -> Result<ExtentMap, Trouble> {
    let mut gather = Gather::new(volume.superblock.sector_size);
    for (stripe, chunk) in volume.chunks.taken(&volume.superblock)? {
        let window = Extent::between(chunk.start, chunk.end()).expect("a chunk is not empty");
        for extent in addresses.within(window) {
            let (from, to) = (extent.start() - chunk.start, extent.end() - chunk.start);
            if let Some(place) = chunk.taken(stripe, from, to) {
                gather.push(place.start(), place.end());
            }
        }
    }
    Ok(gather.finish())
}

/// Everything that chunks have taken. Nothing is ever written outside of chunks but the superblocks; a chunk that
/// is not committed yet makes the next fsync commit it (`btrfs_make_block_group` in the kernel), so that the trees
/// of the log lie in committed chunks too.
pub(super) fn allocated(volume: &Volume<'_>) -> Result<ExtentMap, Trouble> {
    let taken = volume.chunks.taken(&volume.superblock)?;
    let places = taken.iter().map(|(stripe, chunk)| chunk.place(*stripe));
    Ok(with_fixed(volume, places.collect()))
}

/// With the superblocks, the start of the disk, and what lies behind the filesystem.
fn with_fixed(volume: &Volume<'_>, mut map: ExtentMap) -> ExtentMap {
    let size = volume.source.size_bytes();
    let copies = COPIES.map(|copy| Extent::between(copy, (copy + COPY_ROOM).min(size)));
    let front = Extent::between(0, RESERVED.min(size));
    let tail = Extent::between(volume.superblock.device.bytes, size);
    for extent in copies.into_iter().chain([front, tail]).flatten() {
        map.insert(extent);
    }
    map
}

/// The superblocks.
fn fixed(volume: &Volume<'_>) -> ExtentMap {
    let size = volume.source.size_bytes();
    let copies = COPIES.map(|copy| Extent::between(copy, (copy + LENGTH).min(size)));
    copies.into_iter().flatten().collect()
}
