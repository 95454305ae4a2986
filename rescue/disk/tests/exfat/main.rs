//! exFAT as mkfs.exfat makes it and exfat-fuse fills it, judged by exfatprogs, partclone and blkid.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod hostile;
#[path = "../made/mod.rs"]
mod made;
mod mkfs;
#[path = "../corpus/peak.rs"]
mod peak;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use disk::extent::{Extent, ExtentMap};
use disk::fs::tree::{self, Case, NodeKind, Tree};
use disk::fs::{self, Basis, Filesystem, READERS, Reader, State, Used};
use disk::memory::BadPlaces;
use disk::source::BlockSource;
use made::{open, read_at, run, write_at};
use mkfs::{
    MIB, SHAPES, Shape, assert_whole, contents, dumped, empty, filled, number_at, partclone,
    put_set, restored, set_of, sum_boot,
};
use tempfile::NamedTempFile;

const ORDINARY: Shape = SHAPES[1];

fn reader() -> &'static Reader {
    READERS.iter().find(|r| r.name == "exfat").unwrap()
}

fn read(source: &dyn BlockSource) -> Filesystem {
    (reader().read)(source).unwrap().expect("it is exFAT")
}

fn map(filesystem: &Filesystem) -> (Basis, ExtentMap) {
    match &filesystem.used {
        Used::Map { basis, extents } => (*basis, extents.clone()),
        Used::Whole(why) => panic!("whole: {why}"),
    }
}

fn why_whole(file: &NamedTempFile) -> String {
    match read(&open(file)).used {
        Used::Whole(why) => why,
        Used::Map { .. } => panic!("it has a map"),
    }
}

/// Every file with its bytes.
fn files(source: &dyn BlockSource, tree: &dyn Tree) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    tree::walk(
        tree,
        &mut |f| {
            if f.node.kind == NodeKind::File {
                found.insert(f.path.to_owned(), f.node.read(source, 1 << 20).unwrap());
                assert!(f.node.modified.unwrap() > 1_600_000_000);
            }
            ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
    found
}

#[test]
fn the_used_map_is_exact_and_enough_for_every_file() {
    for shape in SHAPES {
        let (size, sector, _) = *shape;
        let file = filled(*shape);
        let source = open(&file);
        let filesystem = read(&source);
        assert_eq!(filesystem.kind, "exfat");
        assert_eq!(filesystem.label.as_deref(), Some("DÄTEN"));
        assert_eq!(filesystem.state, State::Clean);
        let path = file.path().to_str().unwrap();
        let uuid = run(
            "blkid",
            "util-linux",
            &["-p", "-o", "value", "-s", "UUID", path],
            "",
        );
        assert_eq!(filesystem.uuid.as_deref(), Some(uuid.trim()));
        let (basis, used) = map(&filesystem);
        assert_eq!(basis, Basis::Records);

        let (count, all, cluster, heap) = dumped(&file);
        assert_eq!(u64::from(filesystem.block_size), cluster);
        let area = Extent::new(heap, all * cluster).unwrap();
        let in_area: u64 = used.within(area).map(Extent::len).sum();
        assert_eq!(in_area, count * cluster, "{shape:?}");
        assert!(used.covers(Extent::new(0, heap).unwrap()));
        if let Some(tail) = Extent::between(area.end(), size) {
            assert!(
                used.covers(tail),
                "what lies behind the last cluster is kept"
            );
        }
        let theirs = partclone(&file);
        let ours: ExtentMap = used
            .within(Extent::between(0, area.end()).unwrap())
            .collect();
        assert_eq!(theirs.difference(&ours), ExtentMap::new(), "{shape:?}");
        assert_eq!(ours.difference(&theirs), ExtentMap::new(), "{shape:?}");

        let tree = (reader().tree.unwrap())(&source).unwrap();
        let found = files(&source, tree.as_ref());
        assert!(found.keys().eq(contents().keys()), "{:?}", found.keys());
        assert!(found == contents(), "{shape:?}: the bytes differ");
        assert_whole(&restored(&file, &used), sector);
    }
}

#[test]
fn files_in_one_piece_and_in_many_are_both_met() {
    let file = filled(ORDINARY);
    let source = open(&file);
    let tree = (reader().tree.unwrap())(&source).unwrap();
    let mut pieces = Vec::new();
    tree::walk(
        tree.as_ref(),
        &mut |f| {
            pieces.push(f.node.extents().len());
            ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
    assert!(
        pieces.contains(&1) && pieces.iter().any(|n| *n > 5),
        "{pieces:?}"
    );
    let id = tree::find(tree.as_ref(), &["SHORT.TXT"], Case::Ignored).unwrap();
    let node = tree.node(id.unwrap()).unwrap();
    assert_eq!(node.modified, Some(1_700_000_000));
    let missing = tree::find(tree.as_ref(), &["gone"], Case::Ignored).unwrap();
    assert_eq!(missing, None, "it was deleted");
}

/// fsck.exfat judges the change.
#[test]
fn what_was_never_written_reads_as_zeros() {
    let file = filled(ORDINARY);
    let (at, mut set) = set_of(&file, "large");
    set[40..48].copy_from_slice(&5000u64.to_le_bytes());
    put_set(&file, at, set);
    run(
        "fsck.exfat",
        "exfatprogs",
        &["-n", file.path().to_str().unwrap()],
        "",
    );
    let source = open(&file);
    let tree = (reader().tree.unwrap())(&source).unwrap();
    let found = files(&source, tree.as_ref());
    let mut expected = contents()["large"].clone();
    expected[5000..].fill(0);
    assert!(found["large"] == expected);
}

#[test]
fn a_damaged_entry_is_told_and_the_others_are_listed() {
    let file = filled(ORDINARY);
    let (at, set) = set_of(&file, "large");
    write_at(&file, at + 4, &[set[4] ^ 1]);
    let source = open(&file);
    let tree = (reader().tree.unwrap())(&source).unwrap();
    let (mut met, mut told) = (0, Vec::new());
    tree::walk(
        tree.as_ref(),
        &mut |_| {
            met += 1;
            ControlFlow::Continue(())
        },
        &mut |path, error| told.push(format!("{path}: {error}")),
    );
    let sum = "the checksum of a directory entry is wrong";
    assert_eq!(told, [format!("large: the filesystem is damaged: {sum}")]);
    assert!(met > contents().len());
}

/// As if the power had failed after the directories were written and before the bitmap was.
#[test]
fn what_only_the_directories_know_of_is_used_when_it_was_not_unmounted() {
    for shape in SHAPES {
        let file = filled(*shape);
        let whole = map(&read(&open(&file))).1;
        let (_, all, _, heap) = dumped(&file);
        // The bitmap begins in cluster 2 and says that only its own clusters are used.
        let mut bitmap = vec![0; usize::try_from(all.div_ceil(8)).unwrap()];
        bitmap[0] = 1;
        write_at(&file, heap, &bitmap);
        let (basis, forgotten) = map(&read(&open(&file)));
        assert_eq!(basis, Basis::Records);
        assert!(forgotten.total_bytes() < whole.total_bytes());
        for (flag, state) in [
            (2, "it was not unmounted"),
            (4, "it met errors of the disk"),
        ] {
            write_at(&file, 106, &[flag]);
            let filesystem = read(&open(&file));
            assert_eq!(filesystem.state, State::Dirty(state.into()));
            let (basis, used) = map(&filesystem);
            assert_eq!(basis, Basis::Union);
            assert_eq!(whole.difference(&used), ExtentMap::new(), "{shape:?}");
            assert_eq!(used.difference(&whole), ExtentMap::new(), "{shape:?}");
        }
    }
}

#[test]
fn the_rest_of_a_chain_that_was_not_written_is_taken_to_lie_behind_it() {
    let file = empty(ORDINARY);
    mkfs::worked_on(
        &file,
        ORDINARY.1,
        "true",
        "head -c 9000 /dev/zero >a; echo b >b; head -c 90000 /dev/zero >>a",
    );
    let (_, set) = set_of(&file, "a");
    assert_eq!(set[33] & 2, 0, "it has a chain");
    let first = u64::from(u32::from_le_bytes(set[52..56].try_into().unwrap()));
    let whole = map(&read(&open(&file))).1;
    // Neither the bitmap nor the table behind the first cluster of the second piece.
    let (_, all, _, heap) = dumped(&file);
    write_at(
        &file,
        heap,
        &vec![0; usize::try_from(all.div_ceil(8)).unwrap()],
    );
    let fat = number_at(&file, 80) * 512;
    let second = number_at(&file, fat + (first + 2) * 4);
    assert_ne!(second, first + 3);
    write_at(&file, fat + second * 4, &[0; 4]);
    write_at(&file, 106, &[2]);
    let used = map(&read(&open(&file))).1;
    assert_eq!(whole.difference(&used), ExtentMap::new());
}

#[test]
fn a_copy_of_a_mounted_filesystem_is_dirty_and_has_every_synced_file() {
    let file = empty(ORDINARY);
    let copy = NamedTempFile::new().unwrap();
    let script = format!(
        "cp -r $from/* .; sync; for f in *; do sync \"$f\"; done; sync $dev; cp --sparse=always {} {}",
        file.path().display(),
        copy.path().display()
    );
    mkfs::worked_on(&file, ORDINARY.1, "true", &script);
    let filesystem = read(&open(&copy));
    assert_eq!(
        filesystem.state,
        State::Dirty("it was not unmounted".into())
    );
    let (basis, used) = map(&filesystem);
    assert_eq!(basis, Basis::Union);
    let back = restored(&copy, &used);
    let source = open(&back);
    let tree = (reader().tree.unwrap())(&source).unwrap();
    assert!(files(&source, tree.as_ref()) == contents());
}

#[test]
fn a_wrong_checksum_of_the_boot_region_is_kept_whole() {
    let file = filled(ORDINARY);
    write_at(&file, 3 * 512 + 9, &[1]);
    assert_eq!(why_whole(&file), "the checksum of its boot region is wrong");
    // Flags and the percentage in use are not part of the sum.
    write_at(&file, 3 * 512 + 9, &[0]);
    write_at(&file, 112, &[99]);
    map(&read(&open(&file)));
}

#[test]
fn a_damaged_boot_sector_is_made_up_for_by_its_backup_for_the_files_only() {
    for shape in [SHAPES[1], SHAPES[2]] {
        let file = filled(shape);
        let uuid = read(&open(&file)).uuid;
        write_at(&file, 0, &[0; 512]);
        let (found, filesystem) = fs::recognise(&open(&file)).unwrap().unwrap();
        assert_eq!(found.name, "exfat");
        assert_eq!(filesystem.uuid, uuid);
        let why = "its boot sector is damaged; only the backup of it is sound";
        assert_eq!(filesystem.used, Used::Whole(why.into()));
        assert_eq!(filesystem.state, State::Dirty(why.into()));
        let source = open(&file);
        let tree = (reader().tree.unwrap())(&source).unwrap();
        assert!(files(&source, tree.as_ref()) == contents());
    }
}

#[test]
fn a_backup_left_over_under_another_filesystem_says_nothing() {
    let file = filled(ORDINARY);
    let path = file.path().to_str().unwrap().to_owned();
    let backup = read_at(&file, 12 * 512, 12 * 512);
    run("mkswap", "util-linux", &["-q", "-f", &path], "");
    assert_eq!(
        read_at(&file, 12 * 512, 12 * 512),
        backup,
        "it is still there"
    );
    let (found, filesystem) = fs::recognise(&open(&file)).unwrap().unwrap();
    assert_eq!(found.name, "swap");
    assert!(matches!(filesystem.used, Used::Map { .. }));
}

#[test]
fn two_tables_are_kept_whole() {
    let file = filled(ORDINARY);
    // There is room for the second one before the first cluster.
    write_at(&file, 110, &[2]);
    sum_boot(&file, 0, 512);
    assert!(why_whole(&file).contains("TexFAT"));
}

#[test]
fn what_contradicts_itself_is_kept_whole() {
    let file = filled(ORDINARY);
    let (_, _, cluster, heap) = dumped(&file);
    let root = heap + (number_at(&file, 96) - 2) * cluster;
    let bitmap = (0..4)
        .map(|n| root + n * 32)
        .find(|at| read_at(&file, *at, 1) == [0x81]);
    let bitmap = bitmap.unwrap();
    let entry = read_at(&file, bitmap, 32);
    for (change, why) in [
        (&[(0, 0x01)][..], "it has no allocation bitmap"),
        (&[(24, 1), (25, 0)], "its allocation bitmap is too short"),
        (&[(20, 1)], "its allocation bitmap is too short"),
        (&[(23, 0x7F)], "a chain of clusters leaves the filesystem"),
    ] {
        for (at, byte) in change {
            write_at(&file, bitmap + at, &[*byte]);
        }
        let found = why_whole(&file);
        assert!(found.contains(why), "{found}");
        write_at(&file, bitmap, &entry);
    }
    // The root directory's chain leads to itself.
    let first = number_at(&file, 96);
    let fat = number_at(&file, 80) * 512;
    let circle = u32::try_from(first).unwrap().to_le_bytes();
    write_at(&file, fat + first * 4, &circle);
    assert!(why_whole(&file).contains("runs in a circle"));
}

#[test]
fn a_filesystem_cut_short_is_kept_whole() {
    let file = filled(ORDINARY);
    file.as_file().set_len(20 * MIB).unwrap();
    assert_eq!(
        why_whole(&file),
        "the filesystem is larger than its partition"
    );
}

#[test]
fn clusters_whose_bits_cannot_be_read_are_used() {
    let file = filled(SHAPES[0]);
    let whole = map(&read(&open(&file))).1;
    let (_, _, _, heap) = dumped(&file);
    // The second sector of the bitmap has the bits of 4096 clusters of 512 bytes.
    let bad = BadPlaces {
        source: open(&file),
        bad: Extent::new(heap + 512, 512).into_iter().collect(),
    };
    let (basis, used) = map(&read(&bad));
    assert_eq!(basis, Basis::Records);
    assert!(used.covers(Extent::new(heap + 4096 * 512, 4096 * 512).unwrap()));
    assert_eq!(whole.difference(&used), ExtentMap::new());
    // A table that cannot be read says nothing of the root directory.
    let bad = BadPlaces {
        source: open(&file),
        bad: Extent::new(number_at(&file, 80) * 512, 65536)
            .into_iter()
            .collect(),
    };
    let filesystem = read(&bad);
    assert!(matches!(filesystem.used, Used::Whole(_)));
}
