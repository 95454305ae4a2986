//! The state of a job: what of the source was copied, what could not be read.

use disk::extent::{Extent, ExtentMap};

/// As in GNU ddrescue's map files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// `?`
    NonTried,
    /// `*`
    NonTrimmed,
    /// `/`
    NonScraped,
    /// `-`
    Bad,
    /// `+`
    Finished,
}

/// A status for every byte of a disk; bytes nobody set are `NonTried`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Map {
    pub size_bytes: u64,
    pub finished: ExtentMap,
    pub bad: ExtentMap,
}

impl Map {
    pub fn new(size_bytes: u64) -> Map {
        Map {
            size_bytes,
            ..Map::default()
        }
    }

    pub fn set(&mut self, extent: Extent, status: Status) {
        self.finished.remove(extent);
        self.bad.remove(extent);
        match status {
            Status::Finished => self.finished.insert(extent),
            Status::Bad => self.bad.insert(extent),
            Status::NonTried | Status::NonTrimmed | Status::NonScraped => {}
        }
    }
}
