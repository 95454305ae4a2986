//! btrfs bent in every way: no panic, no hang, no memory beyond the bound, and never less used than is used. A program
//! of its own: it counts every byte that is allocated.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

#[path = "../corpus/bent.rs"]
mod bent;
#[path = "../made/mod.rs"]
mod made;
#[path = "../btrfs/mkfs.rs"]
mod mkfs;
#[path = "../corpus/peak.rs"]
mod peak;
#[path = "../corpus/sparse.rs"]
mod sparse;

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bent::Bent;
use disk::extent::ExtentMap;
use disk::fields::Fields;
use disk::fs::tree::walk;
use disk::fs::{Basis, READERS, Reader, Used};
use disk::source::BlockSource;
use made::cases;
use mkfs::{FILL, MIB, filled, mounted};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use proptest::sample::Index;
use sparse::Sparse;

const SIZE: u64 = 256 * MIB;
const NODE: usize = 4096;
const SUPERBLOCK: u64 = 64 << 10;
const MEMORY_LIMIT: usize = 64 << 20;
/// CPU time, for the machine may have other things to do.
const TIME_LIMIT_MS: u64 = 2000;

fn btrfs() -> &'static Reader {
    READERS
        .iter()
        .find(|reader| reader.name == "btrfs")
        .unwrap()
}

/// Milliseconds this thread has computed.
fn computed() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}

/// Memory is counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is called used, after everything was read that there is to read.
fn endured(source: &dyn BlockSource, _alone: &MutexGuard<'static, ()>) -> ExtentMap {
    let (size, before) = (source.size_bytes(), computed());
    let (used, bytes) = peak::during(|| {
        let found = (btrfs().read)(source).unwrap();
        if let Some(Ok(tree)) = btrfs().tree.map(|open| open(source)) {
            let mut left = 20_000;
            walk(
                &*tree,
                &mut |found| {
                    left -= 1;
                    let _ = found.node.read(source, 4096);
                    assert!(found.node.extents().iter().all(|e| e.end() <= size));
                    match left {
                        0 => ControlFlow::Break(()),
                        _ => ControlFlow::Continue(()),
                    }
                },
                &mut |_, _| {},
            );
        }
        found.map_or_else(|| ExtentMap::whole(size), |found| found.used.extents(size))
    });
    let time = computed() - before;
    assert!(used.end() <= size && used.contains(0));
    assert!(time <= TIME_LIMIT_MS, "it took {time} ms");
    assert!(bytes <= MEMORY_LIMIT, "it took {} MiB", bytes >> 20);
    used
}

/// An image, what is used of it, and where its nodes lie.
struct Made {
    image: Sparse,
    used: ExtentMap,
    nodes: Vec<u64>,
    /// Nodes with children.
    inner: Vec<u64>,
}

fn made(path: &Path, basis: Basis) -> Made {
    let image = Sparse::read(File::open(path).unwrap()).unwrap();
    let found = (btrfs().read)(&image).unwrap().expect("it is btrfs");
    let used = match found.used {
        Used::Map {
            basis: has,
            extents,
        } if has == basis => extents,
        other => panic!("{:?} {other:?}", found.state),
    };
    let mut id = [0; 16];
    image.read_at(SUPERBLOCK + 32, &mut id).unwrap();
    let (mut nodes, mut inner) = (Vec::new(), Vec::new());
    for extent in used.iter() {
        for at in (extent.start()..extent.end() - (NODE as u64 - 1)).step_by(NODE) {
            let mut head = [0; 101];
            image.read_at(at, &mut head).unwrap();
            let superblock = head.get(0x40..0x48) == Some(b"_BHRfS_M");
            if head[32..48] == id && head[100] < 8 && !superblock {
                nodes.push(at);
                if head[100] > 0 {
                    inner.push(at);
                }
            }
        }
    }
    assert!(
        nodes.len() > 100 && inner.len() > 3,
        "{} {}",
        nodes.len(),
        inner.len()
    );
    Made {
        image,
        used,
        nodes,
        inner,
    }
}

const OPTIONS: &[&str] = &["-n", "4096"];

fn clean() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let file = mkfs::made(SIZE, &[OPTIONS, &["-m", "single"]].concat());
        filled(std::slice::from_ref(&file), "true");
        made(file.path(), Basis::Records)
    })
}

/// Not unmounted.
fn cut() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let file = mkfs::made(SIZE, &[OPTIONS, &["-m", "dup"]].concat());
        let path = file.path().display();
        let (_, dir) = mounted(
            std::slice::from_ref(&file),
            &format!(
                "({FILL}) >&2; for n in {{1..40}}; do head -c 9000 /dev/urandom >new-$n; sync new-$n; done; \
                 cp --sparse=always {path} $dir/cut"
            ),
        );
        made(&dir.path().join("cut"), Basis::Replayed)
    })
}

/// Numbers that are at the edge of something.
fn edge() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        any::<u8>().prop_map(|byte| vec![byte; 4]),
        Just(vec![0; 8]),
        Just(vec![0xFF; 8]),
        Just(vec![0xFF; 4]),
        (0u32..400).prop_map(|n| n.to_le_bytes().to_vec()),
        (0u64..1 << 28).prop_map(|n| (n & !0xFFF).to_le_bytes().to_vec()),
        // The kinds of keys.
        prop::sample::select(vec![1u8, 84, 96, 108, 132, 156, 168, 169, 192, 204, 228])
            .prop_map(|kind| vec![kind]),
    ]
}

#[derive(Clone, Debug)]
enum Bend {
    /// Bytes of the superblock.
    Superblock(usize, Vec<u8>),
    /// Bytes of a node.
    Node(Index, usize, Vec<u8>),
    /// A child of a node becomes any other node, itself or its parent too.
    Child(Index, usize, Index),
    /// A node is another one, as far as it says.
    Moved(Index, Index),
}

fn bends() -> impl Strategy<Value = Vec<Bend>> {
    let index = any::<Index>;
    // The heads of nodes are met more often than what follows.
    let inside = || prop_oneof![32usize..130, 101usize..600, 32..NODE - 8];
    let bend = prop_oneof![
        1 => (32usize..0x3C0, edge()).prop_map(|(at, new)| Bend::Superblock(at, new)),
        6 => (index(), inside(), edge()).prop_map(|(n, at, new)| Bend::Node(n, at, new)),
        2 => (index(), 0usize..5, index()).prop_map(|(n, slot, to)| Bend::Child(n, slot, to)),
        1 => (index(), index()).prop_map(|(n, to)| Bend::Moved(n, to)),
    ];
    prop::collection::vec(bend, 1..5)
}

/// Bends an image; with the sums put right the numbers behind them are reached.
fn bent(made: &Made, bends: Vec<Bend>, sums: bool) -> Bent<'_> {
    let mut bent = Bent {
        image: &made.image,
        patches: Vec::new(),
        size_bytes: SIZE,
    };
    let head = |at: u64| {
        let mut head = [0; 101];
        made.image.read_at(at, &mut head).unwrap();
        head
    };
    for bend in bends {
        let (base, at, new) = match bend {
            Bend::Superblock(at, new) => (SUPERBLOCK, at, new),
            Bend::Node(n, at, new) => (made.nodes[n.index(made.nodes.len())], at, new),
            Bend::Child(n, slot, to) => {
                let to = head(made.nodes[to.index(made.nodes.len())]);
                let new = [&to[48..56], &to[80..88]].concat();
                (
                    made.inner[n.index(made.inner.len())],
                    101 + slot * 33 + 17,
                    new,
                )
            }
            Bend::Moved(n, to) => {
                let mut node = vec![0; NODE];
                let from = made.nodes[to.index(made.nodes.len())];
                made.image.read_at(from, &mut node).unwrap();
                let base = made.nodes[n.index(made.nodes.len())];
                node[48..56].copy_from_slice(&head(base)[48..56]);
                node[80..88].copy_from_slice(&head(base)[80..88]);
                (base, 32, node[32..].to_vec())
            }
        };
        bent.patches.push((base + at as u64, new));
        if sums {
            let mut block = vec![0; NODE];
            bent.read_at(base, &mut block).unwrap();
            assert!(Fields(&block).u64(48).is_some());
            let sum = crc32c::crc32c(&block[32..]).to_le_bytes();
            bent.patches.push((base, sum.to_vec()));
        }
    }
    bent
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(150), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_numbers_behind_right_sums_are_endured(bends in bends()) {
        let alone = alone();
        endured(&bent(clean(), bends, true), &alone);
    }

    #[test]
    fn a_bent_log_behind_right_sums_is_endured(bends in bends()) {
        let alone = alone();
        endured(&bent(cut(), bends, true), &alone);
    }

    #[test]
    fn with_wrong_sums_no_used_byte_is_lost(bends in bends(), logged in any::<bool>()) {
        let alone = alone();
        let made = if logged { cut() } else { clean() };
        let after = endured(&bent(made, bends, false), &alone);
        assert!(made.used.iter().all(|e| after.covers(e)), "{:?}", made.used.difference(&after));
    }

    #[test]
    fn what_was_cut_off_is_whole(size in 512u64..SIZE - 1) {
        let alone = alone();
        let source = Bent { image: &clean().image, patches: Vec::new(), size_bytes: size };
        assert_eq!(endured(&source, &alone), ExtentMap::whole(size));
    }
}
