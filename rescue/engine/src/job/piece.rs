//! The pieces a job goes by: aligned windows of the disk and what of each is wanted.

use disk::extent::{Extent, ExtentMap};

/// Gaps up to this length are read through rather than around: one command costs more than these bytes.
const GAP_READ_THROUGH: u64 = 64 << 10;

/// One window and the wanted bytes in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Starts at a multiple of the piece length; a buffer of that length holds it.
    pub window: Extent,
    /// What is wanted, in order. Never empty.
    pub wanted: Vec<Extent>,
    /// The wanted extents with the small gaps between them: what is read and written at once. The bytes of the
    /// gaps become zeros.
    pub runs: Vec<Extent>,
}

impl Piece {
    fn of(window: Extent, wanted: Vec<Extent>) -> Piece {
        let runs = runs(&wanted);
        Piece {
            window,
            wanted,
            runs,
        }
    }

    /// The piece without what turned out to be free; `None` when that is all of it.
    pub fn without(&self, free: &ExtentMap) -> Option<Piece> {
        let wanted: ExtentMap = self.wanted.iter().copied().collect();
        let left: Vec<Extent> = wanted.difference(free).into();
        (!left.is_empty()).then(|| Piece::of(self.window, left))
    }

    pub fn wanted_bytes(&self) -> u64 {
        self.wanted.iter().map(|e| e.len()).sum()
    }

    /// Where an extent of the disk lies in a buffer for this window.
    pub fn place(&self, extent: Extent) -> std::ops::Range<usize> {
        let at = |offset: u64| {
            usize::try_from(offset - self.window.start()).expect("a window fits in memory")
        };
        at(extent.start())..at(extent.end())
    }
}

/// Cuts `wanted` into pieces of `length`, a multiple of 4096.
pub fn pieces(wanted: &ExtentMap, length: u64) -> impl Iterator<Item = Piece> + Send + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = Extent::between(at, u64::MAX)?;
        let first = wanted.within(rest).next()?;
        let start = first.start() / length * length;
        let window = Extent::new(start, length.min(u64::MAX - start))?;
        at = window.end();
        let wanted: Vec<Extent> = wanted.within(window).collect();
        Some(Piece::of(window, wanted))
    })
}

fn runs(wanted: &[Extent]) -> Vec<Extent> {
    let mut runs: Vec<Extent> = Vec::new();
    for extent in wanted {
        match runs.last_mut() {
            Some(last) if extent.start() - last.end() <= GAP_READ_THROUGH => {
                *last = Extent::between(last.start(), extent.end())
                    .expect("wanted extents are ascending");
            }
            _ => runs.push(*extent),
        }
    }
    runs
}

/// The gaps inside the runs.
pub fn gaps(piece: &Piece) -> impl Iterator<Item = Extent> + '_ {
    piece
        .wanted
        .windows(2)
        .filter_map(|pair| Extent::between(pair[0].end(), pair[1].start()))
        .filter(|gap| gap.len() <= GAP_READ_THROUGH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn pieces_hold_exactly_what_is_wanted(list in proptest::collection::vec((0u64..4_000, 1u64..600), 0..40)) {
            let wanted: ExtentMap = list.into_iter().filter_map(|(s, l)| Extent::new(s * 4096, l * 4096)).collect();
            let mut seen = ExtentMap::new();
            let mut end = 0;
            for piece in pieces(&wanted, 1 << 20) {
                prop_assert!(piece.window.start() >= end && piece.window.start() % (1 << 20) == 0);
                end = piece.window.end();
                prop_assert!(!piece.wanted.is_empty());
                let wanted: ExtentMap = piece.wanted.iter().copied().collect();
                let runs: ExtentMap = piece.runs.iter().copied().collect();
                let gaps: ExtentMap = gaps(&piece).collect();
                prop_assert_eq!(runs.difference(&wanted), gaps);
                prop_assert_eq!(wanted.difference(&runs), ExtentMap::new());
                for extent in wanted.iter() {
                    prop_assert!(piece.window.covers(extent));
                    seen.insert(extent);
                }
            }
            prop_assert_eq!(seen, wanted);
        }
    }
}
