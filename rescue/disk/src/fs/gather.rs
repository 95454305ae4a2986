//! Collects used extents in ascending order within a bound of memory.

use crate::extent::{Extent, ExtentMap};

/// Most extents kept: 16 MiB of them. A filesystem in more pieces than that loses its smallest gaps, not our
/// memory.
const LIMIT: usize = 1 << 20;

/// Gaps narrower than `narrow` count as used; it is 0 until there are too many extents.
#[derive(Debug)]
pub(super) struct Gather {
    extents: ExtentMap,
    narrow: u64,
    unit: u64,
    limit: usize,
}

impl Gather {
    /// `unit` is the smallest gap there can be.
    pub fn new(unit: u64) -> Gather {
        Gather {
            extents: ExtentMap::new(),
            narrow: 0,
            unit,
            limit: LIMIT,
        }
    }

    /// `start..end` is used; it lies behind everything pushed before.
    pub fn push(&mut self, start: u64, end: u64) {
        add(&mut self.extents, start, end, self.narrow);
        while self.extents.count() >= self.limit {
            self.narrow = (self.narrow * 2).max(self.unit * 2);
            let mut coarse = ExtentMap::new();
            for extent in self.extents.iter() {
                add(&mut coarse, extent.start(), extent.end(), self.narrow);
            }
            self.extents = coarse;
        }
    }

    pub fn finish(self) -> ExtentMap {
        self.extents
    }
}

fn add(extents: &mut ExtentMap, start: u64, end: u64, narrow: u64) {
    let last = extents.end();
    let start = if start.saturating_sub(last) < narrow {
        last.min(start)
    } else {
        start
    };
    if let Some(extent) = Extent::between(start, end) {
        extents.insert(extent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_extents_lose_their_smallest_gaps_and_nothing_used() {
        let mut gather = Gather {
            limit: 64,
            ..Gather::new(1)
        };
        let mut exact = ExtentMap::new();
        let mut at = 0;
        for step in 0..1000u64 {
            let (start, len) = (at + 1 + step * 7 % 23, 1 + step % 5);
            gather.push(start, start + len);
            exact.insert(Extent::new(start, len).unwrap());
            at = start + len;
        }
        let coarse = gather.finish();
        assert!(coarse.count() < 64);
        assert!(exact.iter().all(|e| coarse.covers(e)));
        assert_eq!(coarse.end(), exact.end());
    }

    #[test]
    fn below_the_limit_nothing_is_lost() {
        let mut gather = Gather::new(1024);
        gather.push(0, 1024);
        gather.push(2048, 4096);
        assert_eq!(gather.finish().count(), 2);
    }
}
