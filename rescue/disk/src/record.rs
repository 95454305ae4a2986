//! A source that remembers what was read from it: what a reader asked for is what it had to know.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::extent::{Extent, ExtentMap};
use crate::geometry::Geometry;
use crate::source::{BlockSource, ReadError};

/// Most extents remembered: 4 MiB of them. What is read beyond that is not remembered.
const LIMIT: usize = 1 << 18;

pub struct Recorded<'a> {
    source: &'a dyn BlockSource,
    asked: Mutex<ExtentMap>,
}

impl fmt::Debug for Recorded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorded")
    }
}

impl<'a> Recorded<'a> {
    pub fn new(source: &'a dyn BlockSource) -> Recorded<'a> {
        Recorded {
            source,
            asked: Mutex::default(),
        }
    }

    /// What was asked for, whether it could be read or not.
    pub fn asked(self) -> ExtentMap {
        self.asked
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockSource for Recorded<'_> {
    fn geometry(&self) -> Geometry {
        self.source.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        if let Some(extent) = Extent::new(offset, buf.len() as u64)
            && extent.end() <= self.source.size_bytes()
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.count() < LIMIT {
                asked.insert(extent);
            }
        }
        self.source.read_at(offset, buf)
    }
}
