//! ext2/3/4 against e2fsprogs and partclone, on filesystems made by mke2fs.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;
#[path = "made/ext.rs"]
mod mkfs;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{Basis, Filesystem, State, Used, recognise};
use made::{blank, open, run, write_at};
use mkfs::{dumpe2fs_free, files, filled, mke2fs, partclone_used};
use tempfile::NamedTempFile;

fn read(file: &NamedTempFile) -> Filesystem {
    let source = open(file);
    recognise(&source).unwrap().expect("it is ext").1
}

fn map(filesystem: &Filesystem) -> (Basis, &ExtentMap) {
    match &filesystem.used {
        Used::Map { basis, extents } => (*basis, extents),
        Used::Whole(why) => panic!("it was taken whole: {why}"),
    }
}

fn whole(filesystem: &Filesystem) -> &str {
    match &filesystem.used {
        Used::Whole(why) => why,
        Used::Map { .. } => panic!("it was mapped"),
    }
}

/// What dumpe2fs does not call free; block 0 before 1 KiB blocks and the tail are used.
fn expected(file: &NamedTempFile) -> ExtentMap {
    let size = file.as_file().metadata().unwrap().len();
    dumpe2fs_free(file.path()).0.complement(size)
}

fn blkid(file: &NamedTempFile, tag: &str) -> String {
    let path = file.path().to_str().unwrap();
    run(
        "blkid",
        "util-linux",
        &["-p", "-o", "value", "-s", tag, path],
        "",
    )
    .trim()
    .to_owned()
}

const MIB: u64 = 1 << 20;

/// Size and mke2fs options; every layout the used map has to get right.
const LAYOUTS: &[(u64, &[&str])] = &[
    (96 * MIB, &["-t", "ext4", "-b", "4096"]),
    (96 * MIB, &["-t", "ext4", "-b", "1024"]),
    (96 * MIB, &["-t", "ext4", "-b", "2048", "-I", "128"]),
    (300 * MIB, &["-t", "ext4", "-b", "4096", "-O", "^64bit"]),
    (96 * MIB, &["-t", "ext4", "-b", "1024", "-O", "^flex_bg"]),
    (96 * MIB, &["-t", "ext4", "-b", "1024", "-G", "4"]),
    (
        300 * MIB,
        &["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"],
    ),
    (
        300 * MIB,
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "meta_bg,^resize_inode,^flex_bg,^metadata_csum,uninit_bg",
        ],
    ),
    (96 * MIB, &["-t", "ext2"]),
    (
        96 * MIB,
        &[
            "-t",
            "ext2",
            "-b",
            "4096",
            "-O",
            "^sparse_super,^resize_inode",
        ],
    ),
    (96 * MIB, &["-t", "ext3"]),
    (96 * MIB, &["-t", "ext2", "-r", "0"]),
    (
        300 * MIB,
        &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg"],
    ),
    (
        300 * MIB,
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "^metadata_csum,^64bit,uninit_bg,^flex_bg",
        ],
    ),
    (
        20 << 30,
        &["-t", "ext4", "-O", "sparse_super2,^resize_inode"],
    ),
    (20 << 30, &["-t", "ext4", "-b", "4096", "-O", "^flex_bg"]),
    (
        160 * MIB,
        &["-t", "ext4", "-b", "4096", "-O", "bigalloc", "-C", "65536"],
    ),
    (
        160 * MIB,
        &["-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "8192"],
    ),
    (600 * MIB, &["-t", "ext4", "-b", "65536"]),
    (
        300 * MIB,
        &[
            "-t",
            "ext4",
            "-O",
            "mmp,quota,project,metadata_csum_seed,inline_data,large_dir,casefold,ea_inode",
        ],
    ),
    (
        96 * MIB,
        &["-t", "ext4", "-b", "1024", "-O", "^has_journal"],
    ),
    // The filesystem ends before its partition, in a short last group.
    (
        96 * MIB + 12345 * 512,
        &["-t", "ext4", "-b", "1024", "-E", "offset=0", "-N", "9000"],
    ),
];

#[test]
fn every_layout_is_mapped_bit_for_bit_as_dumpe2fs_lists_it() {
    let files = files();
    // partclone takes a second for each, asleep.
    std::thread::scope(|scope| {
        for (size, options) in LAYOUTS {
            let files = &files;
            scope.spawn(move || {
                agrees_with_the_reference_tools(&filled(*size, options, files), options)
            });
        }
    });
}

fn agrees_with_the_reference_tools(file: &NamedTempFile, options: &[&str]) {
    let found = read(file);
    assert_eq!(found.state, State::Clean, "{options:?}");
    let (basis, used) = map(&found);
    assert_eq!(basis, Basis::Records);
    assert_eq!(*used, expected(file), "{options:?}");
    assert_eq!(found.kind, blkid(file, "TYPE"), "{options:?}");
    assert_eq!(found.uuid, Some(blkid(file, "UUID")));
    if options.iter().any(|o| o.contains("bigalloc")) {
        return; // partclone misses used blocks of these
    }
    // partclone calls the boot block free and does not look behind the filesystem.
    let mut theirs = partclone_used(file.path());
    assert!(theirs.iter().all(|e| used.covers(e)), "{options:?}");
    theirs.insert(Extent::new(0, u64::from(found.block_size)).unwrap());
    let filesystem = Extent::new(0, found.size_bytes).unwrap();
    assert_eq!(
        used.within(filesystem).collect::<ExtentMap>(),
        theirs,
        "{options:?}"
    );
}

#[test]
fn a_label_and_a_uuid_are_read_as_blkid_prints_them() {
    let file = blank(8 * MIB);
    mke2fs(
        &file,
        &[
            "-t",
            "ext4",
            "-L",
            "Fotos 2019 äö",
            "-U",
            "12345678-9abc-def0-1122-334455667788",
        ],
    );
    let found = read(&file);
    assert_eq!(found.label.as_deref(), Some("Fotos 2019 äö"));
    assert_eq!(
        found.uuid.as_deref(),
        Some("12345678-9abc-def0-1122-334455667788")
    );
}

#[test]
fn an_external_journal_is_recognised_and_whole() {
    let file = blank(8 * MIB);
    mke2fs(&file, &["-O", "journal_dev"]);
    let found = read(&file);
    assert_eq!(found.kind, "jbd");
    assert!(whole(&found).contains("journal"));
}

#[test]
fn a_filesystem_without_journal_that_was_not_unmounted_is_whole() {
    let file = filled(96 * MIB, &["-t", "ext2"], &files());
    mkfs::debugfs_write(&file, "set_super_value state 0\n");
    let found = read(&file);
    assert!(matches!(found.state, State::Dirty(_)));
    assert!(whole(&found).contains("not unmounted"));
}

#[test]
fn errors_it_knows_of_are_told() {
    let file = filled(96 * MIB, &["-t", "ext4"], &files());
    mkfs::debugfs_write(&file, "set_super_value state 3\n");
    let found = read(&file);
    assert_eq!(*map(&found).1, expected(&file));
    assert!(
        found.state.to_string().contains("found errors"),
        "{}",
        found.state
    );
}

#[test]
fn a_group_with_a_damaged_descriptor_or_bitmap_is_whole_and_the_others_are_not() {
    let file = filled(96 * MIB, &["-t", "ext4", "-b", "1024"], &files());
    let groups = 12;
    let clean = map(&read(&file)).1.clone();
    let bounds = |group: u64| Extent::new(1024 + group * 8192 * 1024, 8192 * 1024).unwrap();
    let bitmap = |group: u64| {
        let text = run(
            "dumpe2fs",
            "e2fsprogs",
            &[file.path().to_str().unwrap()],
            "",
        );
        let (_, own) = text.split_once(&format!("\nGroup {group}:")).unwrap();
        let (_, at) = own.split_once("Block bitmap at ").unwrap();
        at.split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    };
    for (what, at) in [("descriptor", 2048 + 64 + 0xC), ("bitmap", bitmap(1) + 100)] {
        let copy = blank(96 * MIB);
        std::fs::copy(file.path(), copy.path()).unwrap();
        let old = made::read_at(&copy, at, 1)[0];
        write_at(&copy, at, &[!old]);
        let found = read(&copy);
        let (_, used) = map(&found);
        assert!(used.covers(bounds(1)), "{what}");
        assert!(found.state.to_string().contains(what), "{}", found.state);
        assert!(clean.iter().all(|e| used.covers(e)));
        for group in (0..groups - 1).filter(|g| *g != 1) {
            // A damaged descriptor may stand for tables in groups that were never written to.
            let same = used.within(bounds(group)).eq(clean.within(bounds(group)));
            assert!(same || used.covers(bounds(group)), "group {group}");
            assert!(same || what == "descriptor");
        }
    }
}

#[test]
fn a_damaged_superblock_is_replaced_by_its_backup_where_sums_prove_the_descriptors() {
    let files = files();
    for options in [
        &["-t", "ext4", "-b", "1024"][..],
        &["-t", "ext4", "-b", "4096"],
    ] {
        let file = filled(300 * MIB, options, &files);
        let clean = expected(&file);
        write_at(&file, 1024 + 0x20, &[0xFF; 4]);
        let found = read(&file);
        assert_eq!(*map(&found).1, clean);
        assert!(
            found.state.to_string().contains("backup"),
            "{}",
            found.state
        );
    }
    let file = filled(96 * MIB, &["-t", "ext3", "-b", "1024"], &files);
    write_at(&file, 1024 + 0x20, &[0xFF; 4]);
    assert!(whole(&read(&file)).contains("superblock"));
}

#[test]
fn a_partition_shorter_than_its_filesystem_is_whole() {
    let file = filled(96 * MIB, &["-t", "ext4"], &files());
    file.as_file().set_len(90 * MIB).unwrap();
    assert!(whole(&read(&file)).contains("claims"));
}

#[test]
fn a_feature_from_the_future_makes_it_whole() {
    let file = filled(96 * MIB, &["-t", "ext2"], &files());
    write_at(&file, 1024 + 0x62, &[0x40]);
    assert!(whole(&read(&file)).contains("features unknown here"));
}

#[test]
fn a_backup_under_a_newer_filesystem_does_not_make_it_ext() {
    let file = filled(96 * MIB, &["-t", "ext4", "-b", "1024"], &files());
    write_at(&file, 0, &[0; 65536]);
    assert!(recognise(&open(&file)).unwrap().is_none());
}
