//! A table for another disk, as bytes and where they go.
//!
//! Everything is computed from the source and laid over an exact copy of it; the source's own bytes stay as
//! they are wherever they need not change.

mod gpt;
mod mbr;

use crate::extent::Extent;
use crate::geometry::Geometry;
use crate::source::{BlockSource, ReadError};
use crate::table::{Partition, Role, Scheme, Table};

/// Bytes to be written at an offset of the destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patch {
    pub offset: u64,
    pub bytes: Vec<u8>,
}

/// A table in which the last partition reaches as far as the destination allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grown {
    /// The whole of the new table, as [`moved_to`] gives it.
    pub patches: Vec<Patch>,
    pub number: u32,
    pub from: Extent,
    pub to: Extent,
}

/// A partition grows to a multiple of this, so that it ends where no disk has half a block.
const ALIGNMENT: u64 = 1 << 20;

/// What has to be written over an exact copy of `source` on a disk of `destination` geometry (at least as
/// large) so that its table is right there: GPT headers with the new end, the backup at the new end, the old
/// backup wiped where no partition has taken its place; numbering, GUIDs, names and attributes kept to the
/// byte. Empty for MBR, for a disk of the same size, and for a table that is not trusted: that one is copied
/// as it is.
pub fn moved_to(
    source: &dyn BlockSource,
    table: &Table,
    destination: Geometry,
) -> Result<Vec<Patch>, ReadError> {
    let larger = destination.size_bytes > source.size_bytes();
    if table.scheme != Scheme::Gpt || !table.trusted || !larger {
        return Ok(Vec::new());
    }
    let moved = gpt::Moved::new(source, table, destination.size_bytes)?;
    Ok(moved.map_or_else(Vec::new, |moved| moved.patches()))
}

/// As [`moved_to`], with the partition that lies last on the disk grown into the room behind it. `None` when
/// it cannot grow: no room, no partition, an MBR's end of numbers, or a table that is not trusted.
pub fn grown(
    source: &dyn BlockSource,
    table: &Table,
    destination: Geometry,
) -> Result<Option<Grown>, ReadError> {
    let last = table
        .partitions
        .iter()
        .filter(|p| p.role != Role::Extended)
        .max_by_key(|p| p.extent.end());
    let Some(last) = last.filter(|_| table.trusted) else {
        return Ok(None);
    };
    if destination.size_bytes < source.size_bytes() {
        return Ok(None);
    }
    match table.scheme {
        Scheme::Gpt => gpt::grown(source, table, last, destination.size_bytes),
        Scheme::Mbr => mbr::grown(source, table, last, destination.size_bytes),
    }
}

/// The partition's new place when it may reach up to `limit`; `None` when it would not become larger.
fn stretched(partition: &Partition, limit: u64) -> Option<Extent> {
    let end = limit / ALIGNMENT * ALIGNMENT;
    Extent::between(partition.extent.start(), end).filter(|to| to.end() > partition.extent.end())
}

/// Cylinder, head and sector as an entry holds them, for the usual 255 heads of 63 sectors; `beyond` where the
/// ten bits of a cylinder do not reach.
fn chs(lba: u64, beyond: [u8; 3]) -> [u8; 3] {
    let (cylinder, head, sector) = (lba / (255 * 63), lba / 63 % 255, lba % 63 + 1);
    match (
        u16::try_from(cylinder),
        u8::try_from(head),
        u8::try_from(sector),
    ) {
        (Ok(cylinder), Ok(head), Ok(sector)) if cylinder < 1024 => {
            let [low, high] = cylinder.to_le_bytes();
            [head, sector | high << 6, low]
        }
        _ => beyond,
    }
}
