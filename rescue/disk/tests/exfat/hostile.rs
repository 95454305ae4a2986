//! exFAT bent in every way: no panic, no hang, no memory beyond the bound.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use disk::extent::ExtentMap;
use disk::fs::tree::walk;
use disk::fs::{READERS, Reader, Used};
use disk::memory::MemorySource;
use disk::source::BlockSource;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use crate::made::{blank, cases, run};
use crate::mkfs::{self, dumped, number_at};
use crate::peak;

const MEMORY_LIMIT: usize = 64 << 20;
/// CPU time, for the machine may have other things to do.
const TIME_LIMIT_MS: u64 = 2000;

struct Made {
    bytes: Vec<u8>,
    /// Boot sector, table, bitmap, directories.
    places: Vec<usize>,
    used: ExtentMap,
}

fn exfat() -> &'static Reader {
    READERS.iter().find(|r| r.name == "exfat").unwrap()
}

/// Small and with everything at hand: clusters of 512 bytes, no boundary to align to.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let file = blank(4 << 20);
        let path = file.path().to_str().unwrap();
        run(
            "mkfs.exfat",
            "exfatprogs",
            &["-c", "512", "-b", "4K", path],
            "",
        );
        mkfs::worked_on(&file, 512, "true", "cp -r $from/* .");
        let (_, _, cluster, heap) = dumped(&file);
        let bytes = std::fs::read(file.path()).unwrap();
        let root = heap + (number_at(&file, 96) - 2) * cluster;
        let mut places = vec![0, number_at(&file, 80) * 512, heap, root];
        // Every other sector of a directory.
        let sectors = (heap..bytes.len() as u64).step_by(512);
        places.extend(sectors.filter(|at| {
            if *at == root {
                return false;
            }
            let start = usize::try_from(*at).unwrap();
            let slots = bytes[start..start + 512].chunks(32);
            slots
                .filter(|slot| matches!(slot[0], 0x81 | 0x85 | 0xC0 | 0xC1))
                .count()
                > 2
        }));
        assert!(places.len() > 20 && cluster == 512);
        let Used::Map { extents, .. } = (exfat().read)(&MemorySource::new(bytes.clone()))
            .unwrap()
            .unwrap()
            .used
        else {
            panic!("it is kept whole");
        };
        Made {
            bytes,
            places: places
                .into_iter()
                .map(|at| usize::try_from(at).unwrap())
                .collect(),
            used: extents,
        }
    })
}

/// Milliseconds this thread has computed.
fn computed() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}

/// What is called used, after everything was read that there is to read.
fn endured(bytes: Vec<u8>) -> ExtentMap {
    let source = MemorySource::new(bytes);
    let (size, before) = (source.size_bytes(), computed());
    let found = (exfat().read)(&source).unwrap();
    if let Ok(tree) = (exfat().tree.unwrap())(&source) {
        let mut left = 5000;
        walk(
            &*tree,
            &mut |found| {
                left -= 1;
                let _ = found.node.read(&source, 4096);
                match left {
                    0 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            },
            &mut |_, _| {},
        );
    }
    let time = computed() - before;
    assert!(time <= TIME_LIMIT_MS, "it took {time} ms");
    let used = found.map_or_else(|| ExtentMap::whole(size), |found| found.used.extents(size));
    assert!(used.end() <= size);
    used
}

/// Numbers that are at the edge of something.
fn edge() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        any::<u8>().prop_map(|byte| vec![byte; 4]),
        Just(vec![0; 8]),
        Just(vec![0xFF; 8]),
        (0u32..9000).prop_map(|n| n.to_le_bytes().to_vec()),
    ]
}

type Bends = Vec<(prop::sample::Index, usize, Vec<u8>)>;

fn bends() -> impl Strategy<Value = Bends> {
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..512, edge()), 1..12)
}

/// The image after these changes; the checksum of its boot region is right again.
fn bent(bends: Bends) -> Vec<u8> {
    let made = made();
    let mut bytes = made.bytes.clone();
    for (index, inside, new) in bends {
        let at = made.places[index.index(made.places.len())];
        // In the boot sector only its numbers; else whole fields more often than any byte.
        let inside = match at {
            0 => 64 + inside % 56,
            _ if inside % 2 == 0 => inside / 4 * 4,
            _ => inside,
        };
        bytes[at + inside..at + inside + new.len()].copy_from_slice(&new);
    }
    let sum = bytes[..11 * 512]
        .iter()
        .enumerate()
        .filter(|(at, _)| ![106, 107, 112].contains(at))
        .fold(0u32, |sum, (_, byte)| {
            sum.rotate_right(1).wrapping_add(u32::from(*byte))
        });
    bytes[11 * 512..12 * 512].copy_from_slice(&sum.to_le_bytes().repeat(128));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(150), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_numbers_are_endured(bends in bends(), flags in 0u8..8) {
        let mut bytes = bent(bends);
        bytes[106] = flags;
        let (_, taken) = peak::during(|| endured(bytes));
        // The image itself is held in there once.
        assert!(taken <= MEMORY_LIMIT, "it took {} MiB", taken >> 20);
    }

    #[test]
    fn what_was_cut_off_is_whole(size in 512usize..(4 << 20) - 1) {
        let used = endured(made().bytes[..size].to_vec());
        assert_eq!(used, ExtentMap::whole(size as u64));
    }

    #[test]
    fn a_bent_directory_never_loses_what_the_bitmap_says(bends in bends(), flags in 0u8..8) {
        let made = made();
        let mut bytes = made.bytes.clone();
        for (index, inside, new) in bends {
            // The root says where the bitmap is.
            let places = &made.places[4..];
            let at = places[index.index(places.len())] + inside;
            bytes[at..at + new.len()].copy_from_slice(&new);
        }
        bytes[106] = flags & !1;
        let used = endured(bytes);
        assert!(made.used.iter().all(|extent| used.covers(extent)));
    }
}
