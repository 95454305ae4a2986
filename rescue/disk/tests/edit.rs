//! A table carried to a larger disk, judged by sgdisk and sfdisk.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use disk::memory::BadPlaces;
use disk::source::BlockSource;
use disk::table::edit::{self, Grown, Patch};
use disk::table::{self, Table};
use made::{
    FileSource, blank, open, partx, read_at, run, run_any, sfdisk, sfdisk_dump, sgdisk, write_at,
};
use proptest::prelude::{any, proptest};
use tempfile::NamedTempFile;

const MIB: u64 = 1 << 20;
const OLD: u64 = 64 * MIB;

/// With identifiers of its own choice, out of order, and boot code before it.
fn gpt_disk() -> NamedTempFile {
    let file = blank(OLD);
    sfdisk(
        &file,
        "label: gpt\nlabel-id: 11112222-3333-4444-5555-666677778880\nfirst-lba: 34\n\
         1 : start=2048, size=16384, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=\"EFI sýstem\", uuid=11112222-3333-4444-5555-666677778881\n\
         3 : start=59392, size=20480, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F, name=\"last\", uuid=11112222-3333-4444-5555-666677778883\n\
         5 : start=18432, size=40960, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, attrs=\"LegacyBIOSBootable\", uuid=11112222-3333-4444-5555-666677778885\n",
    );
    write_at(&file, 0, b"\xEB\x63boot code");
    file
}

fn table_of(source: &dyn BlockSource) -> Table {
    table::read(source).unwrap().expect("a table")
}

/// A copy of the source's bytes on a disk of this size, with the patches laid over it.
fn laid_over(source: &NamedTempFile, size: u64, patches: &[Patch]) -> NamedTempFile {
    let file = blank(0);
    std::fs::copy(source.path(), file.path()).unwrap();
    file.as_file().set_len(size).unwrap();
    for patch in patches {
        assert!(patch.offset + patch.bytes.len() as u64 <= size);
        write_at(&file, patch.offset, &patch.bytes);
    }
    file
}

fn moved(source: &NamedTempFile, size: u64) -> NamedTempFile {
    let disk = open(source);
    let patches = edit::moved_to(&disk, &table_of(&disk), Geometry::of_file(size)).unwrap();
    laid_over(source, size, &patches)
}

fn grow(source: &NamedTempFile, size: u64) -> Option<(NamedTempFile, Grown)> {
    let disk = open(source);
    let grown = edit::grown(&disk, &table_of(&disk), Geometry::of_file(size)).unwrap()?;
    Some((laid_over(source, size, &grown.patches), grown))
}

fn is_clean(file: &NamedTempFile) {
    let text = sgdisk(file, &["-v"]);
    assert!(text.contains("No problems found"), "{text}");
    assert!(!text.contains("Warning"), "{text}");
    let table = table_of(&open(file));
    assert!(table.trusted && table.notes.is_empty(), "{:?}", table.notes);
}

fn verified(file: &NamedTempFile) {
    let text = run(
        "sfdisk",
        "fdisk",
        &["-V", file.path().to_str().unwrap()],
        "",
    );
    assert!(text.contains("No errors detected"), "{text}");
}

/// What sfdisk says of the partitions and the disk, without its path and the end of its room.
fn facts(file: &NamedTempFile) -> Vec<String> {
    let path = file.path().to_str().unwrap();
    sfdisk_dump(file)
        .lines()
        .filter(|line| !line.starts_with("last-lba") && !line.starts_with("device"))
        .map(|line| {
            line.replace(&format!("{path}p"), "disk")
                .replace(path, "disk")
        })
        .collect()
}

#[test]
fn a_gpt_on_a_larger_disk_is_clean_and_says_the_same() {
    let source = gpt_disk();
    // One sector more, less than an array more (old and new backup overlap), and much more.
    for more in [512, 8 * 512, 40 * 512, 36 * MIB + 512, 8 << 30] {
        let there = moved(&source, OLD + more);
        is_clean(&there);
        assert_eq!(facts(&there), facts(&source));
        assert_eq!(
            read_at(&there, 1024, 32 * 512),
            read_at(&source, 1024, 32 * 512)
        );
        assert_eq!(
            read_at(&there, 0, 440),
            read_at(&source, 0, 440),
            "boot code stays"
        );
        let found = signatures(&there);
        let end = (OLD + more) / 512 - 1;
        assert_eq!(found, [1, end], "no header is left in the middle");
    }
}

/// Sectors of the first 110 MiB and of the last one that begin like a GPT header.
fn signatures(file: &NamedTempFile) -> Vec<u64> {
    let size = file.as_file().metadata().unwrap().len();
    let head = read_at(file, 0, usize::try_from(size.min(110 * MIB)).unwrap());
    let mut found: Vec<u64> = (0u64..)
        .zip(head.chunks_exact(512))
        .filter(|(_, s)| s.starts_with(b"EFI PART"))
        .map(|(lba, _)| lba)
        .collect();
    let last = size / 512 - 1;
    if size > 110 * MIB && read_at(file, last * 512, 8) == b"EFI PART" {
        found.push(last);
    }
    found
}

#[test]
fn on_a_disk_of_the_same_size_nothing_changes() {
    let source = gpt_disk();
    let disk = open(&source);
    let patches = edit::moved_to(&disk, &table_of(&disk), disk.geometry()).unwrap();
    assert_eq!(patches, []);
}

#[test]
fn a_damaged_primary_is_rebuilt_from_the_backup() {
    let wanted = facts(&gpt_disk());
    for (offset, len) in [(512u64, 512usize), (1024, 128), (512 + 20, 4), (0, 512)] {
        let source = gpt_disk();
        write_at(&source, offset, &vec![0xFF; len]);
        let disk = open(&source);
        let bad: ExtentMap = Extent::new(offset, 512).into_iter().collect();
        let unreadable = BadPlaces { source: disk, bad };
        let table = table_of(&unreadable);
        let geometry = Geometry::of_file(100 * MIB);
        let patches = edit::moved_to(&unreadable, &table, geometry).unwrap();
        let there = laid_over(&source, 100 * MIB, &patches);
        is_clean(&there);
        assert_eq!(facts(&there), wanted);
    }
}

#[test]
fn a_table_that_was_moved_before_without_its_backup_is_put_right() {
    let source = gpt_disk();
    source.as_file().set_len(80 * MIB).unwrap();
    let there = moved(&source, 100 * MIB);
    is_clean(&there);
    assert_eq!(signatures(&there), [1, 100 * MIB / 512 - 1]);
}

#[test]
fn an_old_backup_inside_a_partition_is_left_alone() {
    let source = gpt_disk();
    // The disk grew and a partition took the room, old backup included; its bytes are that partition's now.
    source.as_file().set_len(100 * MIB).unwrap();
    let old = read_at(&source, OLD - 512, 512);
    sgdisk(&source, &["-e"]);
    sgdisk(&source, &["-n", "9:0:0"]);
    write_at(&source, OLD - 512, &old);
    let there = moved(&source, 200 * MIB);
    is_clean(&there);
    assert_eq!(read_at(&there, OLD - 512, 512), old);
}

#[test]
fn tables_with_many_entries_and_of_large_sectors_move_too() {
    let source = blank(OLD);
    sgdisk(&source, &["-S", "512", "-n", "300:0:+1M", "-n", "7:0:+1M"]);
    let there = moved(&source, 100 * MIB);
    is_clean(&there);
    assert_eq!(facts(&there), facts(&source));

    let source = blank(OLD);
    run(
        "fdisk",
        "fdisk",
        &["-b", "4096", source.path().to_str().unwrap()],
        "g\nn\n1\n256\n2815\nn\n2\n2816\n6911\nw\n",
    );
    let disk = FileSource::open(source.path(), 4096);
    let geometry = Geometry {
        size_bytes: 100 * MIB,
        logical_sector: 4096,
        physical_sector: 4096,
    };
    let patches = edit::moved_to(&disk, &table_of(&disk), geometry).unwrap();
    let there = laid_over(&source, 100 * MIB, &patches);
    assert_eq!(partx(&there, 4096), partx(&source, 4096));
    let table = table_of(&FileSource::open(there.path(), 4096));
    assert!(table.trusted && table.notes.is_empty(), "{:?}", table.notes);
    let end = table.own.iter().last().unwrap().end();
    assert_eq!(end, 100 * MIB);
}

#[test]
fn a_hybrid_mbr_keeps_its_own_partitions() {
    let source = gpt_disk();
    sgdisk(&source, &["-h", "1:5"]);
    let there = moved(&source, 100 * MIB);
    let entry = |file: &NamedTempFile, slot: u64| read_at(file, 446 + 16 * slot, 16);
    for slot in 0..4 {
        assert_eq!(entry(&there, slot), entry(&source, slot));
    }
    let (code, text) = run_any(
        "sgdisk",
        "gdisk",
        &["-v", there.path().to_str().unwrap()],
        "",
    );
    assert!(code == 0 && text.contains("No problems found"), "{text}");
}

#[test]
fn what_is_not_trusted_is_copied_as_it_is() {
    let source = gpt_disk();
    let backup = read_at(&source, OLD - 33 * 512, 33 * 512);
    sgdisk(&source, &["-d", "5"]);
    write_at(&source, OLD - 33 * 512, &backup);
    let disk = open(&source);
    let table = table_of(&disk);
    assert!(!table.trusted);
    let geometry = Geometry::of_file(100 * MIB);
    assert_eq!(edit::moved_to(&disk, &table, geometry).unwrap(), []);
    assert_eq!(edit::grown(&disk, &table, geometry).unwrap(), None);
}

#[test]
fn the_last_partition_of_a_gpt_grows_into_the_room() {
    let source = gpt_disk();
    let (there, grown) = grow(&source, 200 * MIB).unwrap();
    is_clean(&there);
    assert_eq!(grown.number, 3);
    assert_eq!(grown.to.end(), 199 * MIB);
    let after = partx(&there, 512);
    let mut wanted = partx(&source, 512);
    let last = wanted.iter_mut().find(|row| row.0 == 3).unwrap();
    assert_eq!(
        (last.1, last.2),
        (grown.from.start() / 512, grown.from.len() / 512)
    );
    last.2 = grown.to.len() / 512;
    assert_eq!(after, wanted);
    let without_size = |file: &NamedTempFile| -> Vec<String> {
        facts(file)
            .iter()
            .map(|line| {
                let fields = line.split(',').filter(|f| !f.trim().starts_with("size="));
                fields.collect::<Vec<_>>().join(",")
            })
            .collect()
    };
    assert_eq!(without_size(&there), without_size(&source));
    // Also where the disk has room and stays as large as it is, and not where there is none.
    assert!(grow(&source, OLD).is_some());
    let full = blank(OLD);
    sgdisk(&full, &["-n", "1:0:0"]);
    assert!(grow(&full, OLD).is_none());
}

#[test]
fn the_last_primary_of_an_mbr_grows() {
    let source = blank(OLD);
    sfdisk(
        &source,
        "label: dos\n1 : start=2048, size=20480, type=83, bootable\n3 : start=40960, size=20480, type=7\n",
    );
    let disk = open(&source);
    assert_eq!(
        edit::moved_to(&disk, &table_of(&disk), Geometry::of_file(100 * MIB)).unwrap(),
        []
    );
    let (there, grown) = grow(&source, 100 * MIB).unwrap();
    assert_eq!((grown.number, grown.to.end()), (3, 100 * MIB));
    assert_eq!(
        partx(&there, 512),
        [(1, 2048, 20480), (3, 40960, 204_800 - 40960)]
    );
    verified(&there);
    // 32 bits of sectors end at 2 TiB.
    let (_, grown) = grow(&source, 3 << 40).unwrap();
    assert_eq!(grown.to.end(), (2 << 40) - MIB);
}

#[test]
fn a_logical_partition_grows_with_its_container_and_the_link_to_it() {
    let source = blank(OLD);
    sfdisk(
        &source,
        "label: dos\n1 : start=2048, size=20480, type=83\n2 : start=22528, size=80000, type=f\n\
         5 : start=24576, size=20480, type=83\n6 : start=51200, size=20480, type=83\n",
    );
    let (there, grown) = grow(&source, 200 * MIB).unwrap();
    assert_eq!((grown.number, grown.to.end()), (6, 200 * MIB));
    let table = table_of(&open(&there));
    assert!(table.trusted, "{:?}", table.notes);
    assert_eq!(
        partx(&there, 512),
        [
            (1, 2048, 20480),
            (2, 22528, 409_600 - 22528),
            (5, 24576, 20480),
            (6, 51200, 409_600 - 51200)
        ]
    );
    verified(&there);
}

#[test]
fn an_empty_container_at_the_end_is_no_room() {
    let source = blank(OLD);
    sfdisk(
        &source,
        "label: dos\n1 : start=2048, size=20480, type=83\n2 : start=22528, size=80000, type=f\n",
    );
    assert!(grow(&source, 200 * MIB).is_none());
}

#[test]
fn hostile_tables_are_carried_nowhere_they_do_not_fit() {
    let source = blank(4 * MIB);
    sfdisk(
        &source,
        "label: gpt\nfirst-lba: 34\n1 : start=2048, size=2048\n5 : start=4096, size=512\n",
    );
    let image = std::fs::read(source.path()).unwrap();
    let mbr = blank(4 * MIB);
    sfdisk(
        &mbr,
        "label: dos\n2 : start=2048, size=6000, type=f\n5 : start=2300, size=1000, type=83\n6 : start=4000, size=1000, type=83\n",
    );
    let mbr_image = std::fs::read(mbr.path()).unwrap();
    let config = proptest::test_runner::Config::with_cases(made::cases(400));
    proptest!(config, |(hits in proptest::collection::vec((0usize..2048, any::<u8>()), 0..12), ebr in proptest::collection::vec((446usize..512, any::<u8>()), 0..6), gpt in any::<bool>(), fixed in any::<bool>(), more in 0u64..100_000)| {
        let mut bytes = if gpt { image.clone() } else { mbr_image.clone() };
        for (at, value) in hits {
            bytes[at] = value;
        }
        for (at, value) in ebr {
            bytes[2048 * 512 + at] = value;
        }
        if fixed && gpt {
            // Nothing but numbers out of place: the checksum is right.
            let crc = { let mut h = bytes[512..604].to_vec(); h[16..20].fill(0); crc32fast::hash(&h) };
            bytes[528..532].copy_from_slice(&crc.to_le_bytes());
        }
        let source = disk::memory::MemorySource::new(bytes);
        if let Some(table) = table::read(&source).unwrap() {
            let geometry = Geometry::of_file(4 * MIB + more);
            let moved = edit::moved_to(&source, &table, geometry).unwrap();
            let grown = edit::grown(&source, &table, geometry).unwrap();
            for patch in moved.iter().chain(grown.iter().flat_map(|g| &g.patches)) {
                assert!(patch.offset + patch.bytes.len() as u64 <= 4 * MIB + more);
            }
        }
    });
}
