//! What the bytes of a disk are to somebody who may not get all of them.

use crate::extent::{Extent, ExtentMap};
use crate::fs::{Filesystem, Used};
use crate::layer::{Layer, Volume};
use crate::layout::{Content, Layout, Owner, Region};
use crate::table::Scheme;

/// Sectors that a GPT and its array of entries take at the end of a disk as every tool makes it; at the start the
/// protective MBR is before them.
const GPT_SECTORS: u64 = 33;

/// Every byte is in exactly one of them. They are told in the order in which they are worth reading.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Classes {
    /// Tables, superblocks, maps, trees, journals: what has to be known to know anything.
    pub metadata: ExtentMap,
    pub used: ExtentMap,
    /// What nobody can say: its map cannot be read, or there is none.
    pub unknown: ExtentMap,
    /// Proven free.
    pub free: ExtentMap,
}

impl Classes {
    /// `metadata` goes before `unknown`, and both have only what is kept at all.
    fn of(metadata: &ExtentMap, kept: ExtentMap, unknown: &ExtentMap, size_bytes: u64) -> Classes {
        let metadata = metadata.intersection(&kept);
        let unknown = unknown.intersection(&kept).difference(&metadata);
        Classes {
            used: kept.difference(&metadata).difference(&unknown),
            free: kept.complement(size_bytes),
            metadata,
            unknown,
        }
    }
}

/// What is to be read first, and what nobody knows, of one piece of a disk.
#[derive(Default)]
struct Told {
    metadata: Vec<Extent>,
    unknown: Vec<Extent>,
}

impl Layout {
    pub fn classes(&self) -> Classes {
        let first = self.partitions().map(|(p, _)| p.extent.start()).min();
        let mut told = Told::default();
        for region in &self.regions {
            match &region.owner {
                Owner::Table => told.metadata.push(region.extent),
                Owner::Gap => self.gap(region, first.unwrap_or(0), &mut told),
                Owner::Partition { content, .. } | Owner::Disk(content) => {
                    let inside = content_told(content, region.extent.len());
                    let start = region.extent.start();
                    let moved = |extent: Extent| extent.shifted(start)?.intersect(region.extent);
                    told.metadata
                        .extend(inside.metadata.into_iter().filter_map(moved));
                    told.unknown
                        .extend(inside.unknown.into_iter().filter_map(moved));
                }
            }
        }
        let [metadata, unknown] = [told.metadata, told.unknown].map(ExtentMap::from);
        Classes::of(&metadata, self.used(), &unknown, self.geometry.size_bytes)
    }

    /// Before the first partition boot loaders live; of other gaps nobody knows. A copy of a table that cannot be
    /// read lies in a gap too.
    fn gap(&self, region: &Region, first_partition: u64, told: &mut Told) {
        if region.extent.start() >= first_partition {
            told.unknown.push(region.extent);
        }
        let Some(table) = self.table.as_ref().filter(|t| t.scheme == Scheme::Gpt) else {
            return;
        };
        let size = self.geometry.size_bytes;
        let sector = u64::from(table.sector_size);
        let own = GPT_SECTORS * sector;
        let ends = [
            Extent::new(0, own + sector),
            Extent::between(size.saturating_sub(own), size),
        ];
        let ends = ends.into_iter().flatten();
        told.metadata
            .extend(ends.filter_map(|end| end.intersect(region.extent)));
    }
}

/// As offsets of what carries the content.
fn content_told(content: &Content, size_bytes: u64) -> Told {
    match content {
        Content::Filesystem(found) => filesystem(found, size_bytes),
        Content::Layer(layer) => layer_told(layer),
        Content::Unknown(_) => everything(size_bytes),
    }
}

fn everything(size_bytes: u64) -> Told {
    Told {
        metadata: Vec::new(),
        unknown: Extent::new(0, size_bytes).into_iter().collect(),
    }
}

fn filesystem(found: &Filesystem, size_bytes: u64) -> Told {
    Told {
        metadata: found.parts.metadata.iter().collect(),
        unknown: match found.used {
            Used::Map { .. } => found.parts.unknown.iter().collect(),
            Used::Whole(_) => everything(size_bytes).unknown,
        },
    }
}

fn layer_told(layer: &Layer) -> Told {
    let mut told = match layer.whole {
        Some(_) => everything(layer.size_bytes),
        None => Told::default(),
    };
    told.metadata.extend(layer.own.iter());
    for volume in &layer.volumes {
        volume_told(volume, &mut told);
    }
    told
}

fn volume_told(volume: &Volume, told: &mut Told) {
    if !volume.is_complete() {
        told.unknown.extend(volume.mapping.everything());
        return;
    }
    let inside = content_told(&volume.content, volume.size_bytes);
    let granule = u64::from(volume.granule.max(1));
    let outer = |extents: Vec<Extent>| {
        let map = ExtentMap::from(extents).aligned_out(granule, volume.size_bytes);
        volume.mapping.outer(&map)
    };
    told.metadata.extend(outer(inside.metadata));
    told.unknown.extend(outer(inside.unknown));
}
