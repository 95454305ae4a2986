//! What is known of each 4 KiB of a chunk.

use disk::extent::{Extent, ExtentMap};

/// Unit of the state map, in bytes.
pub const GRANULE: usize = 4 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The image holds what the disk held.
    Kept = 0,
    /// Nothing uses it; the image holds zeros, whatever the disk held.
    Free = 1,
    /// The disk could not give all of it; what it did give is there, the rest is zeros.
    Unreadable = 2,
    /// Nobody has tried to read it yet; zeros.
    NotTried = 3,
}

impl State {
    fn from_bits(bits: u8) -> State {
        match bits & 3 {
            0 => State::Kept,
            1 => State::Free,
            2 => State::Unreadable,
            _ => State::NotTried,
        }
    }
}

/// A state for every granule of a chunk, two bits each, lowest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct States {
    granules: usize,
    /// Bits behind the last granule are zero.
    packed: Vec<u8>,
}

impl States {
    /// The same state for all of a chunk of `len` bytes.
    pub fn all(len: usize, state: State) -> States {
        let granules = len.div_ceil(GRANULE);
        let mut states = States {
            granules,
            packed: vec![0b0101_0101 * state as u8; granules.div_ceil(4)],
        };
        states.clear_behind_the_last();
        states
    }

    /// `used` grown to whole granules is kept, of that `unreadable` is not readable, the rest is free.
    pub fn of(chunk: Extent, used: &ExtentMap, unreadable: &ExtentMap) -> States {
        let len = usize::try_from(chunk.len()).expect("a chunk fits into memory");
        let mut states = States::all(len, State::Free);
        for extent in used.within(chunk) {
            states.set(chunk, extent, State::Kept);
        }
        for extent in unreadable.within(chunk) {
            states.set(chunk, extent, State::Unreadable);
        }
        states
    }

    /// Sets every granule of `chunk` that `extent` touches.
    pub fn set(&mut self, chunk: Extent, extent: Extent, state: State) {
        let Some(inside) = extent.intersect(chunk) else {
            return;
        };
        let granule = |offset: u64| usize::try_from(offset / GRANULE as u64).unwrap_or(usize::MAX);
        let first = granule(inside.start() - chunk.start());
        let last = granule(inside.end() - 1 - chunk.start());
        for nth in first..=last.min(self.granules.saturating_sub(1)) {
            let shift = nth % 4 * 2;
            let byte = &mut self.packed[nth / 4];
            *byte = *byte & !(3 << shift) | (state as u8) << shift;
        }
    }

    /// How many granules there are.
    pub fn count(&self) -> usize {
        self.granules
    }

    pub fn get(&self, granule: usize) -> Option<State> {
        (granule < self.granules)
            .then(|| State::from_bits(self.packed[granule / 4] >> (granule % 4 * 2)))
    }

    /// The state that all granules have.
    pub fn uniform(&self) -> Option<State> {
        let first = self.get(0)?;
        let len = self.granules * GRANULE;
        (*self == States::all(len, first)).then_some(first)
    }

    /// The granules of one state as extents of the disk, for a chunk that lies at `chunk`.
    pub fn extents(&self, chunk: Extent, state: State) -> impl Iterator<Item = Extent> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = (at..self.granules).find(|nth| self.get(*nth) == Some(state))?;
            at = (first..self.granules)
                .find(|nth| self.get(*nth) != Some(state))
                .unwrap_or(self.granules);
            let place = |nth: usize| chunk.start() + (nth * GRANULE) as u64;
            Extent::between(place(first), place(at).min(chunk.end()))
        })
    }

    pub(crate) fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// Bytes of the packed map of a chunk of `len` bytes.
    pub(crate) fn packed_len(len: usize) -> usize {
        len.div_ceil(GRANULE).div_ceil(4)
    }

    pub(crate) fn from_packed(len: usize, packed: &[u8]) -> Option<States> {
        let mut states = States {
            granules: len.div_ceil(GRANULE),
            packed: packed.get(..States::packed_len(len))?.to_vec(),
        };
        states.clear_behind_the_last();
        Some(states)
    }

    fn clear_behind_the_last(&mut self) {
        if let (Some(last), used @ 1..) = (self.packed.last_mut(), self.granules % 4) {
            *last &= (1 << (2 * used)) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, len: u64) -> Extent {
        Extent::new(start, len).unwrap()
    }

    #[test]
    fn used_bytes_keep_their_whole_granule() {
        let chunk = extent(1 << 20, 40_000);
        let used = ExtentMap::from(vec![
            extent((1 << 20) + 4095, 2),
            extent((1 << 20) + 39_999, 1),
        ]);
        let bad = ExtentMap::from(vec![extent((1 << 20) + 4096, 512)]);
        let states = States::of(chunk, &used, &bad);
        assert_eq!(states.count(), 10);
        let row: Vec<_> = (0..10)
            .filter_map(|nth| states.get(nth))
            .map(|s| s as u8)
            .collect();
        assert_eq!(row, [0, 2, 1, 1, 1, 1, 1, 1, 1, 0]);
        assert_eq!(states.uniform(), None);
        let kept: Vec<_> = states.extents(chunk, State::Kept).collect();
        assert_eq!(
            kept,
            [extent(1 << 20, 4096), extent((1 << 20) + 36_864, 3136)]
        );
        assert_eq!(States::from_packed(40_000, states.packed()), Some(states));
    }

    #[test]
    fn one_state_everywhere_is_seen() {
        for state in [State::Kept, State::Free, State::Unreadable, State::NotTried] {
            for len in [1, 4096, 4097, 5 * 4096, 1 << 20] {
                assert_eq!(States::all(len, state).uniform(), Some(state));
            }
        }
    }
}
