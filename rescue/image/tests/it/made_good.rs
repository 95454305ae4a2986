//! What parity makes good while an image is read; the file stays as it is.

use disk::extent::ExtentMap;
use disk::source::{BlockSource, read_vec};
use image::digest::ImageId;
use image::reader::{Piece, Reader};
use image::writer::Writer;

use crate::making::{CHUNK, Disk, Random, manifest, noise, open, rounds, store_with};
use crate::parity::with_parity;

fn full(chunks: usize, seed: u64) -> Disk {
    let bytes = noise(chunks * CHUNK as usize, seed);
    Disk {
        used: ExtentMap::whole(bytes.len() as u64),
        bytes,
        unreadable: ExtentMap::new(),
    }
}

/// Where the data of the chunks begins and ends in the file.
fn chunks(bytes: &[u8]) -> (usize, usize) {
    let store = store_with(bytes.to_vec());
    let entries: Vec<u64> = open(&store)
        .pieces()
        .filter_map(|piece| match piece.unwrap() {
            Piece::Entry(entry) => Some(entry.end()),
            Piece::Lost(_) => None,
        })
        .collect();
    (1000, usize::try_from(*entries.last().unwrap()).unwrap())
}

fn all_of(reader: &Reader) -> Vec<u8> {
    let mut all = vec![0; usize::try_from(reader.geometry().size_bytes).unwrap()];
    reader.read_at(0, &mut all).unwrap();
    all
}

/// What is not given of the disk, leaf by leaf; what is given is right.
pub fn lost_bytes(reader: &Reader, expected: &[u8]) -> usize {
    let mut lost = 0;
    for (at, leaf) in (0u64..).step_by(65536).zip(expected.chunks(65536)) {
        match read_vec(reader, at, leaf.len() as u64) {
            Ok(read) => assert!(read == leaf, "{at}"),
            Err(_) => lost += leaf.len(),
        }
    }
    lost
}

/// Chunks that parity made good.
fn good(reader: &Reader) -> u64 {
    reader
        .met()
        .made_good()
        .total_bytes()
        .div_ceil(CHUNK.into())
}

#[test]
fn what_is_damaged_reads_whole_and_the_file_stays_as_it_is() {
    let disk = Disk::new(60, 6);
    let whole = with_parity(&disk, 3);
    let (first, last) = chunks(&whole);
    let len = whole.len() / 50;
    let mut random = Random(11);
    for round in 0..rounds(5) {
        let mut damaged = whole.clone();
        let at = first + random.below(last - len - first);
        damaged[at..at + len].fill(0x5a);
        let store = store_with(damaged.clone());
        let reader = open(&store);
        assert!(all_of(&reader) == disk.expected(), "round {round}, {at}");
        assert!(good(&reader) > 0, "round {round}, {at}");
        assert!(store.get("pc.img.zst").unwrap() == damaged);
    }
    let store = store_with(whole);
    let reader = open(&store);
    assert!(all_of(&reader) == disk.expected());
    assert_eq!(good(&reader), 0);
    assert!(!reader.met().is_lost());
}

/// With 50 percent a window has 64 MiB.
#[test]
fn a_chunk_over_the_border_of_two_windows_reads_whole() {
    const WINDOW: usize = 64 << 20;
    let disk = full(66 << 3, 3);
    let mut damaged = with_parity(&disk, 50);
    damaged[WINDOW - 300_000..WINDOW + 300_000].fill(0);
    let store = store_with(damaged);
    let reader = open(&store);
    assert!(all_of(&reader) == disk.bytes);
    assert!((5..=6).contains(&good(&reader)));
}

#[test]
fn a_child_reads_whole_over_a_parent_that_is_damaged() {
    let disk = full(40, 5);
    let store = store_with(with_parity(&disk, 3));
    let mut later = Disk {
        bytes: disk.bytes.clone(),
        used: disk.used.clone(),
        unreadable: ExtentMap::new(),
    };
    // One leaf of each second chunk is another one: the child has that leaf, the parent the other.
    for chunk in later.bytes.chunks_mut(CHUNK as usize).step_by(2) {
        chunk[..65536].fill(7);
    }
    let mut head = later.head();
    head.id = ImageId([0x11; 16]);
    let whole = open(&store);
    let mut writer = Writer::create_child(&store, "child", head, &whole).unwrap();
    later.write(&mut writer, 1, 20);
    writer.finish(&manifest()).unwrap();
    let mut parent = store.get("pc.img.zst").unwrap();
    let middle = parent.len() / 2;
    parent[middle..middle + 90_000].fill(0);
    store.put("pc.img.zst", parent);
    let reader = Reader::open(&store, "child.img.zst").unwrap();
    assert!(all_of(&reader) == later.bytes);
    assert!(good(&reader) > 0);
}

#[test]
fn without_enough_parity_what_is_lost_is_told_as_before() {
    let disk = full(40, 9);
    let plain = disk.image_bytes(1, 20);
    let lost = |mut bytes: Vec<u8>, len: usize| {
        let middle = bytes.len() / 3;
        bytes[middle..middle + len].fill(0);
        let store = store_with(bytes);
        let reader = open(&store);
        assert!(read_vec(&reader, 0, disk.bytes.len() as u64).is_err());
        let lost = lost_bytes(&reader, &disk.bytes);
        assert!(reader.met().is_lost());
        (lost, good(&reader))
    };
    assert_eq!(lost(plain, 100_000).1, 0);
    let len = 6 * CHUNK as usize;
    let (bytes, good) = lost(with_parity(&disk, 1), len);
    assert!(bytes > 0 && bytes <= len + 2 * CHUNK as usize, "{bytes}");
    assert_eq!(good, 0);
}
