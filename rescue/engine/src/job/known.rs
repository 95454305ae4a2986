//! What an unfinished image has of its disk already.

use disk::extent::{Extent, ExtentMap};
use image::chunk::Entry;
use image::error::ImageError;
use image::reader::{Piece, Reader};
use image::states::{GRANULE, State};

use crate::map::{Map, Status};

/// In granules of the image. One that counts as unreadable may be so for a single sector, and of one of which only a
/// part had come when the job was killed the rest was never asked for: their sectors are asked for again, each alone.
#[derive(Debug)]
pub struct Known {
    pub map: Map,
    /// Cells that have an entry.
    pub stored: ExtentMap,
    /// What the map of an earlier run called free and this one does not.
    pub grown: ExtentMap,
}

impl Known {
    pub fn of(size_bytes: u64) -> Known {
        Known {
            map: Map::new(size_bytes),
            stored: ExtentMap::new(),
            grown: ExtentMap::new(),
        }
    }

    /// Takes what stands before `end`.
    pub fn read(
        &mut self,
        reader: &Reader,
        end: u64,
        wanted: &ExtentMap,
    ) -> Result<(), ImageError> {
        for piece in reader.pieces() {
            let Piece::Entry(entry) = piece? else {
                continue;
            };
            if entry.extent.start() >= end {
                break;
            }
            self.stored.insert(entry.extent);
            self.entry(reader, &entry, wanted)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        reader: &Reader,
        entry: &Entry,
        wanted: &ExtentMap,
    ) -> Result<(), ImageError> {
        let sector = reader.head().geometry.physical_sector;
        let unreadable = match sector as usize >= GRANULE {
            true => Status::Bad,
            false => Status::NonScraped,
        };
        let states = [
            (State::Kept, Some(Status::Finished)),
            (State::Unreadable, Some(unreadable)),
            (State::Free, None),
        ];
        // Without states of its own it is all in one, and may be long.
        let told = match entry.has_states() {
            true => reader.states(entry)?,
            false => None,
        };
        for (state, status) in states {
            let extents: Vec<Extent> = match &told {
                Some(told) => told.extents(entry.extent, state).collect(),
                None if !entry.has_states() && entry.kind.state() == state => vec![entry.extent],
                None => continue,
            };
            for part in extents.iter().flat_map(|extent| wanted.within(*extent)) {
                match status {
                    Some(status) => self.map.set(part, status),
                    None => self.grown.insert(part),
                }
            }
        }
        Ok(())
    }

    /// Whether something was passed over before the end of what is stored.
    pub fn has_holes(&self, wanted: &ExtentMap) -> bool {
        let done = self.map.finished.union(&self.map.bad);
        let missing = wanted.intersection(&self.stored).difference(&done);
        !self.map.bad.is_empty() || !self.map.non_scraped.is_empty() || !missing.is_empty()
    }
}
