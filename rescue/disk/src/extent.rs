//! Byte ranges of a disk and sets of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A non-empty byte range whose end fits in a `u64`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u64, u64)", into = "(u64, u64)")]
pub struct Extent {
    start: u64,
    len: u64,
}

impl Extent {
    /// `None` when `len` is zero or the end does not fit in a `u64`.
    pub fn new(start: u64, len: u64) -> Option<Extent> {
        start.checked_add(len)?;
        (len > 0).then_some(Extent { start, len })
    }

    /// The range `start..end`; `None` when it is empty.
    pub fn between(start: u64, end: u64) -> Option<Extent> {
        Extent::new(start, end.checked_sub(start)?)
    }

    pub fn start(self) -> u64 {
        self.start
    }

    /// Length in bytes, never zero.
    #[expect(clippy::len_without_is_empty, reason = "an extent is never empty")]
    pub fn len(self) -> u64 {
        self.len
    }

    /// First byte after the range.
    pub fn end(self) -> u64 {
        self.start + self.len
    }

    pub fn contains(self, offset: u64) -> bool {
        (self.start..self.end()).contains(&offset)
    }

    pub fn covers(self, other: Extent) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    pub fn intersect(self, other: Extent) -> Option<Extent> {
        Extent::between(self.start.max(other.start), self.end().min(other.end()))
    }

    pub fn shifted(self, by: u64) -> Option<Extent> {
        Extent::new(self.start.checked_add(by)?, self.len)
    }

    /// Grown outwards to multiples of `granule`, cut at `limit`. `granule` is not zero.
    pub fn aligned_out(self, granule: u64, limit: u64) -> Option<Extent> {
        let start = self.start / granule * granule;
        let end = self
            .end()
            .checked_next_multiple_of(granule)
            .unwrap_or(limit);
        Extent::between(start, end.min(limit))
    }

    /// Cut into pieces that end at multiples of `size`. `size` is not zero.
    pub fn split_at_multiples(self, size: u64) -> impl Iterator<Item = Extent> {
        let mut at = self.start;
        let end = self.end();
        std::iter::from_fn(move || {
            let next = (at / size + 1).saturating_mul(size).min(end);
            let piece = Extent::between(at, next)?;
            at = next;
            Some(piece)
        })
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.start, self.len)
    }
}

impl TryFrom<(u64, u64)> for Extent {
    type Error = &'static str;
    fn try_from((start, len): (u64, u64)) -> Result<Extent, Self::Error> {
        Extent::new(start, len).ok_or("an extent is empty or ends beyond 2^64")
    }
}

impl From<Extent> for (u64, u64) {
    fn from(extent: Extent) -> (u64, u64) {
        (extent.start, extent.len)
    }
}

/// A set of bytes as extents: sorted, disjoint, not touching.
///
/// Appending in ascending order is O(1), inserting anywhere is a binary search and one splice.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "Vec<Extent>", into = "Vec<Extent>")]
pub struct ExtentMap {
    extents: Vec<Extent>,
}

impl ExtentMap {
    pub fn new() -> ExtentMap {
        ExtentMap::default()
    }

    /// The one extent `0..size`, or the empty set for size 0.
    pub fn whole(size: u64) -> ExtentMap {
        Extent::new(0, size).into_iter().collect()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Extent> + ExactSizeIterator + '_ {
        self.extents.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// How many extents there are.
    pub fn count(&self) -> usize {
        self.extents.len()
    }

    pub fn total_bytes(&self) -> u64 {
        self.extents.iter().map(|e| e.len).sum()
    }

    pub fn end(&self) -> u64 {
        self.extents.last().map_or(0, |e| e.end())
    }

    pub fn insert(&mut self, extent: Extent) {
        match self.extents.last_mut() {
            Some(last) if extent.start >= last.start => {
                if extent.start <= last.end() {
                    last.len = extent.end().max(last.end()) - last.start;
                } else {
                    self.extents.push(extent);
                }
                return;
            }
            None => return self.extents.push(extent),
            Some(_) => {}
        }
        // Everything that overlaps or touches becomes one.
        let first = self.extents.partition_point(|e| e.end() < extent.start);
        let after = self.extents.partition_point(|e| e.start <= extent.end());
        if first == after {
            self.extents.insert(first, extent);
            return;
        }
        let start = extent.start.min(self.extents[first].start);
        let end = extent.end().max(self.extents[after - 1].end());
        self.extents.splice(
            first..after,
            [Extent {
                start,
                len: end - start,
            }],
        );
    }

    pub fn remove(&mut self, extent: Extent) {
        let first = self.extents.partition_point(|e| e.end() <= extent.start);
        let after = self.extents.partition_point(|e| e.start < extent.end());
        if first >= after {
            return;
        }
        let left = Extent::between(self.extents[first].start, extent.start);
        let right = Extent::between(extent.end(), self.extents[after - 1].end());
        self.extents
            .splice(first..after, left.into_iter().chain(right));
    }

    pub fn contains(&self, offset: u64) -> bool {
        self.find(offset).is_some()
    }

    /// True when every byte of `extent` is in the set.
    pub fn covers(&self, extent: Extent) -> bool {
        self.find(extent.start).is_some_and(|e| e.covers(extent))
    }

    /// The extent that holds this byte.
    pub fn find(&self, offset: u64) -> Option<Extent> {
        let at = self.extents.partition_point(|e| e.end() <= offset);
        self.extents.get(at).copied().filter(|e| e.contains(offset))
    }

    /// The parts of the set that lie inside `window`.
    pub fn within(&self, window: Extent) -> impl Iterator<Item = Extent> + '_ {
        let first = self.extents.partition_point(|e| e.end() <= window.start);
        self.extents[first..]
            .iter()
            .take_while(move |e| e.start < window.end())
            .filter_map(move |e| e.intersect(window))
    }

    pub fn union(&self, other: &ExtentMap) -> ExtentMap {
        let mut all: Vec<Extent> = self.iter().chain(other.iter()).collect();
        all.sort_unstable();
        all.into_iter().collect()
    }

    pub fn intersection(&self, other: &ExtentMap) -> ExtentMap {
        let mut common = ExtentMap::new();
        let (mut a, mut b) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(x), Some(y)) = (a.peek().copied(), b.peek().copied()) {
            if let Some(piece) = x.intersect(y) {
                common.insert(piece);
            }
            if x.end() <= y.end() {
                a.next();
            } else {
                b.next();
            }
        }
        common
    }

    pub fn difference(&self, other: &ExtentMap) -> ExtentMap {
        self.intersection(&other.complement(self.end()))
    }

    /// What of `0..size` is not in the set.
    pub fn complement(&self, size: u64) -> ExtentMap {
        let mut gaps = ExtentMap::new();
        let mut at = 0;
        for extent in self.iter().take_while(|e| e.start < size) {
            if let Some(gap) = Extent::between(at, extent.start) {
                gaps.insert(gap);
            }
            at = extent.end();
        }
        if let Some(gap) = Extent::between(at, size) {
            gaps.insert(gap);
        }
        gaps
    }

    /// Every extent moved up by `by`; what would leave the `u64` range is dropped.
    pub fn shifted(&self, by: u64) -> ExtentMap {
        self.iter().filter_map(|e| e.shifted(by)).collect()
    }

    /// Takes every gap narrower than this between two extents.
    pub fn close_gaps(&mut self, narrow: u64) {
        self.extents.dedup_by(|next, last| {
            let close = next.start - last.end() < narrow;
            if close {
                last.len = next.end() - last.start;
            }
            close
        });
        self.extents.shrink_to_fit();
    }

    /// Every extent grown outwards to multiples of `granule`, cut at `limit`.
    pub fn aligned_out(&self, granule: u64, limit: u64) -> ExtentMap {
        self.iter()
            .filter_map(|e| e.aligned_out(granule, limit))
            .collect()
    }
}

impl FromIterator<Extent> for ExtentMap {
    fn from_iter<I: IntoIterator<Item = Extent>>(extents: I) -> ExtentMap {
        let mut map = ExtentMap::new();
        for extent in extents {
            map.insert(extent);
        }
        map
    }
}

impl From<Vec<Extent>> for ExtentMap {
    fn from(mut extents: Vec<Extent>) -> ExtentMap {
        extents.sort_unstable();
        extents.into_iter().collect()
    }
}

impl From<ExtentMap> for Vec<Extent> {
    fn from(map: ExtentMap) -> Vec<Extent> {
        map.extents
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn bits(map: &ExtentMap) -> Vec<bool> {
        (0..512).map(|i| map.contains(i)).collect()
    }

    fn tidy(map: &ExtentMap) -> bool {
        map.extents.windows(2).all(|w| w[0].end() < w[1].start)
    }

    proptest! {
        #[test]
        fn a_map_behaves_like_a_row_of_bits(ops in proptest::collection::vec((any::<bool>(), 0u64..400, 1u64..60), 1..60)) {
            let mut map = ExtentMap::new();
            let mut row = vec![false; 512];
            for (add, start, len) in ops {
                let extent = Extent::new(start, len).unwrap();
                if add { map.insert(extent) } else { map.remove(extent) }
                for i in extent.start()..extent.end() {
                    row[usize::try_from(i).unwrap()] = add;
                }
                assert!(tidy(&map));
                prop_assert_eq!(bits(&map), row.clone());
            }
        }

        #[test]
        fn set_operations_agree_with_bits(a in proptest::collection::vec((0u64..400, 1u64..60), 0..30), b in proptest::collection::vec((0u64..400, 1u64..60), 0..30)) {
            let make = |v: Vec<(u64, u64)>| v.into_iter().filter_map(|(s, l)| Extent::new(s, l)).collect::<ExtentMap>();
            let (a, b) = (make(a), make(b));
            let zip = |f: fn(bool, bool) -> bool| bits(&a).into_iter().zip(bits(&b)).map(|(x, y)| f(x, y)).collect::<Vec<_>>();
            prop_assert_eq!(bits(&a.union(&b)), zip(|x, y| x || y));
            prop_assert_eq!(bits(&a.intersection(&b)), zip(|x, y| x && y));
            prop_assert_eq!(bits(&a.difference(&b)), zip(|x, y| x && !y));
            prop_assert_eq!(bits(&a.complement(512)), bits(&a).into_iter().map(|x| !x).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_extent_is_never_empty_and_never_overflows() {
        assert!(Extent::new(5, 0).is_none());
        assert!(Extent::new(u64::MAX, 1).is_none());
        assert!(Extent::new(u64::MAX - 1, 1).is_some());
    }

    #[test]
    fn splitting_ends_at_multiples() {
        let pieces: Vec<_> = Extent::new(3, 10).unwrap().split_at_multiples(4).collect();
        assert_eq!(
            pieces,
            [(3, 1), (4, 4), (8, 4), (12, 1)].map(|(s, l)| Extent::new(s, l).unwrap())
        );
    }
}
