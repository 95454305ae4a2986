//! The used map, the names, and what the state is taken for.

use std::fs;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{Basis, State, Used};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{read_at, run, write_at};
use crate::volume::{FILLED, alone, by_xorriso, mapped, read, restored, volume, why_whole};

/// What the reference mapper marks as used.
fn reference(file: &NamedTempFile) -> ExtentMap {
    let dir = TempDir::new().unwrap();
    let map = dir.path().join("map").display().to_string();
    let log = dir.path().join("log").display().to_string();
    let path = file.path().to_str().unwrap();
    let args = ["-D", "-F", "-q", "-L", &log, "-s", path, "-O", &map];
    run("partclone.hfsp", "partclone", &args, "");
    fs::read_to_string(map)
        .unwrap()
        .lines()
        .filter(|line| line.ends_with('+'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
            Extent::new(number()?, number()?)
        })
        .collect()
}

fn blkid(file: &NamedTempFile, tag: &str) -> Option<String> {
    let path = file.path().to_str().unwrap();
    let args = ["-p", "-o", "value", "-s", tag, path];
    Some(run("blkid", "util-linux", &args, "").trim().to_owned()).filter(|text| !text.is_empty())
}

fn agrees(file: &NamedTempFile) {
    let found = read(file);
    assert_eq!(found.state, State::Clean);
    assert_eq!(found.kind, "hfsplus");
    let (used, theirs) = (mapped(&found), reference(file));
    let missing = theirs.difference(used);
    assert!(missing.is_empty(), "{missing:?}");
    // The blocks of the headers, and what is behind the last block.
    let extra = used.difference(&theirs).total_bytes();
    assert!(extra <= 4 * u64::from(found.block_size), "{extra}");
    assert_eq!(found.uuid, blkid(file, "UUID"));
    if let Some(label) = blkid(file, "LABEL") {
        assert_eq!(found.label, Some(label));
    }
    assert_eq!(
        blkid(file, "BLOCK_SIZE"),
        Some(found.block_size.to_string())
    );
}

#[test]
fn the_map_is_that_of_the_reference_and_the_names_are_those_of_blkid() {
    let _alone = alone();
    for name in FILLED {
        agrees(&volume(name));
    }
}

#[test]
fn a_restored_volume_holds_every_byte_that_another_reader_finds() {
    let _alone = alone();
    for file in FILLED.iter().map(|name| volume(name)) {
        let back = restored(&file, mapped(&read(&file)));
        assert_eq!(read(&back), read(&file));
        let [dir, other] = [&file, &back].map(|file| {
            let dir = TempDir::new().unwrap();
            let into = format!("-o{}", dir.path().display());
            let path = file.path().to_str().unwrap();
            run(
                "7z",
                "p7zip-full",
                &["x", "-y", "-bd", "-thfs", &into, path],
                "",
            );
            dir
        });
        let args = [
            "-r",
            "--no-dereference",
            dir.path().to_str().unwrap(),
            other.path().to_str().unwrap(),
        ];
        assert_eq!(run("diff", "diffutils", &args, ""), "");
        assert!(fs::read_dir(dir.path()).unwrap().count() > 0);
    }
}

#[test]
fn both_headers_and_what_lies_behind_the_volume_are_used() {
    let _alone = alone();
    let file = volume("plain");
    let size = file.as_file().metadata().unwrap().len();
    file.as_file().set_len(size + 10_000).unwrap();
    let found = read(&file);
    let used = mapped(&found);
    assert_eq!(found.size_bytes, size);
    assert!(used.covers(Extent::new(0, 1536).unwrap()));
    assert!(used.covers(Extent::between(size - 1024, size + 10_000).unwrap()));
    assert!(matches!(
        found.used,
        Used::Map {
            basis: Basis::Records,
            ..
        }
    ));
}

#[test]
fn a_volume_whose_counts_disagree_is_whole() {
    let _alone = alone();
    // xorriso leaves nothing free, says so, and ends its bitmap with zeros.
    let file = by_xorriso();
    assert!(why_whole(&file).contains("counts 0 free blocks"));
    assert_eq!(read(&file).label.as_deref(), Some("By xorriso"));
}

/// Changes a number of the volume header.
fn patched(at: u64, bytes: &[u8]) -> NamedTempFile {
    let file = volume("plain");
    write_at(&file, 1024 + at, bytes);
    file
}

#[test]
fn a_volume_that_was_left_open_or_contradicts_itself_is_whole_and_says_why() {
    let _alone = alone();
    let file = volume("plain");
    let attributes = u32::from_be_bytes(read_at(&file, 1028, 4).try_into().unwrap());
    let free = u32::from_be_bytes(read_at(&file, 1072, 4).try_into().unwrap());
    let bitmap = u32::from_be_bytes(read_at(&file, 1024 + 128, 4).try_into().unwrap());
    let cases = [
        (4, attributes & !(1 << 8), "no journal"),
        (4, attributes | 1 << 11, "inconsistent"),
        (4, attributes | 1 << 13, "journal lies where"),
        (48, free - 1, "free blocks, its bitmap"),
        (44, 1 << 31, "more than the partition"),
        (40, 4097, "contradict"),
        (128, bitmap + 1_000_000, "where there are none"),
        (132, 0, "fewer blocks"),
    ];
    for (at, number, why) in cases {
        let said = why_whole(&patched(at, &number.to_be_bytes()));
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_bitmap_that_calls_its_own_blocks_free_is_not_believed() {
    let _alone = alone();
    let file = volume("plain");
    let number = |at: u64| u32::from_be_bytes(read_at(&file, at, 4).try_into().unwrap());
    let (block, bitmap, free) = (number(1064), number(1024 + 128), number(1072));
    let byte = u64::from(block) * u64::from(bitmap) + u64::from(bitmap / 8);
    let bit = 0x80 >> (bitmap % 8);
    let old = read_at(&file, byte, 1)[0];
    assert_eq!(old & bit, bit);
    write_at(&file, byte, &[old & !bit]);
    write_at(&file, 1072, &(free + 1).to_be_bytes());
    assert!(why_whole(&file).contains("its own records"));
}

#[test]
fn a_wrapper_of_hfs_and_hfs_itself_are_known_and_whole() {
    let _alone = alone();
    for (embedded, kind) in [(*b"H+", "hfsplus"), ([0, 0], "hfs")] {
        let file = crate::made::blank(1 << 20);
        write_at(&file, 1024, b"BD");
        write_at(&file, 1024 + 18, &2000u16.to_be_bytes());
        write_at(&file, 1024 + 20, &512u32.to_be_bytes());
        write_at(&file, 1024 + 28, &4u16.to_be_bytes());
        write_at(&file, 1024 + 124, &embedded);
        write_at(&file, 2048 + 1024, b"H+\0\x04");
        write_at(&file, 2048 + 1024 + 40, &4096u32.to_be_bytes());
        assert_eq!(blkid(&file, "TYPE").as_deref(), Some(kind));
        let found = read(&file);
        assert_eq!(found.kind, kind);
        assert!(matches!(found.used, Used::Whole(_)));
    }
}
