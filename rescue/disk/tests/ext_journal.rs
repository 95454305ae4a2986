//! ext3/4 after a power cut: the journal replayed in memory against the journal replayed by e2fsck.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;
#[path = "made/ext.rs"]
mod mkfs;

use std::os::unix::fs::FileExt;

use disk::extent::ExtentMap;
use disk::fs::{Basis, Filesystem, State, Used, recognise};
use made::{blank, open, read_at, write_at};
use mkfs::{
    JournalSums, block_size, changed, dumpe2fs_free, e2fsck, files, filled, journal_blocks,
    power_cut,
};
use tempfile::NamedTempFile;

const SIZE: u64 = 40 << 20;

fn read(file: &NamedTempFile) -> Filesystem {
    recognise(&open(file)).unwrap().expect("it is ext").1
}

fn copy(file: &NamedTempFile) -> NamedTempFile {
    let copy = blank(0);
    std::fs::copy(file.path(), copy.path()).unwrap();
    copy
}

/// Used before or used after e2fsck replayed the journal.
fn expected(file: &NamedTempFile) -> ExtentMap {
    let after = copy(file);
    e2fsck(after.path(), &["-fy", "-E", "journal_only"]);
    let size = file.as_file().metadata().unwrap().len();
    let [before, after] = [file, &after].map(|file| dumpe2fs_free(file.path()).0.complement(size));
    assert_ne!(before, after, "the journal changes nothing");
    before.union(&after)
}

fn assert_replayed(file: &NamedTempFile, what: &str) {
    let found = read(file);
    match &found.used {
        Used::Map { basis, extents } => {
            assert_eq!(*basis, Basis::Replayed, "{what}");
            assert_eq!(*extents, expected(file), "{what}");
        }
        Used::Whole(why) => panic!("{what}: taken whole: {why}"),
    }
    let State::Dirty(why) = &found.state else {
        panic!("{what} is called clean")
    };
    assert!(why.contains("replayed in memory"), "{what}: {why}");
}

const KINDS: &[(&[&str], JournalSums)] = &[
    (&["-t", "ext4", "-b", "1024"], JournalSums::V3),
    (&["-t", "ext4", "-b", "4096"], JournalSums::V3),
    (&["-t", "ext4", "-b", "1024"], JournalSums::V2),
    (
        &["-t", "ext4", "-b", "1024", "-O", "^64bit"],
        JournalSums::V2,
    ),
    (
        &["-t", "ext4", "-b", "1024", "-O", "^64bit"],
        JournalSums::V3,
    ),
    (
        &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg"],
        JournalSums::None,
    ),
    (
        &["-t", "ext4", "-b", "2048", "-O", "^metadata_csum,^64bit"],
        JournalSums::None,
    ),
    (&["-t", "ext3", "-b", "1024"], JournalSums::None),
    (
        &["-t", "ext4", "-b", "4096", "-O", "bigalloc", "-C", "16384"],
        JournalSums::V3,
    ),
];

#[test]
fn the_replay_in_memory_finds_what_e2fsck_finds() {
    let files = files();
    for (options, sums) in KINDS {
        let before = filled(SIZE, options, &files);
        let cut = power_cut(&before, &changed(&before), *sums);
        assert_replayed(&cut, &format!("{options:?} {sums:?}"));
    }
}

/// Turns the ring of a journal so that its log begins `by` blocks before the end and goes on at the front.
fn turned(file: &NamedTempFile, by: u64) -> NamedTempFile {
    let size = block_size(file.path());
    let blocks = journal_blocks(file);
    let superblock = read_at(file, blocks[0] * size, 1024);
    let word = |at: usize| {
        u64::from(u32::from_be_bytes(
            superblock[at..at + 4].try_into().unwrap(),
        ))
    };
    let (length, first, start) = (word(0x10), word(0x14), word(0x1C));
    let ring = length - first;
    let turned = copy(file);
    for at in first..length {
        let to = first + (at - start + ring + (ring - by)) % ring;
        let place = |at: u64| blocks[usize::try_from(at).unwrap()] * size;
        write_at(
            &turned,
            place(to),
            &read_at(file, place(at), usize::try_from(size).unwrap()),
        );
    }
    let mut superblock = superblock;
    let start = u32::try_from(first + ring - by).unwrap();
    superblock[0x1C..0x20].copy_from_slice(&start.to_be_bytes());
    if superblock[0x2B] & 0x18 != 0 {
        superblock[0xFC..0x100].fill(0);
        let sum = !crc32c::crc32c(&superblock);
        superblock[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
    }
    write_at(&turned, blocks[0] * size, &superblock);
    turned
}

#[test]
fn a_log_that_goes_around_the_end_of_its_ring_is_followed() {
    let files = files();
    for (options, sums) in [
        (&["-t", "ext4", "-b", "1024"][..], JournalSums::V3),
        (&["-t", "ext3", "-b", "1024"], JournalSums::None),
    ] {
        let before = filled(SIZE, options, &files);
        let cut = power_cut(&before, &changed(&before), sums);
        for by in [1, 2, 50, 200] {
            assert_replayed(&turned(&cut, by), &format!("{options:?} turned by {by}"));
        }
    }
}

/// Where in the log the blocks of this type stand, as bytes of the disk.
fn log_blocks(file: &NamedTempFile, kind: u32) -> Vec<u64> {
    let size = block_size(file.path());
    let places = journal_blocks(file).into_iter().map(|block| block * size);
    places
        .skip(1)
        .filter(|at| {
            let head = read_at(file, *at, 8);
            head[..4] == [0xC0, 0x3B, 0x39, 0x98] && head[4..] == kind.to_be_bytes()
        })
        .collect()
}

fn flip(file: &NamedTempFile, at: u64) -> NamedTempFile {
    let copy = copy(file);
    let byte = read_at(&copy, at, 1)[0];
    copy.as_file().write_all_at(&[!byte], at).unwrap();
    copy
}

#[test]
fn a_damaged_commit_ends_the_replay_where_e2fsck_ends_it() {
    let before = filled(SIZE, &["-t", "ext4", "-b", "1024"], &files());
    let cut = power_cut(&before, &changed(&before), JournalSums::V3);
    let commits = log_blocks(&cut, 2);
    assert!(commits.len() >= 4, "{commits:?}");
    let last = flip(&cut, commits[commits.len() - 1] + 20);
    let found = read(&last);
    let Used::Map { extents, .. } = &found.used else {
        panic!("{:?}", found.used)
    };
    let after = copy(&last);
    e2fsck(after.path(), &["-fy", "-E", "journal_only"]);
    let used = dumpe2fs_free(after.path()).0.complement(SIZE);
    assert!(used.iter().all(|e| extents.covers(e)));
    assert!(
        found.state.to_string().contains("left out"),
        "{}",
        found.state
    );
}

#[test]
fn a_journal_that_cannot_be_believed_makes_it_whole() {
    let before = filled(SIZE, &["-t", "ext4", "-b", "1024"], &files());
    let cut = power_cut(&before, &changed(&before), JournalSums::V3);
    let (descriptors, journal) = (log_blocks(&cut, 1), journal_blocks(&cut)[0] * 1024);
    for (what, at) in [
        ("a transaction", descriptors[0] + 700),
        ("a block", descriptors[descriptors.len() - 2] + 1024 + 3),
        ("superblock of its journal", journal + 0x60),
        ("no superblock", journal),
    ] {
        match read(&flip(&cut, at)).used {
            Used::Whole(why) => assert!(why.contains(what), "{what}: {why}"),
            Used::Map { .. } => panic!("{what}: it was mapped"),
        }
    }
}

#[test]
fn a_journal_elsewhere_that_has_to_be_replayed_makes_it_whole() {
    let before = filled(SIZE, &["-t", "ext3", "-b", "1024"], &files());
    let cut = power_cut(&before, &changed(&before), JournalSums::None);
    write_at(&cut, 1024 + 0xE0, &[0; 4]);
    match read(&cut).used {
        Used::Whole(why) => assert!(why.contains("another disk"), "{why}"),
        Used::Map { .. } => panic!("it was mapped"),
    }
}
