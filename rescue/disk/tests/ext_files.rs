//! The files of ext2/3/4 as the reader walks them, against the files that were put in.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;
#[path = "made/ext.rs"]
mod mkfs;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use disk::fs::tree::{Case, Content, Node, NodeKind, Tree, find, walk};
use disk::fs::{Reader, recognise};
use disk::source::BlockSource;
use made::{open, write_at};
use mkfs::{JournalSums, debugfs_write, files, filled, power_cut};

const MIB: u64 = 1 << 20;

fn reader(source: &dyn BlockSource) -> &'static Reader {
    recognise(source).unwrap().unwrap().0
}

fn tree(source: &dyn BlockSource) -> Box<dyn Tree + '_> {
    (reader(source).tree.unwrap())(source).unwrap()
}

/// Every file by its path; nothing may be in the way.
fn walked(tree: &dyn Tree) -> BTreeMap<String, Node> {
    let mut found = BTreeMap::new();
    walk(
        tree,
        &mut |file| {
            found.insert(file.path.to_owned(), file.node.clone());
            ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
    found
}

/// The paths below a directory of this machine.
fn listed(root: &Path, at: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        paths.push(
            path.strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
        );
        if path.is_dir() && !path.is_symlink() {
            listed(root, &path, paths);
        }
    }
}

fn was_removed(path: &str) -> bool {
    path.strip_prefix("many/")
        .is_some_and(|name| name[..3].parse::<u32>().unwrap() % 3 == 0)
}

const LAYOUTS: &[&[&str]] = &[
    &["-t", "ext4", "-b", "4096"],
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext2", "-b", "1024"],
    &["-t", "ext2", "-b", "4096", "-r", "0"],
    &["-t", "ext3", "-b", "2048", "-O", "^filetype,^dir_index"],
    &["-t", "ext4", "-b", "1024", "-O", "inline_data", "-I", "256"],
    &[
        "-t",
        "ext4",
        "-b",
        "1024",
        "-O",
        "inline_data",
        "-I",
        "1024",
    ],
    &[
        "-t",
        "ext4",
        "-b",
        "4096",
        "-O",
        "bigalloc,casefold",
        "-C",
        "16384",
    ],
    &["-t", "ext4", "-b", "65536"],
];

#[test]
fn every_file_has_the_bytes_that_were_put_in() {
    let files = files();
    let mut paths = Vec::new();
    listed(files.path(), files.path(), &mut paths);
    paths.retain(|path| !was_removed(path));
    for options in LAYOUTS {
        let file = filled(96 * MIB, options, &files);
        let source = open(&file);
        let used = recognise(&source)
            .unwrap()
            .unwrap()
            .1
            .used
            .extents(96 * MIB);
        let mut found = walked(&*tree(&source));
        for path in &paths {
            let at = files.path().join(path);
            let node = found
                .remove(path)
                .unwrap_or_else(|| panic!("{options:?}: no {path}"));
            let meta = fs::symlink_metadata(&at).unwrap();
            assert_eq!(node.modified, Some(meta.mtime()), "{options:?}: {path}");
            assert!(
                node.extents().iter().all(|e| used.covers(*e)),
                "{options:?}: {path}"
            );
            let (kind, bytes) = if meta.is_dir() {
                (NodeKind::Directory, None)
            } else if meta.is_symlink() {
                let target = fs::read_link(&at)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .as_bytes()
                    .to_vec();
                (NodeKind::Symlink, Some(target))
            } else {
                (NodeKind::File, Some(fs::read(&at).unwrap()))
            };
            assert_eq!(node.kind, kind, "{options:?}: {path}");
            if let Some(bytes) = bytes {
                assert_eq!(node.size_bytes, bytes.len() as u64, "{options:?}: {path}");
                assert!(
                    node.read(&source, 1 << 30).unwrap() == bytes,
                    "{options:?}: {path}"
                );
            }
        }
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            ["lost+found"],
            "{options:?}"
        );
    }
}

#[test]
fn a_large_directory_with_an_index_and_extents_in_many_levels_are_walked() {
    let dir = tempfile::TempDir::new().unwrap();
    fs::write(dir.path().join("fill"), mkfs::bytes(3, 20 << 20)).unwrap();
    let file = filled_with(&dir, &["-t", "ext4", "-b", "1024", "-N", "6000"], 64 * MIB);
    // Every other kilobyte of a file is given back and a second file takes the holes: thousands of extents.
    let mut commands = String::from("mkdir /d\n");
    for n in (0..20 << 10).step_by(2) {
        commands += &format!("punch /fill {n} {n}\n");
    }
    for n in 0..4000 {
        commands += &format!("symlink /d/{n:04}{} target\n", "n".repeat(40));
    }
    debugfs_write(&file, &commands);
    mkfs::e2fsck(file.path(), &["-fyD"]);
    let source = open(&file);
    let tree = tree(&source);
    let found = walked(&*tree);
    assert_eq!(
        found.keys().filter(|path| path.starts_with("d/")).count(),
        4000
    );
    let fill = &found["fill"];
    assert_eq!(fill.extents().len(), 10 << 10);
    let mut expected = mkfs::bytes(3, 20 << 20);
    for (n, block) in expected.chunks_mut(1024).enumerate() {
        if n % 2 == 0 {
            block.fill(0);
        }
    }
    assert!(fill.read(&source, u64::MAX).unwrap() == expected);
    let last = find(
        &*tree,
        &["d", &format!("3999{}", "n".repeat(40))],
        Case::Exact,
    )
    .unwrap()
    .unwrap();
    assert_eq!(
        tree.node(last).unwrap().content,
        Content::Inline(b"target".to_vec())
    );
}

fn filled_with(dir: &tempfile::TempDir, options: &[&str], size: u64) -> tempfile::NamedTempFile {
    let file = made::blank(size);
    mkfs::mke2fs(
        &file,
        &[options, &["-d", dir.path().to_str().unwrap()]].concat(),
    );
    file
}

#[test]
fn files_that_are_only_in_the_journal_are_read_from_there() {
    let files = files();
    for (options, sums) in [
        (&["-t", "ext4", "-b", "1024"][..], JournalSums::V3),
        (&["-t", "ext3", "-b", "1024"], JournalSums::None),
    ] {
        let before = filled(96 * MIB, options, &files);
        let after = mkfs::changed(&before);
        let cut = power_cut(&before, &after, sums);
        let (now, then) = (open(&cut), open(&after));
        let (found, expected) = (walked(&*tree(&now)), walked(&*tree(&then)));
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>()
        );
        assert!(!found.contains_key("deep/er/file9") && found.contains_key("new/11"));
        for (path, node) in &expected {
            let same = &found[path];
            if path == mkfs::ESCAPED {
                assert!(matches!(same.content, Content::Opaque { .. }));
            } else if node.kind == NodeKind::File {
                assert!(
                    same.read(&now, u64::MAX).unwrap() == node.read(&then, u64::MAX).unwrap(),
                    "{path}"
                );
            }
        }
    }
}

#[test]
fn files_are_found_without_the_first_superblock_and_descriptors() {
    let file = filled(96 * MIB, &["-t", "ext4", "-b", "1024"], &files());
    let ext = reader(&open(&file));
    write_at(&file, 0, &[0; 4096]);
    let source = open(&file);
    let tree = (ext.tree.unwrap())(&source).unwrap();
    let found = walked(&*tree);
    assert_eq!(
        found["deep/er/file10"]
            .read(&source, u64::MAX)
            .unwrap()
            .len(),
        5_000_001
    );
}
