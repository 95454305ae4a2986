//! Whole disks: every byte has one owner, what is not proven free is used, and what systems are on them.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;

use disk::extent::{Extent, ExtentMap};
use disk::fs::Used;
use disk::layout::{Content, Layout, Owner};
use disk::memory::{BadPlaces, MemorySource};
use disk::source::BlockSource;
use disk::systems;
use made::{blank, open, read_at, run, sfdisk, write_at};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use tempfile::NamedTempFile;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 96 * MIB;

/// GPT: FAT16 with two loaders, swap, and something unknown; 1 MiB of gap before and some behind.
fn system_disk() -> NamedTempFile {
    let file = blank(SIZE);
    sfdisk(
        &file,
        "label: gpt\n1 : start=2048, size=81920, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
         2 : start=83968, size=32768, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\n\
         3 : start=116736, size=40960, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n",
    );
    put(&file, MIB, &fat(40 * MIB));
    let swap = blank(16 * MIB);
    run(
        "mkswap",
        "util-linux",
        &["-q", swap.path().to_str().unwrap()],
        "",
    );
    put(&file, 41 * MIB, &swap);
    write_at(&file, 57 * MIB, b"nobody knows this");
    file
}

fn fat(size: u64) -> NamedTempFile {
    let fat = blank(size);
    let path = fat.path().to_str().unwrap();
    run("mkfs.fat", "dosfstools", &["-F", "16", path], "");
    let folders = ["::EFI", "::EFI/debian", "::EFI/Microsoft", "::EFI/BOOT"];
    run("mmd", "mtools", &[&["-i", path], &folders[..]].concat(), "");
    fat
}

fn put(disk: &NamedTempFile, at: u64, part: &NamedTempFile) {
    let size = part.as_file().metadata().unwrap().len();
    for offset in (0..size).step_by(1 << 20) {
        let len = usize::try_from((size - offset).min(1 << 20)).unwrap();
        let bytes = read_at(part, offset, len);
        if bytes.iter().any(|b| *b != 0) {
            write_at(disk, at + offset, &bytes);
        }
    }
}

fn layout(source: &dyn BlockSource) -> Layout {
    let layout = Layout::read(source).unwrap();
    is_dealt_out(&layout, source.size_bytes());
    layout
}

/// The regions are in order and cover the disk without gap or overlap.
fn is_dealt_out(layout: &Layout, size: u64) {
    let mut at = 0;
    for region in &layout.regions {
        assert_eq!(region.extent.start(), at);
        at = region.extent.end();
        for extent in region.used().iter() {
            assert!(region.extent.covers(extent));
        }
    }
    assert_eq!(at, size);
    assert!(layout.used().end() <= size);
    is_tiled(layout, size);
}

/// Metadata, used, unknown and free have every byte exactly once.
fn is_tiled(layout: &Layout, size: u64) {
    let classes = layout.classes();
    let all = [
        &classes.metadata,
        &classes.used,
        &classes.unknown,
        &classes.free,
    ];
    let union = all
        .iter()
        .fold(ExtentMap::new(), |union, class| union.union(class));
    assert_eq!(union, ExtentMap::whole(size));
    let total: u64 = all.iter().map(|class| class.total_bytes()).sum();
    assert_eq!(total, size);
    assert_eq!(classes.free, layout.used().complement(size));
}

fn owners(layout: &Layout) -> Vec<(u64, String)> {
    layout
        .regions
        .iter()
        .map(|r| {
            let owner = match &r.owner {
                Owner::Table => "table".to_owned(),
                Owner::Gap => "gap".to_owned(),
                Owner::Disk(content) => format!("disk {}", kind(content)),
                Owner::Partition { partition, content } => {
                    format!("{} {}", partition.number, kind(content))
                }
            };
            (r.extent.start() / 512, owner)
        })
        .collect()
}

fn kind(content: &Content) -> &str {
    match content {
        Content::Filesystem(filesystem) => &filesystem.kind,
        Content::Layer(layer) => &layer.kind,
        Content::Unknown(_) => "unknown",
    }
}

#[test]
fn every_byte_of_a_disk_has_its_owner() {
    let file = system_disk();
    let layout = layout(&open(&file));
    let wanted = [
        (0, "table"),
        (34, "gap"),
        (2048, "1 vfat"),
        (83968, "2 swap"),
        (116_736, "3 unknown"),
        (157_696, "gap"),
        (196_608 - 33, "table"),
    ];
    assert_eq!(
        owners(&layout),
        wanted.map(|(at, what)| (at, what.to_owned()))
    );
    let used = layout.used();
    for kept in [(0, MIB), (57 * MIB, SIZE - 57 * MIB), (41 * MIB, 4096)] {
        assert!(used.covers(Extent::new(kept.0, kept.1).unwrap()));
    }
    assert!(
        used.total_bytes() < 42 * MIB,
        "FAT and swap are almost empty"
    );
    let owner = |at| &layout.owner_of(at).unwrap().owner;
    assert!(matches!(owner(512), Owner::Table));
    assert!(matches!(owner(MIB), Owner::Partition { partition, .. } if partition.number == 1));
    assert_eq!(layout.owner_of(SIZE), None);
    assert_eq!(layout.partitions().count(), 3);
    let classes = layout.classes();
    // Both tables, the boot sector, the tables of FAT and the header of swap are read first; the gap before the
    // first partition may hold a boot loader; of the third partition and the gap behind it nobody knows.
    for start in [0, SIZE - 33 * 512, MIB, MIB + 2048, 41 * MIB] {
        assert!(
            classes.metadata.covers(Extent::new(start, 512).unwrap()),
            "{start}"
        );
    }
    assert!(classes.used.covers(Extent::between(34 * 512, MIB).unwrap()));
    let unknown = Extent::between(57 * MIB, SIZE - 33 * 512).unwrap();
    assert_eq!(classes.unknown, [unknown].into_iter().collect());
    assert!(classes.metadata.total_bytes() < MIB);
    is_tiled(&layout, SIZE);
    let text = serde_json::to_string(&layout).unwrap();
    assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), layout);
}

#[test]
fn logical_partitions_and_their_records_have_their_owners() {
    let file = blank(SIZE);
    sfdisk(
        &file,
        "label: dos\n1 : start=2048, size=81920, type=e\n2 : start=83968, size=100000, type=f\n\
         5 : start=86016, size=32768, type=82\n6 : start=120832, size=20480, type=83\n",
    );
    put(&file, MIB, &fat(40 * MIB));
    let layout = layout(&open(&file));
    let wanted = [
        (0, "table"),
        (1, "gap"),
        (2048, "1 vfat"),
        (83968, "table"),
        (83969, "gap"),
        (86016, "5 unknown"),
        (118_784, "table"),
        (118_785, "gap"),
        (120_832, "6 unknown"),
        (141_312, "gap"),
    ];
    assert_eq!(
        owners(&layout),
        wanted.map(|(at, what)| (at, what.to_owned()))
    );
}

#[test]
fn a_filesystem_without_a_table_owns_the_disk() {
    let file = fat(40 * MIB);
    let layout = layout(&open(&file));
    assert_eq!(owners(&layout), [(0, "disk vfat".to_owned())]);
    assert!(layout.used().total_bytes() < MIB);
    assert_eq!(
        systems::of(&open(&file), &layout),
        ["EFI boot loaders: Microsoft, debian"]
    );
}

#[test]
fn a_table_that_is_not_trusted_makes_everything_used() {
    let file = system_disk();
    // Partition 2 now begins inside partition 1, in both copies.
    let path = file.path().to_str().unwrap();
    run("sgdisk", "gdisk", &["-d", "2", path], "");
    let mut entry = read_at(&file, 1024, 128);
    entry[32..40].copy_from_slice(&3000u64.to_le_bytes());
    for at in [1024 + 128, SIZE - 33 * 512 + 128] {
        write_at(&file, at, &entry);
    }
    for (header, entries) in [(512, 1024), (SIZE - 512, SIZE - 33 * 512)] {
        let crc = crc32fast::hash(&read_at(&file, entries, 16384));
        write_at(&file, header + 88, &crc.to_le_bytes());
        write_at(&file, header + 16, &[0; 4]);
        let crc = crc32fast::hash(&read_at(&file, header, 92));
        write_at(&file, header + 16, &crc.to_le_bytes());
    }
    let layout = layout(&open(&file));
    assert!(!layout.table.as_ref().unwrap().trusted);
    assert_eq!(layout.used(), ExtentMap::whole(SIZE));
}

#[test]
fn a_filesystem_larger_than_its_partition_is_whole_and_a_smaller_one_keeps_its_tail() {
    for (size, whole) in [(41 * MIB, true), (39 * MIB, false)] {
        let file = blank(SIZE);
        sfdisk(&file, "label: gpt\n1 : start=2048, size=81920\n");
        put(&file, MIB, &fat(size));
        let layout = layout(&open(&file));
        let used = layout.used();
        let partition = Extent::new(MIB, 40 * MIB).unwrap();
        assert_eq!(used.covers(partition), whole);
        assert_eq!(layout.notes.is_empty(), !whole, "{:?}", layout.notes);
        assert!(used.covers(Extent::new(40 * MIB, MIB).unwrap()));
    }
}

/// Its first stripe holds a table and a filesystem, but what follows them is on another disk.
#[test]
fn a_member_of_an_array_is_whole_whatever_it_begins_with() {
    let file = system_disk();
    write_at(&file, SIZE - 1024, b"Intel Raid ISM Cfg Sig. 1.0.00");
    let layout = layout(&open(&file));
    let table = layout.table.as_ref().unwrap();
    assert!(table.notes.iter().any(|n| n.contains("isw_raid_member")));
    assert_eq!(layout.used(), ExtentMap::whole(SIZE));
}

#[test]
fn a_partition_of_a_dynamic_disk_is_whole_whatever_it_begins_with() {
    for (label, kind) in [
        ("dos", "42"),
        ("gpt", "AF9B60A0-1431-4F62-BC68-3311714A69AD"),
    ] {
        let file = blank(SIZE);
        sfdisk(
            &file,
            &format!("label: {label}\n1 : start=2048, size=81920, type={kind}\n"),
        );
        put(&file, MIB, &fat(40 * MIB));
        let used = layout(&open(&file)).used();
        assert!(used.covers(Extent::new(MIB, 40 * MIB).unwrap()));
    }
}

#[test]
fn bad_places_cost_a_partition_its_map_but_never_the_disk() {
    let file = system_disk();
    let with_bad = |start, len| {
        let bad = Extent::new(start, len).into_iter().collect();
        let source = BadPlaces {
            source: open(&file),
            bad,
        };
        layout(&source)
    };
    let first = with_bad(MIB, 512);
    assert!(first.used().covers(Extent::new(MIB, 40 * MIB).unwrap()));
    assert_eq!(first.partitions().count(), 3);
    let swap = with_bad(41 * MIB, 4096);
    assert!(swap.used().covers(Extent::new(41 * MIB, 16 * MIB).unwrap()));
    // All of the beginning, table included: the backup still tells where things are.
    let head = with_bad(0, 64 << 10);
    assert_eq!(head.partitions().count(), 3);
    let all = with_bad(0, SIZE);
    assert_eq!(all.used(), ExtentMap::whole(SIZE));
}

/// A filesystem's remnant must not speak for a disk whose first sector, and so perhaps its table, is lost.
#[test]
fn without_its_first_sector_a_disk_without_a_table_is_whole() {
    let file = blank(SIZE);
    run(
        "mkswap",
        "util-linux",
        &["-q", file.path().to_str().unwrap()],
        "",
    );
    assert!(layout(&open(&file)).used().total_bytes() < MIB);
    let source = BadPlaces {
        source: open(&file),
        bad: Extent::new(0, 512).into_iter().collect(),
    };
    assert_eq!(layout(&source).used(), ExtentMap::whole(SIZE));
}

/// Of a GPT there are two copies, and each is enough.
#[test]
fn a_sector_of_a_partition_table_that_cannot_be_read_costs_nothing_but_itself() {
    let file = system_disk();
    let sound = layout(&open(&file));
    for sector in (0..34).chain(SIZE / 512 - 33..SIZE / 512) {
        let bad = Extent::new(sector * 512, 512).unwrap();
        let found = layout(&BadPlaces {
            source: open(&file),
            bad: [bad].into_iter().collect(),
        });
        assert_eq!(found.used(), sound.used(), "{sector}");
        let numbers = |layout: &Layout| {
            layout
                .partitions()
                .map(|(p, _)| p.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(&found), numbers(&sound), "{sector}");
        assert!(found.classes().metadata.covers(bad), "{sector}");
        let table = found.table.as_ref().unwrap();
        assert!(table.trusted, "{sector}: {:?}", table.notes);
        // Of the entries only those that are in use are missed.
        assert!(
            table
                .notes
                .iter()
                .any(|note| note.contains("cannot be read")),
            "{sector}: {:?}",
            table.notes
        );
        is_tiled(&found, SIZE);
    }
}

/// Where another kind would have its signature nothing can be read: XFS keeps its map, and the place.
#[test]
fn a_signature_that_cannot_be_read_does_not_make_a_proven_filesystem_whole() {
    let file = blank(320 * MIB);
    let path = file.path().to_str().unwrap();
    run("mkfs.xfs", "xfsprogs", &["-q", path], "");
    let sound = layout(&open(&file)).used();
    assert!(sound.total_bytes() < 100 * MIB);
    // Of btrfs, of ISO 9660, of VMFS, and of an array at the end.
    for at in [64 << 10, 32 << 10, MIB, 320 * MIB - 1024] {
        let bad = Extent::new(at, 512).unwrap();
        let layout = layout(&BadPlaces {
            source: open(&file),
            bad: [bad].into_iter().collect(),
        });
        let mut wanted = sound.clone();
        wanted.insert(bad);
        assert_eq!(layout.used(), wanted, "{at}");
        assert!(
            layout.notes.iter().any(|note| note.contains("signatures")),
            "{:?}",
            layout.notes
        );
    }
}

#[test]
fn linux_and_windows_are_known_by_their_folders() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["usr/lib", "etc"] {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    let release = "NAME=x\nPRETTY_NAME=\"Testing Linux 12 (\u{1b}[2J)\"\n";
    std::fs::write(root.path().join("usr/lib/os-release"), release).unwrap();
    let link = root.path().join("etc/os-release");
    std::os::unix::fs::symlink("../usr/lib/os-release", link).unwrap();
    let file = blank(SIZE);
    sfdisk(
        &file,
        "label: gpt\n1 : start=2048, size=81920\n2 : start=83968, size=81920\n",
    );
    let linux = blank(40 * MIB);
    let (from, to) = (
        root.path().to_str().unwrap(),
        linux.path().to_str().unwrap(),
    );
    run("mkfs.ext4", "e2fsprogs", &["-q", "-d", from, to], "");
    put(&file, MIB, &linux);
    let windows = blank(40 * MIB);
    let path = windows.path().to_str().unwrap();
    run("mkfs.fat", "dosfstools", &["-F", "16", path], "");
    run(
        "mmd",
        "mtools",
        &["-i", path, "::WINDOWS", "::WINDOWS/system32"],
        "",
    );
    put(&file, 41 * MIB, &windows);
    let source = open(&file);
    assert_eq!(
        systems::of(&source, &layout(&source)),
        ["Testing Linux 12 (\u{fffd}[2J)", "Windows"]
    );
}

/// The first and last MiB of two real disks, for damage.
fn small_disks() -> Vec<Vec<u8>> {
    ["label: gpt\n1 : start=2048, size=2048\n2 : start=4096, size=1000\n", "label: dos\n1 : start=2048, size=1000, type=83\n2 : start=4000, size=4000, type=5\n5 : start=4100, size=500\n6 : start=5000, size=500\n"]
        .map(|script| {
            let file = blank(4 * MIB);
            sfdisk(&file, script);
            put(&file, MIB, &fat_of_a_mib());
            std::fs::read(file.path()).unwrap()
        })
        .into()
}

fn fat_of_a_mib() -> NamedTempFile {
    let fat = blank(MIB);
    run(
        "mkfs.fat",
        "dosfstools",
        &[fat.path().to_str().unwrap()],
        "",
    );
    fat
}

#[test]
fn whatever_a_disk_says_every_byte_has_one_owner() {
    let disks = small_disks();
    let config = proptest::test_runner::Config::with_cases(made::cases(400));
    proptest!(config, |(which in 0usize..2, hits in proptest::collection::vec((0usize..2048, any::<u8>()), 0..12), records in proptest::collection::vec((440usize..512, any::<u8>()), 0..6), boot in proptest::collection::vec((0usize..600, any::<u8>()), 0..4), fixed in any::<bool>(), cut in any::<Option<u16>>(), bad in proptest::collection::vec((0u64..4096, 1u64..5), 0..5))| {
        let mut bytes = disks[which].clone();
        for (at, value) in hits {
            bytes[at] = value;
        }
        for (at, value) in records {
            bytes[4000 * 512 + at] = value;
        }
        for (at, value) in boot {
            bytes[1_048_576 + at] = value;
        }
        if fixed {
            let crc = crc32fast::hash(&bytes[1024..1024 + 16384]).to_le_bytes();
            bytes[512 + 88..512 + 92].copy_from_slice(&crc);
            let mut header = bytes[512..604].to_vec();
            header[16..20].fill(0);
            bytes[528..532].copy_from_slice(&crc32fast::hash(&header).to_le_bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(usize::from(cut) * 64);
        }
        let size = bytes.len() as u64;
        let source = BadPlaces {
            source: MemorySource::new(bytes),
            bad: bad.into_iter().filter_map(|(at, count)| Extent::new(at * 512, count * 512)).collect(),
        };
        let layout = Layout::read(&source).unwrap();
        is_dealt_out(&layout, size);
        if layout.table.as_ref().is_some_and(|table| !table.trusted) {
            prop_assert_eq!(layout.used(), ExtentMap::whole(size));
        }
        for (_, content) in layout.partitions() {
            if let Content::Filesystem(found) = content {
                let fits = !matches!(found.used, Used::Map { .. }) || found.size_bytes <= size;
                prop_assert!(fits);
            }
        }
        let _ = systems::of(&source, &layout);
    });
}
