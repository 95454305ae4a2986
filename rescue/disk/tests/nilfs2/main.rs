//! NILFS2 against what others say of it: nilfs-tools, the kernel's own count, GRUB, and files that Linux wrote.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod hostile;
#[path = "../kernel/mod.rs"]
mod kernel;
#[path = "../made/mod.rs"]
mod made;
#[path = "../corpus/peak.rs"]
mod peak;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{Basis, Filesystem, READERS, Reader, State, Used};
use kernel::{assert_files, blocks_of, by_grub, kept_in, restored};
use made::{blank, open, read_at, run, run_any, write_at};
use tempfile::NamedTempFile;

const MIB: u64 = 1 << 20;
const SUPERBLOCK: u64 = 1024;
/// Of a disk of 64 MiB.
const SECOND: u64 = 64 * MIB - 4096;

fn reader() -> &'static Reader {
    READERS.iter().find(|r| r.name == "nilfs2").unwrap()
}

fn kept(name: &str) -> NamedTempFile {
    kept_in("nilfs2", name)
}

fn read(file: &NamedTempFile) -> Filesystem {
    let found = (reader().read)(&open(file)).unwrap();
    found.expect("it is NILFS2")
}

fn map(file: &NamedTempFile) -> ExtentMap {
    match read(file).used {
        Used::Map { extents, .. } => extents,
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
    let args = [&["-q"], options, &[path]].concat();
    run("mkfs.nilfs2", "nilfs-tools", &args, "");
    file
}

/// Images on which no segment was ever used a second time.
fn images() -> impl Iterator<Item = NamedTempFile> {
    let shapes: &[(u64, &[&str])] = &[
        (64 * MIB, &["-B", "64", "-L", "Tännchen"]),
        (40 * MIB + 512, &["-B", "16", "-b", "1024"]),
        (300 * MIB, &["-b", "2048", "-B", "32", "-O", "block_count"]),
        (MIB << 10, &[]),
    ];
    let made = shapes.iter().map(|(size, options)| mkfs(*size, options));
    made.chain(["plain", "cut"].map(kept))
}

fn number(file: &NamedTempFile, at: u64) -> u64 {
    u64::from_le_bytes(read_at(file, at, 8).try_into().unwrap())
}

/// The kernel's `crc32_le`.
fn sum(seed: u32, bytes: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new_with_initial(!seed);
    hasher.update(bytes);
    (!hasher.finalize()).to_le_bytes()
}

fn seed(file: &NamedTempFile) -> u32 {
    u32::from_le_bytes(read_at(file, SUPERBLOCK + 12, 4).try_into().unwrap())
}

/// Changes both superblocks and puts their sums right.
fn change_superblocks(file: &NamedTempFile, at: u64, bytes: &[u8]) {
    for place in [SUPERBLOCK, SECOND] {
        write_at(file, place + at, bytes);
        put_superblock_right(file, place);
    }
}

fn put_superblock_right(file: &NamedTempFile, place: u64) {
    write_at(file, place + 16, &[0; 4]);
    let raw = read_at(file, place, 280);
    write_at(file, place + 16, &sum(seed(file), &raw));
}

/// The newest log, and its size in bytes. The superblocks may name one before it.
fn last_log(file: &NamedTempFile) -> (u64, u64) {
    let blocks = (0..64 * MIB).step_by(4096);
    let logs = blocks.filter(|at| number(file, at + 8) & 0xFFFF_FFFF == 0x1EAF_FA11);
    let at = logs.max_by_key(|at| (number(file, at + 16), *at)).unwrap();
    (at, (number(file, at + 40) & 0xFFFF_FFFF) * 4096)
}

#[test]
fn names_and_state_are_those_that_others_see() {
    for file in images() {
        let found = read(&file);
        let path = file.path().to_str().unwrap();
        let asked = |key| {
            let args = ["-p", "-o", "value", "-s", key, path];
            let said = run_any("blkid", "util-linux", &args, "").1;
            Some(said.trim().to_owned()).filter(|said| !said.is_empty())
        };
        assert_eq!((found.uuid, found.label), (asked("UUID"), asked("LABEL")));
        assert_eq!(Some(found.block_size.to_string()), asked("BLOCK_SIZE"));
    }
    assert_eq!(read(&kept("plain")).state, State::Clean);
}

#[test]
fn as_much_is_free_as_the_kernel_counted_when_it_was_unmounted() {
    let file = kept("plain");
    let free = map(&file).complement(64 * MIB).total_bytes();
    // It was counted with the log that the superblock names; what was begun since then is no longer free.
    let segment = |log: u64| log / SEGMENT;
    let begun = segment(last_log(&file).0) - segment(number(&file, SUPERBLOCK + 0x40) * 4096);
    let counted = number(&file, SUPERBLOCK + 0x50) * 4096;
    assert_eq!(free, counted - begun * SEGMENT);
    assert!(free > 16 * MIB, "{free}");
}

#[test]
fn nothing_that_was_ever_written_is_missing() {
    for file in images() {
        let used = map(&file);
        let size = file.as_file().metadata().unwrap().len();
        let free = used.complement(size);
        assert!(free.total_bytes() > size / 4, "{used:?}");
        for gap in free.iter() {
            for piece in gap.split_at_multiples(MIB) {
                let bytes = read_at(&file, piece.start(), usize::try_from(piece.len()).unwrap());
                assert!(bytes == vec![0; bytes.len()], "{piece:?}");
            }
        }
    }
}

#[test]
fn what_is_restored_from_the_map_has_its_files() {
    let file = kept("plain");
    let used = map(&file);
    let back = restored(&file, &used);
    assert_files(&back);
    assert_eq!(map(&back), used);
}

#[test]
fn after_a_power_cut_all_that_was_synced_is_kept() {
    let file = kept("cut");
    let found = read(&file);
    assert_eq!(found.state, State::Dirty("it was not unmounted".into()));
    let Used::Map { basis, extents } = found.used else {
        panic!("{:?}", found.used);
    };
    assert_eq!(basis, Basis::Replayed);
    let live = blocks_of(&file, "live", 4096);
    assert!(live.iter().all(|block| extents.covers(*block)));
    let back = restored(&file, &extents);
    assert_eq!(map(&back), extents);
    for path in ["/a/b/live59", "/a/live89", "/short"] {
        assert!(by_grub(&back, path).is_some(), "{path}");
        assert_eq!(by_grub(&back, path), by_grub(&file, path), "{path}");
    }
}

/// A segment of the images kept here.
const SEGMENT: u64 = 64 * 4096;

/// Makes a log sound again whose blocks were changed.
fn put_log_right(file: &NamedTempFile, at: u64) {
    let size = usize::try_from((number(file, at + 40) & 0xFFFF_FFFF) * 4096).unwrap();
    let raw = read_at(file, at + 4, size - 4);
    write_at(file, at, &sum(seed(file), &raw));
}

#[test]
fn logs_behind_the_last_super_root_are_kept_though_its_segment_usage_calls_them_clean() {
    // As if the power had gone when segment 12 was written: the last super root stands in segment 9, whose usage
    // knows segments up to 10, and the log goes on in 11.
    let file = kept("cut");
    change_superblocks(&file, 0x38, &7u64.to_le_bytes());
    change_superblocks(&file, 0x40, &576u64.to_le_bytes());
    change_superblocks(&file, 0x48, &9u64.to_le_bytes());
    write_at(&file, 769 * 4096, b"torn");
    let first = |file: &NamedTempFile| map(file).iter().next().unwrap();
    assert_eq!(first(&file), Extent::new(0, 13 * SEGMENT).unwrap());
    write_at(&file, 705 * 4096, b"torn");
    assert_eq!(first(&file), Extent::new(0, 12 * SEGMENT).unwrap());
    // Without the log in 10 the kernel would look there, and no further.
    write_at(&file, 641 * 4096, b"torn");
    assert_eq!(first(&file), Extent::new(0, 11 * SEGMENT).unwrap());
}

#[test]
fn of_two_superblocks_the_later_one_counts() {
    let file = kept("cut");
    let used = map(&file);
    write_at(&file, SUPERBLOCK + 0x40, &1u64.to_le_bytes());
    put_superblock_right(&file, SUPERBLOCK);
    assert_eq!(map(&file), used);
}

/// The newest block of the segment usage with its header, which counts 255 segments, and the log it is in.
fn usage_block(file: &NamedTempFile) -> (u64, u64) {
    let (last, size) = last_log(file);
    let before = |end: u64| (0..end / 4096).rev().map(|block| block * 4096);
    let is_header = |at: &u64| number(file, *at).checked_add(number(file, *at + 8)) == Some(255);
    let header = before(last + size).find(is_header).unwrap();
    let is_log = |at: &u64| number(file, at + 8) & 0xFFFF_FFFF == 0x1EAF_FA11;
    (before(header).find(is_log).unwrap(), header)
}

#[test]
fn a_segment_that_was_cleaned_is_free_unless_its_own_records_are_there() {
    let file = kept("plain");
    let whole = map(&file);
    let (log, header) = usage_block(&file);
    let clean = number(&file, header);
    let (mut freed, mut refused) = (0, 0);
    for segment in 1..45 {
        let entry = header + (segment + 2) * 16;
        let old = read_at(&file, entry, 16);
        write_at(&file, entry, &[0; 16]);
        put_log_right(&file, log);
        assert_eq!(why_whole(&file), "its segment usage contradicts itself");
        write_at(&file, header, &(clean + 1).to_le_bytes());
        put_log_right(&file, log);
        if let Used::Map { mut extents, .. } = read(&file).used {
            assert!(!extents.contains(segment * SEGMENT));
            extents.insert(Extent::new(segment * SEGMENT, SEGMENT).unwrap());
            assert_eq!(extents, whole);
            freed += 1;
        } else {
            let why = "its segment usage calls segments of its own records clean";
            assert_eq!(why_whole(&file), why);
            refused += 1;
        }
        write_at(&file, entry, &old);
        write_at(&file, header, &clean.to_le_bytes());
    }
    assert!(freed > 30, "{freed} and {refused}");
}

#[test]
fn what_is_not_followed_is_kept_whole() {
    let changed = |at: u64, bytes: &[u8]| {
        let file = kept("plain");
        change_superblocks(&file, at, bytes);
        why_whole(&file)
    };
    let errors = "it says of itself that it has errors, or a change of its size was not finished";
    assert_eq!(changed(0x74, &[3]), errors);
    assert_eq!(changed(0x74, &[5]), errors);
    let features = "it has features that are not known";
    assert_eq!(changed(0x108, &[2]), features);
    assert_eq!(changed(0x110, &[1]), features);
    let damaged = "its superblock is damaged";
    assert_eq!(changed(0x14, &[7]), damaged);
    assert_eq!(changed(0x18, &[0, 4]), damaged);
    assert_eq!(changed(0x30, &[8]), damaged);
    assert_eq!(changed(0x90, &[64]), damaged);
    assert_eq!(
        changed(0x48, &[9]),
        "the log has no super root where its superblock says"
    );
    let other = |at: u64, bytes: &[u8]| {
        let file = kept("plain");
        write_at(&file, at, bytes);
        why_whole(&file)
    };
    assert_eq!(other(SUPERBLOCK + 0x20, &[1]), damaged);
    assert_eq!(
        other(SECOND + 6, &[0]),
        "its second superblock is missing or damaged"
    );
    let file = kept("plain");
    write_at(&file, SECOND + 0xA0, b"another");
    put_superblock_right(&file, SECOND);
    assert_eq!(
        why_whole(&file),
        "the two copies of its superblock contradict each other"
    );
    let file = kept("plain");
    file.as_file().set_len(60 * MIB).unwrap();
    assert_eq!(
        why_whole(&file),
        "the filesystem is larger than its partition"
    );
    let file = kept("plain");
    let (log, size) = last_log(&file);
    write_at(&file, log + size - 4096 + 20, &[0x55]);
    put_log_right(&file, log);
    assert_eq!(why_whole(&file), "its super root is damaged");
}
