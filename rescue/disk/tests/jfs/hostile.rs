//! JFS bent in every way: no panic, no hang, no memory beyond the bound.

use std::sync::OnceLock;

use disk::extent::{Extent, ExtentMap};
use disk::source::BlockSource;
use proptest::prelude::{ProptestConfig, proptest};

use crate::bends::{self, Bends, bends};
use crate::bent::Bent;
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

fn endured(source: &dyn BlockSource) -> ExtentMap {
    let size = source.size_bytes();
    let (found, taken) = peak::during(|| (reader().read)(source).unwrap());
    assert!(taken <= MEMORY_LIMIT, "it took {} MiB", taken >> 20);
    let used = found.map_or_else(|| ExtentMap::whole(size), |found| found.used.extents(size));
    assert!(used.end() <= size);
    used
}

fn bent(places: &[u64], bends: Bends) -> Bent<'static> {
    bends::bent(&made().image, places, bends)
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
