//! Makes the chain that is kept in `tests/frozen` for a released version of the format: a child of `v1.img.zst`, and the
//! full image that takes its place. They must open for ever, so what is there is never made again.
//!
//! `cargo run -p image --example freeze_child -- rescue/image/tests/frozen`

use std::error::Error;
use std::path::Path;

use disk::extent::Extent;
use disk::source::BlockSource;
use image::chunk::Kind;
use image::codec::{Encoded, Encoder};
use image::digest::{Digest, ImageId};
use image::head::Head;
use image::manifest::Manifest;
use image::memory::MemoryStore;
use image::merge::Merge;
use image::reader::{Piece, Reader};
use image::states::{State, States};
use image::writer::Writer;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("name the directory")?;
    let directory = Path::new(&directory);
    let store = MemoryStore::new();
    store.put("v1.img.zst", std::fs::read(directory.join("v1.img.zst"))?);
    let parent = Reader::open(&store, "v1.img.zst")?;
    let head = Head::new(
        ImageId(*b"frozen image two"),
        parent.head().geometry,
        Digest::of(b"what the disk became"),
    );
    let mut writer = Writer::create_child(&store, "v1-child", head, &parent)?;
    let mut encoder = Encoder::new(3)?;
    let mut encoded = Encoded::default();
    for piece in parent.pieces() {
        let Piece::Entry(entry) = piece? else {
            return Err("the parent is damaged".into());
        };
        if !entry.kind.has_content() {
            let kind = match entry.kind {
                Kind::NotTried => Kind::Zero,
                kind => kind,
            };
            writer.zeros(entry.extent, kind)?;
            continue;
        }
        let mut content = vec![0; usize::try_from(entry.extent.len())?];
        parent.read_at(entry.extent.start(), &mut content)?;
        let mut states = parent.states(&entry)?.ok_or("no states")?;
        change(entry.extent, &mut content, &mut states);
        let start = entry.extent.start();
        encoder.encode_over(writer.parent(), start, &content, &states, &mut encoded)?;
        writer.append(&mut encoded)?;
    }
    let told = parent.manifest().cloned().unwrap_or_default();
    let story = Manifest {
        id: head.id,
        started: Some("2026-11-23T00:00:00Z".to_owned()),
        ..told
    };
    writer.finish(&story)?;
    let keep = |name: &str| -> Result<(), Box<dyn Error>> {
        let bytes = store.get("v1-child.img.zst").ok_or("it was not written")?;
        println!("{name}: {} bytes, {}", bytes.len(), Digest::of(&bytes));
        Ok(std::fs::write(directory.join(name), bytes)?)
    };
    keep("v1-child.img.zst")?;
    drop(parent);
    Merge {
        store: &store,
        name: "v1-child",
        onto: None,
        id: ImageId(*b"frozen image 2 b"),
    }
    .run(&mut |_| Ok(()))?;
    keep("v1-child-merged.img.zst")
}

/// One leaf of a cell, only the states of another, all of a third.
fn change(cell: Extent, content: &mut [u8], states: &mut States) {
    match cell.start() >> 17 {
        0 => content[70_000..70_004].copy_from_slice(b"leaf"),
        1 => {
            content[..65_536].fill(0);
            let first = Extent::new(cell.start(), 65_536).expect("it is not empty");
            states.set(cell, first, State::Free);
        }
        11 => content.iter_mut().for_each(|byte| *byte = !*byte),
        9 => {
            let sector = Extent::new(cell.start() + 65_536, 512).expect("it is not empty");
            states.set(cell, sector, State::Kept);
        }
        _ => {}
    }
}
