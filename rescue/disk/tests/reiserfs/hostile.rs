//! ReiserFS bent in every way: no panic, no hang, no memory beyond the bound.

use std::sync::OnceLock;

use disk::extent::{Extent, ExtentMap};
use disk::source::BlockSource;
use proptest::prelude::{ProptestConfig, proptest};

use crate::bends::{self, Bends, bends};
use crate::bent::Bent;
use crate::kernel::blocks_of;
use crate::made::cases;
use crate::sparse::Sparse;
use crate::{MIB, SUPERBLOCK, kept, number_at, peak, reader};

const MEMORY_LIMIT: usize = 64 << 20;

struct Made {
    image: Sparse,
    /// Blocks of files.
    live: Vec<Extent>,
    /// The journal's header, and the heads of transactions.
    journal: Vec<u64>,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let file = kept("cut");
        let place = |at| number_at(&file, SUPERBLOCK + at);
        let (from, len) = (place(12), place(20));
        let bytes = std::fs::read(file.path()).unwrap();
        let heads = (from..from + len).map(|block| block * 4096).filter(|at| {
            let start = usize::try_from(*at).unwrap();
            &bytes[start + 4084..start + 4092] == b"ReIsErLB"
        });
        let mut journal: Vec<u64> = heads.collect();
        journal.push((from + len) * 4096);
        assert!(journal.len() > 5);
        Made {
            live: blocks_of(&file, "live", 4096),
            journal,
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
    fn bent_superblocks_are_endured(bends in bends(76)) {
        endured(&bent(&[SUPERBLOCK], bends));
    }

    #[test]
    fn bent_journals_are_endured(bends in bends(64)) {
        endured(&bent(&made().journal, bends));
    }

    #[test]
    fn a_used_block_is_never_lost_by_a_bent_bitmap(bends in bends(2048)) {
        // The journal holds a newer one, and what stands in that is used whatever the disk says.
        let used = endured(&bent(&[SUPERBLOCK + 4096], bends));
        assert!(made().live.iter().all(|block| used.covers(*block)));
    }

    #[test]
    fn what_was_cut_off_is_whole(size in 512u64..64 * MIB - 4096) {
        let mut cut = bent(&[SUPERBLOCK], Vec::new());
        cut.size_bytes = size;
        assert_eq!(endured(&cut), ExtentMap::whole(size));
    }
}
