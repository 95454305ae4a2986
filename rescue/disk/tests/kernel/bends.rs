//! Where an image that Linux filled is bent, and to what.

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};

use crate::MIB;
use crate::bent::Bent;
use crate::sparse::Sparse;

pub type Bends = Vec<(prop::sample::Index, usize, Vec<u8>)>;

pub fn bends(within: usize) -> impl Strategy<Value = Bends> {
    let edge = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        Just(vec![0; 4]),
        Just(vec![0xFF; 4]),
        (0u32..3000).prop_map(|n| n.to_le_bytes().to_vec()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..within, edge), 1..6)
}

/// Each at one of these places.
pub fn bent<'a>(image: &'a Sparse, places: &[u64], bends: Bends) -> Bent<'a> {
    let patches = bends
        .into_iter()
        .map(|(index, inside, new)| (places[index.index(places.len())] + inside as u64, new));
    Bent {
        image,
        patches: patches.collect(),
        size_bytes: 64 * MIB,
    }
}
