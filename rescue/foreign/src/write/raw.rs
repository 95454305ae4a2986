//! The disk itself, with holes for zeros.

use std::io;

use disk::geometry::Geometry;

use super::{Format, Out};

const LEAF: usize = 4096;

pub struct Raw {
    size_bytes: u64,
    out: Box<dyn Out>,
}

impl Raw {
    pub fn new(geometry: Geometry, out: Box<dyn Out>) -> Raw {
        Raw {
            size_bytes: geometry.size_bytes,
            out,
        }
    }
}

impl Format for Raw {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let is_zero = |leaf: &[u8]| leaf.iter().all(|byte| *byte == 0);
        // Runs of leaves with data, each in one write.
        let mut from = None;
        let mut at = 0;
        for leaf in bytes.chunks(LEAF) {
            match (is_zero(leaf), from) {
                (false, None) => from = Some(at),
                (true, Some(start)) => {
                    self.out.put(offset + start as u64, &bytes[start..at])?;
                    from = None;
                }
                _ => {}
            }
            at += leaf.len();
        }
        match from {
            Some(start) => self.out.put(offset + start as u64, &bytes[start..]),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.end(self.size_bytes)
    }
}
