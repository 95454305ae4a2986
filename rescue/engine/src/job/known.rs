//! What an unfinished image has of its disk already.

use disk::extent::{Extent, ExtentMap};
use image::chunk::Entry;
use image::error::ImageError;
use image::reader::{Piece, Reader};
use image::states::State;

use crate::map::{Map, Status};

/// In granules of the image, so a place beside a bad sector may count as bad.
#[derive(Debug)]
pub struct Known {
    pub map: Map,
    /// Cells that have an entry.
    pub stored: ExtentMap,
}

impl Known {
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
        let states = [
            (State::Kept, Status::Finished),
            (State::Unreadable, Status::Bad),
        ];
        let told = reader.states(entry)?;
        for (state, status) in states {
            let extents: Vec<Extent> = match &told {
                Some(told) => told.extents(entry.extent, state).collect(),
                None if entry.kind.state() == state => vec![entry.extent],
                None => continue,
            };
            for part in extents.iter().flat_map(|extent| wanted.within(*extent)) {
                self.map.set(part, status);
            }
        }
        Ok(())
    }

    /// Whether something was passed over before the end of what is stored.
    pub fn has_holes(&self, wanted: &ExtentMap) -> bool {
        let done = self.map.finished.union(&self.map.bad);
        let missing = wanted.intersection(&self.stored).difference(&done);
        !self.map.bad.is_empty() || !missing.is_empty()
    }
}
