//! Images that somebody bent on purpose or by accident: an error or listed damage, never a panic, never wrong data
//! that is called good, never more memory or time than an honest image of that size.

use std::time::{Duration, Instant};

use disk::source::BlockSource;
use image::check;
use image::memory::MemoryStore;
use image::reader::{Piece, Reader};
use image::store::Store;
use image::writer::Writer;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use crate::any_order;
use crate::making::{CHUNK, Disk, noise, restore, rounds, store_with};

/// One thing done to the bytes of a file; places are parts of its length.
#[derive(Clone, Debug)]
pub enum Change {
    Flip(f64, u8),
    Cut(f64),
    Zero(f64, usize),
    Copy { from: f64, to: f64, len: usize },
    Insert(f64, Vec<u8>),
    Remove(f64, usize),
}

pub fn change() -> impl Strategy<Value = Change> {
    let place = || prop_oneof![0.0..1.0, 0.0..0.01, 0.99..1.0];
    let len = || prop_oneof![1usize..100, 1usize..200_000];
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, bit)| Change::Flip(at, bit)),
        place().prop_map(Change::Cut),
        (place(), len()).prop_map(|(at, len)| Change::Zero(at, len)),
        (place(), place(), len()).prop_map(|(from, to, len)| Change::Copy { from, to, len }),
        (place(), proptest::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (place(), len()).prop_map(|(at, len)| Change::Remove(at, len)),
        Just(Change::Insert(0.99999, b"rescPAGE".to_vec())),
    ]
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "any place will do"
)]
fn at(bytes: &[u8], part: f64) -> usize {
    ((bytes.len() as f64 * part) as usize).min(bytes.len().saturating_sub(1))
}

pub fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Flip(place, bit) => {
            let at = at(bytes, *place);
            bytes[at] ^= 1 << (bit % 8);
        }
        Change::Cut(place) => bytes.truncate(at(bytes, *place)),
        Change::Zero(place, len) => {
            let (from, to) = (at(bytes, *place), bytes.len());
            bytes[from..(from + len).min(to)].fill(0);
        }
        Change::Copy { from, to, len } => {
            let (from, to) = (at(bytes, *from), at(bytes, *to));
            let len = (*len).min(bytes.len() - from).min(bytes.len() - to);
            bytes.copy_within(from..from + len, to);
        }
        Change::Insert(place, new) => {
            let at = at(bytes, *place);
            bytes.splice(at..at, new.iter().copied());
        }
        Change::Remove(place, len) => {
            let (from, to) = (at(bytes, *place), bytes.len());
            bytes.drain(from..(from + len).min(to));
        }
    }
}

/// What an image gives is right or is not given.
fn expect_no_wrong_data(bytes: Vec<u8>, expected: &[u8]) {
    let store = store_with(bytes);
    let Ok(reader) = Reader::open(&store, "pc.img.zst") else {
        return;
    };
    let (content, lost) = restore(&reader);
    assert_eq!(content.len(), expected.len());
    for extent in lost.complement(content.len() as u64).iter() {
        let range =
            usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap();
        assert!(
            content[range.clone()] == expected[range],
            "wrong bytes in {extent:?}"
        );
    }
    check::all(&reader, |_| {}).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: u32::try_from(rounds(80)).unwrap(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_bent_image_never_gives_wrong_bytes(changes in proptest::collection::vec(change(), 1..6)) {
        let disk = Disk::new(13, 4);
        let mut bytes = disk.image_bytes(1, 4);
        changes.iter().for_each(|change| apply(&mut bytes, change));
        expect_no_wrong_data(bytes, &disk.expected());
    }

    #[test]
    fn a_bent_image_in_any_order_gives_the_newest_an_older_state_or_nothing(
        changes in proptest::collection::vec(change(), 1..6),
    ) {
        let (model, mut bytes) = any_order::sample(1);
        changes.iter().for_each(|change| apply(&mut bytes, change));
        let store = store_with(bytes.clone());
        if let Ok(reader) = Reader::open(&store, "pc.img.zst") {
            walk_all(&reader);
            model.expect_known_states_in(&reader);
        }
        store.put("pc.img.zst.unfinished", bytes);
        if let Ok(mut writer) = Writer::resume(&store, "pc", &model.head()) {
            writer.any_order();
            writer.read_back(0, &mut Vec::new()).unwrap();
        }
    }

    #[test]
    fn a_bent_unfinished_image_is_gone_on_with_or_refused(changes in proptest::collection::vec(change(), 1..6)) {
        let disk = Disk::new(13, 4);
        let mut bytes = disk.image_bytes(1, 4);
        changes.iter().for_each(|change| apply(&mut bytes, change));
        let store = MemoryStore::new();
        store.put("pc.img.zst.unfinished", bytes);
        if let Ok(mut writer) = Writer::resume(&store, "pc", &disk.head()) {
            disk.write(&mut writer, 1, 3);
            writer.finish(&crate::making::manifest()).unwrap();
            expect_no_wrong_data(store.get("pc.img.zst").unwrap(), &disk.expected());
        }
    }

    #[test]
    fn numbers_that_lie_under_a_right_digest_cost_nothing_but_what_they_describe(
        which in any::<proptest::sample::Index>(),
        place in any::<proptest::sample::Index>(),
        value in prop_oneof![Just(0u64), Just(1), Just(u64::MAX), Just(1 << 63), Just(1 << 40), any::<u64>(), 0u64..5_000_000],
        width in prop_oneof![Just(1usize), Just(2), Just(4), Just(8)],
        in_any_order in any::<bool>(),
    ) {
        let mut bytes = match in_any_order {
            false => Disk::new(13, 4).image_bytes(1, 4),
            true => any_order::sample(1).1,
        };
        let frames = own_frames(&bytes);
        let (start, end) = frames[which.index(frames.len())];
        let field = start + 40 + place.index((end - start - 72 - width).max(1)) / width * width;
        bytes[field..field + width].copy_from_slice(&value.to_le_bytes()[..width]);
        reseal(&mut bytes[start..end]);
        let store = store_with(bytes.clone());
        if let Ok(reader) = Reader::open(&store, "pc.img.zst") {
            walk_all(&reader);
        }
        store.remove("pc.img.zst").unwrap();
        store.put("pc.img.zst.unfinished", bytes);
        if let Ok(mut writer) = Writer::resume(&store, "pc", &any_order::model().head()) {
            writer.any_order();
            let cells = writer.head().geometry.size_bytes / u64::from(writer.head().chunk_size);
            for nth in 0..cells.min(30) {
                let at = nth * u64::from(writer.head().chunk_size);
                let _ = writer.read_back(at, &mut Vec::new());
            }
            let _ = writer.finish(&crate::making::manifest());
        }
    }
}

/// Start and end of every frame that has our envelope.
fn own_frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let starts = (8..bytes.len())
        .filter(|at| bytes[*at..].starts_with(b"resc"))
        .map(|at| at - 8);
    starts
        .map(|at| {
            (
                at,
                at + 8
                    + usize::try_from(u32::from_le_bytes(
                        bytes[at + 4..at + 8].try_into().unwrap(),
                    ))
                    .unwrap(),
            )
        })
        .filter(|(at, end)| *end <= bytes.len() && bytes[*at] == 0x5B)
        .collect()
}

fn reseal(frame: &mut [u8]) {
    let (before, digest) = frame.split_at_mut(frame.len() - 32);
    digest.copy_from_slice(blake3::hash(before).as_bytes());
}

/// Everything a program would do with it, whatever size it claims to have.
fn walk_all(reader: &Reader) {
    check::all(reader, |_| {}).unwrap();
    let size = reader.head().geometry.size_bytes;
    let mut before = 0;
    for piece in reader.pieces() {
        let piece = piece.unwrap();
        assert_eq!(piece.extent().start(), before);
        before = piece.extent().end();
        if let Piece::Entry(entry) = piece {
            assert!(entry.extent.end() <= size);
            let mut buf = [0; 100];
            let len = buf.len().min(usize::try_from(entry.extent.len()).unwrap());
            let _ = reader.read_at(entry.extent.start(), &mut buf[..len]);
        }
    }
    assert_eq!(before, size);
    let _ = reader.read_at(size / 2, &mut [0; 16]);
    assert!(reader.read_at(size, &mut [0; 16]).is_err());
}

#[test]
fn an_empty_file_noise_and_a_stranger_s_frames_are_refused_with_a_sentence() {
    let strangers = [
        Vec::new(),
        vec![0; 10_000],
        noise(100_000, 1),
        zstd::bulk::compress(&[7; 1000], 1).unwrap(),
    ];
    for bytes in strangers {
        let error = Reader::open(&store_with(bytes), "pc.img.zst").unwrap_err();
        assert_eq!(
            error.to_string(),
            "memory/pc.img.zst is not an image of this program (neither a head nor a page of an index was found in \
             it); choose another file"
        );
    }
}

#[test]
fn a_newer_version_is_refused_wherever_it_says_so() {
    let mut bytes = Disk::new(5, 4).image_bytes(1, 2);
    for (start, end) in own_frames(&bytes) {
        if [b"rescHEAD", b"rescPAGE", b"rescDONE"]
            .iter()
            .any(|name| bytes[start + 8..].starts_with(*name))
        {
            bytes[start + 40] = 2;
            reseal(&mut bytes[start..end]);
        }
    }
    // Found by the head, by the end, by a page.
    for damaged in [0..0, 0..30, 0..bytes.len() - 500] {
        let mut bytes = bytes.clone();
        let cut = damaged.len() > 30;
        bytes[..damaged.end.min(30)].fill(0);
        if cut {
            bytes.truncate(damaged.end);
        }
        let error = Reader::open(&store_with(bytes), "pc.img.zst").unwrap_err();
        assert_eq!(
            error.to_string(),
            "memory/pc.img.zst has format version 2; this program reads up to version 1; use a newer Rescue"
        );
    }
}

#[test]
fn one_page_that_speaks_of_a_newer_version_is_damage_and_no_more() {
    let disk = Disk::new(13, 4);
    let mut bytes = disk.image_bytes(1, 4);
    let page = own_frames(&bytes)
        .into_iter()
        .find(|(start, _)| bytes[start + 8..].starts_with(b"rescPAGE"));
    let (start, end) = page.unwrap();
    bytes[start + 40] = 2;
    reseal(&mut bytes[start..end]);
    let (content, lost) = restore(&Reader::open(&store_with(bytes), "pc.img.zst").unwrap());
    assert!(lost.is_empty() && content == disk.expected());
}

/// A file full of fronts that look whole, one over the other, must not be hashed again for each.
#[test]
fn a_file_of_false_frames_takes_no_longer_than_an_honest_one() {
    for (name, size) in [
        (&b"rescPAGE"[..], 30 << 10),
        (b"rescLEAF", 2 << 20),
        (b"rescCHNK", 8 << 10),
        (b"rescDONE", 4 << 10),
    ] {
        let mut bytes = Disk::new(5, 4).image_bytes(1, 2);
        bytes.truncate(bytes.len() - 200);
        while bytes.len() < 4 << 20 {
            let offset = bytes.len() as u64;
            bytes.extend_from_slice(&0x184D_2A5Bu32.to_le_bytes());
            bytes.extend_from_slice(&(size as u32 - 8).to_le_bytes());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&[0xA5; 16]);
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        let store = store_with(bytes);
        let begun = Instant::now();
        let reader = Reader::open(&store, "pc.img.zst").unwrap();
        walk_all(&reader);
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
    }
}

/// The content of a data frame is bounded by the chunk, whatever the frame says of itself.
#[test]
fn a_frame_that_grows_beyond_its_chunk_is_damage() {
    let disk = Disk::new(3, 4);
    let mut bytes = disk.image_bytes(1, 100);
    let store = store_with(bytes.clone());
    let reader = Reader::open(&store, "pc.img.zst").unwrap();
    let entry = reader
        .pieces()
        .find_map(|piece| match piece.unwrap() {
            Piece::Entry(entry) if entry.kind == image::chunk::Kind::Data => Some(entry),
            _ => None,
        })
        .unwrap();
    let bomb = zstd::bulk::compress(&vec![0; 1 << 28], 1).unwrap();
    let at = usize::try_from(entry.offset).unwrap() + entry.header_len as usize;
    let len = bomb.len().min(entry.stored_len as usize);
    bytes[at..at + len].copy_from_slice(&bomb[..len]);
    let reader_store = store_with(bytes);
    let reader = Reader::open(&reader_store, "pc.img.zst").unwrap();
    let (_, lost) = restore(&reader);
    assert_eq!(lost.total_bytes(), entry.extent.len().min(u64::from(CHUNK)));
}
