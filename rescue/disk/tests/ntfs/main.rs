//! NTFS against ntfs-3g's tools and partclone, on volumes made by mkntfs and filled through ntfs-3g.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod hostile;
mod journal;
#[path = "../made/ntfs_log.rs"]
mod log;
#[path = "../made/mod.rs"]
mod made;
#[path = "../made/ntfs.rs"]
mod mkfs;
mod state;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;

use disk::extent::{Extent, ExtentMap};
use disk::fs::tree::{Case, Content, Entry, Node, NodeId, NodeKind, Piece, find, walk};
use disk::fs::{Basis, Filesystem, READERS, Reader, State, Used, recognise};
use disk::source::BlockSource;
use made::{FileSource, blank, open, run};
use mkfs::{Mounted, contents, made, mkntfs, ntfsinfo, partclone_used};
use tempfile::NamedTempFile;

const MIB: u64 = 1 << 20;

fn read(file: &NamedTempFile) -> Filesystem {
    recognise(&open(file)).unwrap().expect("it is NTFS").1
}

fn reader() -> &'static Reader {
    READERS.iter().find(|reader| reader.name == "ntfs").unwrap()
}

fn map(filesystem: &Filesystem) -> (Basis, &ExtentMap) {
    match &filesystem.used {
        Used::Map { basis, extents } => (*basis, extents),
        Used::Whole(why) => panic!("it was taken whole: {why}"),
    }
}

fn whole(filesystem: &Filesystem) -> &str {
    match &filesystem.used {
        Used::Whole(why) => why,
        Used::Map { .. } => panic!("it was mapped"),
    }
}

fn dirty(filesystem: &Filesystem) -> &str {
    match &filesystem.state {
        State::Dirty(why) => why,
        state => panic!("it is {state}"),
    }
}

fn size(file: &NamedTempFile) -> u64 {
    file.as_file().metadata().unwrap().len()
}

fn blkid(file: &NamedTempFile, tag: &str) -> String {
    let path = file.path().to_str().unwrap();
    let args = ["-p", "-o", "value", "-s", tag, path];
    run("blkid", "util-linux", &args, "").trim().to_owned()
}

/// Partition size, bytes a sector, bytes a cluster.
const SHAPES: &[(u64, u32, u32)] = &[
    (64 * MIB, 512, 512),
    (64 * MIB + 3584, 512, 4096),
    (64 * MIB, 4096, 4096),
    (64 * MIB, 1024, 2048),
    (96 * MIB + 512, 512, 65536),
    (1024 * MIB, 4096, 2 << 20),
];

#[test]
fn a_filled_volume_is_mapped_and_read_as_partclone_ntfsinfo_and_the_driver_do() {
    for (size_bytes, sector, cluster) in SHAPES.iter().copied() {
        let file = made(size_bytes, sector, cluster);
        let mounted = Mounted::new(file.path(), "rw");
        mkfs::fill(&mounted, if cluster > 65536 { 6 } else { 300 });
        let expected = contents(mounted.dir.path());
        mounted.end();
        let found = recognise(&FileSource::open(file.path(), sector))
            .unwrap()
            .expect("it is NTFS")
            .1;
        let shape = format!("{size_bytes} {sector} {cluster}");
        assert_eq!(found.kind, blkid(&file, "TYPE"), "{shape}");
        assert_eq!(
            found.uuid.as_deref(),
            Some(&*blkid(&file, "UUID")),
            "{shape}"
        );
        assert_eq!(found.label.as_deref(), Some("Täst 文件"), "{shape}");
        assert_eq!(found.state, State::Clean, "{shape}");
        assert_eq!(found.block_size, cluster, "{shape}");
        assert_eq!(
            found.size_bytes,
            size_bytes / u64::from(sector) * u64::from(sector) - u64::from(sector)
        );
        let (basis, used) = map(&found);
        assert_eq!(basis, Basis::Records, "{shape}");
        let cluster = u64::from(cluster);
        let end = found.size_bytes / cluster * cluster;
        let tail = ExtentMap::from(vec![Extent::between(end, size_bytes).unwrap()]);
        assert_eq!(*used, partclone_used(file.path()).union(&tail), "{shape}");
        let free = used.complement(size_bytes).total_bytes() / cluster;
        assert_eq!(free, ntfsinfo(file.path(), "Free Clusters"), "{shape}");
        let source = open(&file);
        let files = walked(&source);
        let names = |files: &BTreeMap<String, _>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&files), names(&expected), "{shape}");
        for (name, what) in &expected {
            assert!(files[name] == *what, "{name} of {shape}");
        }
        assert!(matches!(
            node(&source, &["SPARSE"]).content,
            Content::Pieces(pieces) if cluster > 65536 || pieces.len() >= 20
        ));
    }
}

/// What a walk finds of files that are not the filesystem's own: content and time, by path.
fn walked(source: &dyn BlockSource) -> BTreeMap<String, (Vec<u8>, i64)> {
    let tree = reader().tree.unwrap()(source).unwrap();
    let mut found = BTreeMap::new();
    walk(
        &*tree,
        &mut |file| {
            if file.node.kind == NodeKind::File && !file.path.starts_with('$') {
                let content = file.node.read(source, u64::MAX).unwrap();
                let time = file.node.modified.unwrap();
                found.insert(file.path.to_owned(), (content, time));
            }
            ControlFlow::Continue(())
        },
        &mut |path, error| panic!("{path}: {error}"),
    );
    found
}

fn node(source: &dyn BlockSource, path: &[&str]) -> Node {
    let tree = reader().tree.unwrap()(source).unwrap();
    let id = find(&*tree, path, Case::Ignored).unwrap();
    tree.node(id.unwrap_or_else(|| panic!("{path:?} is not there")))
        .unwrap()
}

fn used_by(source: &dyn BlockSource) -> ExtentMap {
    let (_, found) = recognise(source).unwrap().unwrap();
    map(&found).1.clone()
}

fn pieces(source: &dyn BlockSource, id: NodeId) -> Vec<Piece> {
    let tree = reader().tree.unwrap()(source).unwrap();
    match tree.node(id).unwrap().content {
        Content::Pieces(pieces) => pieces,
        other => panic!("it has no pieces: {other:?}"),
    }
}

fn pieces_of(source: &dyn BlockSource, path: &[&str]) -> Vec<Piece> {
    match node(source, path).content {
        Content::Pieces(pieces) => pieces,
        other => panic!("{path:?} has no pieces: {other:?}"),
    }
}

#[test]
fn a_file_table_and_a_file_in_hundreds_of_pieces_are_followed() {
    let file = mkfs::in_pieces();
    let found = read(&file);
    let (basis, used) = map(&found);
    assert_eq!((basis, &found.state), (Basis::Records, &State::Clean));
    let tail = Extent::between(found.size_bytes, size(&file)).unwrap();
    assert_eq!(
        *used,
        partclone_used(file.path()).union(&ExtentMap::from(vec![tail]))
    );
    let mounted = Mounted::new(file.path(), "ro");
    let expected = contents(mounted.dir.path());
    mounted.end();
    let source = open(&file);
    assert!(walked(&source) == expected);
    let Content::Pieces(pieces) = node(&source, &["in pieces"]).content else {
        panic!("it is in pieces");
    };
    assert!(pieces.len() > 200, "{} pieces", pieces.len());
}

#[test]
fn links_pipes_and_compressed_files_are_told_apart() {
    let file = blank(64 * MIB);
    mkntfs(&file, &["-C"]);
    let mounted = Mounted::new(file.path(), "rw,compression,special_files=wsl");
    std::fs::create_dir(mounted.at("dir")).unwrap();
    symlink("dir/target ä", mounted.at("link")).unwrap();
    run(
        "mkfifo",
        "coreutils",
        &[mounted.at("pipe").to_str().unwrap()],
        "",
    );
    std::fs::write(mounted.at("packed"), vec![b'a'; 300_000]).unwrap();
    std::fs::write(mounted.at("dir/target ä"), "x").unwrap();
    mounted.end();
    let source = open(&file);
    let link = node(&source, &["link"]);
    assert_eq!(link.kind, NodeKind::Symlink);
    assert_eq!(link.content, Content::Inline("dir/target ä".into()));
    assert_eq!(node(&source, &["pipe"]).kind, NodeKind::Special);
    let packed = node(&source, &["packed"]);
    assert_eq!((packed.kind, packed.size_bytes), (NodeKind::File, 300_000));
    let Content::Opaque { why, extents } = &packed.content else {
        panic!("it is compressed: {:?}", packed.content);
    };
    assert_eq!(*why, "compressed by NTFS");
    let held: u64 = extents.iter().map(|e| e.len()).sum();
    assert!((4096..100_000).contains(&held), "{held}");
    let found = read(&file);
    assert!(extents.iter().all(|e| map(&found).1.covers(*e)));
    let tree = reader().tree.unwrap()(&source).unwrap();
    let same = &mut |entry: Entry| {
        let node = tree.node(entry.id).unwrap();
        assert_eq!(entry.kind, node.kind, "{}", entry.name);
        ControlFlow::Continue(())
    };
    tree.entries(tree.root(), same).unwrap();
}
