//! One group's bitmap in memory, least significant bit first.

/// Clusters of one group; set means used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    len: u64,
}

impl Bits {
    pub fn new(len: u64, used: bool) -> Bits {
        let words = usize::try_from(len.div_ceil(64)).expect("a group has at most 2^19 clusters");
        Bits {
            words: vec![if used { !0 } else { 0 }; words],
            len,
        }
    }

    /// The first `len` bits of a bitmap; what the bitmap does not cover is used.
    pub fn from_bytes(bytes: &[u8], len: u64) -> Bits {
        let mut bits = Bits::new(len, true);
        for (word, chunk) in bits.words.iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0xFF; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(eight);
        }
        bits
    }

    pub fn merge(&mut self, other: &Bits) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// Marks `from..to` as used; what lies past the end is ignored.
    pub fn mark(&mut self, from: u64, to: u64) {
        for bit in from..to.min(self.len) {
            if let Some(word) = usize::try_from(bit / 64)
                .ok()
                .and_then(|at| self.words.get_mut(at))
            {
                *word |= 1 << (bit % 64);
            }
        }
    }

    pub fn free(&self) -> u64 {
        self.len - self.used_runs().map(|(from, to)| to - from).sum::<u64>()
    }

    /// Runs of used clusters, as `from..to`, ascending and not touching.
    pub fn used_runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let from = self.next(at, true)?;
            at = self.next(from, false).unwrap_or(self.len);
            Some((from, at))
        })
    }

    /// The first bit at or after `at` that is `used` or not.
    fn next(&self, at: u64, used: bool) -> Option<u64> {
        let mut word = at / 64;
        let mut mask = !0u64 << (at % 64);
        while word * 64 < self.len {
            let bits = *self.words.get(usize::try_from(word).ok()?)?;
            let wanted = if used { bits } else { !bits } & mask;
            if wanted != 0 {
                let found = word * 64 + u64::from(wanted.trailing_zeros());
                return (found < self.len).then_some(found);
            }
            word += 1;
            mask = !0;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn runs_are_the_set_bits(bytes in proptest::collection::vec(any::<u8>(), 0..40), len in 0u64..300, mark in (0u64..300, 0u64..300)) {
            let mut bits = Bits::from_bytes(&bytes, len);
            bits.mark(mark.0, mark.1);
            let set = |i: u64| {
                let byte = bytes.get(usize::try_from(i / 8).unwrap());
                byte.is_none_or(|b| b >> (i % 8) & 1 == 1) || (mark.0..mark.1).contains(&i)
            };
            let runs: Vec<_> = bits.used_runs().collect();
            let listed: Vec<u64> = runs.iter().flat_map(|(a, b)| *a..*b).collect();
            prop_assert_eq!(&listed, &(0..len).filter(|i| set(*i)).collect::<Vec<_>>());
            prop_assert_eq!(bits.free(), len - listed.len() as u64);
            assert!(runs.windows(2).all(|w| w[0].1 < w[1].0));
        }
    }
}
