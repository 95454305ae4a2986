//! The files of btrfs as the reader walks them, against the files as the kernel shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;

use disk::fs::tree::{Content, NodeKind, Tree, walk};
use disk::fs::{READERS, Reader};
use disk::source::BlockSource;
use tempfile::{NamedTempFile, TempDir};

use crate::made::{open, run};
use crate::mkfs::{MIB, filled, made};

pub fn btrfs() -> &'static Reader {
    READERS
        .iter()
        .find(|reader| reader.name == "btrfs")
        .unwrap()
}

fn tree(source: &dyn BlockSource) -> Box<dyn Tree + '_> {
    (btrfs().tree.unwrap())(source).unwrap()
}

struct Walked {
    /// A line a file, as [`LIST`](crate::mkfs::LIST) prints it.
    lines: BTreeSet<String>,
    /// The files that can be read.
    dir: TempDir,
    /// Why others cannot be, and how many of their bytes are known to be here.
    opaque: BTreeMap<String, (&'static str, u64)>,
}

fn walked(source: &dyn BlockSource) -> Walked {
    let (mut lines, dir) = (BTreeSet::new(), TempDir::new().unwrap());
    let mut opaque = BTreeMap::new();
    walk(
        &*tree(source),
        &mut |found| {
            let node = found.node;
            let place = dir.path().join(found.path);
            if let Content::Opaque { why, .. } = node.content {
                let here = node.extents().iter().map(|e| e.len()).sum();
                opaque.insert(found.path.to_owned(), (why, here));
            } else if node.kind == NodeKind::File {
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(place, node.read(source, 64 * MIB).unwrap()).unwrap();
            }
            let (kind, link) = match node.kind {
                NodeKind::File => ('f', String::new()),
                NodeKind::Directory => ('d', String::new()),
                NodeKind::Symlink => (
                    'l',
                    String::from_utf8(node.read(source, 4096).unwrap()).unwrap(),
                ),
                NodeKind::Special => ('p', String::new()),
            };
            let size = node.size_bytes;
            match node.modified {
                Some(time) => lines.insert(format!("{kind}|{size}|{time}|{}|{link}", found.path)),
                None => lines.insert(format!("{kind}|{size}|none|{}|{link}", found.path)),
            };
            ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
    Walked { lines, dir, opaque }
}

fn assert_same(ours: &BTreeSet<String>, theirs: &str, what: &str) {
    let theirs: BTreeSet<String> = theirs.lines().map(str::to_owned).collect();
    assert!(theirs.len() > 200);
    let missing: Vec<_> = theirs.difference(ours).take(5).collect();
    let extra: Vec<_> = ours.difference(&theirs).take(5).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{what}: {missing:?} {extra:?}"
    );
}

fn assert_sums(dir: &TempDir, sums: &str) {
    let script = format!("cd {} && sha256sum --quiet -c -", dir.path().display());
    run("sh", "dash", &["-c", &script], sums);
}

/// All files of one disk.
pub fn assert_files(file: &NamedTempFile, (list, sums): &(String, String), what: &str) {
    let walked = walked(&open(file));
    assert_same(&walked.lines, list, what);
    assert!(walked.opaque.is_empty() && sums.lines().count() > 200);
    assert_sums(&walked.dir, sums);
}

/// All files of a disk that was cut off. A directory has its time and size by the commit.
pub fn assert_fsynced(file: &NamedTempFile, list: &str, sums: &str, what: &str) {
    let walked = walked(&open(file));
    let files = |line: &&str| !line.starts_with("d|");
    let ours = walked.lines.iter().map(String::as_str);
    let ours = ours.filter(files).map(str::to_owned).collect();
    let theirs: Vec<_> = list.lines().filter(files).collect();
    assert_same(&ours, &theirs.join("\n"), what);
    assert!(walked.opaque.is_empty(), "{what}: {:?}", walked.opaque);
    assert_sums(&walked.dir, sums);
}

/// What each disk of an array has of each file: all of it, or a part in whose place nothing is made up.
pub fn assert_parts(disks: &[NamedTempFile], (list, sums): &(String, String), profile: &str) {
    let mut here = 0;
    let everywhere = matches!(profile, "raid1" | "raid1c3");
    for disk in disks {
        let walked = walked(&open(disk));
        assert_same(&walked.lines, list, profile);
        assert_eq!(walked.opaque.is_empty(), everywhere, "{profile}");
        let elsewhere = |(why, _): &(&str, u64)| why.contains("other disks");
        assert!(walked.opaque.values().all(elsewhere));
        let readable = |line: &&str| {
            let name = line.split_once("  ./").unwrap().1;
            !walked.opaque.contains_key(name)
        };
        let readable: Vec<_> = sums.lines().filter(readable).collect();
        assert!(readable.len() > 100, "{profile}: {}", readable.len());
        assert_sums(&walked.dir, &(readable.join("\n") + "\n"));
        here += walked.opaque.get("large").map_or(0, |(_, here)| *here);
    }
    let copies = if profile == "raid10" { 2 } else { 1 };
    let large = if everywhere { 0 } else { 14 * MIB };
    assert_eq!(here, copies * large, "{profile}");
}

#[test]
fn a_compressed_file_is_not_read_and_its_extents_are_known() {
    let file = made(256 * MIB, &[]);
    let (list, sums) = filled(
        std::slice::from_ref(&file),
        "for how in zlib lzo zstd; do mkdir $how; btrfs property set $how compression $how; \
         for n in {1..90000}; do echo line $n; done >$how/long; \
         printf 'the same line %.0s' {1..140} >$how/short; done",
    );
    let walked = walked(&open(&file));
    assert_same(&walked.lines, &list, "compressed");
    for how in ["zlib", "lzo", "zstd"] {
        let (why, here) = walked.opaque[&format!("{how}/long")];
        assert_eq!(why, "a compressed file");
        assert!((4096..800_000).contains(&here), "{how}: {here}");
        assert_eq!(walked.opaque[&format!("{how}/short")], (why, 0));
    }
    assert_eq!(walked.opaque.len(), 6);
    let read = |line: &&str| {
        !["zlib/", "lzo/", "zstd/"]
            .iter()
            .any(|how| line.contains(how))
    };
    let rest: Vec<_> = sums.lines().filter(read).collect();
    assert_sums(&walked.dir, &(rest.join("\n") + "\n"));
}
