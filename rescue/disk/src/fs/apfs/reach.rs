//! What the trees of a container reach must be used by its bitmaps: those have no checksum of their own.
//!
//! An object map lists every block of metadata of a volume, in each version that a snapshot keeps, and the extent trees
//! list what its files have; none of them is encrypted where the volume is.

use super::btree::{Visitor, walk};
use super::container::Container;
use super::node::Shape;
use super::omap::{Omap, mapped};
use super::volume::Volume;
use super::{Trouble, refused};
use crate::extent::ExtentMap;
use crate::fields::Fields;

/// Of a key of a volume's own trees, what it is a record of.
const TYPE_SHIFT: u32 = 60;
const ID: u64 = (1 << TYPE_SHIFT) - 1;
const SNAPSHOT: u64 = 1;
const EXTENT: u64 = 2;
/// The bits of an extent's length, in blocks; and of a sealed volume's, in bytes.
const LENGTH: u64 = (1 << TYPE_SHIFT) - 1;
const SEALED_LENGTH: u64 = (1 << 56) - 1;

/// Checks nodes and what `record` makes of records against the map.
struct Reached<'a, F> {
    container: &'a Container<'a>,
    used: &'a ExtentMap,
    record: F,
}

impl<F> Visitor for Reached<'_, F>
where
    F: FnMut(Fields<'_>, Fields<'_>) -> Option<Blocks>,
{
    fn node(&mut self, place: u64) -> Result<(), Trouble> {
        covered(self.container, self.used, place, 1)
    }

    fn record(&mut self, key: Fields<'_>, value: Fields<'_>) -> Result<(), Trouble> {
        match (self.record)(key, value) {
            Some(Blocks::At(place, count)) => covered(self.container, self.used, place, count),
            Some(Blocks::None) => Ok(()),
            None => refused("a record of its trees is cut off"),
        }
    }
}

/// What a record says is in use.
enum Blocks {
    None,
    At(u64, u64),
}

pub(super) fn check(
    container: &Container<'_>,
    volumes: &[Volume],
    used: &ExtentMap,
) -> Result<(), Trouble> {
    let reach = Reach { container, used };
    let omap = container.superblock.omap;
    covered(container, used, omap, 1)?;
    reach.omap(&Omap::read(container, omap)?)?;
    volumes.iter().try_for_each(|volume| reach.volume(volume))
}

struct Reach<'a> {
    container: &'a Container<'a>,
    used: &'a ExtentMap,
}

impl Reach<'_> {
    fn volume(&self, volume: &Volume) -> Result<(), Trouble> {
        covered(self.container, self.used, volume.place, 1)?;
        covered(self.container, self.used, volume.omap_place, 1)?;
        self.omap(&volume.omap)?;
        if let Some(tree) = volume.extents {
            self.extents(tree)?;
        }
        if let Some(tree) = volume.file_extents {
            let size = self.container.block_size();
            self.walk(tree, Shape::FILE_EXTENTS, |_, value| {
                let count = (value.u64(0)? & SEALED_LENGTH).div_ceil(size);
                Some(Blocks::At(value.u64(8)?, count))
            })?;
        }
        volume.snapshots.map_or(Ok(()), |tree| self.snapshots(tree))
    }

    fn omap(&self, omap: &Omap) -> Result<(), Trouble> {
        let size = self.container.block_size();
        self.walk(omap.tree, Shape::OMAP, |_, value| match mapped(value) {
            Some(mapped) => Some(Blocks::At(mapped.place, mapped.size.div_ceil(size).max(1))),
            None => value.u64(8).map(|_| Blocks::None),
        })?;
        match omap.snapshots {
            Some(tree) => self.walk(tree, Shape::OMAP_SNAPSHOTS, |_, _| Some(Blocks::None)),
            None => Ok(()),
        }
    }

    fn extents(&self, tree: u64) -> Result<(), Trouble> {
        self.walk(tree, Shape::EXTENTS, |key, value| {
            let key = key.u64(0)?;
            let count = value.u64(0)? & LENGTH;
            (key >> TYPE_SHIFT == EXTENT).then_some(Blocks::At(key & ID, count))
        })
    }

    /// Each snapshot has a superblock, and the extents it had to itself when it was taken.
    fn snapshots(&self, tree: u64) -> Result<(), Trouble> {
        let mut trees = Vec::new();
        self.walk(tree, Shape::SNAPSHOTS, |key, value| {
            if key.u64(0)? >> TYPE_SHIFT != SNAPSHOT {
                return Some(Blocks::None);
            }
            trees.push(value.u64(0)?);
            Some(Blocks::At(value.u64(8)?, 1))
        })?;
        trees
            .into_iter()
            .filter(|tree| *tree != 0)
            .try_for_each(|tree| self.extents(tree))
    }

    fn walk(
        &self,
        tree: u64,
        shape: Shape,
        record: impl FnMut(Fields<'_>, Fields<'_>) -> Option<Blocks>,
    ) -> Result<(), Trouble> {
        let mut visitor = Reached {
            container: self.container,
            used: self.used,
            record,
        };
        walk(self.container, tree, shape, &mut visitor)
    }
}

fn covered(
    container: &Container<'_>,
    used: &ExtentMap,
    place: u64,
    count: u64,
) -> Result<(), Trouble> {
    if count == 0 {
        return Ok(());
    }
    let blocks = place..place.saturating_add(count);
    match container.extent(blocks) {
        Some(extent) if used.covers(extent) => Ok(()),
        Some(_) => refused(format!(
            "its space manager calls block {place} free, which its trees use"
        )),
        None => refused("one of its records points beyond its end"),
    }
}
