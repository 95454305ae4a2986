//! HFS+ bent in every way: no panic, no hang, no memory beyond the bound.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use disk::extent::ExtentMap;
use disk::fs::tree::walk;
use disk::memory::MemorySource;
use disk::source::BlockSource;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use crate::made::cases;
use crate::volume::{alone, mapped, read, reader, volume};
use crate::{journal, peak};

const MEMORY_LIMIT: usize = 64 << 20;
/// CPU time, for the machine may have other things to do.
const TIME_LIMIT_MS: u64 = 2000;

fn computed() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}

fn endured(source: &dyn BlockSource) -> ExtentMap {
    let (size, before) = (source.size_bytes(), computed());
    let (used, bytes) = peak::during(|| {
        let found = (reader().read)(source).unwrap();
        if let Some(Ok(tree)) = reader().tree.map(|open| open(source)) {
            let mut left = 5_000;
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

/// An image and the sectors in it that are records of the filesystem.
struct Made {
    bytes: Vec<u8>,
    used: ExtentMap,
    places: Vec<usize>,
}

fn made(file: &tempfile::NamedTempFile) -> Made {
    let bytes = std::fs::read(file.path()).unwrap();
    let used = mapped(&read(file)).clone();
    // Headers, and sectors with a node's or a journal's head in front; most others are files.
    let places = (0..bytes.len() - 512)
        .step_by(512)
        .filter(|at| {
            let head = &bytes[*at..*at + 16];
            let node =
                matches!(head[8], 0xFF | 0 | 1) && head[9] < 9 && head[10] < 2 && head[11] > 0;
            *at == 1024 || node && head[12..14] == [0, 0] || head.starts_with(b"xLNJ")
        })
        .collect::<Vec<_>>();
    assert!(places.len() > 4, "{}", places.len());
    Made {
        bytes,
        used,
        places,
    }
}

fn plain() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| made(&volume("plain")))
}

fn waiting() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| made(&journal::waiting()))
}

/// Numbers that are at the edge of something.
fn edge() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
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

fn bent(made: &Made, bends: Bends) -> MemorySource {
    let mut bytes = made.bytes.clone();
    for (n, (index, inside, new)) in bends.into_iter().enumerate() {
        // The first is the header of the volume, every other time.
        let place = match n {
            0 if inside % 3 == 0 => 1024,
            _ => made.places[index.index(made.places.len())],
        };
        let inside = if inside % 2 == 0 { inside } else { inside / 8 };
        bytes[place + inside..place + inside + new.len()].copy_from_slice(&new);
    }
    MemorySource::new(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_numbers_are_endured(bends in bends()) {
        let _alone = alone();
        endured(&bent(plain(), bends));
    }

    #[test]
    fn a_bent_journal_is_endured(bends in bends()) {
        let _alone = alone();
        endured(&bent(waiting(), bends));
    }

    #[test]
    fn what_was_cut_off_is_whole(size in 1024usize..(24 << 20) - 1) {
        let _alone = alone();
        let source = MemorySource::new(plain().bytes[..size].to_vec());
        assert_eq!(endured(&source), ExtentMap::whole(size as u64));
    }

    #[test]
    fn a_flipped_bit_of_the_bitmap_frees_nothing(bit in 0usize..6144) {
        let _alone = alone();
        let made = plain();
        let number = |at: usize| u32::from_be_bytes(made.bytes[at..at + 4].try_into().unwrap()) as usize;
        let mut bytes = made.bytes.clone();
        bytes[number(1024 + 128) * number(1064) + bit / 8] ^= 0x80 >> (bit % 8);
        let used = endured(&MemorySource::new(bytes));
        assert!(made.used.iter().all(|e| used.covers(e)));
    }
}
