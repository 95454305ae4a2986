//! Filesystems with places that cannot be read: nothing used is ever called free, and no more is unknown than what the
//! lost records described.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

#[expect(dead_code, reason = "its own tests use the rest")]
#[path = "../exfat/mkfs.rs"]
mod exfat;
#[path = "../made/mod.rs"]
mod made;
#[path = "../made/ext.rs"]
mod tree;
#[path = "../made/ntfs.rs"]
mod windows;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use disk::extent::{Extent, ExtentMap};
use disk::fs::tree::{NodeKind, walk};
use disk::fs::{self, Filesystem, State, Used};
use disk::memory::BadPlaces;
use disk::source::BlockSource;
use made::{FileSource, blank, open, run};
use tempfile::{NamedTempFile, TempDir};

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// Of XFS: behind the first blocks of the third of four groups.
const LOG: u64 = 160 * MIB + 24576;

/// A filesystem, and how much of it may become unknown by one unreadable sector.
struct Case {
    name: &'static str,
    file: NamedTempFile,
    /// What a sector of its records describes at most.
    share: u64,
    /// Of what stands here there is no second copy, and everything depends on it.
    single: ExtentMap,
}

impl Case {
    fn source(&self) -> FileSource {
        open(&self.file)
    }

    fn with(&self, bad: &ExtentMap) -> Option<Filesystem> {
        let source = BadPlaces {
            source: self.source(),
            bad: bad.clone(),
        };
        fs::recognise(&source)
            .ok()
            .flatten()
            .map(|(_, found)| found)
    }

    /// What is unknown with these places unreadable. Panics where something used is called free, or where the lost
    /// places are not told of.
    fn unknown(&self, sound: &Filesystem, bad: &ExtentMap) -> u64 {
        let size = self.source().size_bytes();
        let Some(found) = self.with(bad) else {
            return size;
        };
        let what = || format!("{} without {bad:?}: {:?}", self.name, found.state);
        let kept = found.used.extents(size);
        let lost = sound.used.extents(size).difference(&kept);
        assert!(lost.is_empty(), "{}: {lost:?} is called free", what());
        let unknown = &found.parts.unknown;
        assert!(unknown.difference(&kept).is_empty(), "{}: not kept", what());
        // What became used is what is unknown, and the places themselves.
        let more = kept.difference(&sound.used.extents(size));
        let told = unknown.union(bad);
        match found.used {
            Used::Whole(_) => size,
            Used::Map { .. } => {
                let silent = more.difference(&told);
                assert!(silent.is_empty(), "{}: {silent:?} is called used", what());
                if !unknown.is_empty() {
                    assert_ne!(found.state, State::Clean, "{}", what());
                    assert!(!found.parts.notes.is_empty(), "{}", what());
                }
                unknown.total_bytes()
            }
        }
    }
}

fn ext4() -> Case {
    let files = tree::files();
    // Twelve groups of 8 MiB, with copies in 0, 1, 3, 5, 7 and 9.
    Case {
        name: "ext4",
        file: tree::filled(96 * MIB, &["-t", "ext4", "-b", "1024"], &files),
        share: 8 * MIB,
        single: ExtentMap::new(),
    }
}

fn meta_bg() -> Case {
    let files = tree::files();
    let options = ["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"];
    Case {
        name: "ext4 with meta_bg",
        file: tree::filled(192 * MIB, &options, &files),
        share: 8 * MIB,
        single: ExtentMap::new(),
    }
}

fn ntfs() -> Case {
    Case {
        name: "ntfs",
        file: windows::filled(64 * MIB, 512, 512),
        share: 512 * 8 * 512,
        // The pages that its journal begins with say whether it is to be replayed; the record of the bitmap, the
        // seventh of the table that begins at 16 KiB, says where that is.
        single: [(32 * MIB, 32 << 10), (22 << 10, 1024)]
            .into_iter()
            .filter_map(|(start, len)| Extent::new(start, len))
            .collect(),
    }
}

fn fat32() -> Case {
    let file = blank(48 * MIB);
    let path = file.path().to_str().unwrap();
    run("mkfs.fat", "dosfstools", &["-F", "32", "-s", "1", path], "");
    let files = small();
    for name in ["a", "b", "c"] {
        let local = files.path().join(name);
        let to = format!("::{name}");
        let args = ["-i", path, local.to_str().unwrap(), &to];
        run("mcopy", "mtools", &args, "");
    }
    Case {
        name: "fat32",
        file,
        share: 0,
        single: ExtentMap::new(),
    }
}

fn small() -> TempDir {
    let dir = TempDir::new().unwrap();
    for (n, name) in (1..).zip(["a", "b", "c"]) {
        std::fs::write(dir.path().join(name), tree::bytes(n, 200_000)).unwrap();
    }
    dir
}

fn exfat() -> Case {
    let file = exfat::filled(exfat::SHAPES[0]);
    // The table and the root directory say where the bitmap is.
    let [table, length] = [80, 84].map(|at| exfat::number_at(&file, at) * SECTOR);
    let source = open(&file);
    let reader = fs::READERS.iter().find(|r| r.name == "exfat").unwrap();
    let opened = (reader.tree.unwrap())(&source).unwrap();
    let root = opened.node(opened.root()).unwrap().extents();
    let single = Extent::new(table, length).into_iter().chain(root);
    Case {
        name: "exfat",
        share: 512 * 8 * 512,
        single: single.collect(),
        file,
    }
}

fn xfs() -> Case {
    let file = blank(320 * MIB);
    let files = tree::files();
    let path = file.path().to_str().unwrap();
    let list = NamedTempFile::new().unwrap();
    let mut proto = String::from("/\n0 0\nd--755 0 0\n");
    for n in 0..20 {
        let from = files.path().join(format!("deep/er/file{}", n % 10));
        proto += &format!("f{n} ---644 0 0 {}\n", from.display());
    }
    std::fs::write(list.path(), proto + "$\n").unwrap();
    let args = ["-q", "-f", "-p", list.path().to_str().unwrap(), path];
    run("mkfs.xfs", "xfsprogs", &args, "");
    Case {
        name: "xfs",
        file,
        share: 80 * MIB,
        // Where the log ends is looked for in it, and only that says that the filesystem was unmounted.
        single: Extent::new(LOG, 64 * MIB).into_iter().collect(),
    }
}

fn btrfs() -> Case {
    let file = blank(256 * MIB);
    let files = tree::files();
    let [path, root] = [file.path(), files.path()].map(|p| p.to_str().unwrap());
    let args = ["-q", "-m", "dup", "--rootdir", root, path];
    run("mkfs.btrfs", "btrfs-progs", &args, "");
    Case {
        name: "btrfs",
        file,
        share: 0,
        // Only the first superblock says whether there is a log.
        single: Extent::new(64 << 10, 4096).into_iter().collect(),
    }
}

/// Each sector of the metadata, or evenly chosen ones and the first and last of every extent up to a limit.
fn sectors(metadata: &ExtentMap, limit: usize) -> Vec<u64> {
    let aligned = metadata.aligned_out(SECTOR, u64::MAX);
    let all: Vec<u64> = aligned
        .iter()
        .flat_map(|e| (e.start() / SECTOR..e.end() / SECTOR).map(|n| n * SECTOR))
        .collect();
    if std::env::var_os("RESCUE_TEST_ALL").is_some() || all.len() <= limit {
        return all;
    }
    let step = all.len().div_ceil(limit / 2);
    let mut some: Vec<u64> = all.iter().copied().step_by(step).collect();
    let ends = aligned.iter().flat_map(|e| [e.start(), e.end() - SECTOR]);
    some.extend(ends.take(limit / 2));
    some.sort_unstable();
    some.dedup();
    some
}

/// Each sector of the metadata unreadable by itself, then some of them together.
fn torture(case: &Case) {
    let sound = case.with(&ExtentMap::new()).expect("it is known");
    assert!(matches!(sound.used, Used::Map { .. }), "{}", case.name);
    assert!(sound.parts.unknown.is_empty() && sound.parts.notes.is_empty());
    let size = case.source().size_bytes();
    let kept = sound.used.extents(size);
    let inside = sound.parts.metadata.intersection(&kept);
    assert!(!inside.is_empty() && inside.total_bytes() < kept.total_bytes());
    let sectors = sectors(&inside, 160);
    for at in &sectors {
        let bad = [Extent::new(*at, SECTOR).unwrap()].into_iter().collect();
        let unknown = case.unknown(&sound, &bad);
        let held = unknown <= case.share || case.single.contains(*at);
        assert!(
            held,
            "{}: {unknown} bytes are unknown without {at}",
            case.name
        );
    }
    for round in 0..u64::from(made::cases(24)) {
        let dice = tree::bytes(round, 64);
        let [mut bad, mut wide] = [ExtentMap::new(), ExtentMap::new()];
        for four in dice.chunks(4).take(1 + usize::from(dice[63]) % 12) {
            let which = usize::from(four[0]) << 8 | usize::from(four[1]);
            let at = sectors[which % sectors.len()];
            bad.insert(Extent::new(at, SECTOR).unwrap());
            let long = (1 + u64::from(four[2]) % 16) * SECTOR;
            wide.insert(Extent::between(at, (at + long).min(size)).unwrap());
        }
        case.unknown(&sound, &bad);
        case.unknown(&sound, &wide);
    }
}

#[test]
fn a_sector_of_ext4_makes_its_group_unknown_at_most() {
    torture(&ext4());
    torture(&meta_bg());
}

#[test]
fn a_sector_of_ntfs_makes_unknown_what_it_describes() {
    torture(&ntfs());
}

#[test]
fn a_sector_of_fat32_is_made_up_for() {
    torture(&fat32());
}

#[test]
fn a_sector_of_exfat_makes_unknown_what_it_describes() {
    torture(&exfat());
}

#[test]
fn a_sector_of_xfs_makes_its_group_unknown_at_most() {
    torture(&xfs());
}

#[test]
fn a_sector_of_btrfs_is_made_up_for() {
    torture(&btrfs());
}

#[test]
fn inodes_and_records_of_files_are_metadata() {
    let has = |case: &Case, at: u64| {
        let found = case.with(&ExtentMap::new()).unwrap();
        assert!(found.parts.metadata.contains(at), "{}: {at}", case.name);
        let used = found.used.extents(case.source().size_bytes());
        assert!(
            found.parts.metadata.total_bytes() < used.total_bytes() / 2,
            "{}",
            case.name
        );
    };
    let xfs = xfs();
    // The first chunk of inodes, with that of the root.
    let said = run(
        "xfs_db",
        "xfsprogs",
        &[
            "-r",
            "-c",
            "sb 0",
            "-c",
            "p rootino",
            xfs.file.path().to_str().unwrap(),
        ],
        "",
    );
    let root: u64 = said.trim().rsplit(' ').next().unwrap().parse().unwrap();
    has(&xfs, root * 512);
    let ext = ext4();
    let said = tree::debugfs(&ext.file, "imap <2>");
    let block = said.split("block ").last().unwrap();
    let block: u64 = block.split(',').next().unwrap().parse().unwrap();
    has(&ext, block * 1024);
    let ntfs = ntfs();
    let table = u64::from_le_bytes(made::read_at(&ntfs.file, 48, 8).try_into().unwrap());
    has(&ntfs, table * 512);
}

/// Paths of all files, and how often something could not be followed.
fn walked(source: &dyn BlockSource, kind: &str) -> (BTreeSet<String>, usize) {
    let open = fs::reader_of(kind).unwrap().tree.unwrap();
    let opened = open(source).unwrap();
    let mut paths = BTreeSet::new();
    let mut troubles = 0;
    walk(
        opened.as_ref(),
        &mut |found| {
            paths.insert(found.path.to_owned());
            ControlFlow::Continue(())
        },
        &mut |_, _| troubles += 1,
    );
    (paths, troubles)
}

/// The sectors of the directory with the most of them.
fn largest_directory(source: &dyn BlockSource, kind: &str) -> ExtentMap {
    let open = fs::reader_of(kind).unwrap().tree.unwrap();
    let opened = open(source).unwrap();
    let mut largest = ExtentMap::new();
    walk(
        opened.as_ref(),
        &mut |found| {
            if found.node.kind == NodeKind::Directory {
                let own: ExtentMap = found.node.extents().into_iter().collect();
                if own.total_bytes() > largest.total_bytes() {
                    largest = own;
                }
            }
            ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
    largest
}

#[test]
fn a_sector_of_a_directory_hides_the_names_in_it_and_no_others() {
    for case in [ext4(), ntfs(), exfat()] {
        let source = case.source();
        let kind = case.with(&ExtentMap::new()).unwrap().kind;
        let (all, troubles) = walked(&source, &kind);
        assert_eq!(troubles, 0);
        let own = largest_directory(&source, &kind);
        assert!(own.total_bytes() >= 4096, "{}: {own:?}", case.name);
        for place in own.iter() {
            for at in [place.start(), place.end() - SECTOR] {
                let bad = BadPlaces {
                    source: &source,
                    bad: [Extent::new(at, SECTOR).unwrap()].into_iter().collect(),
                };
                let (found, _) = walked(&bad, &kind);
                let missing = all.difference(&found).count();
                assert!(found.is_subset(&all), "{}: {at}", case.name);
                assert!(
                    missing <= all.len() / 3,
                    "{}: {missing} for {at}",
                    case.name
                );
            }
        }
    }
}
