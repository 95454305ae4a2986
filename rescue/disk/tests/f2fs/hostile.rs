//! F2FS bent in every way: no panic, no hang, no memory beyond the bound.

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use disk::extent::{Extent, ExtentMap};
use disk::fs::tree::{Found, walk};
use disk::source::BlockSource;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use crate::bent::Bent;
use crate::files::{folder, loaded};
use crate::forward::{Behind, FSYNCED};
use crate::made::cases;
use crate::sparse::Sparse;
use crate::{BLOCK, MIB, map, pack, peak, place, read, reader};
use tempfile::NamedTempFile;

const MEMORY_LIMIT: usize = 64 << 20;
/// CPU time, for the machine may have other things to do.
const TIME_LIMIT_MS: u64 = 2000;

struct Made {
    image: Sparse,
    used: ExtentMap,
    superblocks: Vec<u64>,
    /// Checkpoints and summaries: nothing in a summary says that it is wrong.
    checkpoints: Vec<u64>,
    /// Segment information, the table of nodes, nodes, folders.
    others: Vec<u64>,
}

fn of(file: &NamedTempFile, used: ExtentMap) -> Made {
    let main = place(file, 92);
    let second = |area: u64, segments: u64| place(file, area) + place(file, segments) / 2 * 512;
    let mut others = vec![
        place(file, 80),
        second(80, 56),
        place(file, 84),
        place(file, 84) + 512 * BLOCK,
    ];
    let image = Sparse::read(File::open(file.path()).unwrap()).unwrap();
    // Nodes say which they are, folders have a dot in their first entry or are small.
    let inside = used.within(Extent::between(main, 150 * MIB).unwrap());
    for block in inside.flat_map(|extent| extent.split_at_multiples(BLOCK).collect::<Vec<_>>()) {
        let mut bytes = vec![0; 4096];
        image.read_at(block.start(), &mut bytes).unwrap();
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let is_node = number(4072) < 10_000 && number(4076) < 10_000 && number(4072) > 2;
        if is_node || bytes[4096 - 214 * 8] == b'.' {
            others.push(block.start());
        }
    }
    assert!(others.len() > 50, "{}", others.len());
    Made {
        superblocks: vec![1024, BLOCK + 1024],
        checkpoints: (0..8).map(|n| pack(file) + n * BLOCK).collect(),
        image,
        used,
        others,
    }
}

/// With files of every kind.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let options = ["-O", "extra_attr,sb_checksum"];
        let file = loaded(&folder(), 160 * MIB, &options);
        of(&file, map(&read(&file)))
    })
}

/// With files that were fsynced after the last checkpoint.
fn cut() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let behind = Behind::new();
        for (n, at) in (0..20).zip(behind.free.windows(2)) {
            let name = format!("file {}", 10 + n);
            let folder = (n % 5).to_string();
            let data = &behind.free[100..120 + n];
            behind.inode(at[0], &["one", &folder, &name], FSYNCED, data, at[1]);
        }
        let mut made = of(&behind.file, behind.used);
        made.others
            .extend(behind.free[..20].iter().map(|block| block * BLOCK));
        made
    })
}

/// Milliseconds this thread has computed.
fn computed() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}

/// What is called used, after everything was read that there is to read.
fn endured(source: &dyn BlockSource) -> ExtentMap {
    let (size, before) = (source.size_bytes(), computed());
    let (found, taken) = peak::during(|| {
        let found = (reader().read)(source).unwrap();
        if let Ok(tree) = (reader().tree.unwrap())(source) {
            let mut left = 20_000;
            let mut visit = |found: Found<'_>| {
                left -= 1;
                let _ = found.node.read(source, 4096);
                match left {
                    0 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            };
            walk(&*tree, &mut visit, &mut |_, _| {});
        }
        found
    });
    let time = computed() - before;
    assert!(time <= TIME_LIMIT_MS, "it took {time} ms");
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

fn bent(made: &'static Made, places: &[u64], bends: Bends, size_bytes: u64) -> Bent<'static> {
    let patches = bends
        .into_iter()
        .map(|(index, inside, new)| (places[index.index(places.len())] + inside as u64, new))
        .collect();
    Bent {
        image: &made.image,
        patches,
        size_bytes,
    }
}

fn all_used(made: &Made, used: &ExtentMap) -> bool {
    made.used.iter().all(|extent| used.covers(extent))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(40), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_superblocks_are_endured(bends in bends(200), unsummed in any::<bool>()) {
        let mut bent = bent(made(), &made().superblocks, bends, 160 * MIB);
        if unsummed {
            // Without the feature that says that they have sums.
            for copy in &made().superblocks {
                bent.patches.push((copy + 2180, vec![8, 0, 0, 0]));
            }
        }
        endured(&bent);
    }

    #[test]
    fn a_used_block_is_never_lost_by_a_bent_checkpoint(bends in bends(4096)) {
        for made in [made(), cut()] {
            let used = endured(&bent(made, &made.checkpoints, bends.clone(), 160 * MIB));
            assert!(all_used(made, &used));
        }
    }

    #[test]
    fn bent_nodes_folders_and_tables_are_endured(bends in bends(4096)) {
        for made in [made(), cut()] {
            endured(&bent(made, &made.others, bends.clone(), 160 * MIB));
        }
    }

    #[test]
    fn a_used_block_is_never_lost_by_nodes_behind_the_checkpoint(bends in bends(4096)) {
        let made = cut();
        let chain = &made.others[made.others.len() - 20..];
        let used = endured(&bent(made, chain, bends, 160 * MIB));
        assert!(all_used(made, &used));
    }

    #[test]
    fn what_was_cut_off_is_whole(size in 512u64..160 * MIB - 1) {
        let used = endured(&bent(made(), &made().others, Vec::new(), size));
        assert_eq!(used, ExtentMap::whole(size));
    }
}
