//! F2FS as the kernel of Debian 12 (6.12) left it, once unmounted and once without power; frozen.
//!
//! A file is full of lines with its first name.

use std::collections::BTreeMap;

use disk::extent::ExtentMap;
use disk::fs::tree::{Case, Content, NodeKind, find, walk};
use disk::fs::{Basis, Filesystem, State, Used};

use crate::files::tree;
use crate::reader;
use crate::sparse::Sparse;

fn frozen(packed: &[u8]) -> (Sparse, Filesystem) {
    let image = Sparse::read(zstd::Decoder::new(packed).unwrap()).unwrap();
    let filesystem = (reader().read)(&image).unwrap().unwrap();
    (image, filesystem)
}

fn lines(name: &str, len: usize) -> Vec<u8> {
    let line = format!("{name}\n");
    line.bytes().cycle().take(len).collect()
}

/// Path and size of every file that has bytes.
type Files = BTreeMap<String, usize>;

/// Every file has the bytes that its name says, and lies in the map.
fn files(image: &Sparse, used: &ExtentMap) -> Files {
    let mut files = Files::new();
    walk(
        &*tree(image),
        &mut |found| {
            let node = found.node;
            assert!(node.extents().iter().all(|extent| used.covers(*extent)));
            let pieces = !matches!(node.content, Content::Opaque { .. });
            if node.kind == NodeKind::File && pieces && node.size_bytes < 100 << 20 {
                let bytes = node.read(image, 100 << 20).unwrap();
                let name = found.path.rsplit('/').next().unwrap();
                let name = if name == "hard" { "large" } else { name };
                let empty = name == "reserved";
                let wanted = if empty {
                    vec![0; bytes.len()]
                } else {
                    lines(name, bytes.len())
                };
                assert!(bytes == wanted, "{}", found.path);
                files.insert(found.path.to_owned(), bytes.len());
            }
            std::ops::ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
    files
}

#[test]
fn what_a_kernel_unmounted_is_read() {
    let (image, filesystem) = frozen(include_bytes!("left.img.zst"));
    assert_eq!(filesystem.state, State::Clean);
    let Used::Map { basis, extents } = &filesystem.used else {
        panic!("{:?}", filesystem.used)
    };
    assert_eq!(*basis, Basis::Records);
    let mut wanted: Files = (1..300)
        .step_by(2)
        .map(|n| (format!("many/a-rather-long-name-of-a-file-{n}"), n))
        .collect();
    wanted.extend([
        ("deep/a/b/x".into(), 9999),
        ("large".into(), 13_000_000),
        ("hard".into(), 13_000_000),
        ("reserved".into(), 3_000_000),
    ]);
    assert_eq!(files(&image, extents), wanted);
    let tree = tree(&image);
    let node = |path: &str| {
        tree.node(find(&*tree, &[path], Case::Exact).unwrap().unwrap())
            .unwrap()
    };
    let squeezed = node("squeezed.txt");
    let Content::Opaque { why, .. } = squeezed.content else {
        panic!("{:?}", squeezed.content)
    };
    assert_eq!((why, squeezed.size_bytes), ("it is compressed", 400_000));
    assert_eq!(
        node("link").read(&image, 100).unwrap(),
        b"/a/long/target/that/goes/on"
    );
    assert_eq!(node("pipe").kind, NodeKind::Special);
    let sparse = node("sparse");
    assert_eq!(sparse.size_bytes, 5_000_000_000);
    let begins = sparse.read(&image, 3000 * 4096 + 7000).unwrap();
    assert!(
        begins[..8192] == lines("sparse", 8192) && begins[3000 * 4096..] == lines("sparse", 7000)
    );
    assert!(begins[8192..3000 * 4096].iter().all(|byte| *byte == 0));
}

#[test]
fn what_was_fsynced_before_the_power_went_is_read() {
    let (image, filesystem) = frozen(include_bytes!("cut.img.zst"));
    let Used::Map { basis, extents } = &filesystem.used else {
        panic!("{:?}", filesystem.used)
    };
    assert_eq!(*basis, Basis::Replayed);
    assert_ne!(filesystem.state, State::Clean);
    let mut wanted: Files = (1..41)
        .map(|n| (format!("before/f{n}"), n * 1500))
        .collect();
    wanted.extend((1..11).map(|n| (format!("new{n}"), n * 9000)));
    wanted.extend([
        ("before/f1".into(), 300_000),
        ("before/f2".into(), 2000),
        ("before/f5".into(), 40_000),
        ("reserved".into(), 300_000),
        ("newdir/in".into(), 20_000),
        ("last".into(), 30_000),
        ("large".into(), 5_000_000),
        ("small".into(), 100),
    ]);
    assert_eq!(files(&image, extents), wanted);
}
