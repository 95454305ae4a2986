//! ext2/3/4 bent in every way: no panic, no hang, no memory beyond the bound, and never less used than is used.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;
#[path = "made/ext.rs"]
mod mkfs;
#[path = "corpus/peak.rs"]
mod peak;

use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use disk::extent::ExtentMap;
use disk::fs::tree::walk;
use disk::fs::{READERS, Reader, State, Used};
use disk::geometry::Geometry;
use disk::memory::MemorySource;
use disk::source::{BlockSource, ReadError};
use made::{blank, cases};
use mkfs::{JournalSums, changed, files, filled, mke2fs, power_cut};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use tempfile::NamedTempFile;

const MIB: u64 = 1 << 20;
const MEMORY_LIMIT: usize = 64 << 20;
/// CPU time, for the machine may have other things to do.
const TIME_LIMIT_MS: u64 = 2000;

fn ext() -> &'static Reader {
    READERS.iter().find(|reader| reader.name == "ext").unwrap()
}

/// Milliseconds this thread has computed.
fn computed() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}

/// Reads everything there is to read; how long it took.
fn endure(source: &dyn BlockSource) -> u64 {
    let before = computed();
    let size = source.size_bytes();
    let mut claimed = size;
    if let Some(found) = (ext().read)(source).unwrap() {
        claimed = claimed.max(found.size_bytes);
        if let Used::Map { extents, .. } = found.used {
            assert!(extents.end() <= size);
            assert!(extents.contains(0) && extents.contains(1024));
        }
    }
    if let Ok(tree) = ext().tree.unwrap()(source) {
        let mut files = 0;
        walk(
            &*tree,
            &mut |found| {
                files += 1;
                let _ = found.node.read(source, 4096);
                assert!(found.node.extents().iter().all(|e| e.end() <= claimed));
                ControlFlow::Continue(())
            },
            &mut |_, _| {},
        );
    }
    computed() - before
}

/// Memory is counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn assert_endured(source: &dyn BlockSource, _alone: &MutexGuard<'static, ()>) {
    let (time, bytes) = peak::during(|| endure(source));
    assert!(time <= TIME_LIMIT_MS, "it took {time} ms");
    assert!(bytes <= MEMORY_LIMIT, "it took {} MiB", bytes >> 20);
}

/// One way to bend an image.
#[derive(Clone, Debug)]
enum Bend {
    Set { at: usize, bytes: Vec<u8> },
    Copy { from: usize, to: usize, len: usize },
    Cut(usize),
}

/// Numbers that are at the edge of something.
fn edge() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u8>().prop_map(|b| vec![b]),
        any::<u32>().prop_map(|n| n.to_le_bytes().to_vec()),
        (0u32..64)
            .prop_map(|n| (1 << (n % 32)) as u32)
            .prop_map(|n| n.to_le_bytes().to_vec()),
        (0u32..64).prop_map(|n| n.to_be_bytes().to_vec()),
        Just(vec![0xFF; 4]),
        Just(vec![0; 4]),
        Just(vec![0xFF; 2]),
        Just(vec![0, 0, 0, 0x80]),
    ]
}

/// `places` are where the interesting bytes are.
fn bend(size: usize, places: Vec<Range<usize>>) -> impl Strategy<Value = Bend> {
    let place = (0..places.len() + 1, any::<prop::sample::Index>()).prop_map(move |(n, at)| {
        let range = places.get(n).cloned().unwrap_or(0..size);
        range.start + at.index(range.len())
    });
    let place = place.boxed();
    prop_oneof![
        20 => (place.clone(), edge()).prop_map(|(at, bytes)| Bend::Set { at, bytes }),
        20 => (place.clone(), edge()).prop_map(|(at, bytes)| Bend::Set { at: at & !3, bytes }),
        4 => (place.clone(), place.clone(), 0..3usize).prop_map(|(from, to, log)| {
            let len = [64, 1024, 4096][log];
            Bend::Copy { from: from / len * len, to: to / len * len, len }
        }),
        1 => place.prop_map(Bend::Cut),
    ]
}

fn bent(bytes: &[u8], bends: &[Bend]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for bend in bends {
        match bend {
            Bend::Set { at, bytes: new } => {
                let end = (at + new.len()).min(bytes.len());
                let at = (*at).min(end);
                bytes[at..end].copy_from_slice(&new[..end - at]);
            }
            Bend::Copy { from, to, len }
                if from + len <= bytes.len() && to + len <= bytes.len() =>
            {
                bytes.copy_within(*from..from + len, *to);
            }
            Bend::Copy { .. } => {}
            Bend::Cut(at) => bytes.truncate(*at),
        }
    }
    bytes
}

fn load(file: &NamedTempFile) -> Vec<u8> {
    std::fs::read(file.path()).unwrap()
}

/// The bytes of an image, and where its own structures lie.
type Image = (Vec<u8>, Vec<Range<usize>>);

fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let _alone = alone();
        let files = files();
        std::fs::remove_file(files.path().join("deep/er/file10")).unwrap();
        let kinds: [&[&str]; 5] = [
            &["-t", "ext2", "-b", "1024", "-N", "512"],
            &[
                "-t",
                "ext4",
                "-b",
                "1024",
                "-N",
                "512",
                "-O",
                "^metadata_csum,^resize_inode",
            ],
            &[
                "-t",
                "ext4",
                "-b",
                "1024",
                "-N",
                "512",
                "-O",
                "^metadata_csum,inline_data,^resize_inode",
                "-J",
                "size=1",
            ],
            &[
                "-t",
                "ext4",
                "-b",
                "4096",
                "-N",
                "512",
                "-O",
                "^metadata_csum,bigalloc,meta_bg,^resize_inode",
                "-C",
                "16384",
            ],
            &["-t", "ext4", "-b", "1024", "-N", "512", "-J", "size=1"],
        ];
        let mut images: Vec<NamedTempFile> = kinds
            .iter()
            .map(|options| filled(20 * MIB, options, &files))
            .collect();
        for (at, sums) in [(1, JournalSums::None), (4, JournalSums::V3)] {
            images.push(power_cut(&images[at], &changed(&images[at]), sums));
        }
        images
            .iter()
            .map(|file| (load(file), places(file)))
            .collect()
    })
}

/// Superblock, descriptors, inodes and journal.
fn places(file: &NamedTempFile) -> Vec<Range<usize>> {
    let size = usize::try_from(mkfs::block_size(file.path())).unwrap();
    let block = |n: u64| usize::try_from(n).unwrap() * size;
    let text = mkfs::debugfs(file, "imap <2>");
    let (_, table) = text.rsplit_once("located at block ").unwrap();
    let table = block(table.split(',').next().unwrap().parse().unwrap());
    let mut places = vec![
        1024..2048,
        1024..1200,
        2048.max(size)..2048.max(size) + 256,
        table..table + 32768,
        table..table + 4096,
    ];
    if mkfs::debugfs(file, "stats").contains("has_journal") {
        let journal = mkfs::journal_blocks(file)[0];
        places.extend([
            block(journal)..block(journal) + 128,
            block(journal)..block(journal + 300),
        ]);
    }
    places
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(150), max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_bent_image_is_endured(
        (which, bends) in (0..images().len()).prop_flat_map(|which| {
            let (bytes, places) = &images()[which];
            (Just(which), prop::collection::vec(bend(bytes.len(), places.clone()), 1..6))
        })
    ) {
        let alone = alone();
        assert_endured(&MemorySource::new(bent(&images()[which].0, &bends)), &alone);
    }

    /// Everything a used map is made of has a sum here, so damage may cost precision but never a used block.
    #[test]
    fn damage_to_what_has_sums_never_frees_a_used_block(
        bends in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), edge()), 1..4)
    ) {
        let _alone = alone();
        let summed = summed();
        let mut bent = Patched { bytes: &summed.bytes, patches: Vec::new() };
        for (block, inside, new) in bends {
            let at = summed.blocks[block.index(summed.blocks.len())] + inside.index(1024 - 4);
            bent.patches.push((at, new));
        }
        // Without its magic number it is not ext and taken whole.
        if let Some(after) = (ext().read)(&bent).unwrap() {
            let after = after.used.extents(bent.size_bytes());
            assert!(summed.used.iter().all(|e| after.covers(e)), "{:?}", summed.used.difference(&after));
        }
    }
}

/// An image with some of its bytes replaced.
struct Patched<'a> {
    bytes: &'a [u8],
    patches: Vec<(usize, Vec<u8>)>,
}

impl BlockSource for Patched<'_> {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let from = usize::try_from(offset).unwrap();
        let (len, size_bytes) = (buf.len() as u64, self.bytes.len() as u64);
        let bytes = self.bytes.get(from..from + buf.len());
        buf.copy_from_slice(bytes.ok_or(ReadError::BeyondEnd {
            offset,
            len,
            size_bytes,
        })?);
        for (at, new) in &self.patches {
            for (place, byte) in (*at..).zip(new) {
                if let Some(old) = place
                    .checked_sub(from)
                    .and_then(|inside| buf.get_mut(inside))
                {
                    *old = *byte;
                }
            }
        }
        Ok(())
    }
}

/// A filesystem with checksums, what is used of it, and where its superblock, descriptors and bitmaps lie.
struct Summed {
    bytes: Vec<u8>,
    used: ExtentMap,
    blocks: Vec<usize>,
}

fn summed() -> &'static Summed {
    static IMAGE: OnceLock<Summed> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let file = filled(40 * MIB, &["-t", "ext4", "-b", "1024"], &files());
        let mut blocks = mkfs::block_bitmaps(file.path());
        blocks.extend([1, 1, 2, 2]);
        let found = (ext().read)(&made::open(&file)).unwrap().unwrap();
        assert_eq!(found.state, State::Clean);
        Summed {
            bytes: load(&file),
            used: found.used.extents(40 * MIB),
            blocks: blocks
                .into_iter()
                .map(|n| usize::try_from(n).unwrap() * 1024)
                .collect(),
        }
    })
}

/// 100 MiB in which every inode is `inode` and block 20000 and its like hold `blocks`.
fn made_to_be_slow(inode: &dyn Fn(u32) -> Vec<u8>, fill: &dyn Fn(&mut [u8])) -> MemorySource {
    let file = blank(100 * MIB);
    mke2fs(
        &file,
        &["-t", "ext2", "-b", "1024", "-I", "128", "-N", "100000"],
    );
    let mut bytes = load(&file);
    let groups = 13;
    for group in 0..groups {
        let at = 2048 + group * 32;
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (table, per_group) = (number(at + 8), number(1024 + 0x28));
        for n in 0..per_group {
            let number = group * per_group + n + 1;
            let at = table * 1024 + n * 128;
            bytes[at..at + 128].copy_from_slice(&inode(u32::try_from(number).unwrap()));
        }
    }
    fill(&mut bytes);
    MemorySource::new(bytes)
}

/// A directory inode of 4 GiB with these blocks.
fn directory(blocks: [u32; 15]) -> Vec<u8> {
    let mut inode = vec![0; 128];
    inode[0..2].copy_from_slice(&0x41EDu16.to_le_bytes());
    inode[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    inode[0x1A] = 2;
    for (slot, block) in inode[0x28..0x64].chunks_mut(4).zip(blocks) {
        slot.copy_from_slice(&block.to_le_bytes());
    }
    inode
}

const LISTS: u32 = 20000;

/// Blocks from [`LISTS`] on that name every inode, 85 in a block, over and over.
fn name_everything(bytes: &mut [u8]) {
    let mut inode = 11;
    for block in bytes[LISTS as usize * 1024..60000 * 1024].chunks_mut(1024) {
        for entry in block.chunks_mut(12) {
            inode = inode % 99_000 + 1;
            entry[..4].copy_from_slice(&u32::to_le_bytes(inode));
            let len = if entry.len() == 12 { 12 } else { entry.len() };
            entry[4..].fill(b'n');
            if len == 12 {
                entry[4..8].copy_from_slice(&[12, 0, 4, 2]);
            }
        }
        // The last of the 85 takes the four bytes that are left over.
        block[1008 + 4] = 16;
    }
}

#[test]
fn directories_without_end_come_to_an_end() {
    let alone = alone();
    let source = made_to_be_slow(
        &|n| {
            let mut blocks = [0; 15];
            for (at, block) in blocks.iter_mut().enumerate().take(12) {
                *block = LISTS + (n * 12 + u32::try_from(at).unwrap()) % 39000;
            }
            directory(blocks)
        },
        &name_everything,
    );
    assert_endured(&source, &alone);
}

#[test]
fn indirect_blocks_that_lead_to_themselves_come_to_an_end() {
    let alone = alone();
    let source = made_to_be_slow(
        &|n| {
            let mut blocks = [0; 15];
            blocks[0] = LISTS + n % 1000;
            blocks[12..].fill(90000 + n % 1000);
            directory(blocks)
        },
        &|bytes| {
            name_everything(bytes);
            for n in 0..1000usize {
                let block = &mut bytes[(90000 + n) * 1024..][..1024];
                for (at, slot) in block.chunks_mut(4).enumerate() {
                    slot.copy_from_slice(
                        &u32::try_from(90000 + (n + at) % 1000)
                            .unwrap()
                            .to_le_bytes(),
                    );
                }
            }
        },
    );
    assert_endured(&source, &alone);
}
