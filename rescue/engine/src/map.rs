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

/// A status for every byte of a disk; bytes nobody set are `NonTried`. The sets are disjoint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Map {
    pub size_bytes: u64,
    pub finished: ExtentMap,
    pub bad: ExtentMap,
    pub non_trimmed: ExtentMap,
    pub non_scraped: ExtentMap,
}

impl Map {
    pub fn new(size_bytes: u64) -> Map {
        Map {
            size_bytes,
            ..Map::default()
        }
    }

    pub fn set(&mut self, extent: Extent, status: Status) {
        for (one, set) in self.sets() {
            if one == status {
                set.insert(extent);
            } else if !set.is_empty() {
                set.remove(extent);
            }
        }
    }

    /// Finished, but for what has a mark of its own.
    pub fn add(&mut self, extents: &[Extent], marks: &[(&ExtentMap, Status)]) {
        for extent in extents {
            self.set(*extent, Status::Finished);
        }
        for (marked, status) in marks {
            marked.iter().for_each(|extent| self.set(extent, *status));
        }
    }

    /// What nobody has an answer for yet.
    pub fn open(&self) -> ExtentMap {
        self.finished.union(&self.bad).complement(self.size_bytes)
    }

    /// Whether anything could not be read at once.
    pub fn has_trouble(&self) -> bool {
        !(self.bad.is_empty() && self.non_trimmed.is_empty() && self.non_scraped.is_empty())
    }

    /// Every byte of the disk with its status, in disk order.
    pub fn lines(&self) -> impl Iterator<Item = (Extent, Status)> + '_ {
        let mut known = [
            (&self.finished, Status::Finished),
            (&self.bad, Status::Bad),
            (&self.non_trimmed, Status::NonTrimmed),
            (&self.non_scraped, Status::NonScraped),
        ]
        .map(|(set, status)| (set.iter().peekable(), status));
        let mut at = 0;
        std::iter::from_fn(move || {
            let heads = known.iter_mut().filter_map(|(set, status)| {
                let head = *set.peek()?;
                Some((head, *status, set))
            });
            let next = heads.min_by_key(|(head, _, _)| head.start());
            let from = next.as_ref().map_or(self.size_bytes, |next| next.0.start());
            if let Some(gap) = Extent::between(at, from) {
                at = from;
                return Some((gap, Status::NonTried));
            }
            let (extent, status, set) = next?;
            set.next();
            at = extent.end();
            Some((extent, status))
        })
    }

    fn sets(&mut self) -> [(Status, &mut ExtentMap); 4] {
        [
            (Status::Finished, &mut self.finished),
            (Status::Bad, &mut self.bad),
            (Status::NonTrimmed, &mut self.non_trimmed),
            (Status::NonScraped, &mut self.non_scraped),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_has_one_status_and_the_last_word_counts() {
        let extent = |start, len| Extent::new(start, len).unwrap();
        let mut map = Map::new(100);
        map.set(extent(10, 40), Status::Finished);
        map.set(extent(20, 10), Status::Bad);
        map.set(extent(25, 5), Status::NonTried);
        assert_eq!(
            map.lines().collect::<Vec<_>>(),
            [
                (extent(0, 10), Status::NonTried),
                (extent(10, 10), Status::Finished),
                (extent(20, 5), Status::Bad),
                (extent(25, 5), Status::NonTried),
                (extent(30, 20), Status::Finished),
                (extent(50, 50), Status::NonTried),
            ]
        );
    }
}
