//! The used map, the names, and what is taken whole.

use disk::extent::{Extent, ExtentMap};
use disk::fs::{State, Used};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{blank, open, read_at, run, write_at};
use crate::volume::{
    BLOCK, FILLED, alone, formatted, mapped, number, objects, patch, read, reader, restored,
    volume, why_whole,
};

const CHUNK_INFO: u16 = 7;
const SPACE: u16 = 5;

fn checked(file: &NamedTempFile) {
    run(
        "apfsck",
        "apfsprogs",
        &["-c", file.path().to_str().unwrap()],
        "",
    );
}

fn told(file: &NamedTempFile) -> String {
    let path = file.path().to_str().unwrap();
    run("fsapfsinfo", "libfsapfs-utils", &[path], "")
}

/// The blocks whose bit is set, straight from the bitmaps that the chunk-info blocks name.
fn by_its_bitmaps(file: &NamedTempFile) -> ExtentMap {
    let mut used = ExtentMap::new();
    // The newest version of each has the highest transaction, and is last.
    let mut infos = std::collections::BTreeMap::new();
    for block in objects(file, CHUNK_INFO) {
        infos.insert(number(file, block, 32) & 0xFFFF_FFFF, block);
    }
    for block in infos.into_values() {
        for chunk in 0..number(file, block, 32) >> 32 {
            let at = 40 + chunk * 32;
            let (start, bitmap) = (number(file, block, at + 8), number(file, block, at + 24));
            if bitmap == 0 {
                continue;
            }
            let bits = read_at(file, bitmap * BLOCK, 4096);
            for bit in (0..8 * 4096).filter(|bit| bits[bit / 8] >> (bit % 8) & 1 == 1) {
                let place = (start + bit as u64) * BLOCK;
                used.insert(Extent::new(place, BLOCK).unwrap());
            }
        }
    }
    used
}

/// What the reference mapper marks as used.
fn reference(file: &NamedTempFile) -> ExtentMap {
    let dir = TempDir::new().unwrap();
    let map = dir.path().join("map").display().to_string();
    let log = dir.path().join("log").display().to_string();
    let path = file.path().to_str().unwrap();
    let args = ["-D", "-F", "-q", "-L", &log, "-s", path, "-O", &map];
    run("partclone.apfs", "partclone", &args, "");
    std::fs::read_to_string(map)
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

/// The map is the bitmaps', beside the container's last block; what it leaves out may be anything.
fn agrees(file: &NamedTempFile) {
    checked(file);
    let found = read(file);
    assert_eq!((found.kind.as_str(), &found.state), ("apfs", &State::Clean));
    let (used, theirs) = (mapped(&found), by_its_bitmaps(file));
    assert!(theirs.difference(used).is_empty());
    assert!(used.difference(&theirs).total_bytes() <= BLOCK);
    let back = restored(file, used);
    checked(&back);
    assert_eq!(told(&back), told(file));
    assert_eq!(read(&back), found);
}

#[test]
fn a_new_container_is_mapped_as_its_bitmaps_say_and_restored_it_is_sound() {
    for size in [128 << 20, (300 << 20) + 4096] {
        agrees(&formatted(size));
    }
}

/// Of a chunk that has no bitmap because all of it is free, partclone 0.3.23 marks what is in its memory by chance: this
/// container has one chunk.
#[test]
fn the_map_is_that_of_the_reference() {
    let file = formatted(128 << 20);
    let (found, theirs) = (read(&file), reference(&file));
    assert!(theirs.difference(mapped(&found)).is_empty());
    let more = mapped(&found).difference(&theirs);
    assert!(more.total_bytes() <= BLOCK, "{more:?}");
}

#[test]
fn the_names_are_those_that_others_read() {
    let file = formatted(128 << 20);
    let found = read(&file);
    assert_eq!(found.label.as_deref(), Some("A new one"));
    let told = told(&file);
    assert!(told.contains("A new one"), "{told}");
    let path = file.path().to_str().unwrap();
    let tag = |tag| {
        let args = ["-p", "-o", "value", "-s", tag, path];
        run("blkid", "util-linux", &args, "").trim().to_owned()
    };
    assert_eq!(Some(tag("UUID")), found.uuid);
    assert_eq!(tag("TYPE"), found.kind);
    assert_eq!(tag("BLOCK_SIZE"), found.block_size.to_string());
}

#[test]
fn containers_that_linux_filled_are_mapped_with_their_snapshots() {
    let _alone = alone();
    for (name, folder) in FILLED {
        let file = volume(name);
        checked(&file);
        let found = read(&file);
        let (used, theirs) = (mapped(&found), by_its_bitmaps(&file));
        assert!(theirs.difference(used).is_empty());
        assert!(used.difference(&theirs).total_bytes() <= BLOCK);
        assert_eq!(found.label.as_deref(), Some(*folder));
        let back = restored(&file, used);
        checked(&back);
        assert_eq!(read(&back), found);
    }
}

#[test]
fn a_container_of_a_terabyte_is_mapped() {
    // Of what mkapfs makes that is larger, apfsck says that it is damaged.
    let file = formatted(1 << 40);
    let found = read(&file);
    let used = mapped(&found);
    assert!(used.total_bytes() < 1 << 30, "{}", used.total_bytes());
    assert!(used.contains((1 << 40) - 1));
    checked(&file);
}

#[test]
fn what_lies_behind_the_container_is_used() {
    let file = blank(200 << 20);
    let path = file.path().to_str().unwrap();
    run("mkapfs", "apfsprogs", &[path, "38400"], "");
    let found = read(&file);
    assert_eq!(found.size_bytes, 150 << 20);
    let behind = Extent::between((150 << 20) - BLOCK, 200 << 20).unwrap();
    assert!(mapped(&found).covers(behind));
}

#[test]
fn a_chunk_whose_bitmap_has_another_count_leaves_everything_used() {
    let file = formatted(128 << 20);
    let info = *objects(&file, CHUNK_INFO).last().unwrap();
    let bitmap = number(&file, info, 40 + 24) * BLOCK;
    let byte = read_at(&file, bitmap, 1)[0];
    write_at(&file, bitmap, &[byte & !1]);
    let why = why_whole(&file);
    assert!(why.contains("its bitmap"), "{why}");
}

#[test]
fn a_bitmap_that_frees_what_a_tree_uses_is_not_believed() {
    let file = formatted(128 << 20);
    let info = *objects(&file, CHUNK_INFO).last().unwrap();
    let (bitmap, space) = (number(&file, info, 40 + 24), objects(&file, SPACE));
    let whole = mapped(&read(&file)).clone();
    // Every block that is an object of a tree, a volume or a map of objects; the ones of the checkpoints and of the
    // space manager are its own.
    for kind in [2, 11, 13] {
        for block in objects(&file, kind) {
            let file = restored(&file, &whole);
            let at = bitmap * BLOCK + block / 8;
            let byte = read_at(&file, at, 1)[0];
            let bit = 1 << (block % 8);
            assert_eq!(byte & bit, bit, "block {block} of kind {kind}");
            write_at(&file, at, &[byte & !bit]);
            let free = number(&file, info, 40 + 16) + (1 << 32);
            patch(&file, info, 40 + 16, &free.to_le_bytes());
            for space in &space {
                let free = number(&file, *space, 72) + 1;
                patch(&file, *space, 72, &free.to_le_bytes());
            }
            let why = why_whole(&file);
            assert!(
                why.contains("which its trees use") || why.contains("its own blocks"),
                "{why}"
            );
        }
    }
}

#[test]
fn what_is_unknown_damaged_or_half_of_two_is_whole_and_says_why() {
    let fusion = 0x102u64.to_le_bytes();
    let cases: &[(usize, &[u8], &str)] = &[
        (64, &fusion, "Fusion Drive"),
        (64, &[1], "unknown here"),
        (64, &[0x12], "unknown here"),
        (36, &[0, 8, 0, 0], "block size"),
        (40, &[0xFF; 8], "larger than"),
        (107, &[0x80], "in pieces"),
        (119, &[0x80], "in pieces"),
        (104, &[0, 0, 0, 0], "beyond its end"),
        (152, &[7], "no space manager"),
        (160, &[9], "object map"),
    ];
    let sound = formatted(128 << 20);
    let used = mapped(&read(&sound)).clone();
    for (at, bytes, why) in cases {
        let file = restored(&sound, &used);
        for block in objects(&file, 1) {
            patch(&file, block, *at, bytes);
        }
        let said = why_whole(&file);
        assert!(said.contains(why), "{at}: {said}");
    }
}

#[test]
fn a_wrong_checksum_anywhere_in_what_is_needed_is_whole() {
    let sound = formatted(128 << 20);
    let right = mapped(&read(&sound)).clone();
    for kind in [1, 2, 5, 7, 11, 12, 13] {
        for block in objects(&sound, kind) {
            let at = block * BLOCK + 33;
            let byte = read_at(&sound, at, 1)[0];
            write_at(&sound, at, &[byte ^ 0x10]);
            let found = (reader().read)(&open(&sound)).unwrap();
            write_at(&sound, at, &[byte]);
            // The signature itself may be what was hit.
            let Some(found) = found else { continue };
            let used = match found.used {
                Used::Whole(_) => continue,
                Used::Map { extents, .. } => extents,
            };
            // An object that the map does not need: of a tree of files, or of the free queues.
            assert_eq!(kind, 2, "block {block}");
            assert_eq!(used, right);
        }
    }
}
