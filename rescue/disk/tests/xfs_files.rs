//! The files of XFS as the reader walks them, against the files as the kernel shows them.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;
#[path = "made/xfs.rs"]
mod mkfs;

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;

use disk::fs::tree::{NodeKind, Tree, walk};
use disk::fs::{READERS, Reader};
use disk::source::BlockSource;
use disk::{layout::Layout, systems};
use made::{open, run};
use mkfs::{copy, cut_off, filled, mounted, noise, poured};
use tempfile::{NamedTempFile, TempDir};

const MIB: u64 = 1 << 20;

fn xfs() -> &'static Reader {
    READERS.iter().find(|reader| reader.name == "xfs").unwrap()
}

fn tree(source: &dyn BlockSource) -> Box<dyn Tree + '_> {
    (xfs().tree.unwrap())(source).unwrap()
}

/// A line a file, as `find -printf '%y|%s|%Ts|%P|%l'` prints it, and the files with their bytes in a folder.
fn walked(source: &dyn BlockSource) -> (BTreeSet<String>, TempDir) {
    let (mut lines, dir) = (BTreeSet::new(), TempDir::new().unwrap());
    walk(
        &*tree(source),
        &mut |found| {
            let node = found.node;
            let read = || node.read(source, 64 * MIB).unwrap();
            let (kind, link) = match node.kind {
                NodeKind::File => ('f', String::new()),
                NodeKind::Directory => ('d', String::new()),
                NodeKind::Symlink => ('l', String::from_utf8(read()).unwrap()),
                NodeKind::Special => ('p', String::new()),
            };
            let place = dir.path().join(found.path);
            if node.kind == NodeKind::Directory {
                fs::create_dir_all(place).unwrap();
            } else if node.kind == NodeKind::File && node.size_bytes > 0 {
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(place, read()).unwrap();
            }
            let (size, time) = (node.size_bytes, node.modified.unwrap());
            lines.insert(format!("{kind}|{size}|{time}|{}|{link}", found.path));
            ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
    (lines, dir)
}

const LIST: &str = "find . -mindepth 1 -printf '%y|%s|%Ts|%P|%l\\n'";
const SUMS: &str = "find . -type f -size +0 -print0 | xargs -0 sha256sum";

/// `shown` is what the kernel mounts: the same filesystem, or a copy of it.
fn assert_same_files(file: &NamedTempFile, shown: &NamedTempFile, what: &[&str]) {
    let (ours, dir) = walked(&open(file));
    let theirs: BTreeSet<String> = mounted(shown.path(), LIST)
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(theirs.len() > 5000);
    let missing: Vec<_> = theirs.difference(&ours).take(5).collect();
    let extra: Vec<_> = ours.difference(&theirs).take(5).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{what:?}: {missing:?} {extra:?}"
    );
    let sums = mounted(shown.path(), SUMS);
    assert!(sums.lines().count() > 70);
    let script = format!("cd {} && sha256sum --quiet -c -", dir.path().display());
    run("sh", "dash", &["-c", &script], &sums);
}

const LAYOUTS: &[&[&str]] = &[
    &[],
    &["-b", "size=1024"],
    &["-m", "reflink=0,bigtime=0", "-i", "size=1024,sparse=0"],
    &["-i", "nrext64=1", "-n", "size=16384"],
];

#[test]
fn every_file_is_found_with_its_bytes() {
    std::thread::scope(|scope| {
        for options in LAYOUTS {
            scope.spawn(move || {
                let file = filled(320 * MIB, options);
                assert_same_files(&file, &file, options);
                let source = open(&file);
                let systems = systems::of(&source, &Layout::read(&source).unwrap());
                assert_eq!(systems, ["Some Linux 7"]);
            });
        }
    });
}

#[test]
fn after_a_power_cut_the_files_are_those_that_the_kernel_finds() {
    std::thread::scope(|scope| {
        for options in LAYOUTS {
            scope.spawn(move || {
                let (file, _) = cut_off(320 * MIB, options);
                let recovered = copy(&file);
                assert_same_files(&file, &recovered, options);
            });
        }
    });
}

#[test]
fn version_4_is_walked_with_and_without_kinds_in_its_names() {
    for (types, size) in [("ftype=1", "size=512"), ("ftype=0", "size=4096")] {
        let file = poured(320 * MIB, &["-m", "crc=0", "-n", types, "-b", size]);
        let (lines, dir) = walked(&open(&file));
        let of = |kind: &str| lines.iter().filter(|line| line.starts_with(kind)).count();
        assert_eq!(of("f|"), 40 + 160 + 640 + 2560);
        assert_eq!((of("d|"), of("l|")), (4, 4));
        let links = lines
            .iter()
            .filter(|line| line.ends_with("|where/it/leads"));
        assert_eq!(links.count(), 4);
        for n in (0..2560).step_by(60) {
            let path = dir.path().join(format!("dir3/file-with-a-name-{n}"));
            assert!(fs::read(path).unwrap() == noise(), "{n}");
        }
    }
}
