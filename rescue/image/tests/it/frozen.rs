//! Images of every released version of the format, which must open for ever. They are never made again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use disk::extent::Extent;
use disk::source::BlockSource;
use image::check;
use image::chunk::Kind;
use image::digest::Digest;
use image::head::Order;
use image::memory::MemoryStore;
use image::reader::{Piece, Reader};
use image::states::State;

use crate::making::{restore, store_with};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/frozen")
        .join(name)
}

fn opened(name: &str) -> Reader {
    Reader::open(
        &store_with(std::fs::read(path(name)).unwrap()),
        "pc.img.zst",
    )
    .unwrap()
}

/// BLAKE3 of the disk that `v1.img.zst` holds, noted when it was made.
const V1_CONTENT: &str = "0dc64fcbf48284842481f44b5b1fe163b29c176f93820237b5ef7681dd192c21";

#[test]
fn version_1_opens_and_holds_what_it_held() {
    let reader = opened("v1.img.zst");
    assert_eq!(reader.notes(), <[String; 0]>::default());
    assert_eq!(reader.id().0, *b"frozen image one");
    assert_eq!(reader.geometry().size_bytes, 15 * 131_072 + 1536);
    assert_eq!(reader.geometry().physical_sector, 4096);
    assert_eq!(
        reader.index().unwrap().to_string(),
        "0e4d3c4090bece292cca7404563b9be102157891517d55f05d9c8662066fe1ea"
    );
    let (content, lost) = restore(&reader);
    assert!(lost.is_empty());
    assert_eq!(Digest::of(&content).to_string(), V1_CONTENT);
    assert!(check::all(&reader, |_| {}).unwrap().is_clean());
    let manifest = reader.manifest().unwrap();
    assert_eq!(manifest.disk.model.as_deref(), Some("A frozen disk"));
    assert_eq!(
        manifest.note.as_deref(),
        Some("This image must open for ever.")
    );
    assert_eq!(manifest.unreadable.bytes, 131_072 + 2 * 512);
}

#[test]
fn version_1_knows_what_each_chunk_was() {
    let reader = opened("v1.img.zst");
    let mut kinds = Vec::new();
    for piece in reader.pieces() {
        let Piece::Entry(entry) = piece.unwrap() else {
            panic!("nothing is lost")
        };
        let states = reader.states(&entry).unwrap().unwrap();
        let bytes = |state| {
            states
                .extents(entry.extent, state)
                .map(|extent| extent.len())
                .sum::<u64>()
        };
        kinds.push((
            entry.kind,
            entry.extent.len(),
            bytes(State::Free),
            bytes(State::Unreadable),
        ));
    }
    let chunk = 131_072;
    assert_eq!(
        kinds,
        [
            (Kind::Data, chunk, 0, 0),
            (Kind::Data, chunk, 0, 0),
            (Kind::Zero, chunk, 0, 0),
            (Kind::Data, chunk, 32_768, 4096),
            (Kind::Free, chunk, chunk, 0),
            (Kind::Free, 2 * chunk, 2 * chunk, 0),
            (Kind::Unreadable, chunk, 0, chunk),
            (Kind::NotTried, chunk, 0, 0),
            (Kind::Data, chunk, 32_768, 4096),
            (Kind::Zero, chunk, chunk - 4096, 0),
            (Kind::Data, chunk, 0, 0),
            (Kind::Data, chunk, 0, 0),
            (Kind::Data, chunk, 0, 0),
            (Kind::Data, chunk, 0, 0),
            (Kind::Data, 1536, 0, 0),
        ]
    );
}

/// As [`V1_CONTENT`], of `v1-any-order.img.zst`.
const ANY_ORDER_CONTENT: &str = "f043411eda4cca193fe657eff5611c1968ee9b20d69bc351653a18fc48711f99";

#[test]
fn version_1_in_any_order_opens_and_holds_the_newest_of_each_cell() {
    let reader = opened("v1-any-order.img.zst");
    assert_eq!(reader.notes(), <[String; 0]>::default());
    assert_eq!(reader.head().order, Order::Any);
    assert_eq!(
        reader.index().unwrap().to_string(),
        "06e385c6474e43dfdb66ea6003c45628701d41ab498b6c1df78575e46015b4fe"
    );
    let (content, lost) = restore(&reader);
    assert!(lost.is_empty());
    assert_eq!(Digest::of(&content).to_string(), ANY_ORDER_CONTENT);
    assert!(check::all(&reader, |_| {}).unwrap().is_clean());
    let manifest = reader.manifest().unwrap();
    assert!(!manifest.in_disk_order);
    let mut bytes = BTreeMap::new();
    let tell = |state: State, extent: Extent| {
        *bytes.entry(format!("{state:?}")).or_insert(0) += extent.len();
    };
    reader.survey(tell).unwrap();
    let told: Vec<_> = bytes
        .iter()
        .map(|(state, len)| (state.as_str(), *len))
        .collect();
    assert_eq!(
        told,
        [
            ("Free", 1_081_344),
            ("Kept", 1_081_344),
            ("NotTried", 300_032),
            ("Unreadable", 294_912)
        ]
    );
}

#[test]
fn the_stock_tool_still_checks_version_1_in_any_order() {
    let output = Command::new("zstd")
        .args(["-t", "-q"])
        .arg(path("v1-any-order.img.zst"))
        .output();
    let output = output.expect("the program zstd runs (Debian package: zstd)");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_stock_tool_still_reads_version_1() {
    let output = Command::new("zstd")
        .args(["-d", "-c", "-q"])
        .arg(path("v1.img.zst"))
        .output();
    let output = output.expect("the program zstd runs (Debian package: zstd)");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(Digest::of(&output.stdout).to_string(), V1_CONTENT);
}

/// Of `v1-child.img.zst`, a child of `v1.img.zst`, and of the full image that took its place.
fn child_content() -> Vec<u8> {
    let mut content = restore(&opened("v1.img.zst")).0;
    content[70_000..70_004].copy_from_slice(b"leaf");
    content[131_072..196_608].fill(0);
    content[11 * 131_072..12 * 131_072]
        .iter_mut()
        .for_each(|byte| *byte = !*byte);
    content
}

#[test]
fn a_child_of_version_1_opens_over_its_parent() {
    let store = MemoryStore::new();
    for name in ["v1.img.zst", "v1-child.img.zst"] {
        store.put(name, std::fs::read(path(name)).unwrap());
    }
    let reader = Reader::open(&store, "v1-child.img.zst").unwrap();
    assert_eq!(reader.notes(), <[String; 0]>::default());
    let ancestors: Vec<_> = reader
        .ancestors()
        .iter()
        .map(|of| of.name.as_str())
        .collect();
    assert_eq!(ancestors, ["v1"]);
    let (content, lost) = restore(&reader);
    assert!(lost.is_empty() && content == child_content());
    let findings = check::all(&reader, |_| {}).unwrap();
    assert!(findings.is_clean(), "{findings:?}");
    let patched: Vec<u64> = reader
        .pieces()
        .filter_map(|piece| match piece.unwrap() {
            Piece::Entry(entry) if entry.kind == Kind::Patched => Some(entry.extent.start() >> 17),
            _ => None,
        })
        .collect();
    assert_eq!(patched, [0, 1, 9]);
    let mut told = BTreeMap::new();
    let tell = |state: State, extent: Extent| {
        *told.entry(format!("{state:?}")).or_insert(0) += extent.len();
    };
    reader.survey(tell).unwrap();
    assert_eq!(told.get("Unreadable"), Some(&(131_072 + 4096)));
    assert_eq!(told.get("NotTried"), None);
}

#[test]
fn the_image_that_took_the_place_of_a_child_of_version_1_reads_as_that_one() {
    let reader = opened("v1-child-merged.img.zst");
    assert_eq!(reader.notes(), <[String; 0]>::default());
    assert_eq!(reader.stands_for().len(), 1);
    assert_eq!(reader.stands_for()[0].id.0, *b"frozen image two");
    let (content, lost) = restore(&reader);
    assert!(lost.is_empty() && content == child_content());
    assert!(check::all(&reader, |_| {}).unwrap().is_clean());
    let output = Command::new("zstd")
        .args(["-d", "-c", "-q"])
        .arg(path("v1-child-merged.img.zst"))
        .output();
    let output = output.expect("the program zstd runs (Debian package: zstd)");
    assert!(output.status.success() && output.stdout == content);
}
