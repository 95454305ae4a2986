//! What the fuzzer throws at each reader: its input is an image.

use std::ops::ControlFlow;

use disk::fs::{READERS, tree};
use disk::geometry::Geometry;
use disk::layout::Layout;
use disk::memory::MemorySource;
use disk::source::BlockSource;
use disk::systems;
use disk::table::{self, edit};

/// The reader of this name, and the files below its root.
pub fn reader(name: &str, data: &[u8]) {
    let source = MemorySource::new(data.to_vec());
    let reader = READERS
        .iter()
        .find(|reader| reader.name == name)
        .expect("the target is named like its reader");
    if let Ok(Some(filesystem)) = (reader.read)(&source) {
        let used = filesystem.used.extents(source.size_bytes());
        assert!(used.end() <= source.size_bytes());
    }
    let Some(Ok(tree)) = reader.tree.map(|open| open(&source)) else {
        return;
    };
    let mut left = 500;
    tree::walk(
        tree.as_ref(),
        &mut |found| {
            let _ = found.node.read(&source, 4096);
            left -= 1;
            match left {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        },
        &mut |_, _| {},
    );
}

/// The table, and what it would be on a larger disk.
pub fn table(data: &[u8]) {
    for bytes in [data.to_vec(), with_checksums(data)] {
        let source = MemorySource::new(bytes);
        let Ok(Some(found)) = table::read(&source) else {
            continue;
        };
        let larger = Geometry::of_file(source.size_bytes() + (3 << 20));
        let moved = edit::moved_to(&source, &found, larger).unwrap_or_default();
        let grown = edit::grown(&source, &found, larger).ok().flatten();
        for patch in moved.iter().chain(grown.iter().flat_map(|g| &g.patches)) {
            assert!(patch.offset + patch.bytes.len() as u64 <= larger.size_bytes);
        }
    }
}

/// A whole disk: every byte has one owner.
pub fn layout(data: &[u8]) {
    for bytes in [data.to_vec(), with_checksums(data)] {
        let source = MemorySource::new(bytes);
        let layout = Layout::read(&source).expect("a disk in memory can be read");
        let end = layout.regions.iter().fold(0, |at, region| {
            assert_eq!(region.extent.start(), at);
            region.extent.end()
        });
        assert_eq!(end, source.size_bytes());
        let _ = systems::of(&source, &layout);
    }
}

/// The input with the checksums of its primary GPT put right, so that the numbers behind them are reached.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if bytes.len() < 1024 || !bytes[512..].starts_with(b"EFI PART") {
        return bytes;
    }
    let number = |at: usize| {
        let field = bytes[at..at + 4].try_into().expect("four bytes are four bytes");
        usize::try_from(u32::from_le_bytes(field)).expect("a usize has at least 32 bits")
    };
    let (start, len) = (
        number(512 + 72).saturating_mul(512),
        number(512 + 80).saturating_mul(number(512 + 84)),
    );
    let entries = bytes.get(start..start.saturating_add(len)).unwrap_or(&[]);
    let crc = crc32fast::hash(entries).to_le_bytes();
    bytes[600..604].copy_from_slice(&crc);
    bytes[528..532].fill(0);
    let crc = crc32fast::hash(&bytes[512..604]).to_le_bytes();
    bytes[528..532].copy_from_slice(&crc);
    bytes
}
