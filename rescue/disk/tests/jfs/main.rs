//! JFS against what others say of it: jfsutils, GRUB, and files that Linux wrote.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

#[path = "../kernel/bends.rs"]
mod bends;
#[path = "../corpus/bent.rs"]
mod bent;
mod hostile;
#[path = "../kernel/mod.rs"]
mod kernel;
#[path = "../made/mod.rs"]
mod made;
#[path = "../corpus/peak.rs"]
mod peak;
#[path = "../corpus/sparse.rs"]
mod sparse;

use disk::extent::ExtentMap;
use disk::fs::{Basis, Filesystem, READERS, Reader, State, Used};
use kernel::{assert_files, assert_files_below, blocks_of, by_grub, copy, kept_in, restored};
use made::{blank, open, run, run_any, write_at};
use tempfile::NamedTempFile;

const PACKAGE: &str = "jfsutils";
const MIB: u64 = 1 << 20;
const SUPERBLOCK: u64 = 32 << 10;
const SECOND: u64 = 0xF000;
const MAP_INODE: u64 = 0xB400;
/// The first page of the block allocation map of the images kept here, and the superblock of their log.
const CONTROL: u64 = 16 * 4096;
const LOG: u64 = 16129 * 4096;

fn reader() -> &'static Reader {
    READERS.iter().find(|r| r.name == "jfs").unwrap()
}

fn kept(name: &str) -> NamedTempFile {
    kept_in("jfs", name)
}

fn read(file: &NamedTempFile) -> Filesystem {
    let found = (reader().read)(&open(file)).unwrap();
    found.expect("it is JFS")
}

fn map(file: &NamedTempFile) -> ExtentMap {
    match read(file).used {
        Used::Map { basis, extents } => {
            assert_eq!(basis, Basis::Records);
            extents
        }
        Used::Whole(why) => panic!("whole: {why}"),
    }
}

fn why_whole(file: &NamedTempFile) -> String {
    let found = read(file);
    match (found.used, found.state) {
        (Used::Whole(why), State::Dirty(said)) => {
            assert_eq!(why, said);
            why
        }
        other => panic!("it has a map: {other:?}"),
    }
}

fn mkfs(size: u64, options: &[&str]) -> NamedTempFile {
    let file = blank(size);
    let path = file.path().to_str().unwrap();
    run(
        "mkfs.jfs",
        PACKAGE,
        &[&["-q"], options, &[path]].concat(),
        "",
    );
    file
}

/// Blocks that fsck.jfs finds free by walking all files; it must find no fault.
fn free_by_walk(file: &NamedTempFile) -> u64 {
    let copy = copy(file);
    let path = copy.path().to_str().unwrap();
    let (code, said) = run_any("fsck.jfs", PACKAGE, &["-n", "-f", "-v", path], "");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Filesystem is clean."), "{said}");
    let count = said
        .lines()
        .find_map(|line| line.strip_prefix("Free block count:"));
    count
        .unwrap_or_else(|| panic!("{said}"))
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn as_much_is_free_as_its_own_checker_finds_by_walking() {
    let shapes: &[(u64, &[&str])] = &[
        (16 * MIB, &["-L", "Tännchen"]),
        (70 * MIB + 512, &["-s", "1"]),
        (6 << 30, &["-s", "4", "-L", "sechzehn-bytes-x"]),
        (40 * MIB, &["-O"]),
    ];
    let made = shapes.iter().map(|(size, options)| mkfs(*size, options));
    for file in made.chain([kept("plain")]) {
        let found = read(&file);
        let used = map(&file);
        assert_eq!(found.state, State::Clean);
        let path = file.path().to_str().unwrap();
        let asked = |key| {
            let args = ["-p", "-o", "value", "-s", key, path];
            let said = run_any("blkid", "util-linux", &args, "").1;
            Some(said.trim().to_owned()).filter(|said| !said.is_empty())
        };
        assert_eq!((found.uuid, found.label), (asked("UUID"), asked("LABEL")));
        let size = file.as_file().metadata().unwrap().len();
        let free = size - used.total_bytes();
        assert_eq!(free, free_by_walk(&file) * 4096);
    }
}

#[test]
fn every_block_of_every_file_is_used_and_what_was_removed_is_not() {
    let file = kept("plain");
    let used = map(&file);
    let live = blocks_of(&file, "live", 4096);
    assert!(live.len() > 1000, "{}", live.len());
    assert!(live.iter().all(|block| used.covers(*block)));
    let dead = blocks_of(&file, "dead", 4096);
    let lost = dead.iter().filter(|block| !used.covers(**block)).count();
    assert!(lost > 300, "{lost} of {}", dead.len());
}

#[test]
fn what_is_restored_from_the_map_is_sound_and_has_its_files() {
    let file = kept("plain");
    let used = map(&file);
    let back = restored(&file, &used);
    assert_eq!(free_by_walk(&back), free_by_walk(&file));
    assert_files(&back);
    assert_eq!(map(&back), used);
}

#[test]
fn after_a_power_cut_it_is_whole_until_its_own_checker_has_replayed_the_log() {
    let file = kept("cut");
    assert_eq!(
        why_whole(&file),
        "it was not unmounted: its log waits for fsck.jfs"
    );
    let size = file.as_file().metadata().unwrap().len();
    assert_eq!(read(&file).used.extents(size), ExtentMap::whole(size));
    // Marked as clean, its log still says otherwise.
    write_at(&file, SUPERBLOCK + 40, &[0]);
    assert_eq!(why_whole(&file), "its log waits for fsck.jfs");
    write_at(&file, SUPERBLOCK + 40, &[1]);
    let path = file.path().to_str().unwrap();
    let (code, said) = run_any("fsck.jfs", PACKAGE, &["-p", path], "");
    assert!(code < 2, "{code} {said}");
    let back = restored(&file, &map(&file));
    free_by_walk(&back);
    assert_files_below(&back, 80);
    // Whatever the checker made of the files that were synced last (JFS writes their names when it likes), the copy
    // has the same.
    for name in ["/a/live89", "/live100", "/live117", "/live129"] {
        assert_eq!(by_grub(&back, name), by_grub(&file, name), "{name}");
    }
}

#[test]
fn what_is_not_followed_is_kept_whole() {
    let change = |at: u64, bytes: &[u8]| {
        let file = kept("plain");
        write_at(&file, at, bytes);
        why_whole(&file)
    };
    let superblock = |at: u64, bytes: &[u8]| change(SUPERBLOCK + at, bytes);
    assert_eq!(superblock(4, &[3]), "its version is not known");
    assert_eq!(
        superblock(16, &[0, 8]),
        "its blocks have a size that is not known"
    );
    assert_eq!(superblock(37, &[1]), "its log is on another disk");
    assert_eq!(
        superblock(40, &[2]),
        "it says of itself that it has errors, or a change of its size was not finished"
    );
    assert_eq!(superblock(8, &[0; 4]), "its superblock contradicts itself");
    assert_eq!(
        superblock(24, &[0, 0, 1]),
        "its superblock contradicts itself"
    );
    assert_eq!(
        change(SECOND + 8, &[0]),
        "the two copies of its superblock contradict each other"
    );
    assert_eq!(change(LOG, &[0]), "the superblock of its log is damaged");
    assert_eq!(
        change(MAP_INODE + 8, &[3]),
        "the inode of its block allocation map is damaged"
    );
    assert_eq!(
        change(CONTROL, &[0]),
        "its superblock and its block allocation map speak of other sizes"
    );
    let contradiction = "its block allocation map contradicts itself";
    assert_eq!(change(CONTROL + 8, &[0]), contradiction);
    // A used block is free in one of the two sets of bits, then in both, then the count says so too.
    let file = kept("plain");
    let page = CONTROL + 4 * 4096;
    write_at(&file, page + 2048, &[0xFE]);
    assert_eq!(why_whole(&file), contradiction);
    write_at(&file, page + 3072, &[0xFE]);
    assert_eq!(why_whole(&file), contradiction);
    let file = kept("plain");
    file.as_file().set_len(60 * MIB).unwrap();
    assert_eq!(
        why_whole(&file),
        "the filesystem is larger than its partition"
    );
}
