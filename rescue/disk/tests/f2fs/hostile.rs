//! F2FS bent in every way: no panic, no hang, no memory beyond the bound.

use std::fs::File;
use std::sync::OnceLock;

use disk::extent::ExtentMap;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use crate::made::cases;
use crate::sparse::Sparse;
use crate::{BLOCK, MIB, filled, map, pack, peak, place, read, reader};

const MEMORY_LIMIT: usize = 64 << 20;

struct Made {
    image: Sparse,
    used: ExtentMap,
    superblocks: Vec<u64>,
    /// Checkpoints, summaries, segment information: nothing in them but their sums says that they are wrong.
    others: Vec<u64>,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let file = filled(160 * MIB, &["-O", "extra_attr,sb_checksum"]);
        let mut others: Vec<u64> = (0..8).map(|n| pack(&file) + n * BLOCK).collect();
        others.extend([
            place(&file, 80),
            place(&file, 80) + place(&file, 56) / 2 * 512,
        ]);
        Made {
            used: map(&read(&file)),
            image: Sparse::read(File::open(file.path()).unwrap()).unwrap(),
            superblocks: vec![1024, BLOCK + 1024],
            others,
        }
    })
}

/// An image with some of its bytes replaced and its end cut off.
struct Bent<'a> {
    image: &'a Sparse,
    patches: Vec<(u64, Vec<u8>)>,
    size_bytes: u64,
}

impl BlockSource for Bent<'_> {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let (len, size_bytes) = (buf.len() as u64, self.size_bytes);
        if offset.checked_add(len).is_none_or(|end| end > size_bytes) {
            return Err(ReadError::BeyondEnd {
                offset,
                len,
                size_bytes,
            });
        }
        self.image.read_at(offset, buf)?;
        for (at, new) in &self.patches {
            for (place, byte) in (*at..).zip(new) {
                if (offset..offset + len).contains(&place) {
                    buf[usize::try_from(place - offset).unwrap()] = *byte;
                }
            }
        }
        Ok(())
    }
}

fn endured(source: &dyn BlockSource) -> ExtentMap {
    let size = source.size_bytes();
    let (found, taken) = peak::during(|| (reader().read)(source).unwrap());
    assert!(taken <= MEMORY_LIMIT, "it took {} MiB", taken >> 20);
    let used = found.map_or_else(|| ExtentMap::whole(size), |found| found.used.extents(size));
    assert!(used.end() <= size);
    used
}

type Bends = Vec<(prop::sample::Index, usize, Vec<u8>)>;

fn bends(within: usize) -> impl Strategy<Value = Bends> {
    let edge = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        Just(vec![0; 4]),
        Just(vec![0xFF; 4]),
        (0u32..1000).prop_map(|n| n.to_le_bytes().to_vec()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..within, edge), 1..8)
}

fn bent(places: &[u64], bends: Bends, size_bytes: u64) -> Bent<'static> {
    let patches = bends
        .into_iter()
        .map(|(index, inside, new)| (places[index.index(places.len())] + inside as u64, new))
        .collect();
    Bent {
        image: &made().image,
        patches,
        size_bytes,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(150), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_superblocks_are_endured(bends in bends(200), unsummed in any::<bool>()) {
        let mut bent = bent(&made().superblocks, bends, 160 * MIB);
        if unsummed {
            // Without the feature that says that they have sums.
            for copy in &made().superblocks {
                bent.patches.push((copy + 2180, vec![8, 0, 0, 0]));
            }
        }
        endured(&bent);
    }

    #[test]
    fn a_used_block_is_never_lost_by_bent_metadata(bends in bends(4096)) {
        let used = endured(&bent(&made().others, bends, 160 * MIB));
        assert!(made().used.iter().all(|extent| used.covers(extent)));
    }

    #[test]
    fn what_was_cut_off_is_whole(size in 512u64..160 * MIB - 1) {
        let used = endured(&bent(&made().others, Vec::new(), size));
        assert_eq!(used, ExtentMap::whole(size));
    }
}
