//! Partition tables as real tools make them, damage them and number them.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;

use disk::extent::Extent;
use disk::memory::{BadPlaces, MemorySource};
use disk::source::BlockSource;
use disk::table::{self, Role, Scheme, Table};
use made::{FileSource, blank, open, partx, read_at, sfdisk, sgdisk, write_at};
use tempfile::NamedTempFile;

const MIB: u64 = 1 << 20;

fn gpt_disk() -> NamedTempFile {
    let file = blank(64 * MIB);
    sfdisk(
        &file,
        "label: gpt\nlabel-id: 11112222-3333-4444-5555-666677778888\nfirst-lba: 34\n\
         1 : start=2048, size=16384, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=\"EFI sýstem\"\n\
         2 : start=59392, size=71000, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7\n\
         5 : start=18432, size=40960, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=ABCDEF01-2345-6789-ABCD-EF0123456789, attrs=\"LegacyBIOSBootable GUID:60\"\n",
    );
    file
}

fn table_of(source: &dyn BlockSource) -> Table {
    table::read(source).unwrap().expect("a table")
}

fn numbered(table: &Table) -> Vec<(u32, u64, u64)> {
    let sector = u64::from(table.sector_size);
    let mut rows: Vec<_> = table
        .partitions
        .iter()
        .map(|p| (p.number, p.extent.start() / sector, p.extent.len() / sector))
        .collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_gpt_reads_as_partx_reads_it() {
    let file = gpt_disk();
    let table = table_of(&open(&file));
    assert_eq!(numbered(&table), partx(&file, 512));
    assert!(table.trusted, "{:?}", table.notes);
    assert_eq!(table.notes, Vec::<String>::new());
    assert_eq!(table.scheme, Scheme::Gpt);
    assert_eq!(table.id, "11112222-3333-4444-5555-666677778888");
    let names: Vec<_> = table
        .partitions
        .iter()
        .map(|p| (p.number, p.type_name.as_deref().unwrap()))
        .collect();
    assert_eq!(
        names,
        [(1, "EFI system"), (5, "Linux"), (2, "Windows data")]
    );
    assert_eq!(table.partitions[0].name.as_deref(), Some("EFI sýstem"));
    assert_eq!(table.partitions[1].attributes, 1 << 2 | 1 << 60);
    assert_eq!(
        table.partitions[1].uuid.as_deref(),
        Some("abcdef01-2345-6789-abcd-ef0123456789")
    );
    // First sector, header and 32 sectors of entries; the same at the end without the first.
    let own: Vec<_> = table
        .own
        .iter()
        .map(|e| (e.start() / 512, e.len() / 512))
        .collect();
    assert_eq!(own, [(0, 34), (131072 - 33, 33)]);
}

#[test]
fn a_damaged_primary_gives_way_to_the_backup_and_is_told() {
    for (offset, what) in [
        (512 + 16, "header has a wrong checksum"),
        (512, "header is not there"),
        (1024, "array of entries has a wrong checksum"),
    ] {
        let file = gpt_disk();
        let before = table_of(&open(&file));
        let byte = read_at(&file, offset, 1)[0];
        write_at(&file, offset, &[byte ^ 0x55]);
        let table = table_of(&open(&file));
        assert_eq!(table.partitions, before.partitions);
        assert!(table.trusted);
        assert!(
            table.notes.iter().any(|n| n.contains(what)),
            "{:?}",
            table.notes
        );
    }
}

#[test]
fn a_damaged_backup_is_told_and_the_primary_holds() {
    let file = gpt_disk();
    let before = table_of(&open(&file));
    write_at(&file, 64 * MIB - 512, &[0; 512]);
    let table = table_of(&open(&file));
    assert_eq!(table.partitions, before.partitions);
    assert!(table.trusted);
    assert_eq!(table.notes, ["the backup GPT header is not there"]);
}

#[test]
fn two_sound_copies_that_disagree_are_not_trusted() {
    let file = gpt_disk();
    let backup = read_at(&file, 64 * MIB - 33 * 512, 33 * 512);
    sgdisk(&file, &["-d", "5"]);
    write_at(&file, 64 * MIB - 33 * 512, &backup);
    let table = table_of(&open(&file));
    assert!(!table.trusted);
    assert!(
        table.notes.iter().any(|n| n.contains("disagree")),
        "{:?}",
        table.notes
    );
}

#[test]
fn a_disk_that_grew_keeps_its_table_and_says_where_the_backup_is() {
    let file = gpt_disk();
    let before = table_of(&open(&file));
    file.as_file().set_len(100 * MIB).unwrap();
    let table = table_of(&open(&file));
    assert!(table.trusted);
    assert_eq!(table.partitions, before.partitions);
    assert_eq!(
        table.notes,
        ["the backup GPT is not at the end of the disk"]
    );
    // Even with the primary gone: the protective MBR says where the disk once ended.
    write_at(&file, 512, &[0; 512]);
    assert_eq!(table_of(&open(&file)).partitions, before.partitions);
}

#[test]
fn a_disk_that_shrank_is_not_trusted() {
    let file = gpt_disk();
    file.as_file().set_len(50 * MIB).unwrap();
    let table = table_of(&open(&file));
    assert!(!table.trusted);
    assert!(
        table.notes.iter().any(|n| n.contains("beyond the disk")),
        "{:?}",
        table.notes
    );
}

#[test]
fn both_sector_sizes_are_found_on_either_kind_of_disk() {
    let file = gpt_disk();
    let on_4k = FileSource::open(file.path(), 4096);
    let table = table_of(&on_4k);
    assert_eq!(table.sector_size, 512);
    assert_eq!(numbered(&table), partx(&file, 512));
    assert!(
        table
            .notes
            .iter()
            .any(|n| n.contains("sectors of 512 bytes"))
    );

    let native = gpt_4k_disk();
    for sector in [4096, 512] {
        let table = table_of(&FileSource::open(native.path(), sector));
        assert_eq!(table.sector_size, 4096);
        assert!(table.trusted);
        assert_eq!(numbered(&table), [(1, 256, 2560), (2, 2816, 4096)]);
    }
}

/// Of the common tools only fdisk takes a file's sector size as an option.
fn gpt_4k_disk() -> NamedTempFile {
    let file = blank(64 * MIB);
    made::run(
        "fdisk",
        "fdisk",
        &["-b", "4096", file.path().to_str().unwrap()],
        "g\nn\n1\n256\n2815\nn\n2\n2816\n6911\nw\n",
    );
    file
}

#[test]
fn large_entry_arrays_are_read() {
    let file = blank(64 * MIB);
    sgdisk(&file, &["-S", "512", "-n", "300:0:+1M", "-n", "7:0:+1M"]);
    let table = table_of(&open(&file));
    assert_eq!(
        numbered(&table).iter().map(|r| r.0).collect::<Vec<_>>(),
        [7, 300]
    );
    assert!(table.trusted);
}

#[test]
fn a_gpt_lost_altogether_is_still_announced() {
    let file = gpt_disk();
    write_at(&file, 512, &[0; 512]);
    write_at(&file, 64 * MIB - 512, &[0; 512]);
    let table = table_of(&open(&file));
    assert_eq!(table.scheme, Scheme::Gpt);
    assert!(!table.trusted && table.partitions.is_empty());
}

#[test]
fn an_mbr_over_an_old_gpt_counts() {
    let file = gpt_disk();
    let mut sector = vec![0; 512];
    sector[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    write_at(&file, 0, &sector);
    let table = table_of(&open(&file));
    assert_eq!(table.scheme, Scheme::Mbr);
    assert!(table.notes.iter().any(|n| n.contains("older GPT")));
}

#[test]
fn a_hybrid_mbr_is_told() {
    let file = gpt_disk();
    sgdisk(&file, &["-h", "1:5"]);
    let table = table_of(&open(&file));
    assert_eq!(table.scheme, Scheme::Gpt);
    assert!(
        table.notes.iter().any(|n| n.contains("hybrid")),
        "{:?}",
        table.notes
    );
}

#[test]
fn an_unreadable_first_sector_does_not_hide_a_gpt() {
    let file = gpt_disk();
    let bytes = std::fs::read(file.path()).unwrap();
    let source = BadPlaces {
        source: MemorySource::new(bytes),
        bad: Extent::new(0, 512).into_iter().collect(),
    };
    let table = table_of(&source);
    assert!(table.trusted);
    assert_eq!(table.partitions.len(), 3);
}

#[test]
fn logical_partitions_are_numbered_as_partx_numbers_them() {
    let file = blank(200 * MIB);
    sfdisk(
        &file,
        "label: dos\nlabel-id: 0xdeadbeef\n\
         1 : start=2048, size=20480, type=83, bootable\n\
         2 : start=22528, size=380000, type=f\n\
         5 : start=24576, size=20480, type=83\n\
         6 : start=51200, size=20480, type=7\n\
         7 : start=81920, size=20480, type=82\n",
    );
    let table = table_of(&open(&file));
    assert_eq!(numbered(&table), partx(&file, 512));
    assert!(table.trusted, "{:?}", table.notes);
    assert_eq!(table.id, "deadbeef");
    let roles: Vec<_> = table
        .partitions
        .iter()
        .map(|p| (p.number, p.role))
        .collect();
    assert_eq!(
        roles,
        [
            (1, Role::Primary),
            (2, Role::Extended),
            (5, Role::Logical),
            (6, Role::Logical),
            (7, Role::Logical)
        ]
    );
    assert_eq!(
        table.own.count(),
        4,
        "the MBR and three extended boot records"
    );
    // mbrman, which this chain does not defeat, agrees.
    let mut disk = std::fs::File::open(file.path()).unwrap();
    let other = mbrman::MBR::read_from(&mut disk, 512).unwrap();
    let theirs: Vec<_> = other
        .iter()
        .filter(|(_, p)| p.is_used())
        .map(|(n, p)| {
            (
                u32::try_from(n).unwrap(),
                u64::from(p.starting_lba),
                u64::from(p.sectors),
            )
        })
        .collect();
    assert_eq!(numbered(&table), theirs);
}

/// Three logical partitions whose chain visits the third, the first and then the second.
fn out_of_order() -> NamedTempFile {
    let file = blank(64 * MIB);
    let entry = |kind: u8, start: u32, sectors: u32| {
        let mut bytes = vec![0, 0, 0, 0, kind, 0, 0, 0];
        bytes.extend(start.to_le_bytes());
        bytes.extend(sectors.to_le_bytes());
        bytes
    };
    let record = |entries: &[Vec<u8>]| {
        let mut sector = vec![0; 512];
        for (slot, bytes) in entries.iter().enumerate() {
            sector[446 + 16 * slot..462 + 16 * slot].copy_from_slice(bytes);
        }
        sector[510..].copy_from_slice(&[0x55, 0xAA]);
        sector
    };
    let put = |lba: u64, sector: Vec<u8>| write_at(&file, lba * 512, &sector);
    put(0, record(&[entry(5, 2048, 60000)]));
    put(
        2048,
        record(&[entry(0x83, 63, 1000), entry(5, 20000, 10000)]),
    );
    put(
        22048,
        record(&[entry(0x83, 63, 1000), entry(5, 10000, 5000)]),
    );
    put(12048, record(&[entry(0x83, 63, 1000)]));
    file
}

#[test]
fn a_chain_that_goes_backwards_is_read_in_its_own_order() {
    let file = out_of_order();
    let table = table_of(&open(&file));
    assert_eq!(numbered(&table), partx(&file, 512));
    assert_eq!(
        numbered(&table)[1..],
        [(5, 2111, 1000), (6, 22111, 1000), (7, 12111, 1000)]
    );
    assert!(table.trusted, "{:?}", table.notes);
}

#[test]
fn a_chain_in_a_circle_ends_and_is_not_trusted() {
    let file = out_of_order();
    // The last record points at the second one.
    write_at(
        &file,
        12048 * 512 + 462,
        &[0, 0, 0, 0, 5, 0, 0, 0, 0x20, 0x4E, 0, 0, 0, 8, 0, 0],
    );
    let table = table_of(&open(&file));
    assert!(!table.trusted);
    assert!(
        table.notes.iter().any(|n| n.contains("circle")),
        "{:?}",
        table.notes
    );
}

#[test]
fn an_unreadable_record_is_told_and_not_trusted() {
    let file = out_of_order();
    let source = BadPlaces {
        source: open(&file),
        bad: Extent::new(22048 * 512, 512).into_iter().collect(),
    };
    let table = table_of(&source);
    assert!(!table.trusted);
    assert_eq!(table.partitions.len(), 2);
}

#[test]
fn partitions_that_overlap_or_leave_the_disk_end_the_trust() {
    let file = out_of_order();
    let overlapping = [0, 0, 0, 0, 0x83, 0, 0, 0, 0, 16, 0, 0, 0, 8, 0, 0];
    write_at(&file, 446 + 16, &overlapping);
    assert!(!table_of(&open(&file)).trusted);
    let beyond = [0, 0, 0, 0, 0x83, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0];
    write_at(&file, 446 + 16, &beyond);
    let table = table_of(&open(&file));
    assert!(!table.trusted);
    assert!(table.notes.iter().any(|n| n.contains("beyond the disk")));
}

#[test]
fn the_boot_sector_of_a_filesystem_is_no_table() {
    let fat = blank(40 * MIB);
    made::run(
        "mkfs.fat",
        "dosfstools",
        &["-I", fat.path().to_str().unwrap()],
        "",
    );
    assert_eq!(table::read(&open(&fat)).unwrap(), None);
    let ntfs = blank(40 * MIB);
    made::run(
        "mkntfs",
        "ntfs-3g",
        &[
            "-F",
            "-Q",
            "-q",
            "-s",
            "512",
            "-p",
            "0",
            "-H",
            "0",
            "-S",
            "0",
            ntfs.path().to_str().unwrap(),
        ],
        "",
    );
    assert_eq!(table::read(&open(&ntfs)).unwrap(), None);
}
