//! A throw-away layer for writes over something that is never written.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError, WriteError};

use super::content::{Allocation, Content, Run};

/// Unit of what is written.
pub const CELL: u64 = 64 << 10;
const CELL_BYTES: usize = 64 << 10;
/// Most cells: 64 GiB, for which the table takes some 30 MiB.
const CELLS: u32 = 1 << 20;

/// Written cells lie in a file, in the order of their first write; the file has no name and goes when it is closed.
#[derive(Debug)]
pub struct Overlay<C> {
    below: C,
    file: File,
    table: RwLock<Table>,
}

#[derive(Default, Debug)]
struct Table {
    /// Number of a cell of the disk, and of its place in the file.
    places: BTreeMap<u64, u32>,
    /// Whole cells that read as zeros where they have no place.
    zeroed: ExtentMap,
    free: Vec<u32>,
    used: u32,
}

impl Table {
    fn place(&self, cell: u64) -> Option<u64> {
        let place = self.places.get(&cell)?;
        Some(u64::from(*place) * CELL)
    }

    /// A place for a cell that has none.
    fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let next = self.used;
            (next < CELLS).then(|| {
                self.used += 1;
                next
            })
        })
    }
}

impl<C: Content> Overlay<C> {
    /// The file is empty and nobody else's.
    pub fn new(below: C, file: File) -> Overlay<C> {
        Overlay {
            below,
            file,
            table: RwLock::default(),
        }
    }

    fn read_table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_table(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, cell: u64) -> Option<Extent> {
        Extent::between(cell * CELL, ((cell + 1) * CELL).min(self.size_bytes()))
    }

    fn inside(&self, offset: u64, len: u64) -> Result<Option<Extent>, WriteError> {
        let Some(extent) = Extent::new(offset, len) else {
            return Ok(None);
        };
        if extent.end() > self.size_bytes() {
            return Err(WriteError::Full("the disk".into()));
        }
        Ok(Some(extent))
    }

    /// Whole cells become zeros; parts of cells do if `parts` says so.
    fn zero(&self, extent: Extent, parts: Parts) -> Result<(), WriteError> {
        let mut table = self.write_table();
        let end = match extent.end() == self.size_bytes() {
            true => extent.end(),
            false => extent.end() / CELL * CELL,
        };
        let whole = Extent::between(extent.start().next_multiple_of(CELL), end);
        if let Some(whole) = whole {
            let cells = whole.start() / CELL..whole.end().div_ceil(CELL);
            let gone: Vec<u64> = table.places.range(cells).map(|(cell, _)| *cell).collect();
            for cell in gone {
                let place = table.places.remove(&cell);
                table.free.extend(place);
            }
            if table.zeroed.count() >= CELLS as usize {
                return Err(full());
            }
            table.zeroed.insert(whole);
        }
        if parts == Parts::Zeroed {
            let whole: ExtentMap = whole.into_iter().collect();
            let edges: ExtentMap = [extent].into_iter().collect();
            for edge in edges.difference(&whole).iter() {
                for part in edge.split_at_multiples(CELL) {
                    self.put(&mut table, part, &ZEROS[..length(part)])?;
                }
            }
        }
        Ok(())
    }

    /// Part of one cell, or all of it.
    fn put(&self, table: &mut Table, part: Extent, data: &[u8]) -> Result<(), WriteError> {
        let number = part.start() / CELL;
        let within = part.start() % CELL;
        if let Some(place) = table.place(number) {
            return self.file.write_all_at(data, place + within).map_err(fault);
        }
        let cell = self.cell(number).expect("the part lies on the disk");
        let mut content = vec![0; length(cell)];
        if !part.covers(cell) && !table.zeroed.contains(cell.start()) {
            let read = self.below.read_at(cell.start(), &mut content);
            read.map_err(|error| WriteError::Fault(error.to_string()))?;
        }
        let from = usize::try_from(within).expect("a cell is small");
        content[from..from + data.len()].copy_from_slice(data);
        let place = table.take().ok_or_else(full)?;
        match self.file.write_all_at(&content, u64::from(place) * CELL) {
            Ok(()) => {
                table.places.insert(number, place);
                Ok(())
            }
            Err(error) => {
                table.free.push(place);
                Err(fault(error))
            }
        }
    }

    fn get(&self, table: &Table, part: Extent, buf: &mut [u8]) -> Result<(), ReadError> {
        let number = part.start() / CELL;
        match table.place(number) {
            Some(place) => {
                let at = place + part.start() % CELL;
                let read = self.file.read_exact_at(buf, at);
                read.map_err(|error| ReadError::Fault(format!("the throw-away file: {error}")))
            }
            None if table.zeroed.contains(number * CELL) => {
                buf.fill(0);
                Ok(())
            }
            None => self.below.read_at(part.start(), buf),
        }
    }
}

const ZEROS: &[u8] = &[0; CELL_BYTES];

/// What happens with the parts of cells at both ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    Left,
    Zeroed,
}

fn length(extent: Extent) -> usize {
    usize::try_from(extent.len()).expect("it is at most a cell")
}

fn full() -> WriteError {
    WriteError::Full("the throw-away layer".into())
}

fn fault(error: std::io::Error) -> WriteError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => full(),
        _ => WriteError::Fault(format!("the throw-away file: {error}")),
    }
}

impl<C: Content> BlockSource for Overlay<C> {
    fn geometry(&self) -> Geometry {
        self.below.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let Some(extent) = Extent::new(offset, buf.len() as u64) else {
            return Ok(());
        };
        if extent.end() > self.size_bytes() {
            return Err(ReadError::BeyondEnd {
                offset,
                len: extent.len(),
                size_bytes: self.size_bytes(),
            });
        }
        let table = self.read_table();
        // All of it is below: one read, not one a cell.
        let cells = extent.start() / CELL..extent.end().div_ceil(CELL);
        let untouched = table.places.range(cells).next().is_none()
            && table.zeroed.within(extent).next().is_none();
        if untouched {
            drop(table);
            return self.below.read_at(offset, buf);
        }
        let mut rest = buf;
        for part in extent.split_at_multiples(CELL) {
            let (now, later) = rest.split_at_mut(length(part));
            self.get(&table, part, now)?;
            rest = later;
        }
        Ok(())
    }
}

impl<C: Content> Content for Overlay<C> {
    fn run_at(&self, offset: u64) -> Result<Run, ReadError> {
        let table = self.read_table();
        let cell = offset / CELL;
        let end = ((cell + 1) * CELL).min(self.size_bytes());
        if table.place(cell).is_some() {
            let allocation = Allocation::Data;
            return Ok(Run { end, allocation });
        }
        let placed = table.places.range(cell..).next();
        let placed = placed.map_or(self.size_bytes(), |(next, _)| next * CELL);
        if let Some(zeroed) = table.zeroed.find(offset) {
            return Ok(Run {
                end: zeroed.end().min(placed),
                allocation: Allocation::Hole,
            });
        }
        let behind = Extent::between(offset, placed);
        let zeroed = behind.and_then(|behind| table.zeroed.within(behind).next());
        let limit = zeroed.map_or(placed, Extent::start);
        drop(table);
        let run = self.below.run_at(offset)?;
        Ok(Run {
            end: run.end.min(limit),
            ..run
        })
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), WriteError> {
        let Some(extent) = self.inside(offset, data.len() as u64)? else {
            return Ok(());
        };
        let mut rest = data;
        for part in extent.split_at_multiples(CELL) {
            let (now, later) = rest.split_at(length(part));
            // One cell at a time: readers come between.
            self.put(&mut self.write_table(), part, now)?;
            rest = later;
        }
        Ok(())
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<(), WriteError> {
        match self.inside(offset, len)? {
            Some(extent) => self.zero(extent, Parts::Zeroed),
            None => Ok(()),
        }
    }

    fn trim(&self, offset: u64, len: u64) -> Result<(), WriteError> {
        match self.inside(offset, len)? {
            Some(extent) => self.zero(extent, Parts::Left),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
