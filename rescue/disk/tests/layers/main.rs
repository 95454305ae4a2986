//! Layers: LVM by lvm2's own tools, Linux RAID by mdadm and blkid, and both with hostile bytes.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod hostile;
mod lvm;
#[path = "../made/mod.rs"]
mod made;
mod md;
mod tools;

use disk::extent::{Extent, ExtentMap};
use disk::layer::Layer;
use disk::layout::{Content, Layout, Owner};
use disk::source::BlockSource;
use made::{read_at, write_at};
use tempfile::NamedTempFile;

const MIB: u64 = 1 << 20;

/// The layer on a disk without a table.
fn layer_of(source: &dyn BlockSource) -> Layer {
    let mut layout = Layout::read(source).unwrap();
    assert_eq!(layout.regions.len(), 1, "{layout:?}");
    match layout.regions.remove(0).owner {
        Owner::Disk(Content::Layer(layer)) => *layer,
        other => panic!("it is no layer: {other:?}"),
    }
}

fn kind(content: &Content) -> String {
    match content {
        Content::Filesystem(found) => found.kind.clone(),
        Content::Layer(layer) => layer.kind.clone(),
        Content::Unknown(why) => why.clone(),
    }
}

fn extent(start: u64, len: u64) -> Extent {
    Extent::new(start, len).unwrap()
}

/// What a layer says of itself must hold whatever it was read from.
fn is_sound(layer: &Layer, size_bytes: u64) {
    let used = layer.used();
    assert!(used.end() <= size_bytes);
    let own = layer.own.difference(&used);
    assert!(own.is_empty(), "of its own {own:?} is called free");
    let mut dealt = ExtentMap::new();
    for volume in &layer.volumes {
        for part in volume.mapping.everything() {
            assert!(
                dealt.within(part).next().is_none(),
                "two volumes have {part:?}"
            );
            assert!(
                layer.own.within(part).next().is_none(),
                "a volume has {part:?}"
            );
            dealt.insert(part);
        }
        let inner = volume.content.used(volume.size_bytes);
        let outer = ExtentMap::from(volume.mapping.outer(&inner));
        assert!(
            outer.difference(&used).is_empty(),
            "{} misses bytes",
            volume.name
        );
        if let Content::Layer(inner) = &volume.content {
            is_sound(inner, volume.size_bytes);
        }
    }
}

/// Copies what is not zero.
fn put(disk: &NamedTempFile, at: u64, part: &[u8]) {
    for (number, piece) in (0u64..).zip(part.chunks(1 << 16)) {
        if piece.iter().any(|byte| *byte != 0) {
            write_at(disk, at + number * (1 << 16), piece);
        }
    }
}

fn all_of(file: &NamedTempFile) -> Vec<u8> {
    let size = file.as_file().metadata().unwrap().len();
    read_at(file, 0, usize::try_from(size).unwrap())
}

/// An ext4 of this size with files in it.
fn ext4(size_bytes: u64) -> NamedTempFile {
    let root = tempfile::tempdir().unwrap();
    for name in 0..20u32 {
        let content = name.to_le_bytes().repeat(10_000);
        std::fs::write(root.path().join(format!("file {name}")), content).unwrap();
    }
    let file = made::blank(size_bytes);
    let (from, to) = (root.path().to_str().unwrap(), file.path().to_str().unwrap());
    made::run("mkfs.ext4", "e2fsprogs", &["-q", "-d", from, to], "");
    file
}
