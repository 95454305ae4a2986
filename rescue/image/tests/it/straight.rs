//! Writing and reading with nothing in the way.

use disk::source::{BlockSource, ReadError};
use image::chunk::Kind;
use image::codec::{Decoder, Encoded, Encoder};
use image::error::ImageError;
use image::memory::MemoryStore;
use image::reader::{Piece, Reader};
use image::states::{State, States};
use image::store::{Store, StoreError};
use image::writer::Writer;

use crate::making::{CHUNK, Disk, extent, open, restore, store_with};

#[test]
fn what_is_written_is_read_back() {
    for (chunks, every) in [(0, 1), (1, 1), (37, 1000), (37, 5), (40, 1)] {
        let disk = Disk::new(chunks, chunks);
        let store = store_with(disk.image_bytes(1, every));
        let reader = open(&store);
        assert_eq!(reader.notes(), <[String; 0]>::default());
        assert!(reader.is_finished());
        assert_eq!(*reader.head(), disk.head());
        let (bytes, lost) = restore(&reader);
        assert!(lost.is_empty());
        assert!(
            bytes == disk.expected(),
            "{chunks} chunks, a page every {every}"
        );
    }
}

#[test]
fn any_byte_can_be_read_without_reading_what_is_before() {
    let disk = Disk::new(37, 3);
    let store = store_with(disk.image_bytes(3, 7));
    let reader = open(&store);
    let expected = disk.expected();
    let mut at = 0;
    for step in [1, 511, 4096, 70_000, 600_001].into_iter().cycle() {
        let mut buf = vec![1; step.min(expected.len().saturating_sub(at))];
        if buf.is_empty() {
            break;
        }
        reader.read_at(at as u64, &mut buf).unwrap();
        assert!(buf == expected[at..at + buf.len()], "at {at}");
        at += step;
    }
    let beyond = reader.read_at(expected.len() as u64 - 1, &mut [0; 2]);
    assert!(matches!(beyond, Err(ReadError::BeyondEnd { .. })));
}

#[test]
fn kinds_and_states_come_back() {
    let disk = Disk::new(24, 0);
    let store = store_with(disk.image_bytes(1, 1000));
    let reader = open(&store);
    let mut decoder = Decoder::new().unwrap();
    let (mut stored, mut content) = (Vec::new(), Vec::new());
    let mut kinds = Vec::new();
    for piece in reader.pieces() {
        let Piece::Entry(entry) = piece.unwrap() else {
            panic!("nothing is lost")
        };
        reader.read_stored(&entry, &mut stored).unwrap();
        let decoded = decoder
            .decode(&reader, &entry, &stored, &mut content)
            .unwrap();
        assert_eq!(decoded.blemish, None);
        assert_eq!(
            decoded.states.unwrap(),
            States::of(entry.extent, &disk.used, &disk.unreadable)
        );
        kinds.push(entry.kind);
    }
    for kind in [Kind::Data, Kind::Zero, Kind::Free, Kind::Unreadable] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
}

#[test]
fn the_manifest_comes_back_and_cannot_steer_a_terminal() {
    let store = store_with(Disk::new(1, 0).image_bytes(1, 1));
    let reader = open(&store);
    let manifest = reader.manifest().unwrap();
    assert_eq!(manifest.program, "rescue test");
    assert_eq!(manifest.note.as_deref(), Some("a note\u{fffd}[2J"));
}

#[test]
fn nothing_is_an_image_until_it_is_finished() {
    let store = MemoryStore::new();
    let disk = Disk::new(9, 1);
    let mut writer = Writer::create(&store, "pc", disk.head()).unwrap();
    disk.write(&mut writer, 1, 4);
    assert_eq!(store.list().unwrap(), ["pc.img.zst.unfinished"]);
    let finished = writer.finish(&crate::making::manifest()).unwrap();
    assert_eq!(store.list().unwrap(), ["pc.img.zst"]);
    assert_eq!(finished.name, "pc.img.zst");
    assert_eq!(
        finished.stored_bytes,
        store.get("pc.img.zst").unwrap().len() as u64
    );
    assert_eq!(Some(finished.index), open(&store).index());
}

#[test]
fn an_existing_image_is_never_touched() {
    let store = MemoryStore::new();
    let disk = Disk::new(1, 1);
    for name in ["pc.img.zst", "pc.img.zst.unfinished"] {
        store.put(name, b"precious".to_vec());
        let error = Writer::create(&store, "pc", disk.head()).unwrap_err();
        assert!(
            matches!(error, ImageError::Store(StoreError::Taken(_))),
            "{error}"
        );
        assert_eq!(store.get(name).unwrap(), b"precious");
        store.remove(name).unwrap();
    }
}

#[test]
fn chunks_out_of_order_and_images_with_a_hole_are_refused() {
    let store = MemoryStore::new();
    let disk = Disk::new(4, 1);
    let chunk = u64::from(CHUNK);
    let mut writer = Writer::create(&store, "pc", disk.head()).unwrap();
    assert!(matches!(
        writer.free(extent(chunk, chunk)),
        Err(ImageError::Order { .. })
    ));
    assert!(matches!(
        writer.free(extent(0, 512)),
        Err(ImageError::Order { .. })
    ));
    assert!(matches!(
        writer.free(extent(0, 5 * chunk)),
        Err(ImageError::Order { .. })
    ));
    let mut encoded = Encoded::default();
    let mut encoder = Encoder::new(1).unwrap();
    let content = vec![1; CHUNK as usize];
    let states = States::all(content.len(), State::Kept);
    encoder
        .encode(0, &content[1..], &states, &mut encoded)
        .unwrap();
    assert!(matches!(
        writer.append(&mut encoded),
        Err(ImageError::Order { .. })
    ));
    encoder.encode(0, &content, &states, &mut encoded).unwrap();
    writer.append(&mut encoded).unwrap();
    let error = writer.finish(&crate::making::manifest()).unwrap_err();
    assert!(matches!(error, ImageError::Incomplete { .. }), "{error}");
    assert!(!store.exists("pc.img.zst").unwrap());
}

#[test]
fn runs_of_nothing_longer_than_a_frame_may_be_are_split() {
    let store = MemoryStore::new();
    let size = (5 << 30) + 512;
    let head = image::head::Head {
        geometry: disk::geometry::Geometry::of_file(size),
        ..Disk::new(0, 0).head()
    };
    let mut writer = Writer::create(&store, "pc", head).unwrap();
    writer.free(extent(0, size)).unwrap();
    writer.finish(&crate::making::manifest()).unwrap();
    let reader = Reader::open(&store, "pc.img.zst").unwrap();
    let lens: Vec<u64> = reader
        .pieces()
        .map(|piece| piece.unwrap().extent().len())
        .collect();
    assert_eq!(lens, [1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 30, 512]);
    assert!(reader.stored_bytes() < 5 * 34_000 + 5_000);
}
