//! JFS bent in every way: no panic, no hang, no memory beyond the bound.

use std::sync::OnceLock;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use crate::kernel::blocks_of;
use crate::made::cases;
use crate::sparse::Sparse;
use crate::{CONTROL, LOG, MAP_INODE, MIB, SECOND, SUPERBLOCK, kept, peak, reader};

const MEMORY_LIMIT: usize = 64 << 20;

struct Made {
    image: Sparse,
    /// Blocks of files.
    live: Vec<Extent>,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let file = kept("plain");
        let bytes = std::fs::read(file.path()).unwrap();
        Made {
            live: blocks_of(&file, "live", 4096),
            image: Sparse::read(&bytes[..]).unwrap(),
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
        (0u32..3000).prop_map(|n| n.to_le_bytes().to_vec()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..within, edge), 1..6)
}

fn bent(places: &[u64], bends: Bends) -> Bent<'static> {
    let patches = bends
        .into_iter()
        .map(|(index, inside, new)| (places[index.index(places.len())] + inside as u64, new));
    Bent {
        image: &made().image,
        patches: patches.collect(),
        size_bytes: 64 * MIB,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_superblocks_are_endured(bends in bends(184)) {
        endured(&bent(&[SUPERBLOCK, SECOND, LOG], bends));
    }

    #[test]
    fn a_bent_inode_of_the_map_is_endured(bends in bends(400)) {
        endured(&bent(&[MAP_INODE, MAP_INODE + 224], bends));
    }

    #[test]
    fn a_used_block_is_never_lost_by_a_bent_map(bends in bends(4096)) {
        // A page has its bits twice, and counts what is free.
        let used = endured(&bent(&[CONTROL, CONTROL + 4 * 4096, CONTROL + 5 * 4096], bends));
        assert!(made().live.iter().all(|block| used.covers(*block)));
    }

    #[test]
    fn what_was_cut_off_is_whole(size in 512u64..64 * MIB - 4096) {
        let mut cut = bent(&[SUPERBLOCK], Vec::new());
        cut.size_bytes = size;
        assert_eq!(endured(&cut), ExtentMap::whole(size));
    }
}
