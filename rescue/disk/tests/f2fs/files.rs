//! The files, against the folder that sload.f2fs was given.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;

use disk::extent::ExtentMap;
use disk::fs::tree::{Case, Node, NodeKind, Tree, find, walk};
use disk::source::BlockSource;
use tempfile::{NamedTempFile, TempDir};

use crate::made::{open, run};
use crate::{MIB, PACKAGE, SHAPES, assert_sound, map, mkfs, noise, read, reader, restored};

pub fn tree(source: &dyn BlockSource) -> Box<dyn Tree + '_> {
    (reader().tree.unwrap())(source).unwrap()
}

/// A line a file, as `find -printf '%y|%s|%Ts|%P|%l'` prints it; a folder has no size. Every extent is in the map.
pub fn walked(
    source: &dyn BlockSource,
    used: &ExtentMap,
    each: &mut dyn FnMut(&str, &Node),
) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    walk(
        &*tree(source),
        &mut |found| {
            let node = found.node;
            assert!(node.extents().iter().all(|extent| used.covers(*extent)));
            let (kind, size, link) = match node.kind {
                NodeKind::File => ('f', node.size_bytes, Vec::new()),
                NodeKind::Directory => ('d', 0, Vec::new()),
                NodeKind::Symlink => ('l', node.size_bytes, node.read(source, 4096).unwrap()),
                NodeKind::Special => ('p', 0, Vec::new()),
            };
            let (time, link) = (node.modified.unwrap(), String::from_utf8(link).unwrap());
            lines.insert(format!("{kind}|{size}|{time}|{}|{link}", found.path));
            each(found.path, node);
            ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
    lines
}

/// Small ones inside inodes, larger ones, one that needs every depth of nodes but the last, folders in inodes and in
/// many blocks, long names.
pub fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put("empty", b"");
    put("small", b"hello\n");
    for len in [3400, 3488, 3489, 3692, 4096, 4097, 40_000] {
        put(
            &format!("of {len}"),
            &noise(len, 10)[..usize::try_from(len).unwrap()],
        );
    }
    put("deep/a/b/c/d/e/f", b"far down\n");
    put("large", &noise(7, 3200));
    put("Größe und Maß", b"named\n");
    put(&format!("many/{}", "n".repeat(255)), b"long\n");
    for n in 0..900 {
        put(
            &format!("many/a file among many others {n}"),
            format!("{n}\n").as_bytes(),
        );
    }
    symlink("where/it/leads", dir.path().join("link")).unwrap();
    symlink("x".repeat(3000), dir.path().join("long link")).unwrap();
    fs::create_dir(dir.path().join("nothing in it")).unwrap();
    dir
}

pub fn loaded(dir: &TempDir, size: u64, options: &[&str]) -> NamedTempFile {
    let file = mkfs(size, options);
    let [from, path] = [dir.path(), file.path()].map(|path| path.to_str().unwrap());
    run("sload.f2fs", PACKAGE, &["-f", from, path], "");
    file
}

fn listed(dir: &Path) -> BTreeSet<String> {
    let format = r"%y|%s|%Ts|%P|%l\n";
    let path = dir.to_str().unwrap();
    let text = run(
        "find",
        "findutils",
        &[path, "-mindepth", "1", "-printf", format],
        "",
    );
    let without_size = |line: &str| match line.strip_prefix("d|") {
        Some(rest) => format!("d|0|{}", rest.split_once('|').unwrap().1),
        None => line.to_owned(),
    };
    text.lines().map(without_size).collect()
}

#[test]
fn every_file_is_found_with_its_bytes_also_in_a_finished_copy() {
    let dir = folder();
    let theirs = listed(dir.path());
    assert!(theirs.len() > 900);
    for (size, options) in SHAPES {
        let file = loaded(&dir, *size, options);
        assert_sound(&file);
        let used = map(&read(&file));
        for file in [&file, &restored(&file, &used)] {
            let source = open(file);
            let mut compared = 0;
            let mut lines = walked(&source, &used, &mut |path, node| {
                if node.kind == NodeKind::File {
                    let bytes = fs::read(dir.path().join(path)).unwrap();
                    assert!(node.read(&source, 64 * MIB).unwrap() == bytes, "{path}");
                    compared += 1;
                }
            });
            // What `-O lost_found` and `-O quota` make.
            lines.retain(|line| !line.contains("|lost+found|"));
            let missing: Vec<_> = theirs.difference(&lines).take(3).collect();
            let more: Vec<_> = lines.difference(&theirs).take(3).collect();
            assert!(
                missing.is_empty() && more.is_empty(),
                "{options:?} {missing:?} {more:?}"
            );
            assert!(compared > 900);
        }
    }
}

#[test]
fn a_damaged_node_costs_its_own_file_only() {
    let dir = folder();
    let file = loaded(&dir, 160 * MIB, &[]);
    let source = open(&file);
    let tree = tree(&source);
    let id = find(&*tree, &["small"], Case::Exact).unwrap().unwrap();
    // The block that says of itself that it is this inode.
    let image = fs::read(file.path()).unwrap();
    let number = u32::try_from(id.0).unwrap().to_le_bytes();
    let own = [number, number].concat();
    let used = map(&read(&file));
    let main = crate::place(&file, 92);
    let blocks = (main..)
        .step_by(4096)
        .zip(image[usize::try_from(main).unwrap()..].chunks_exact(4096));
    let found: Vec<u64> = blocks
        .filter(|(at, block)| used.contains(*at) && block[4072..4080] == own[..])
        .map(|(at, _)| at)
        .collect();
    assert_eq!(found.len(), 1);
    crate::made::write_at(&file, found[0] + 4072, &[0xFF]);
    assert!(tree.node(id).is_err());
    let (mut seen, mut trouble) = (0, Vec::new());
    walk(
        &*tree,
        &mut |_| {
            seen += 1;
            ControlFlow::Continue(())
        },
        &mut |path, error| trouble.push(format!("{path}: {error}")),
    );
    assert_eq!(seen + 1, listed(dir.path()).len());
    assert_eq!(
        trouble,
        ["small: the filesystem is damaged: a node is not the one that it should be"]
    );
}
