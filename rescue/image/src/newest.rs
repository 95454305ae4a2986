//! Which chunk is the newest of each cell, in an image that was not written in the order of the disk.

use disk::extent::Extent;

use crate::head::Head;
use crate::index::PAGE_ENTRIES;
use crate::zeros::RUN_LIMIT;

/// Cells that get their memory together.
const BLOCK: usize = 4096;

/// A cell without a chunk.
const NONE: u32 = 0;
const SOME: u32 = 1 << 31;
/// The chunk is a run of several cells.
const RUN: u32 = 1 << 30;

/// The `entry`th of the `page`th page, in the order of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub page: usize,
    pub entry: usize,
}

/// Four bytes for each cell: 20 MB for a disk of 20 TB.
pub struct Newest {
    head: Head,
    cells: usize,
    blocks: Vec<Option<Box<[u32; BLOCK]>>>,
}

impl Newest {
    /// `None` when the disk has too many cells.
    pub fn new(head: &Head) -> Option<Newest> {
        let cells = head
            .geometry
            .size_bytes
            .div_ceil(u64::from(head.chunk_size));
        let cells = usize::try_from(cells).ok()?;
        head.can_have_any_order().then(|| Newest {
            head: *head,
            cells,
            blocks: vec![None; cells.div_ceil(BLOCK)],
        })
    }

    /// The newest for the cells of `extent` so far; both numbers are within the limits of the format.
    pub fn set(&mut self, extent: Extent, place: Place) {
        let (first, last) = (self.cell(extent.start()), self.cell(extent.end() - 1));
        let run = if first < last { RUN } else { 0 };
        let value = u32::try_from(place.page * PAGE_ENTRIES + place.entry)
            .expect("at most 2^18 pages of 256 entries");
        for cell in first..=last.min(self.cells.saturating_sub(1)) {
            let block = self.blocks[cell / BLOCK].get_or_insert_with(|| Box::new([NONE; BLOCK]));
            block[cell % BLOCK] = value | SOME | run;
        }
    }

    /// The newest for the cell in which this address lies.
    pub fn get(&self, address: u64) -> Option<Place> {
        place(self.value(self.cell(address)))
    }

    /// Whether any of these cells has its newest chunk in this page.
    pub fn is_any_in(&self, extent: Extent, page: usize) -> bool {
        (self.cell(extent.start())..=self.cell(extent.end() - 1))
            .any(|cell| place(self.value(cell)).is_some_and(|place| place.page == page))
    }

    /// Whether the chunk of the cell at `address` is of several cells.
    pub fn is_run(&self, address: u64) -> bool {
        self.value(self.cell(address)) & RUN != 0
    }

    /// Where the first cell without a chunk begins, from `address` on: before that there is none.
    pub fn without_gap(&self, address: u64) -> u64 {
        let cells = self.cell(address)..self.cells;
        let first = cells.clone().find(|cell| self.value(*cell) == NONE);
        let end = first.unwrap_or(self.cells.max(cells.start)) as u64;
        (end * u64::from(self.head.chunk_size)).clamp(address, self.head.geometry.size_bytes)
    }

    /// The cells from the one at `address` on that have the same chunk, or none: at most 1 GiB of them.
    pub fn group(&self, address: u64) -> Option<(Extent, Option<Place>)> {
        let chunk_size = u64::from(self.head.chunk_size);
        let first = self.cell(address);
        if address >= self.head.geometry.size_bytes || first >= self.cells {
            return None;
        }
        let most = usize::try_from(RUN_LIMIT / chunk_size).expect("at most 2^14 cells");
        let value = self.value(first);
        let alone = value & SOME != 0 && value & RUN == 0;
        let until = if alone { first + 1 } else { first + most };
        let end = (first + 1..until.min(self.cells))
            .find(|cell| self.value(*cell) != value)
            .unwrap_or(until.min(self.cells));
        let limit = self.head.geometry.size_bytes;
        let extent = Extent::between(
            first as u64 * chunk_size,
            (end as u64 * chunk_size).min(limit),
        )?;
        Some((extent, place(value)))
    }

    fn cell(&self, address: u64) -> usize {
        usize::try_from(address / u64::from(self.head.chunk_size)).unwrap_or(usize::MAX)
    }

    fn value(&self, cell: usize) -> u32 {
        let block = self.blocks.get(cell / BLOCK).and_then(Option::as_ref);
        block.map_or(NONE, |block| block[cell % BLOCK])
    }
}

fn place(value: u32) -> Option<Place> {
    let number = (value & !(SOME | RUN)) as usize;
    (value & SOME != 0).then_some(Place {
        page: number / PAGE_ENTRIES,
        entry: number % PAGE_ENTRIES,
    })
}

#[cfg(test)]
mod tests {
    use disk::geometry::Geometry;

    use super::*;
    use crate::digest::{Digest, ImageId};

    fn head(size: u64) -> Head {
        Head::new(
            ImageId::default(),
            Geometry::of_file(size),
            Digest::default(),
        )
        .with_chunk_size(64 << 10)
    }

    fn extent(start: u64, end: u64) -> Extent {
        Extent::between(start << 16, end << 16).unwrap()
    }

    #[test]
    fn a_newer_chunk_takes_its_cells_out_of_a_run() {
        // The last cell is short.
        let mut newest = Newest::new(&head((9 << 16) + 512)).unwrap();
        let (run, later) = (
            Place { page: 0, entry: 7 },
            Place {
                page: 3,
                entry: 255,
            },
        );
        newest.set(extent(1, 9), run);
        newest.set(extent(4, 5), later);
        let mut groups = Vec::new();
        let mut at = 0;
        while let Some((extent, place)) = newest.group(at) {
            at = extent.end();
            groups.push((extent, place));
        }
        let expected = [
            (extent(0, 1), None),
            (extent(1, 4), Some(run)),
            (extent(4, 5), Some(later)),
            (extent(5, 9), Some(run)),
            (Extent::new(9 << 16, 512).unwrap(), None),
        ];
        assert_eq!(groups, expected);
        assert_eq!(newest.get((5 << 16) - 1), Some(later));
        assert_eq!(newest.get(11 << 16), None);
    }

    #[test]
    fn memory_is_taken_for_what_is_there_and_has_a_limit() {
        let newest = Newest::new(&head(1 << 39)).unwrap();
        assert!(newest.blocks.iter().all(Option::is_none));
        let whole = Head {
            chunk_size: 64 << 10,
            ..head(1 << 40)
        };
        assert!(Newest::new(&whole).is_none());
    }
}
