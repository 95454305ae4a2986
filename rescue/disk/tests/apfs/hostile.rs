//! APFS bent in every way: no panic, no hang, no memory beyond the bound.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use disk::extent::ExtentMap;
use disk::fs::tree::walk;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use crate::made::{cases, read_at};
use crate::peak;
use crate::volume::{alone, mapped, read, reader, sum, volume};

const MEMORY_LIMIT: usize = 64 << 20;
/// CPU time, for the machine may have other things to do.
const TIME_LIMIT_MS: u64 = 2000;
const BLOCK: usize = 4096;

fn computed() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}

/// A container of which only the used blocks are in memory; the others are zeros.
#[derive(Clone)]
struct Made {
    size: u64,
    used: ExtentMap,
    /// Of each extent of `used`, the bytes.
    bytes: Vec<Vec<u8>>,
    /// Blocks that are objects: which extent, and where in it.
    objects: Vec<(usize, usize)>,
}

impl BlockSource for Made {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let end = offset + buf.len() as u64;
        if end > self.size {
            let (len, size_bytes) = (buf.len() as u64, self.size);
            return Err(ReadError::BeyondEnd {
                offset,
                len,
                size_bytes,
            });
        }
        buf.fill(0);
        for (extent, bytes) in self.used.iter().zip(&self.bytes) {
            let (from, to) = (extent.start().max(offset), extent.end().min(end));
            if from < to {
                let at = |place: u64, base: u64| usize::try_from(place - base).unwrap();
                buf[at(from, offset)..at(to, offset)]
                    .copy_from_slice(&bytes[at(from, extent.start())..at(to, extent.start())]);
            }
        }
        Ok(())
    }
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let file = volume("cased");
        let size = file.as_file().metadata().unwrap().len();
        let used = mapped(&read(&file)).clone();
        let bytes: Vec<Vec<u8>> = used
            .iter()
            .map(|e| read_at(&file, e.start(), usize::try_from(e.len()).unwrap()))
            .collect();
        let mut objects = Vec::new();
        for (extent, bytes) in bytes.iter().enumerate() {
            for (nth, block) in bytes.chunks_exact(BLOCK).enumerate() {
                if block[..8] == sum(&block[8..]).to_le_bytes() && block[8..16] != [0; 8] {
                    objects.push((extent, nth * BLOCK));
                }
            }
        }
        assert!(objects.len() > 50, "{}", objects.len());
        Made {
            size,
            used,
            bytes,
            objects,
        }
    })
}

fn endured(source: &Made) -> ExtentMap {
    let (size, before) = (source.size, computed());
    let (used, bytes) = peak::during(|| {
        let found = (reader().read)(source).unwrap();
        if let Some(Ok(tree)) = reader().tree.map(|open| open(source)) {
            let mut left = 2_000;
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

/// Numbers that are at the edge of something.
fn edge() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        Just(vec![0; 8]),
        Just(vec![0xFF; 4]),
        Just(vec![0xFF; 8]),
        (0u64..1 << 20).prop_map(|n| n.to_le_bytes().to_vec()),
        (0u32..400).prop_map(|n| n.to_le_bytes().to_vec()),
        (0u16..4096).prop_map(|n| n.to_le_bytes().to_vec()),
    ]
}

type Bends = Vec<(prop::sample::Index, usize, Vec<u8>)>;

fn bends() -> impl Strategy<Value = Bends> {
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..BLOCK, edge()), 1..6)
}

/// With numbers changed in objects, most of them near the front, and the sums put right where `right` says so.
fn bent(bends: Bends, right: bool) -> Made {
    let mut made = made().clone();
    for (index, inside, new) in bends {
        let (extent, at) = made.objects[index.index(made.objects.len())];
        let block = &mut made.bytes[extent][at..at + BLOCK];
        let inside = match inside % 4 {
            0 => inside,
            _ => 8 + inside / 16,
        };
        let end = (inside + new.len()).min(BLOCK);
        block[inside..end].copy_from_slice(&new[..end - inside]);
        if right {
            let sum = sum(&block[8..]);
            block[..8].copy_from_slice(&sum.to_le_bytes());
        }
    }
    made
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_numbers_under_right_sums_are_endured(bends in bends()) {
        let _alone = alone();
        endured(&bent(bends, true));
    }

    #[test]
    fn wrong_sums_free_nothing(bends in bends()) {
        let _alone = alone();
        let used = endured(&bent(bends, false));
        assert!(made().used.iter().all(|e| used.covers(e)));
    }

    #[test]
    fn what_was_cut_off_is_whole(size in 4096u64..(300 << 20) - 1) {
        let _alone = alone();
        let mut made = made().clone();
        made.size = size;
        assert_eq!(endured(&made), ExtentMap::whole(size));
    }

    #[test]
    fn a_bit_that_went_out_in_a_bitmap_frees_nothing(index in any::<prop::sample::Index>(), bit in 0usize..8 * BLOCK) {
        let _alone = alone();
        let mut made = made().clone();
        // Bitmaps have no head: every used block that is no object may be one.
        let blocks: Vec<(usize, usize)> = made
            .bytes
            .iter()
            .enumerate()
            .flat_map(|(extent, bytes)| (0..bytes.len() / BLOCK).map(move |nth| (extent, nth * BLOCK)))
            .filter(|place| !made.objects.contains(place))
            .collect();
        let (extent, at) = blocks[index.index(blocks.len())];
        made.bytes[extent][at + bit / 8] &= !(1 << (bit % 8));
        let used = endured(&made);
        assert!(made.used.iter().all(|e| used.covers(e)));
    }
}
