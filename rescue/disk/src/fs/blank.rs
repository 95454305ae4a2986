//! A source whose unreadable places read as zeros: to look for signatures around them, never to map by.

use crate::extent::{Extent, ExtentMap};
use crate::geometry::Geometry;
use crate::source::{BlockSource, ReadError};

/// Most unreadable places that are looked around; signatures stand in fewer.
pub(super) const PLACES: usize = 64;
/// Larger places are looked at piece by piece: some disks call all of a request unreadable.
const PIECE: u64 = 4096;

pub(super) struct Blank<'a> {
    pub source: &'a dyn BlockSource,
    /// What cannot be read, in whole sectors.
    pub bad: ExtentMap,
}

impl Blank<'_> {
    /// Takes a place on the list. False when the list is full, or when it turns out to be readable.
    pub fn add(&mut self, place: Extent) -> Result<bool, ReadError> {
        let Some(whole) = Extent::new(0, self.source.size_bytes()) else {
            return Ok(false);
        };
        let sector = u64::from(self.source.geometry().logical_sector.max(512));
        let Some(place) = place
            .aligned_out(sector, whole.end())
            .and_then(|place| place.intersect(whole))
        else {
            return Ok(false);
        };
        if self.bad.covers(place) {
            return Ok(true);
        }
        if self.bad.count() >= PLACES {
            return Ok(false);
        }
        if place.len() <= PIECE || place.len() > PIECE * 64 {
            self.bad.insert(place);
            return Ok(true);
        }
        for piece in place.split_at_multiples(PIECE) {
            let mut bytes = vec![0; usize::try_from(piece.len()).expect("4 KiB at most")];
            match self.source.read_at(piece.start(), &mut bytes) {
                Ok(()) => {}
                Err(ReadError::Unreadable(_)) => self.bad.insert(piece),
                Err(error) => return Err(error),
            }
        }
        Ok(self.bad.within(place).next().is_some())
    }
}

impl BlockSource for Blank<'_> {
    fn geometry(&self) -> Geometry {
        self.source.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let asked = Extent::new(offset, buf.len() as u64);
        let Some(asked) = asked.filter(|asked| self.bad.within(*asked).next().is_some()) else {
            return self.source.read_at(offset, buf);
        };
        if asked.end() > self.size_bytes() {
            return self.source.read_at(offset, buf);
        }
        buf.fill(0);
        let around: ExtentMap = [asked].into_iter().collect();
        for good in around.difference(&self.bad).iter() {
            let [from, to] = [good.start(), good.end()]
                .map(|at| usize::try_from(at - offset).expect("it lies inside the buffer"));
            self.source.read_at(good.start(), &mut buf[from..to])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{BadPlaces, MemorySource};

    #[test]
    fn around_a_bad_place_everything_is_as_it_was() {
        let bytes: Vec<u8> = (0..16384u32).map(|n| (n % 251) as u8 + 1).collect();
        let bad = BadPlaces {
            source: MemorySource::new(bytes.clone()),
            bad: [Extent::new(700, 10).unwrap()].into_iter().collect(),
        };
        let mut blank = Blank {
            source: &bad,
            bad: ExtentMap::new(),
        };
        let mut read = vec![0; 4000];
        let Err(ReadError::Unreadable(place)) = blank.read_at(100, &mut read) else {
            panic!("it was read")
        };
        assert!(blank.add(place).unwrap());
        assert!(blank.add(place).unwrap());
        blank.read_at(100, &mut read).unwrap();
        let mut wanted = bytes[100..4100].to_vec();
        wanted[412..924].fill(0);
        assert_eq!(read, wanted);
        // All of a request is said to be bad: only the pieces that are stay on the list.
        let mut blank = Blank {
            source: &bad,
            bad: ExtentMap::new(),
        };
        assert!(blank.add(Extent::new(0, 16384).unwrap()).unwrap());
        assert_eq!(blank.bad.total_bytes(), 4096);
    }
}
