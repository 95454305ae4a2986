//! Which leaves of a cell stand in its own data frame; the parent has the others.

use crate::digest::LEAF;
use crate::head::CHUNK_LIMIT;

const MOST: usize = CHUNK_LIMIT as usize / LEAF;
const WORDS: usize = MOST / 64;

/// Bits behind the last leaf are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeafMap([u64; WORDS]);

impl LeafMap {
    /// The first `leaves`.
    pub fn all(leaves: usize) -> LeafMap {
        (0..leaves).collect()
    }

    pub fn has(&self, leaf: usize) -> bool {
        let word = self.0.get(leaf / 64).copied().unwrap_or(0);
        word >> (leaf % 64) & 1 == 1
    }

    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    pub fn without(&self, other: &LeafMap) -> LeafMap {
        LeafMap(std::array::from_fn(|nth| self.0[nth] & !other.0[nth]))
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..MOST).filter(|leaf| self.has(*leaf))
    }

    /// As it stands in a chunk frame.
    pub fn put(&self, out: &mut [u8]) {
        let bytes = self.0.iter().flat_map(|word| word.to_le_bytes());
        out.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    }

    /// Of a cell of so many leaves, of which `own` are its own; `None` when it says otherwise.
    pub fn parse(bytes: &[u8], leaves: usize, own: usize) -> Option<LeafMap> {
        let bytes = bytes.get(..LeafMap::len(leaves))?;
        let is_set = |leaf: &usize| {
            bytes
                .get(leaf / 8)
                .is_some_and(|byte| byte >> (leaf % 8) & 1 == 1)
        };
        let map: LeafMap = (0..bytes.len() * 8).filter(is_set).collect();
        let inside = map.without(&LeafMap::all(leaves)).is_empty();
        (inside && map.count() == own).then_some(map)
    }

    /// Bytes of the map of a cell of so many leaves.
    pub fn len(leaves: usize) -> usize {
        leaves.div_ceil(8)
    }
}

impl FromIterator<usize> for LeafMap {
    fn from_iter<I: IntoIterator<Item = usize>>(leaves: I) -> LeafMap {
        let mut map = LeafMap::default();
        for leaf in leaves {
            if let Some(word) = map.0.get_mut(leaf / 64) {
                *word |= 1 << (leaf % 64);
            }
        }
        map
    }
}

/// The place of a leaf in content of this length.
pub fn place(leaf: usize, content: usize) -> std::ops::Range<usize> {
    leaf * LEAF..((leaf + 1) * LEAF).min(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_reads_back_as_it_was_written_and_only_so() {
        for leaves in [2, 8, 9, 63, 64, 65, 256] {
            let map: LeafMap = (0..leaves).filter(|leaf| leaf % 3 == 1).collect();
            let mut bytes = vec![0; LeafMap::len(leaves)];
            map.put(&mut bytes);
            assert_eq!(LeafMap::parse(&bytes, leaves, map.count()), Some(map));
            assert_eq!(LeafMap::parse(&bytes, leaves, map.count() + 1), None);
            assert_eq!(LeafMap::parse(&bytes[1..], leaves, map.count()), None);
            assert_eq!(map.iter().count(), map.count());
            let rest = LeafMap::all(leaves).without(&map);
            assert_eq!(rest.count(), leaves - map.count());
        }
        // A bit behind the last leaf.
        assert_eq!(LeafMap::parse(&[0b1000], 3, 1), None);
        assert_eq!(LeafMap::all(300).count(), 256);
    }
}
