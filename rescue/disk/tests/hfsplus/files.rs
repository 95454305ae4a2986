//! The files, against what the kernel that wrote them listed.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;

use disk::fs::tree::{Case, Content, NodeKind, find, walk};
use disk::source::BlockSource;
use disk::{layout::Layout, systems};
use tempfile::TempDir;

use crate::made::{open, run, write_at};
use crate::volume::{FILLED, alone, by_xorriso, listed, reader, volume};

/// A line a file, as the kernel's list has them, and the files with their bytes in a folder.
fn walked(source: &dyn BlockSource) -> (BTreeMap<String, String>, TempDir) {
    let (mut lines, dir) = (BTreeMap::new(), TempDir::new().unwrap());
    walk(
        &*(reader().tree.unwrap())(source).unwrap(),
        &mut |found| {
            let node = found.node;
            let place = dir.path().join(found.path);
            let kind = match node.kind {
                NodeKind::File => "regular file",
                NodeKind::Directory => "directory",
                NodeKind::Symlink => "symbolic link",
                NodeKind::Special => "fifo",
            };
            if node.kind == NodeKind::Directory {
                fs::create_dir_all(place).unwrap();
            } else if node.kind == NodeKind::File {
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(place, node.read(source, 64 << 20).unwrap()).unwrap();
            }
            // Folders have no size of their own.
            let size = match node.kind {
                NodeKind::Directory => 0,
                _ => node.size_bytes,
            };
            let line = format!("{kind}|{size}|{}", node.modified.unwrap());
            lines.insert(found.path.to_owned(), line);
            ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
    (lines, dir)
}

/// Linux composes letters and accents; macOS, and this reader, leave them as they are on the disk.
fn decomposed(name: &str) -> String {
    name.replace('ü', "u\u{308}").replace('й', "и\u{306}")
}

#[test]
fn names_kinds_sizes_times_and_bytes_are_those_the_kernel_listed() {
    let _alone = alone();
    for name in FILLED {
        let (ours, dir) = walked(&open(&volume(name)));
        let list = decomposed(&listed(name));
        let mut theirs = BTreeMap::new();
        let mut digests = String::new();
        for line in list.lines() {
            match line.split('|').collect::<Vec<_>>()[..] {
                [kind, size, time, _, path] => {
                    let size = if kind == "directory" { "0" } else { size };
                    let kind = kind.replace("empty ", "");
                    let kind = kind
                        .trim_start_matches("regular ")
                        .replace("file", "regular file");
                    if let Some(path) = path.strip_prefix("./") {
                        theirs.insert(path.to_owned(), format!("{kind}|{size}|{time}"));
                    }
                }
                _ => digests += &format!("{line}\n"),
            }
        }
        assert!(theirs.len() > 250, "{name}: {}", theirs.len());
        assert_eq!(ours, theirs, "{name}");
        let at = dir.path().display();
        let checked = run(
            "sh",
            "dash",
            &["-c", &format!("cd {at}; sha256sum -c")],
            &digests,
        );
        assert!(checked.lines().count() > 100);
    }
}

#[test]
fn a_fragmented_file_goes_on_in_the_overflow_tree() {
    let _alone = alone();
    let file = volume("plain");
    let source = open(&file);
    let tree = (reader().tree.unwrap())(&source).unwrap();
    let id = find(&*tree, &["deep", "fragmented"], Case::Exact)
        .unwrap()
        .unwrap();
    let node = tree.node(id).unwrap();
    assert!(node.extents().len() > 8, "{}", node.extents().len());
}

#[test]
fn links_lead_where_they_lead() {
    let _alone = alone();
    let file = volume("plain");
    let source = open(&file);
    let tree = (reader().tree.unwrap())(&source).unwrap();
    let at = |path: &[&str]| find(&*tree, path, Case::Exact).unwrap().unwrap();
    assert_eq!(at(&["hard1"]), at(&["deep", "hard2"]));
    let link = tree.node(at(&["link"])).unwrap();
    assert_eq!(link.kind, NodeKind::Symlink);
    assert_eq!(link.read(&source, 4096).unwrap(), b"deep/fragmented");
}

#[test]
fn a_file_that_macos_compressed_is_not_read_as_if_it_were_plain() {
    let _alone = alone();
    let file = volume("plain");
    let source = open(&file);
    let tree = (reader().tree.unwrap())(&source).unwrap();
    let id = find(&*tree, &["empty"], Case::Exact).unwrap().unwrap();
    // Its record: where the catalog is, the node, and in it what stands behind the name.
    let name: Vec<u8> = "empty".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let bytes = fs::read(file.path()).unwrap();
    let mut flags = 0;
    for at in 0..bytes.len() - 400 {
        let data = at + name.len();
        if bytes[at..].starts_with(&name) && bytes[data..].starts_with(&[0, 2]) {
            write_at(&file, (data + 41) as u64, &[0x20]);
            flags += 1;
        }
    }
    assert_eq!(flags, 1);
    let node = tree.node(id).unwrap();
    assert!(matches!(node.content, Content::Opaque { .. }), "{node:?}");
    assert!(node.read(&source, 1).is_err());
}

#[test]
fn what_xorriso_wrote_is_read_back() {
    let _alone = alone();
    let (lines, dir) = walked(&open(&by_xorriso()));
    assert_eq!(lines.len(), 304);
    let big = fs::read(dir.path().join("deep/er/BIG")).unwrap();
    assert_eq!(big, vec![7; 3 << 20]);
    let text = fs::read_to_string(dir.path().join("deep/a name 299")).unwrap();
    assert_eq!(text, "file 299\n".repeat(299 * 7));
}

#[test]
fn the_system_on_it_is_named() {
    let _alone = alone();
    let file = volume("plain");
    let source = open(&file);
    let layout = Layout::read(&source).unwrap();
    let found = systems::of(&source, &layout);
    assert!(format!("{found:?}").contains("Mac"), "{found:?}");
}
