//! What a volume says of its last user, and what is taken as used when it cannot be believed.

use disk::extent::{Extent, ExtentMap};
use disk::fs::tree::{Case, NodeId, Piece, find};
use disk::fs::{Basis, State, recognise};
use disk::memory::BadPlaces;
use disk::source::BlockSource;
use tempfile::NamedTempFile;

use crate::made::{open, read_at, run, write_at};
use crate::mkfs::{Mounted, filled};
use crate::{MIB, dirty, map, pieces, read, reader, whole};

const CLUSTER: u64 = 4096;
const RECORD: u64 = 1024;

fn volume() -> NamedTempFile {
    filled(32 * MIB, 512, 4096)
}

/// Where a file record stands; the start of the table is in one piece.
fn record(file: &NamedTempFile, number: u64) -> u64 {
    let cluster = u64::from_le_bytes(read_at(file, 0x30, 8).try_into().unwrap());
    cluster * CLUSTER + number * RECORD
}

/// Where an attribute of this type stands, not looking at its name.
fn attribute(file: &NamedTempFile, number: u64, kind: u32) -> u64 {
    let start = record(file, number);
    let bytes = read_at(file, start, 1024);
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = usize::from(bytes[20]);
    while u32_at(at) != kind {
        assert_ne!(u32_at(at), u32::MAX, "record {number} has no {kind:#x}");
        at += u32_at(at + 4) as usize;
    }
    start + at as u64
}

fn place_of_the_bitmap(file: &NamedTempFile) -> Extent {
    let all: Vec<Piece> = pieces(&open(file), NodeId(6));
    assert_eq!(all.len(), 1);
    all[0].extent
}

/// Calls clusters free in the bitmap.
fn forget(file: &NamedTempFile, extent: Extent) {
    let bitmap = place_of_the_bitmap(file).start();
    for cluster in extent.start() / CLUSTER..extent.end().div_ceil(CLUSTER) {
        let mut byte = read_at(file, bitmap + cluster / 8, 1);
        byte[0] &= !(1 << (cluster % 8));
        write_at(file, bitmap + cluster / 8, &byte);
    }
}

/// A restart page as Windows writes it: version 1.1, pages of 4096 bytes, one client.
fn restart_page(lsn: u64, client_in_use: u16, flags: u16) -> Vec<u8> {
    let mut page = vec![0u8; 4096];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"RSTR");
    put(4, &30u16.to_le_bytes());
    put(6, &9u16.to_le_bytes());
    put(16, &4096u32.to_le_bytes());
    put(20, &4096u32.to_le_bytes());
    put(24, &48u16.to_le_bytes());
    put(28, &1u16.to_le_bytes());
    put(30, &[7, 0]);
    put(48, &lsn.to_le_bytes());
    put(48 + 12, &client_in_use.to_le_bytes());
    put(48 + 14, &flags.to_le_bytes());
    for end in (512..=4096).step_by(512) {
        put(end - 2, &[7, 0]);
    }
    page
}

fn put_journal(file: &NamedTempFile, first: &[u8], second: &[u8]) {
    let at = pieces(&open(file), NodeId(2))[0].extent.start();
    write_at(file, at, first);
    write_at(file, at + 4096, second);
}

const OPEN: (u16, u16) = (0, 0);
const CLEAN: (u16, u16) = (0, 2);
const NOBODY: (u16, u16) = (0xFFFF, 0);

fn used(file: &NamedTempFile) -> ExtentMap {
    crate::used_by(&open(file))
}

#[test]
fn a_volume_marked_dirty_by_windows_is_the_union_of_its_bitmap_and_its_files() {
    let file = volume();
    let before = used(&file);
    write_at(&file, attribute(&file, 3, 0x70) + 24 + 10, &[1]);
    let found = read(&file);
    assert_eq!(dirty(&found), "Windows marked it as dirty");
    assert_eq!(map(&found), (Basis::Union, &before));
}

#[test]
fn clusters_of_files_that_the_bitmap_calls_free_are_used() {
    let file = volume();
    let before = used(&file);
    let mut forgotten = 0;
    for path in [&["deep", "er", "file8"][..], &["sparse"], &["many"]] {
        for piece in crate::pieces_of(&open(&file), path) {
            let whole = piece.extent.aligned_out(CLUSTER, u64::MAX).unwrap();
            forget(&file, whole);
            forgotten += whole.len();
        }
    }
    assert!(forgotten > 2_000_000, "{forgotten}");
    let found = read(&file);
    assert_eq!(
        dirty(&found),
        format!("its files use {forgotten} bytes that its bitmap calls free")
    );
    assert_eq!(map(&found), (Basis::Union, &before));
}

#[test]
fn a_journal_that_windows_closed_vouches_for_the_bitmap() {
    let file = volume();
    let before = used(&file);
    for (in_use, flags) in [CLEAN, NOBODY] {
        let old = restart_page(10, OPEN.0, OPEN.1);
        let new = restart_page(11, in_use, flags);
        for (first, second) in [(&old, &new), (&new, &old), (&new, &new)] {
            put_journal(&file, first, second);
            let found = read(&file);
            assert_eq!(found.state, State::Clean);
            assert_eq!(map(&found), (Basis::Records, &before));
        }
    }
}

#[test]
fn a_journal_that_is_open_or_damaged_leaves_nothing_free() {
    let file = volume();
    let (open, clean) = (
        restart_page(11, OPEN.0, OPEN.1),
        restart_page(10, CLEAN.0, CLEAN.1),
    );
    for (first, second) in [(&open, &open), (&open, &clean), (&clean, &open)] {
        put_journal(&file, first, second);
        let found = read(&file);
        // It has no client.
        let why = "its journal was not closed, and has an unknown format";
        assert_eq!((whole(&found), dirty(&found)), (why, why));
    }
    let mut torn = clean.clone();
    torn[1022] ^= 1;
    put_journal(&file, &clean, &torn);
    assert_eq!(
        whole(&read(&file)),
        "a restart page of its journal is damaged"
    );
    put_journal(&file, &[0; 4096], &[0; 4096]);
    assert_eq!(whole(&read(&file)), "its journal has no restart page");
}

#[test]
fn a_sleeping_windows_is_seen_by_the_mark_in_its_hibernation_file() {
    for (mark, asleep) in [
        ("hibr", true),
        ("HIBR", true),
        ("RSTR", true),
        ("wake", false),
        ("\0\0\0\0", false),
    ] {
        let file = volume();
        let mounted = Mounted::new(file.path(), "rw");
        std::fs::write(mounted.at("HiberFil.sys"), mark.repeat(2000)).unwrap();
        mounted.end();
        let found = read(&file);
        assert_eq!(found.state == State::Hibernated, asleep, "{mark}");
        assert_eq!(map(&found).0, Basis::Records);
        let (first, second) = (
            restart_page(1, OPEN.0, OPEN.1),
            restart_page(2, OPEN.0, OPEN.1),
        );
        put_journal(&file, &first, &second);
        let found = read(&file);
        assert_eq!(found.state == State::Hibernated, asleep, "{mark}");
        assert_eq!(
            whole(&found),
            "its journal was not closed, and has an unknown format"
        );
    }
}

#[test]
fn a_damaged_boot_sector_is_replaced_by_the_backup_at_the_end() {
    let file = volume();
    let before = read(&file);
    // The size of a sector, and a field that belongs to FAT.
    for at in [0x0B, 0x10] {
        let sector = read_at(&file, 0, 512);
        write_at(&file, at, &[0x55]);
        let found = read(&file);
        assert!(dirty(&found).contains("the backup boot sector was used"));
        assert_eq!(map(&found), (Basis::Union, map(&before).1));
        assert_eq!(found.uuid, before.uuid);
        write_at(&file, 0, &sector);
    }
    let unreadable = BadPlaces {
        source: open(&file),
        bad: ExtentMap::whole(512),
    };
    let found = recognise(&unreadable).unwrap().unwrap().1;
    assert_eq!(found.uuid, before.uuid);
    assert_ne!(found.state, State::Clean);
    write_at(&file, 0x0B, &[0x55]);
    write_at(&file, 32 * MIB - 512, &[0; 512]);
    let found = read(&file);
    assert_eq!(whole(&found), "its sectors have an impossible size");
    assert_eq!(found.kind, "ntfs");
}

#[test]
fn files_are_found_without_any_boot_sector_but_nothing_is_free_then() {
    let file = volume();
    write_at(&file, 0, &[0; 512]);
    let source = open(&file);
    assert!(recognise(&source).unwrap().is_none());
    let tree = reader().tree.unwrap()(&source).unwrap();
    let found = find(tree.as_ref(), &["sparse"], Case::Exact).unwrap();
    assert!(found.is_some());
}

#[test]
fn a_broken_start_of_the_file_table_is_replaced_by_its_copy() {
    for number in [0, 1, 2, 3] {
        let file = volume();
        let before = read(&file);
        let torn = record(&file, number) + 510;
        write_at(&file, torn, &[0xEE, 0xEE]);
        let found = read(&file);
        assert!(dirty(&found).contains("the copy of its file table's start was used"));
        assert_eq!(map(&found), (Basis::Union, map(&before).1));
        assert_eq!(found.label, before.label);
        let unreadable = BadPlaces {
            source: open(&file),
            bad: ExtentMap::from(vec![Extent::new(torn / 512 * 512, 512).unwrap()]),
        };
        // Asked alone: other readers look there for marks of their own.
        let found = (reader().read)(&unreadable).unwrap().unwrap();
        assert_eq!(map(&found), (Basis::Records, map(&before).1));
        assert!(found.parts.notes[0].contains("the copy of its file table's start was used"));
    }
}

#[test]
fn a_record_that_is_torn_leaves_nothing_free_where_the_files_have_to_be_counted() {
    let file = volume();
    write_at(&file, record(&file, 70) + 510, &[0xEE, 0xEE]);
    assert!(whole(&read(&file)).contains("written in part only"));
    put_journal(
        &file,
        &restart_page(1, CLEAN.0, CLEAN.1),
        &restart_page(2, CLEAN.0, CLEAN.1),
    );
    assert_eq!(map(&read(&file)).0, Basis::Records);
}

#[test]
fn a_bitmap_that_contradicts_itself_leaves_nothing_free() {
    let edits: [(&str, u64, &[u8]); 5] = [
        ("too short", 48, &512u64.to_le_bytes()),
        ("contradict each other", 48, &(1u64 << 40).to_le_bytes()),
        ("too short", 56, &8u64.to_le_bytes()),
        ("impossible way", 12, &[1, 0]),
        ("outside the volume", 64, &[0x31, 1, 0xFF, 0xFF, 0x7F, 0]),
    ];
    for (why, at, bytes) in edits {
        let file = volume();
        let data = attribute(&file, 6, 0x80);
        if at == 48 && why == "too short" {
            write_at(&file, data + 56, bytes);
        }
        write_at(&file, data + at, bytes);
        let found = read(&file);
        assert!(whole(&found).contains(why), "{why}: {}", whole(&found));
        assert_ne!(found.state, State::Clean);
    }
    let file = volume();
    write_at(&file, record(&file, 6) + 1022, &[0xEE, 0xEE]);
    assert!(whole(&read(&file)).contains("written in part only"));
}

#[test]
fn a_bitmap_that_frees_its_own_clusters_is_not_believed_alone() {
    let file = volume();
    let before = used(&file);
    let bitmap = place_of_the_bitmap(&file);
    put_journal(
        &file,
        &restart_page(1, CLEAN.0, CLEAN.1),
        &restart_page(2, CLEAN.0, CLEAN.1),
    );
    assert_eq!(read(&file).state, State::Clean);
    forget(&file, bitmap);
    let found = read(&file);
    assert!(dirty(&found).contains("clusters free that are in use"));
    assert_eq!(map(&found), (Basis::Union, &before));
}

#[test]
fn clusters_whose_bits_cannot_be_read_are_used() {
    let file = filled(600 * MIB, 512, 4096);
    let place = place_of_the_bitmap(&file);
    assert!(place.len() > 3 * 4096);
    let source = BadPlaces {
        source: open(&file),
        bad: ExtentMap::from(vec![Extent::new(place.start() + 5000, 512).unwrap()]),
    };
    let found = recognise(&source).unwrap().unwrap().1;
    assert!(dirty(&found).contains("1024 bytes of its bitmap cannot be read"));
    // Two sectors of 512 bytes are hit, which speak of as many times 8 clusters.
    let lost = Extent::new(4608 * 8 * CLUSTER, 1024 * 8 * CLUSTER).unwrap();
    assert_eq!(found.parts.unknown, ExtentMap::from(vec![lost]));
    let expected = used(&file).union(&ExtentMap::from(vec![lost]));
    assert_eq!(*map(&found).1, expected);
}

#[test]
fn a_larger_volume_than_its_partition_is_whole() {
    let file = volume();
    file.as_file().set_len(31 * MIB).unwrap();
    let found = read(&file);
    assert!(whole(&found).contains("bytes of a partition of"));
}

#[test]
fn what_was_made_over_ntfs_is_not_taken_for_it() {
    let file = volume();
    let path = file.path().to_str().unwrap();
    run("mke2fs", "e2fsprogs", &["-q", "-F", "-t", "ext4", path], "");
    let found = read(&file);
    assert_eq!(found.kind, "ext4");
    assert_eq!(map(&found).0, Basis::Records);
    let file = volume();
    let path = file.path().to_str().unwrap();
    run("mkfs.vfat", "dosfstools", &["-F", "32", path], "");
    let found = read(&file);
    assert_eq!((&*found.kind, map(&found).0), ("vfat", Basis::Records));
}

#[test]
fn whatever_the_last_user_did_the_tail_behind_the_clusters_is_kept() {
    let file = volume();
    file.as_file().set_len(40 * MIB).unwrap();
    let found = read(&file);
    let end = found.size_bytes / CLUSTER * CLUSTER;
    assert!(
        map(&found)
            .1
            .covers(Extent::between(end, 40 * MIB).unwrap())
    );
    assert!(open(&file).size_bytes() > found.size_bytes);
}
