//! Makes the small image that is kept in `tests/frozen` for a released version of the format: it must open for
//! ever, so what is there is never made again, only added to.
//!
//! `cargo run -p image --example freeze -- rescue/image/tests/frozen/v1.img.zst`

use std::error::Error;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use image::chunk::Kind;
use image::codec::{Encoded, Encoder};
use image::digest::{Digest, ImageId};
use image::head::Head;
use image::manifest::{DiskStory, Manifest, Places};
use image::memory::MemoryStore;
use image::states::States;
use image::writer::Writer;

const CHUNK: u64 = 128 << 10;

/// Fifteen chunks and a short one, in sectors of 4096 bytes behind logical ones of 512.
const SIZE: u64 = 15 * CHUNK + 1536;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name the file to make")?;
    let geometry = Geometry {
        size_bytes: SIZE,
        logical_sector: 512,
        physical_sector: 4096,
    };
    let head = Head::new(
        ImageId(*b"frozen image one"),
        geometry,
        Digest::of(b"what the disk was"),
    )
    .with_chunk_size(u32::try_from(CHUNK)?);
    let store = MemoryStore::new();
    let mut writer = Writer::create(&store, "v1", head)?;
    let mut encoder = Encoder::new(3)?;
    let mut encoded = Encoded::default();
    let mut bad = ExtentMap::new();
    for nth in 0..=SIZE / CHUNK {
        let cell = Extent::between(nth * CHUNK, SIZE.min((nth + 1) * CHUNK)).ok_or("no cell")?;
        match nth {
            4..=6 => writer.free(cell)?,
            7 => {
                bad.insert(cell);
                writer.zeros(cell, Kind::Unreadable)?;
            }
            8 => writer.zeros(cell, Kind::NotTried)?,
            _ => {
                let (content, states) = chunk(nth, cell, &mut bad);
                encoder.encode(cell.start(), &content, &states, &mut encoded)?;
                writer.append(&mut encoded)?;
            }
        }
        if nth % 5 == 4 {
            writer.checkpoint()?;
        }
    }
    let finished = writer.finish(&manifest(&head, &bad))?;
    std::fs::write(
        &path,
        store.get(&finished.name).ok_or("it was not written")?,
    )?;
    println!(
        "{path}: {} bytes, index {}",
        finished.stored_bytes, finished.index
    );
    Ok(())
}

/// Text, zeros, noise at the end of text; some of it free, some unreadable.
fn chunk(nth: u64, cell: Extent, bad: &mut ExtentMap) -> (Vec<u8>, States) {
    let len = usize::try_from(cell.len()).expect("a chunk fits in memory");
    let mut content: Vec<u8> = (0..)
        .flat_map(|line| format!("chunk {nth}, line {line}\n").into_bytes())
        .take(len)
        .collect();
    let mut used = ExtentMap::from(vec![cell]);
    match nth {
        2 => content.fill(0),
        3 | 9 => {
            let hole = Extent::new(cell.start() + 16_384, 32_768).expect("it is not empty");
            used.remove(hole);
            content[16_384..49_152].fill(0);
            let sector = Extent::new(cell.start() + 65_536, 512).expect("it is not empty");
            bad.insert(sector);
            content[65_536..66_048].fill(0);
        }
        10 => {
            content.fill(0);
            used = Extent::new(cell.start(), 4096).into_iter().collect();
        }
        _ => {
            let mut x = nth;
            for byte in &mut content[len - 1000..] {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = x.to_le_bytes()[7];
            }
        }
    }
    let states = States::of(cell, &used, bad);
    (content, states)
}

fn manifest(head: &Head, bad: &ExtentMap) -> Manifest {
    Manifest {
        program: concat!("rescue ", env!("CARGO_PKG_VERSION")).to_owned(),
        id: head.id,
        disk: DiskStory {
            model: Some("A frozen disk".to_owned()),
            ..DiskStory::sized(head.geometry)
        },
        in_disk_order: true,
        level: 3,
        chunk_size: head.chunk_size,
        unreadable: Places::from(bad),
        started: Some("2026-11-22T00:00:00Z".to_owned()),
        note: Some("This image must open for ever.".to_owned()),
        ..Manifest::default()
    }
}
