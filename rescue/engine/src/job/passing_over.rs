//! A disk of which some places are to be left out: they are zeros, and nobody reads them.

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};

pub struct PassingOver<'a> {
    pub source: &'a dyn BlockSource,
    pub left_out: &'a ExtentMap,
}

impl BlockSource for PassingOver<'_> {
    fn geometry(&self) -> Geometry {
        self.source.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let Some(asked) = Extent::new(offset, buf.len() as u64) else {
            return Ok(());
        };
        let place = |extent: Extent| {
            let at = |offset: u64| {
                usize::try_from(offset - asked.start()).expect("it lies in the buffer")
            };
            at(extent.start())..at(extent.end())
        };
        let mut at = asked.start();
        for left in self.left_out.within(asked) {
            if let Some(before) = Extent::between(at, left.start()) {
                self.source.read_at(at, &mut buf[place(before)])?;
            }
            buf[place(left)].fill(0);
            at = left.end();
        }
        match Extent::between(at, asked.end()) {
            Some(rest) => self.source.read_at(at, &mut buf[place(rest)]),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use disk::memory::{BadPlaces, MemorySource};

    use super::*;

    #[test]
    fn what_is_left_out_is_zeros_and_is_never_read() {
        let extent = |start, len| Extent::new(start, len).unwrap();
        let left_out: ExtentMap = [extent(4, 4), extent(12, 2)].into_iter().collect();
        let source = BadPlaces {
            source: MemorySource::new(vec![7; 20]),
            bad: left_out.clone(),
        };
        let over = PassingOver {
            source: &source,
            left_out: &left_out,
        };
        for (from, to) in [(0, 20), (4, 8), (5, 7), (6, 13), (13, 20), (8, 12), (3, 3)] {
            let mut read = vec![9; to - from];
            over.read_at(from as u64, &mut read).unwrap();
            for (at, byte) in (from as u64..).zip(read) {
                assert_eq!(
                    byte,
                    if left_out.contains(at) { 0 } else { 7 },
                    "{from}..{to}"
                );
            }
        }
    }
}
