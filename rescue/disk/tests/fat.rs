//! FAT as mkfs.fat makes it and mtools fills it, judged by fsck.fat and partclone.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use disk::extent::{Extent, ExtentMap};
use disk::fs::tree::{self, Case, Tree};
use disk::fs::{self, Basis, Filesystem, READERS, Reader, State, Used};
use disk::memory::{BadPlaces, MemorySource};
use disk::source::BlockSource;
use made::{FileSource, blank, open, read_at, run, run_any, write_at};
use proptest::prelude::{any, prop_assert, proptest};
use tempfile::NamedTempFile;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Every width, odd sector and cluster sizes, one table and two, a size that is no multiple of a cluster.
const SHAPES: &[(u64, &[&str], &str)] = &[
    (1440 * KIB, &["-F", "12"], "FAT12"),
    (8 * MIB, &["-F", "12", "-f", "1", "-s", "8"], "FAT12"),
    (40 * MIB, &["-F", "16"], "FAT16"),
    (
        33 * MIB + 7 * 512,
        &["-F", "16", "-s", "4", "-f", "1", "-a"],
        "FAT16",
    ),
    (300 * MIB, &["-F", "32"], "FAT32"),
    (700 * MIB, &["-F", "32", "-S", "4096", "-s", "1"], "FAT32"),
];

fn mtools(file: &NamedTempFile, program: &str, args: &[&str]) {
    let mut all = vec!["-i", file.path().to_str().unwrap()];
    all.extend(args);
    run(program, "mtools", &all, "");
}

fn contents() -> BTreeMap<String, Vec<u8>> {
    let bytes = |seed: u32, len: u32| {
        (0..len)
            .map(|i| (i.wrapping_mul(seed) >> 7).to_le_bytes()[0])
            .collect::<Vec<u8>>()
    };
    [
        ("SHORT.TXT", bytes(3, 5)),
        ("empty", Vec::new()),
        (
            "A long name with spaces, and ümläuts.document",
            bytes(77, 20_000),
        ),
        ("folder/lower.txt", bytes(123_457, 70_001)),
        ("folder/deeper/Exactly Thirteen Chars 12", bytes(991, 4096)),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

/// A filesystem with files, of which every second one written was deleted again.
fn filled(size: u64, options: &[&str]) -> NamedTempFile {
    let file = blank(size);
    let mut args = options.to_vec();
    args.extend([
        "-n",
        "DATEN",
        "-i",
        "1234ABCD",
        file.path().to_str().unwrap(),
    ]);
    run("mkfs.fat", "dosfstools", &args, "");
    let folder = tempfile::tempdir().unwrap();
    mtools(&file, "mmd", &["::folder", "::folder/deeper"]);
    for (index, (name, bytes)) in contents().into_iter().enumerate() {
        let local = folder.path().join(format!("{index}"));
        std::fs::write(&local, &bytes).unwrap();
        let gone = format!("::gone{index}");
        mtools(&file, "mcopy", &[local.to_str().unwrap(), &gone]);
        mtools(
            &file,
            "mcopy",
            &[local.to_str().unwrap(), &format!("::{name}")],
        );
        mtools(&file, "mdel", &[&gone]);
    }
    file
}

fn reader() -> &'static Reader {
    READERS.iter().find(|r| r.name == "fat").unwrap()
}

fn read(source: &dyn BlockSource) -> Filesystem {
    (reader().read)(source).unwrap().expect("it is FAT")
}

fn map(filesystem: &Filesystem) -> (Basis, ExtentMap) {
    match &filesystem.used {
        Used::Map { basis, extents } => (*basis, extents.clone()),
        Used::Whole(why) => panic!("whole: {why}"),
    }
}

/// `(used, all, cluster bytes, data start)` as fsck.fat counts them.
fn fsck(file: &NamedTempFile) -> (u64, u64, u64, u64) {
    let text = run(
        "fsck.fat",
        "dosfstools",
        &["-nv", file.path().to_str().unwrap()],
        "",
    );
    let number = |words: &str| -> u64 {
        let line = text.lines().find(|l| l.contains(words)).unwrap();
        let word = line.split_whitespace().find(|w| w.parse::<u64>().is_ok());
        word.unwrap().parse().unwrap()
    };
    let counted = text.lines().find(|l| l.contains(" files, ")).unwrap();
    let pair = counted.rsplit(' ').nth(1).unwrap();
    let (used, all) = pair.split_once('/').unwrap();
    (
        used.parse().unwrap(),
        all.parse().unwrap(),
        number("bytes per cluster"),
        number("Data area starts"),
    )
}

/// The used map by partclone, in its ddrescue-style domain file.
fn partclone(file: &NamedTempFile) -> ExtentMap {
    let folder = tempfile::tempdir().unwrap();
    let (map, log) = (folder.path().join("map"), folder.path().join("log"));
    run(
        "partclone.vfat",
        "partclone",
        &[
            "-D",
            "-s",
            file.path().to_str().unwrap(),
            "-o",
            map.to_str().unwrap(),
            "-L",
            log.to_str().unwrap(),
        ],
        "",
    );
    let text = std::fs::read_to_string(map).unwrap();
    text.lines()
        .filter(|line| line.ends_with('+'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
            Extent::new(number()?, number()?)
        })
        .collect()
}

#[test]
fn the_used_map_is_what_fsck_and_partclone_say() {
    for (size, options, variant) in SHAPES {
        let file = filled(*size, options);
        let filesystem = read(&open(&file));
        assert_eq!(filesystem.variant.as_deref(), Some(*variant));
        assert_eq!(filesystem.kind, "vfat");
        assert_eq!(filesystem.label.as_deref(), Some("DATEN"));
        assert_eq!(filesystem.uuid.as_deref(), Some("1234-ABCD"));
        assert_eq!(filesystem.state, State::Clean);
        let (basis, used) = map(&filesystem);
        assert_eq!(basis, Basis::Records);
        let (count, all, cluster, data) = fsck(&file);
        assert_eq!(u64::from(filesystem.block_size), cluster);
        let area = Extent::new(data, all * cluster).unwrap();
        let in_area: u64 = used.within(area).map(Extent::len).sum();
        assert_eq!(in_area, count * cluster, "{options:?}");
        assert!(used.covers(Extent::new(0, data).unwrap()));
        if let Some(tail) = Extent::between(area.end(), *size) {
            assert!(
                used.covers(tail),
                "the tail behind the last cluster is kept"
            );
        }
        // partclone has FAT12 wrong.
        if *variant != "FAT12" {
            let theirs = partclone(&file);
            let ours: ExtentMap = used
                .within(Extent::between(0, area.end()).unwrap())
                .collect();
            assert_eq!(theirs.difference(&ours), ExtentMap::new(), "{options:?}");
            assert_eq!(ours.difference(&theirs), ExtentMap::new(), "{options:?}");
        }
    }
}

/// Small EFI partitions are made this way. mtools takes the number of clusters for the judge and gives up;
/// Linux, Windows and fsck.fat go by the field that only FAT32 has.
#[test]
fn fat32_with_few_clusters_is_fat32() {
    let file = blank(30 * MIB);
    run(
        "mkfs.fat",
        "dosfstools",
        &["-F", "32", "-s", "2", file.path().to_str().unwrap()],
        "",
    );
    let filesystem = read(&open(&file));
    assert_eq!(filesystem.variant.as_deref(), Some("FAT32"));
    let (count, all, cluster, data) = fsck(&file);
    assert_eq!((count, cluster), (1, 1024));
    let used = map(&filesystem).1;
    let tail = 30 * MIB - data - all * cluster;
    assert_eq!(used.total_bytes(), data + cluster + tail);
}

#[test]
fn every_file_is_found_with_its_name_and_its_bytes() {
    for (size, options, _) in SHAPES {
        let file = filled(*size, options);
        let source = open(&file);
        let tree = (reader().tree.unwrap())(&source).unwrap();
        let mut found = BTreeMap::new();
        tree::walk(
            tree.as_ref(),
            &mut |f| {
                if f.node.kind == tree::NodeKind::File {
                    found.insert(f.path.to_owned(), f.node.read(&source, 1 << 20).unwrap());
                    assert!(f.node.modified.unwrap() > 1_600_000_000);
                }
                ControlFlow::Continue(())
            },
            &mut |path, error| panic!("{path}: {error}"),
        );
        assert!(found.keys().eq(contents().keys()), "{:?}", found.keys());
        assert!(found == contents(), "{options:?}: the bytes differ");
        let deep = tree::find(tree.as_ref(), &["FOLDER", "Deeper"], Case::Ignored).unwrap();
        assert!(deep.is_some());
        used_covers_all(tree.as_ref(), &map(&read(&source)).1);
    }
}

fn used_covers_all(tree: &dyn Tree, used: &ExtentMap) {
    tree::walk(
        tree,
        &mut |f| {
            assert!(
                f.node.extents().iter().all(|e| used.covers(*e)),
                "{}",
                f.path
            );
            ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
}

#[test]
fn a_cluster_that_only_one_copy_of_the_table_knows_is_used() {
    for (size, options, fat, copy, entry) in [
        (40 * MIB, &["-F", "16"][..], 2048, 80 * 512, 2u64),
        (300 * MIB, &["-F", "32"], 32 * 512, 0, 4),
    ] {
        let file = blank(size);
        run(
            "mkfs.fat",
            "dosfstools",
            &[options, &[file.path().to_str().unwrap()]].concat(),
            "",
        );
        let before = map(&read(&open(&file))).1;
        let copy = if copy == 0 {
            u64::from(u32::from_le_bytes(
                read_at(&file, 36, 4).try_into().unwrap(),
            )) * 512
        } else {
            copy
        };
        // Cluster 1000 in the second copy, 2000 in the first.
        write_at(&file, fat + copy + 1000 * entry, &[0xFF, 0x0F]);
        write_at(&file, fat + 2000 * entry, &[0xF7, 0xFF]);
        let filesystem = read(&open(&file));
        let (basis, used) = map(&filesystem);
        assert_eq!(basis, Basis::Union);
        let cluster = u64::from(filesystem.block_size);
        let more = used.difference(&before);
        assert_eq!(more.total_bytes(), 2 * cluster);
        let data = before.iter().next().unwrap().end() - if entry == 4 { cluster } else { 0 };
        assert!(more.contains(data + 998 * cluster) && more.contains(data + 1998 * cluster));
    }
}

#[test]
fn a_bad_place_in_one_table_is_made_up_for_by_the_other() {
    let file = filled(40 * MIB, &["-F", "16"]);
    let whole = map(&read(&open(&file))).1;
    let fat = 2048;
    let bad = |extents: &[(u64, u64)]| BadPlaces {
        source: open(&file),
        bad: extents
            .iter()
            .filter_map(|(s, l)| Extent::new(*s, *l))
            .collect(),
    };
    let one = read(&bad(&[(fat, 512)]));
    assert_eq!(map(&one), (Basis::Records, whole.clone()));
    assert!(one.parts.notes[0].contains("the other copy was used"));
    assert!(one.parts.unknown.is_empty());
    let both = read(&bad(&[(fat, 512), (fat + 80 * 512, 512)]));
    let (_, used) = map(&both);
    // A sector has 256 entries, of which two are no clusters.
    let cluster = u64::from(both.block_size);
    assert_eq!(both.parts.unknown.total_bytes(), 254 * cluster);
    assert_eq!(
        used,
        whole.union(&both.parts.unknown),
        "what no copy tells is used"
    );
}

#[test]
fn a_filesystem_that_was_not_unmounted_says_so() {
    let flag = |options: &[&str], size, writes: &[(u64, &[u8])]| {
        let file = filled(size, options);
        for (at, bytes) in writes {
            write_at(&file, *at, bytes);
        }
        read(&open(&file)).state
    };
    let dirty = State::Dirty("it was not unmounted".into());
    let errors = State::Dirty("it met errors of the disk".into());
    assert_eq!(flag(&["-F", "16"], 40 * MIB, &[(0x25, &[1])]), dirty);
    assert_eq!(flag(&["-F", "32"], 300 * MIB, &[(0x41, &[1])]), dirty);
    assert_eq!(flag(&["-F", "16"], 40 * MIB, &[(2048 + 3, &[0x7F])]), dirty);
    assert_eq!(
        flag(&["-F", "16"], 40 * MIB, &[(2048 + 3, &[0xBF])]),
        errors
    );
    assert_eq!(
        flag(&["-F", "32"], 300 * MIB, &[(32 * 512 + 7, &[0x07])]),
        dirty
    );
}

/// As if the power had failed after the directory was written and before the table was.
#[test]
fn what_only_the_directories_know_of_is_used_when_it_was_not_unmounted() {
    for (size, options, fat, len, dirty) in [
        (1440 * KIB, &["-F", "12"][..], 512, 18 * 512, 0x25),
        (40 * MIB, &["-F", "16"], 2048, 160 * 512, 0x25),
        (300 * MIB, &["-F", "32"], 32 * 512, 100 * 512, 0x41),
    ] {
        let file = filled(size, options);
        let whole = map(&read(&open(&file))).1;
        // Everything in both tables but the folders' and the root's first clusters is forgotten.
        let kept = 24usize;
        write_at(&file, fat + kept as u64, &vec![0; len - kept]);
        if options[1] != "32" {
            write_at(&file, fat + len as u64 / 2, &read_at(&file, fat, kept));
        } else {
            let sectors = u32::from_le_bytes(read_at(&file, 36, 4).try_into().unwrap());
            let second = fat + u64::from(sectors) * 512;
            write_at(&file, second + kept as u64, &vec![0; len - kept]);
        }
        let forgotten = map(&read(&open(&file))).1;
        assert!(!whole.difference(&forgotten).is_empty());
        write_at(&file, dirty, &[1]);
        let (basis, used) = map(&read(&open(&file)));
        assert_eq!(basis, Basis::Union);
        let missing = whole.difference(&used);
        assert_eq!(missing, ExtentMap::new(), "{options:?}");
    }
}

#[test]
fn a_filesystem_cut_short_is_kept_whole() {
    let file = filled(40 * MIB, &["-F", "16"]);
    file.as_file().set_len(30 * MIB).unwrap();
    assert!(matches!(read(&open(&file)).used, Used::Whole(_)));
}

#[test]
fn mkfs_with_its_pretended_partition_is_a_filesystem_without_a_table() {
    let file = blank(40 * MIB);
    run(
        "mkfs.fat",
        "dosfstools",
        &["--mbr=y", file.path().to_str().unwrap()],
        "",
    );
    assert_eq!(disk::table::read(&open(&file)).unwrap(), None);
    let (reader, _) = fs::recognise(&open(&file)).unwrap().unwrap();
    assert_eq!(reader.name, "fat");
}

#[test]
fn a_table_of_a_gibibyte_is_read_in_pieces() {
    // 2 TiB in 32 KiB clusters: a FAT of 256 MiB, sparse but for what mkfs writes.
    let file = blank(2 << 40);
    let (code, text) = run_any(
        "mkfs.fat",
        "dosfstools",
        &[
            "-F",
            "32",
            "-S",
            "4096",
            "-s",
            "8",
            file.path().to_str().unwrap(),
        ],
        "",
    );
    assert_eq!(code, 0, "{text}");
    let (_, used) = map(&read(&FileSource::open(file.path(), 4096)));
    assert_eq!(used.count(), 2);
}

fn small_image() -> Vec<u8> {
    let file = filled(1440 * KIB, &["-F", "12"]);
    std::fs::read(file.path()).unwrap()
}

fn exercise(bytes: Vec<u8>) {
    let size = bytes.len() as u64;
    let source = MemorySource::new(bytes);
    if let Ok(Some(filesystem)) = (reader().read)(&source) {
        assert!(filesystem.used.extents(size).end() <= size);
    }
    let Ok(tree) = (reader().tree.unwrap())(&source) else {
        return;
    };
    let mut left = 2000;
    tree::walk(
        tree.as_ref(),
        &mut |f| {
            let _ = f.node.read(&source, 4096);
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
        &mut |_, _| {},
    );
}

#[test]
fn hostile_boot_sectors_and_tables_are_survived() {
    let image = small_image();
    let config = proptest::test_runner::Config::with_cases(made::cases(300));
    proptest!(config, |(hits in proptest::collection::vec((0usize..20_000, any::<u8>()), 1..40), header in proptest::collection::vec((0usize..90, any::<u8>()), 0..6), cut in any::<Option<u16>>())| {
        let mut bytes = image.clone();
        for (at, value) in hits.into_iter().chain(header) {
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(usize::from(cut) * 16);
        }
        exercise(bytes);
        prop_assert!(true);
    });
}

#[test]
fn a_chain_in_a_circle_ends() {
    let mut bytes = small_image();
    // FAT12 at 512: cluster 2 (the first folder) leads to itself.
    bytes[512 + 3] = 2;
    bytes[512 + 4] &= 0xF0;
    exercise(bytes);
}
