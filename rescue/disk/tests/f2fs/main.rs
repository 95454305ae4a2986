//! F2FS as mkfs.f2fs makes it and sload.f2fs fills it, judged by fsck.f2fs and partclone; and as kernels left it.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

#[path = "../corpus/bent.rs"]
mod bent;
mod files;
mod forward;
mod hostile;
mod kernel;
#[path = "../made/mod.rs"]
mod made;
#[path = "../corpus/peak.rs"]
mod peak;
#[path = "../corpus/sparse.rs"]
mod sparse;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::sync::{Arc, Mutex, OnceLock};

use disk::extent::{Extent, ExtentMap};
use disk::fs::{Basis, Filesystem, READERS, Reader, State, Used};
use made::{blank, open, read_at, run, write_at};
use tempfile::{NamedTempFile, TempDir};

const PACKAGE: &str = "f2fs-tools";
const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4096;

/// One segment a section and two, checksums everywhere, a node bitmap of the large kind, large sectors, a tail.
const SHAPES: &[(u64, &[&str])] = &[
    (160 * MIB, &[]),
    (200 * MIB + 3 * 4096, &["-s", "2"]),
    (
        160 * MIB,
        &[
            "-O",
            "extra_attr,inode_checksum,sb_checksum,inode_crtime,lost_found,quota",
        ],
    ),
    (160 * MIB, &["-i"]),
    (161 * MIB, &["-w", "4096"]),
];

fn mkfs(size: u64, options: &[&str]) -> NamedTempFile {
    let file = blank(size);
    let path = file.path().to_str().unwrap();
    let args = [&["-q", "-f", "-l", "FLÄSH"], options, &[path]].concat();
    run("mkfs.f2fs", PACKAGE, &args, "");
    file
}

/// Blocks that differ from each other.
fn noise(seed: u64, blocks: u64) -> Vec<u8> {
    (0..blocks * BLOCK / 8)
        .flat_map(|n| {
            (n + (seed << 32))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .to_le_bytes()
        })
        .collect()
}

fn load(file: &NamedTempFile, below: &str, seeds: std::ops::Range<u64>) {
    let dir = TempDir::new().unwrap();
    for seed in seeds {
        let folder = dir.path().join(format!("{below}/{}", seed % 5));
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("file {seed}")),
            noise(seed, 1 + seed * 7 % 60),
        )
        .unwrap();
    }
    let [from, path] = [dir.path(), file.path()].map(|path| path.to_str().unwrap());
    run("sload.f2fs", PACKAGE, &["-f", from, path], "");
}

/// Filled twice; made once, and copied.
fn filled(size: u64, options: &[&str]) -> NamedTempFile {
    static MADE: Mutex<BTreeMap<String, Arc<OnceLock<NamedTempFile>>>> =
        Mutex::new(BTreeMap::new());
    let made = {
        let mut all = MADE.lock().unwrap();
        Arc::clone(all.entry(format!("{size} {options:?}")).or_default())
    };
    let made = made.get_or_init(|| {
        let file = mkfs(size, options);
        load(&file, "one", 1..40);
        load(&file, "two", 40..60);
        file
    });
    copy(made)
}

fn copy(file: &NamedTempFile) -> NamedTempFile {
    let copy = NamedTempFile::new().unwrap();
    let [from, to] = [file, &copy].map(|file| file.path().to_str().unwrap());
    run("cp", "coreutils", &["--sparse=always", from, to], "");
    copy
}

fn reader() -> &'static Reader {
    READERS.iter().find(|r| r.name == "f2fs").unwrap()
}

fn read(file: &NamedTempFile) -> Filesystem {
    (reader().read)(&open(file)).unwrap().expect("it is F2FS")
}

fn map(filesystem: &Filesystem) -> ExtentMap {
    match &filesystem.used {
        Used::Map { basis, extents } => {
            let clean = filesystem.state == State::Clean;
            assert_eq!(*basis == Basis::Records, clean);
            assert_eq!(*basis == Basis::Replayed, !clean);
            extents.clone()
        }
        Used::Whole(why) => panic!("whole: {why}"),
    }
}

fn why_whole(file: &NamedTempFile) -> String {
    match read(file).used {
        Used::Whole(why) => why,
        Used::Map { .. } => panic!("it has a map"),
    }
}

fn assert_sound(file: &NamedTempFile) {
    let path = file.path().to_str().unwrap();
    let said = run("fsck.f2fs", PACKAGE, &["--dry-run", path], "");
    assert!(
        said.contains("[FSCK] SIT valid block bitmap checking                [Ok..]"),
        "{said}"
    );
    assert!(
        !said.contains("[Fail]") && !said.contains("ASSERT"),
        "{said}"
    );
}

fn partclone(file: &NamedTempFile) -> ExtentMap {
    let dir = TempDir::new().unwrap();
    let [map, log] = ["map", "log"].map(|name| dir.path().join(name).display().to_string());
    let path = file.path().to_str().unwrap();
    run(
        "partclone.f2fs",
        "partclone",
        &["-D", "-s", path, "-o", &map, "-L", &log],
        "",
    );
    let text = fs::read_to_string(map).unwrap();
    text.lines()
        .filter(|line| line.ends_with('+'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
            Extent::new(number()?, number()?)
        })
        .collect()
}

/// Only the used bytes of it; the first of every gap held something else before.
fn restored(file: &NamedTempFile, used: &ExtentMap) -> NamedTempFile {
    let size = file.as_file().metadata().unwrap().len();
    let back = blank(size);
    for gap in used.complement(size).iter() {
        let len = usize::try_from(gap.len().min(MIB)).unwrap();
        write_at(&back, gap.start(), &vec![0xFF; len]);
    }
    for extent in used.iter() {
        for piece in extent.split_at_multiples(MIB) {
            let bytes = read_at(file, piece.start(), usize::try_from(piece.len()).unwrap());
            if bytes.iter().any(|byte| *byte != 0) {
                write_at(&back, piece.start(), &bytes);
            }
        }
    }
    back
}

fn number_at(file: &NamedTempFile, at: u64) -> u64 {
    u64::from(u32::from_le_bytes(read_at(file, at, 4).try_into().unwrap()))
}

/// Numbers of the superblock, in bytes.
fn place(file: &NamedTempFile, at: u64) -> u64 {
    number_at(file, 1024 + at) * BLOCK
}

/// The start of the checkpoint pack that counts.
fn pack(file: &NamedTempFile) -> u64 {
    let first = place(file, 76);
    let version = |at| u64::from_le_bytes(read_at(file, at, 8).try_into().unwrap());
    let second = first + 512 * BLOCK;
    if version(second) > version(first) {
        second
    } else {
        first
    }
}

/// The sum of a block, which stands in its last four bytes.
fn put_sum(file: &NamedTempFile, at: u64) {
    let block = read_at(file, at, 4092);
    let mut sum = 0xF2F5_2010u32;
    for byte in block {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 0 { 0 } else { 0xEDB8_8320 };
        }
    }
    write_at(file, at + 4092, &sum.to_le_bytes());
}

/// Changes both ends of the checkpoint pack that counts.
fn change_checkpoint(file: &NamedTempFile, at: u64, bytes: &[u8]) {
    let pack = pack(file);
    let blocks = read_at(file, pack + 136, 4);
    let last = pack + (u64::from(u32::from_le_bytes(blocks.try_into().unwrap())) - 1) * BLOCK;
    for block in [pack, last] {
        write_at(file, block + at, bytes);
        put_sum(file, block);
    }
}

#[test]
fn the_used_map_is_what_fsck_and_partclone_say() {
    for (size, options) in SHAPES {
        let file = filled(*size, options);
        let filesystem = read(&file);
        assert_eq!(filesystem.kind, "f2fs");
        assert_eq!(filesystem.label.as_deref(), Some("FLÄSH"));
        assert_eq!(filesystem.state, State::Clean, "{options:?}");
        let path = file.path().to_str().unwrap();
        let uuid = run(
            "blkid",
            "util-linux",
            &["-p", "-o", "value", "-s", "UUID", path],
            "",
        );
        assert_eq!(filesystem.uuid.as_deref(), Some(uuid.trim()));
        let used = map(&filesystem);
        let back = restored(&file, &used);
        assert_sound(&back);
        assert_eq!(map(&read(&back)), used);
        // partclone does not know where the sum of a large bitmap's checkpoint is.
        if options == &["-i"] {
            continue;
        }
        let theirs = partclone(&file);
        assert_eq!(theirs.difference(&used), ExtentMap::new(), "{options:?}");
        // Beside it the block behind the last node, and what lies behind the last segment.
        let more = used.difference(&theirs);
        let in_main = Extent::between(0, filesystem.size_bytes / MIB / 2 * 2 * MIB).unwrap();
        let more: u64 = more.within(in_main).map(Extent::len).sum();
        assert!(more <= 3 * MIB, "{more} {options:?}");
    }
}

#[test]
fn every_block_of_every_file_is_used() {
    let file = filled(160 * MIB, &[]);
    let used = map(&read(&file));
    let mut wanted: HashSet<Vec<u8>> = HashSet::new();
    for seed in 1..60 {
        wanted.extend(
            noise(seed, 1 + seed * 7 % 60)
                .chunks(4096)
                .map(<[u8]>::to_vec),
        );
    }
    let image = fs::read(file.path()).unwrap();
    let mut met = 0;
    for (number, block) in (0..).zip(image.chunks_exact(4096)) {
        if wanted.contains(block) {
            met += 1;
            assert!(used.covers(Extent::new(number * BLOCK, BLOCK).unwrap()));
        }
    }
    assert!(
        met >= wanted.len() && met > 1000,
        "{met} of {}",
        wanted.len()
    );
}

/// As the kernel leaves it: the newest information of a segment stands in the checkpoint only. fsck.f2fs judges.
#[test]
fn what_stands_in_the_journal_counts() {
    const WHY: &str = "its segment information contradicts itself";
    // mkfs.f2fs leaves compact summaries with entries in their journal.
    let file = mkfs(160 * MIB, &[]);
    let (first, number) = (pack(&file), |at| number_at(&file, at));
    assert_eq!(number(first + 132) & 4, 4);
    let journal = first + number(first + 140) * BLOCK + 507;
    assert!((1..=6).contains(&read_at(&file, journal, 1)[0]));
    let used = map(&read(&file));
    assert_eq!(partclone(&file).difference(&used), ExtentMap::new());
    write_at(&file, journal, &[0]);
    assert_eq!(why_whole(&file), WHY);

    // sload.f2fs leaves whole ones with nothing in it.
    let file = filled(160 * MIB, &[]);
    let used = map(&read(&file));
    let (first, number) = (pack(&file), |at| number_at(&file, at));
    assert_eq!(number(first + 132) & 4, 0);
    let journal = first + (number(first + 136) - 5) * BLOCK + 3584;
    assert_eq!(read_at(&file, journal, 2), [0, 0]);
    // A segment's bits move there, and in their place stands that nothing is valid.
    let second = u64::from(read_at(&file, first + 192, 1)[0] >> 7);
    let at = place(&file, 80) + second * place(&file, 56) / 2 * 512;
    let holds = |n: &u32| read_at(&file, at + u64::from(*n) * 74 + 2, 64) != [0; 64];
    let segment = (0..55).find(holds).unwrap();
    let at = at + u64::from(segment) * 74;
    let moved = [&[1, 0][..], &segment.to_le_bytes(), &read_at(&file, at, 74)].concat();
    write_at(&file, journal, &moved);
    write_at(&file, at, &[0; 74]);
    assert_eq!(map(&read(&file)), used);
    assert_sound(&file);
    write_at(&file, journal, &[0]);
    assert_eq!(why_whole(&file), WHY);
}

#[test]
fn the_newest_checkpoint_that_is_sound_counts() {
    let file = filled(160 * MIB, &[]);
    let used = map(&read(&file));
    let (first, second) = (place(&file, 76), place(&file, 76) + 512 * BLOCK);
    assert_eq!(pack(&file), first);
    // The second becomes the newer one, and the first asks for a check.
    write_at(&file, second, &read_at(&file, first, 512 * 4096));
    change_checkpoint(&file, 132, &[0x91]);
    assert_eq!(why_whole(&file), "it asks for a check of itself");
    let version = number_at(&file, second) + 1;
    let last = second + (number_at(&file, second + 136) - 1) * BLOCK;
    for block in [second, last] {
        write_at(&file, block, &version.to_le_bytes()[..4]);
        put_sum(&file, block);
    }
    assert_eq!(pack(&file), second);
    assert_eq!(map(&read(&file)), used);
    // A checkpoint that was begun and not ended is none.
    write_at(&file, last, &(version - 2).to_le_bytes()[..4]);
    put_sum(&file, last);
    assert_eq!(why_whole(&file), "it asks for a check of itself");
    // One that is damaged may have been the newest.
    for block in [first, first + (last - second)] {
        write_at(&file, block + 132, &[0x81]);
        put_sum(&file, block);
    }
    assert_eq!(map(&read(&file)), used);
    write_at(&file, last + 24, &[0xFF; 8]);
    let why = "one of its two checkpoints is damaged";
    assert_eq!(why_whole(&file), why);
    let source = open(&file);
    assert!(
        files::tree(&source)
            .node(files::tree(&source).root())
            .is_ok()
    );
    write_at(&file, first + 24, &[0xFF; 8]);
    assert_eq!(why_whole(&file), "it has no checkpoint that is sound");
}

#[test]
fn what_asks_for_a_check_is_kept_whole() {
    for flags in [0x8u32, 0x10, 0x800, 0x1000, 0x2000, 0x4000] {
        let file = filled(160 * MIB, &[]);
        let before = read_at(&file, pack(&file) + 132, 4);
        let before = u32::from_le_bytes(before.try_into().unwrap());
        change_checkpoint(&file, 132, &(before | flags).to_le_bytes());
        let why = "it asks for a check of itself";
        assert_eq!(why_whole(&file), why);
        assert_eq!(read(&file).state, State::Dirty(why.into()));
    }
}

#[test]
fn what_is_not_followed_is_kept_whole() {
    let change = |at: u64, bytes: &[u8]| {
        let file = filled(160 * MIB, &[]);
        for copy in [1024, BLOCK + 1024] {
            write_at(&file, copy + at, bytes);
        }
        why_whole(&file)
    };
    assert_eq!(change(2180, &[2]), "it is made for a zoned disk");
    assert_eq!(
        change(2182, &[1]),
        "it has features that are not known here"
    );
    assert_eq!(change(2201, b"/dev/sdb"), "it lies on several devices");
    assert_eq!(change(16, &[14]), "its blocks do not have 4 KiB");
    assert_eq!(change(80, &[9]), "its superblocks are damaged");
}

#[test]
fn one_superblock_is_enough_and_two_must_agree() {
    for copy in [1024, BLOCK + 1024] {
        let file = filled(160 * MIB, &[]);
        let before = read(&file);
        write_at(&file, copy, &[0; 3072]);
        let after = read(&file);
        assert_eq!(
            (after.uuid.clone(), map(&after)),
            (before.uuid.clone(), map(&before))
        );
    }
    let file = filled(160 * MIB, &[]);
    write_at(&file, 1024 + 36, &[0xFF]);
    assert_eq!(
        why_whole(&file),
        "its two superblocks contradict each other"
    );
    let file = filled(160 * MIB, &["-O", "extra_attr,sb_checksum"]);
    let used = map(&read(&file));
    write_at(&file, 1024 + 36, &[0xFF]);
    assert_eq!(
        map(&read(&file)),
        used,
        "its sum says that it is the wrong one"
    );
}

#[test]
fn a_filesystem_cut_short_is_kept_whole() {
    let file = filled(160 * MIB, &[]);
    file.as_file().set_len(150 * MIB).unwrap();
    assert_eq!(
        why_whole(&file),
        "the filesystem is larger than its partition"
    );
}
