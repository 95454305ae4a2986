//! XFS bent in every way: no panic, no hang, no memory beyond the bound, and never less used than is used.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

#[path = "corpus/bent.rs"]
mod bent;
mod made;
#[path = "made/xfs.rs"]
mod mkfs;
#[path = "corpus/peak.rs"]
mod peak;
#[path = "corpus/sparse.rs"]
mod sparse;

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bent::Bent;
use disk::extent::ExtentMap;
use disk::fs::tree::walk;
use disk::fs::{READERS, Reader, Used};
use disk::source::BlockSource;
use made::cases;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use sparse::Sparse;

const MIB: u64 = 1 << 20;
const MEMORY_LIMIT: usize = 64 << 20;
/// CPU time, for the machine may have other things to do.
const TIME_LIMIT_MS: u64 = 2000;

fn xfs() -> &'static Reader {
    READERS.iter().find(|reader| reader.name == "xfs").unwrap()
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
        let found = (xfs().read)(source).unwrap();
        if let Some(Ok(tree)) = xfs().tree.map(|open| open(source)) {
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
        found.map_or_else(
            || ExtentMap::whole(size),
            |found| match found.used {
                Used::Map { extents, .. } => extents,
                Used::Whole(_) => ExtentMap::whole(size),
            },
        )
    });
    let time = computed() - before;
    assert!(used.end() <= size && used.contains(0));
    assert!(time <= TIME_LIMIT_MS, "it took {time} ms");
    assert!(bytes <= MEMORY_LIMIT, "it took {} MiB", bytes >> 20);
    used
}

/// An image, what is used of it, and where its metadata lies.
struct Made {
    image: Sparse,
    used: ExtentMap,
    places: Vec<u64>,
}

fn made(file: &tempfile::NamedTempFile) -> Made {
    let image = Sparse::read(File::open(file.path()).unwrap()).unwrap();
    let Some(found) = (xfs().read)(&image).unwrap() else {
        panic!("it is not XFS")
    };
    let Used::Map { extents, .. } = found.used else {
        panic!("{:?}", found.state)
    };
    // Every sector that looks like metadata.
    let mut places = Vec::new();
    for extent in extents.iter() {
        for sector in (extent.start()..extent.end() - 511).step_by(512) {
            let mut head = [0; 4];
            image.read_at(sector, &mut head).unwrap();
            let magic = [
                b"XFSB",
                b"XAGF",
                b"XAGI",
                b"XAFL",
                b"ABTB",
                b"ABTC",
                b"AB3B",
                b"AB3C",
                b"BMAP",
                b"BMA3",
                b"XD2B",
                b"XD2D",
                b"XDB3",
                b"XDD3",
                b"\xFE\xED\xBA\xBE",
                b"XSLM",
            ];
            if magic.contains(&&head) || head.starts_with(b"IN") {
                places.push(sector);
            }
        }
    }
    assert!(places.len() > 40);
    Made {
        image,
        used: extents.clone(),
        places,
    }
}

/// Version 4: nothing but the numbers themselves says that they are wrong.
fn unsummed() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        made(&mkfs::poured(
            320 * MIB,
            &["-m", "crc=0", "-b", "size=1024"],
        ))
    })
}

fn summed() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| made(&mkfs::poured(320 * MIB, &[])))
}

/// Not unmounted.
fn cut() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| made(&mkfs::cut_off(320 * MIB, &["-b", "size=1024"]).0))
}

/// Numbers that are at the edge of something.
fn edge() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        any::<u8>().prop_map(|byte| vec![byte; 4]),
        Just(vec![0; 4]),
        Just(vec![0xFF; 4]),
        Just(vec![0x7F, 0xFF, 0xFF, 0xFF]),
        (0u32..400).prop_map(|n| n.to_be_bytes().to_vec()),
        (0u16..400).prop_map(|n| n.to_be_bytes().to_vec()),
    ]
}

type Bends = Vec<(prop::sample::Index, usize, Vec<u8>)>;

fn bends() -> impl Strategy<Value = Bends> {
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..512, edge()), 1..6)
}

fn bent<'a>(made: &'a Made, bends: Bends, size_bytes: u64) -> Bent<'a> {
    let patches = bends
        .into_iter()
        .map(|(index, inside, new)| {
            // The heads of structures are met more often than what follows.
            let inside = if inside % 2 == 0 { inside } else { inside / 8 };
            (
                made.places[index.index(made.places.len())] + inside as u64,
                new,
            )
        })
        .collect();
    Bent {
        image: &made.image,
        patches,
        size_bytes,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_numbers_are_endured(bends in bends()) {
        let alone = alone();
        endured(&bent(unsummed(), bends, 320 * MIB), &alone);
    }

    #[test]
    fn what_carries_checksums_never_loses_a_used_byte(bends in bends()) {
        let alone = alone();
        let made = summed();
        let after = endured(&bent(made, bends, 320 * MIB), &alone);
        assert!(made.used.iter().all(|e| after.covers(e)), "{:?}", made.used.difference(&after));
    }

    #[test]
    fn a_bent_log_is_endured(bends in bends()) {
        let alone = alone();
        endured(&bent(cut(), bends, 320 * MIB), &alone);
    }

    #[test]
    fn what_was_cut_off_is_whole(size in 512u64..320 * MIB - 1) {
        let alone = alone();
        let used = endured(&bent(unsummed(), Vec::new(), size), &alone);
        assert_eq!(used, ExtentMap::whole(size));
    }
}
