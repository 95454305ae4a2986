//! ReiserFS against what others say of it: reiserfsprogs, GRUB, and files that Linux wrote.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

#[path = "../kernel/bends.rs"]
mod bends;
#[path = "../corpus/bent.rs"]
mod bent;
mod hostile;
mod journal;
#[path = "../kernel/mod.rs"]
mod kernel;
#[path = "../made/mod.rs"]
mod made;
#[path = "../corpus/peak.rs"]
mod peak;
#[path = "../corpus/sparse.rs"]
mod sparse;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{Basis, Filesystem, READERS, Reader, State, Used};
use kernel::{assert_files, blocks_of, copy, kept_in, number_at, restored};
use made::{blank, open, run, run_any, write_at};
use tempfile::NamedTempFile;

const PACKAGE: &str = "reiserfsprogs";
const MIB: u64 = 1 << 20;
const SUPERBLOCK: u64 = 64 << 10;

fn reader() -> &'static Reader {
    READERS.iter().find(|r| r.name == "reiserfs").unwrap()
}

fn kept(name: &str) -> NamedTempFile {
    kept_in("reiserfs", name)
}

fn read(file: &NamedTempFile) -> Filesystem {
    let found = (reader().read)(&open(file)).unwrap();
    found.expect("it is ReiserFS")
}

fn map(file: &NamedTempFile) -> (Basis, ExtentMap) {
    match read(file).used {
        Used::Map { basis, extents } => (basis, extents),
        Used::Whole(why) => panic!("whole: {why}"),
    }
}

fn why_whole(file: &NamedTempFile) -> String {
    match read(file).used {
        Used::Whole(why) => why,
        Used::Map { .. } => panic!("it has a map"),
    }
}

fn mkfs(size: u64, options: &[&str]) -> NamedTempFile {
    let file = blank(size);
    let path = file.path().to_str().unwrap();
    run(
        "mkreiserfs",
        PACKAGE,
        &[&["-q", "-f"], options, &[path]].concat(),
        "",
    );
    file
}

/// What debugreiserfs calls used in the bitmaps.
fn dumped(file: &NamedTempFile) -> ExtentMap {
    let path = file.path().to_str().unwrap();
    let said = run("debugreiserfs", PACKAGE, &["-m", path], "");
    let size = u64::from(read(file).block_size);
    let mut used = ExtentMap::new();
    for line in said.lines().filter(|line| line.starts_with('#')) {
        for run in line.split("Busy (").chain(line.split("Busy(")).skip(1) {
            let Some((run, _)) = run.split_once(')').filter(|(run, _)| run.len() < 30) else {
                continue;
            };
            let (from, to) = run.split_once('-').unwrap_or((run, run));
            let (Ok(from), Ok(to)) = (from.parse::<u64>(), to.parse::<u64>()) else {
                continue;
            };
            used.insert(Extent::new(from * size, (to + 1 - from) * size).unwrap());
        }
    }
    let end = Extent::new(0, read(file).size_bytes).unwrap();
    used.within(end).collect()
}

fn assert_sound(file: &NamedTempFile) {
    let copy = copy(file);
    let path = copy.path().to_str().unwrap();
    let (code, said) = run_any("reiserfsck", PACKAGE, &["--check", "-y", "-q", path], "");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("No corruptions found"), "{said}");
}

#[test]
fn the_used_map_is_what_the_dumper_says() {
    let shapes: &[(u64, &[&str])] = &[
        (70 * MIB, &["-l", "Tännchen"]),
        (40 * MIB + 4096, &["-b", "1024", "-s", "600"]),
        (140 * MIB + 512, &["-s", "513", "--format", "3.6"]),
        (64 * MIB, &["--format", "3.5"]),
        (64 * MIB, &["-b", "8192", "-s", "600"]),
    ];
    let made = shapes.iter().map(|(size, options)| mkfs(*size, options));
    let kept = [kept("plain")];
    for file in made.chain(kept) {
        let found = read(&file);
        let (basis, used) = map(&file);
        assert_eq!((basis, &found.state), (Basis::Records, &State::Clean));
        let path = file.path().to_str().unwrap();
        let asked = |key| {
            let args = ["-p", "-o", "value", "-s", key, path];
            let said = run_any("blkid", "util-linux", &args, "").1;
            Some(said.trim().to_owned()).filter(|said| !said.is_empty())
        };
        assert_eq!((found.uuid, found.label), (asked("UUID"), asked("LABEL")));
        let theirs = dumped(&file);
        assert_eq!(theirs.difference(&used), ExtentMap::new());
        let more: u64 = used.difference(&theirs).iter().map(Extent::len).sum();
        let tail = file.as_file().metadata().unwrap().len() - found.size_bytes;
        assert!(
            theirs.total_bytes() > MIB / 2 && more == tail,
            "{more} {tail}"
        );
    }
}

#[test]
fn every_block_of_every_file_is_used_and_what_was_removed_is_not() {
    for name in ["plain", "cut"] {
        let file = kept(name);
        let used = map(&file).1;
        let live = blocks_of(&file, "live", 4096);
        assert!(live.len() > 1000, "{}", live.len());
        assert!(live.iter().all(|block| used.covers(*block)), "{name}");
        let dead = blocks_of(&file, "dead", 4096);
        let lost = dead.iter().filter(|block| !used.covers(**block)).count();
        assert!(lost > 300, "{lost} of {} {name}", dead.len());
    }
}

#[test]
fn what_is_restored_from_the_map_is_sound_and_has_its_files() {
    let file = kept("plain");
    let (_, used) = map(&file);
    let back = restored(&file, &used);
    assert_sound(&back);
    assert_files(&back);
    assert_eq!(map(&back).1, used);
}

#[test]
fn what_is_not_followed_is_kept_whole() {
    let change = |at: u64, bytes: &[u8]| {
        let file = mkfs(64 * MIB, &[]);
        write_at(&file, SUPERBLOCK + at, bytes);
        why_whole(&file)
    };
    assert_eq!(change(16, &[3, 8]), "its journal is on another disk");
    assert_eq!(change(62, &[1]), "it says of itself that it has errors");
    assert_eq!(change(8, &[0xFF; 4]), "a check of it was not finished");
    assert_eq!(
        change(45, &[0x30]),
        "its blocks have a size that is not known"
    );
    assert_eq!(change(70, &[7]), "its superblock contradicts itself");
    assert_eq!(
        change(4, &[1, 2]),
        "its superblock and its bitmaps count other free blocks"
    );
    let file = mkfs(64 * MIB, &[]);
    write_at(&file, (8 << 10) + 52, b"ReIsErFs");
    assert_eq!(
        why_whole(&file),
        "a superblock of an older ReiserFS stands before its own"
    );
    // Two bits change places: the journal's first block is free then.
    let file = mkfs(64 * MIB, &[]);
    let bitmap = SUPERBLOCK + 4096;
    write_at(&file, bitmap + 2, &[0xFB]);
    write_at(&file, bitmap + 1900, &[1]);
    assert_eq!(
        why_whole(&file),
        "its bitmaps call blocks of its own records free"
    );
    file.as_file().set_len(60 * MIB).unwrap();
    assert_eq!(
        why_whole(&file),
        "the filesystem is larger than its partition"
    );
}
