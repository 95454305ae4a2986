//! A disk in memory.

use crate::extent::Extent;
use crate::geometry::Geometry;
use crate::source::{BlockSource, ReadError};

/// Bytes as a disk, with 512-byte sectors unless said otherwise.
#[derive(Clone, Debug)]
pub struct MemorySource {
    bytes: Vec<u8>,
    geometry: Geometry,
}

impl MemorySource {
    pub fn new(bytes: Vec<u8>) -> MemorySource {
        let geometry = Geometry::of_file(bytes.len() as u64);
        MemorySource { bytes, geometry }
    }

    pub fn with_sectors(bytes: Vec<u8>, logical_sector: u32, physical_sector: u32) -> MemorySource {
        let geometry = Geometry {
            size_bytes: bytes.len() as u64,
            logical_sector,
            physical_sector,
        };
        MemorySource { bytes, geometry }
    }
}

impl BlockSource for MemorySource {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|at| self.bytes.get(at..at.checked_add(buf.len())?));
        match found {
            Some(found) => {
                buf.copy_from_slice(found);
                Ok(())
            }
            None => Err(ReadError::BeyondEnd {
                offset,
                len: buf.len() as u64,
                size_bytes: self.geometry.size_bytes,
            }),
        }
    }
}

/// A source with places that cannot be read, as a failing disk has them.
#[derive(Debug)]
pub struct BadPlaces<S> {
    pub source: S,
    pub bad: crate::extent::ExtentMap,
}

impl<S: BlockSource> BlockSource for BadPlaces<S> {
    fn geometry(&self) -> Geometry {
        self.source.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let asked = Extent::new(offset, buf.len() as u64);
        match asked.and_then(|asked| self.bad.within(asked).next()) {
            Some(bad) => Err(ReadError::Unreadable(bad)),
            None => self.source.read_at(offset, buf),
        }
    }
}
