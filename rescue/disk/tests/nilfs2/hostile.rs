//! NILFS2 bent in every way, its sums put right: no panic, no hang, no memory beyond the bound.

use std::sync::OnceLock;

use disk::extent::{Extent, ExtentMap};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use tempfile::NamedTempFile;

use crate::kernel::blocks_of;
use crate::made::{blank, cases, open, write_at};
use crate::{
    MIB, SECOND, SUPERBLOCK, kept, last_log, peak, put_log_right, put_superblock_right, reader,
};

const MEMORY_LIMIT: usize = 64 << 20;

struct Made {
    /// From the start as far as anything was written, and the second superblock.
    start: Vec<u8>,
    second: Vec<u8>,
    live: Vec<Extent>,
}

impl Made {
    fn of(name: &str) -> Made {
        let file = kept(name);
        let bytes = std::fs::read(file.path()).unwrap();
        let (start, second) = bytes.split_at(usize::try_from(SECOND).unwrap());
        let end = start.iter().rposition(|byte| *byte != 0).unwrap();
        Made {
            start: start[..=end].to_vec(),
            second: second.to_vec(),
            live: blocks_of(&file, "live", 4096),
        }
    }

    fn file(&self) -> NamedTempFile {
        let file = blank(64 * MIB);
        write_at(&file, 0, &self.start);
        write_at(&file, SECOND, &self.second);
        file
    }
}

fn plain() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| Made::of("plain"))
}

fn cut() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| Made::of("cut"))
}

fn endured(file: &NamedTempFile) -> ExtentMap {
    let source = open(file);
    let size = file.as_file().metadata().unwrap().len();
    let (found, taken) = peak::during(|| (reader().read)(&source).unwrap());
    assert!(taken <= MEMORY_LIMIT, "it took {} MiB", taken >> 20);
    let used = found.map_or_else(|| ExtentMap::whole(size), |found| found.used.extents(size));
    assert!(used.end() <= size);
    used
}

type Bends = Vec<(prop::sample::Index, Vec<u8>)>;

fn bends() -> impl Strategy<Value = Bends> {
    let edge = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        Just(vec![0; 8]),
        Just(vec![0xFF; 8]),
        (0u64..5000).prop_map(|n| n.to_le_bytes().to_vec()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), edge), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(30), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_superblocks_are_endured(bends in bends()) {
        let file = cut().file();
        for place in [SUPERBLOCK, SECOND] {
            for (index, new) in &bends {
                write_at(&file, place + 8 + index.index(272) as u64, new);
            }
            // Its own size stays: the sum is of so many bytes.
            write_at(&file, place + 8, &[24, 1]);
            put_superblock_right(&file, place);
        }
        endured(&file);
    }

    #[test]
    fn a_bent_log_is_endured(bends in bends()) {
        let file = plain().file();
        let (log, size) = last_log(&file);
        for (index, new) in &bends {
            // Half of them where the summary and the super root are.
            let at = index.index(usize::try_from(size).unwrap() - 8) as u64;
            write_at(&file, log + at, new);
            write_at(&file, log + size - 4096 + at % 440, new);
        }
        write_at(&file, log + 40, &u32::try_from(size / 4096).unwrap().to_le_bytes());
        put_log_right(&file, log);
        endured(&file);
    }

    #[test]
    fn a_used_block_is_never_lost_by_a_bent_log_or_superblock(bends in bends()) {
        let file = plain().file();
        let (log, size) = last_log(&file);
        for (index, new) in &bends {
            write_at(&file, log + index.index(usize::try_from(size).unwrap() - 8) as u64, new);
            write_at(&file, SUPERBLOCK + index.index(280) as u64, new);
        }
        let used = endured(&file);
        assert!(plain().live.iter().all(|block| used.covers(*block)));
    }

    #[test]
    fn what_was_cut_off_is_whole(size in 512u64..64 * MIB - 4096) {
        let file = plain().file();
        file.as_file().set_len(size).unwrap();
        assert_eq!(endured(&file), ExtentMap::whole(size));
    }
}
