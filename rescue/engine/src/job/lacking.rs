//! A disk of which an earlier rescue did not get everything: what is absent is not read.

use disk::extent::ExtentMap;

use super::fetch::{Fetch, Fetched};
use super::piece::Piece;
use super::pipeline::Stop;
use crate::plan::Absent;

pub struct Lacking<'a> {
    pub fetch: &'a dyn Fetch,
    pub absent: &'a Absent,
}

impl Fetch for Lacking<'_> {
    fn piece(&self, piece: &Piece, buffer: &mut [u8]) -> Result<Fetched, Stop> {
        let within = |map: &ExtentMap| -> ExtentMap {
            let wanted = piece.wanted.iter();
            wanted.flat_map(|wanted| map.within(*wanted)).collect()
        };
        let (bad, left) = (
            within(&self.absent.unreadable),
            within(&self.absent.untried),
        );
        let absent = bad.union(&left);
        if absent.is_empty() {
            return self.fetch.piece(piece, buffer);
        }
        for run in &piece.runs {
            buffer[piece.place(*run)].fill(0);
        }
        let mut fetched = match piece.without(&absent) {
            Some(rest) => self.fetch.piece(&rest, buffer)?,
            None => Fetched::default(),
        };
        fetched.bad = fetched.bad.union(&bad);
        fetched.left = fetched.left.union(&left);
        Ok(fetched)
    }
}

#[cfg(test)]
mod tests {
    use disk::extent::Extent;
    use disk::memory::MemorySource;

    use super::super::fetch::FromDisk;
    use super::super::piece::pieces;
    use super::*;
    use crate::event::Cancel;

    #[test]
    fn what_is_absent_is_marked_and_zeros_whatever_the_file_has_there() {
        let extent = |start, len| Extent::new(start, len).unwrap();
        let absent = Absent {
            unreadable: [extent(4096, 512)].into_iter().collect(),
            untried: [extent(16_384, 8192)].into_iter().collect(),
        };
        let source = MemorySource::new(vec![7; 1 << 20]);
        let cancel = Cancel::default();
        let disk = FromDisk::new(&source, &cancel);
        let lacking = Lacking {
            fetch: &disk,
            absent: &absent,
        };
        let wanted = ExtentMap::whole(1 << 20);
        let piece = pieces(&wanted, 1 << 20).next().unwrap();
        let mut buffer = vec![9; 1 << 20];
        let fetched = lacking.piece(&piece, &mut buffer).unwrap();
        assert_eq!(fetched.bad, absent.unreadable);
        assert_eq!(fetched.left, absent.untried);
        let all = absent.all();
        for (at, byte) in buffer.iter().enumerate() {
            assert_eq!(*byte, if all.contains(at as u64) { 0 } else { 7 }, "{at}");
        }
    }
}
