//! Every kind of frame, damaged in every way: everything else still reads, and the damage is listed exactly.

use std::ops::Range;

use disk::extent::ExtentMap;
use disk::source::{BlockSource, ReadError};
use image::check;
use image::chunk::Kind;
use image::memory::MemoryStore;
use image::reader::{Piece, Reader};
use image::store::{Append, ReadFile, Store, StoreError};

use crate::making::{Disk, noise, open, restore, rounds, store_with};

/// One frame of an image: where it is, what it is, and what of the disk only it holds.
#[derive(Clone, Debug)]
struct Frame {
    range: Range<usize>,
    name: String,
    /// Index into the list of entries, for chunk and data frames.
    entry: Option<usize>,
}

struct Sample {
    expected: Vec<u8>,
    bytes: Vec<u8>,
    frames: Vec<Frame>,
    entries: Vec<image::chunk::Entry>,
}

fn number(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap()
}

impl Sample {
    fn new(chunks: u64, every: u64) -> Sample {
        let disk = Disk::new(chunks, 4);
        let bytes = disk.image_bytes(1, every);
        let store = store_with(bytes.clone());
        let entries: Vec<_> = open(&store)
            .pieces()
            .map(|piece| match piece.unwrap() {
                Piece::Entry(entry) => entry,
                Piece::Lost(extent) => panic!("{extent:?} is lost"),
            })
            .collect();
        let mut frames = Vec::new();
        frames.push(Frame {
            range: 0..13,
            name: "lead".to_owned(),
            entry: None,
        });
        let mut at = 13;
        while at < bytes.len() {
            let nth = entries
                .iter()
                .position(|entry| entry.offset + u64::from(entry.header_len) == at as u64);
            let (name, len) = match nth {
                Some(nth) => (
                    format!("{:?}", entries[nth].kind),
                    entries[nth].stored_len as usize,
                ),
                None if bytes[at] == 0x5E => ("seek table".to_owned(), 8 + number(&bytes, at + 4)),
                None => (
                    String::from_utf8_lossy(&bytes[at + 8..at + 16]).into_owned(),
                    8 + number(&bytes, at + 4),
                ),
            };
            let entry = nth.or_else(|| entries.iter().position(|entry| entry.offset == at as u64));
            frames.push(Frame {
                range: at..at + len,
                name,
                entry,
            });
            at += len;
        }
        assert_eq!(at, bytes.len());
        Sample {
            expected: disk.expected(),
            bytes,
            frames,
            entries,
        }
    }

    /// Opens, restores and checks; everything outside `may_be_lost` must be right, everything lost inside it.
    fn expect(&self, store: &dyn Store, may_be_lost: &ExtentMap, what: &str) -> ExtentMap {
        let reader =
            Reader::open(store, "pc.img.zst").unwrap_or_else(|error| panic!("{what}: {error}"));
        let (content, lost) = restore(&reader);
        assert!(
            lost.difference(may_be_lost).is_empty(),
            "{what}: {lost:?} is lost, expected {may_be_lost:?}"
        );
        let good = lost.complement(self.expected.len() as u64);
        for extent in good.iter() {
            let range =
                usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap();
            assert!(
                content[range.clone()] == self.expected[range],
                "{what}: wrong bytes in {extent:?}"
            );
        }
        for extent in lost.iter() {
            let mut byte = [0];
            let read = reader.read_at(extent.start(), &mut byte);
            assert!(
                matches!(read, Err(ReadError::Unreadable(_))),
                "{what}: {read:?}"
            );
        }
        let findings = check::all(&reader, |_| {}).unwrap();
        assert!(!findings.is_clean(), "{what}: nothing was found");
        assert!(!findings.notes.is_empty(), "{what}: nothing was said");
        assert_eq!(findings.damage, lost, "{what}");
        lost
    }

    /// What the data frames in this part of the file hold.
    fn data_in(&self, range: &Range<usize>) -> ExtentMap {
        let touched = self
            .frames
            .iter()
            .filter(|frame| frame.range.start < range.end && range.start < frame.range.end);
        touched
            .filter_map(|frame| frame.entry.map(|nth| (frame, &self.entries[nth])))
            .filter(|(frame, entry)| frame.name == "Data" && entry.kind == Kind::Data)
            .map(|(_, entry)| entry.extent)
            .collect()
    }

    /// What any frames in this part of the file describe or hold.
    fn chunks_in(&self, range: &Range<usize>) -> ExtentMap {
        let touched = self
            .frames
            .iter()
            .filter(|frame| frame.range.start < range.end && range.start < frame.range.end);
        touched
            .filter_map(|frame| frame.entry.map(|nth| self.entries[nth].extent))
            .collect()
    }

    /// First, second, middle and last frame of every name.
    fn chosen(&self) -> Vec<&Frame> {
        let mut names: Vec<&str> = self
            .frames
            .iter()
            .map(|frame| frame.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 13, "{names:?}");
        let mut chosen = Vec::new();
        for name in names {
            let all: Vec<&Frame> = self
                .frames
                .iter()
                .filter(|frame| frame.name == name)
                .collect();
            let mut places = vec![0, 1, all.len() / 2, all.len() - 1];
            places.dedup();
            chosen.extend(places.into_iter().filter_map(|nth| all.get(nth).copied()));
        }
        chosen
    }
}

#[test]
fn a_flipped_bit_costs_at_most_the_leaves_it_is_in() {
    let sample = Sample::new(12, 3);
    for frame in sample.chosen() {
        let Range { start, end } = frame.range;
        let mut places = vec![
            start,
            start + 1,
            start + 5,
            start + 9,
            start + 20,
            start + 35,
            start + 44,
        ];
        places.extend([
            start.midpoint(end),
            end.saturating_sub(40),
            end - 5,
            end - 1,
        ]);
        for at in places.into_iter().filter(|at| frame.range.contains(at)) {
            let mut bytes = sample.bytes.clone();
            bytes[at] ^= 0x10;
            let what = format!("bit of byte {} of {} at {start}", at - start, frame.name);
            sample.expect(&store_with(bytes), &sample.data_in(&(at..at + 1)), &what);
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let sample = Sample::new(12, 3);
    for place in noise(8 * rounds(150), 11).chunks(8) {
        let number = u64::from_le_bytes(place.try_into().unwrap());
        let bit = usize::try_from(number % (sample.bytes.len() as u64 * 8)).unwrap();
        let mut bytes = sample.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let place = bit / 8;
        sample.expect(
            &store_with(bytes),
            &sample.data_in(&(place..place + 1)),
            &format!("bit {bit}"),
        );
    }
}

#[test]
fn in_data_that_cannot_be_compressed_only_one_leaf_is_lost() {
    let sample = Sample::new(12, 3);
    let large = sample
        .frames
        .iter()
        .filter(|frame| frame.name == "Data" && frame.range.len() > 130_000);
    for frame in large.take(3) {
        let mut bytes = sample.bytes.clone();
        bytes[frame.range.start + 100_000] ^= 1;
        let lost = sample.expect(
            &store_with(bytes),
            &sample.data_in(&frame.range),
            "a bit of noise",
        );
        assert_eq!(lost.total_bytes(), 64 << 10);
    }
}

#[test]
fn a_sector_of_zeros_or_one_that_cannot_be_read_costs_only_what_is_in_it() {
    let sample = Sample::new(12, 3);
    for frame in sample.chosen() {
        let Range { start, end } = frame.range;
        for (at, len) in [
            (start, 512),
            (start.midpoint(end), 512),
            (end - 1, 512),
            (start, 4096),
            (start, 70_000),
        ] {
            let first = at / 512 * 512;
            let range = first..(first + len).min(sample.bytes.len());
            let mut bytes = sample.bytes.clone();
            bytes[range.clone()].fill(0);
            let what = format!("zeros {range:?} in {}", frame.name);
            sample.expect(&store_with(bytes), &sample.chunks_in(&range), &what);
            // A store fails in units of 4 KiB at worst.
            let store = Flaky {
                store: store_with(sample.bytes.clone()),
                bad: range.clone(),
            };
            let around = range.start / 4096 * 4096..range.end.next_multiple_of(4096);
            sample.expect(
                &store,
                &sample.chunks_in(&around),
                &format!("unreadable {range:?} in {}", frame.name),
            );
        }
    }
}

#[test]
fn a_cut_tail_costs_only_what_was_in_it() {
    let sample = Sample::new(12, 3);
    for frame in sample.chosen() {
        let Range { start, end } = frame.range;
        for cut in [start, start + 1, start.midpoint(end), end - 1] {
            if cut < sample.frames[1].range.end {
                continue; // Not even a head: not an image.
            }
            let store = store_with(sample.bytes[..cut].to_vec());
            let lost = sample.chunks_in(&(cut..sample.bytes.len()));
            sample.expect(&store, &lost, &format!("cut at {cut} in {}", frame.name));
        }
    }
}

#[test]
fn without_head_pages_root_end_and_seek_table_all_content_is_found() {
    let sample = Sample::new(12, 3);
    for spared in ["rescHEAD", "rescPAGE", "rescDONE"] {
        let mut bytes = sample.bytes.clone();
        for frame in &sample.frames {
            if frame.entry.is_none() && frame.name != spared {
                bytes[frame.range.clone()].fill(0xEE);
            }
        }
        let lost = sample.expect(&store_with(bytes), &ExtentMap::new(), spared);
        assert!(lost.is_empty());
    }
}

#[test]
fn an_image_inside_an_image_is_not_taken_for_it() {
    // The inner image is incompressible here: it stands in the outer one byte for byte.
    let inner = Sample::new(12, 3);
    let mut disk = Disk::new(40, 6);
    let len = inner.bytes.len().min(disk.bytes.len());
    disk.bytes[..len].copy_from_slice(&inner.bytes[..len]);
    disk.used = ExtentMap::whole(disk.bytes.len() as u64);
    disk.unreadable = ExtentMap::new();
    let mut bytes = disk.image_bytes(1, 5);
    let end = bytes.len();
    bytes[end - 4000..].fill(0);
    let store = store_with(bytes);
    let (content, lost) = restore(&open(&store));
    let good = lost.complement(disk.bytes.len() as u64);
    assert!(
        lost.total_bytes() <= 2 * u64::from(crate::making::CHUNK),
        "{lost:?}"
    );
    for extent in good.iter() {
        let range =
            usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap();
        assert!(content[range.clone()] == disk.bytes[range]);
    }
}

#[test]
fn a_clean_image_is_called_clean() {
    for (chunks, every) in [(0, 1), (1, 1), (37, 5), (37, 1000)] {
        let store = store_with(Disk::new(chunks, 4).image_bytes(1, every));
        let findings = check::all(&open(&store), |_| {}).unwrap();
        assert!(findings.is_clean(), "{findings:?}");
    }
}

/// A store on a failing disk.
struct Flaky {
    store: MemoryStore,
    bad: Range<usize>,
}

struct FlakyFile(Box<dyn ReadFile>, Range<u64>);

impl ReadFile for FlakyFile {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        if offset < self.1.end && self.1.start < offset + buf.len() as u64 {
            return Err(StoreError::Unreadable {
                offset,
                len: buf.len() as u64,
                text: "input/output error".into(),
            });
        }
        self.0.read_at(offset, buf)
    }
}

impl Store for Flaky {
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StoreError> {
        let bad = self.bad.start as u64..self.bad.end as u64;
        Ok(Box::new(FlakyFile(self.store.open(name)?, bad)))
    }
    fn describe(&self) -> String {
        "flaky".to_owned()
    }
    fn create(&self, name: &str) -> Result<Box<dyn Append>, StoreError> {
        self.store.create(name)
    }
    fn resume(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError> {
        self.store.resume(name, len)
    }
    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        self.store.exists(name)
    }
    fn publish(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.store.publish(from, to)
    }
    fn replace(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.store.replace(from, to)
    }
    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.store.remove(name)
    }
    fn list(&self) -> Result<Vec<String>, StoreError> {
        self.store.list()
    }
    fn free_bytes(&self) -> Option<u64> {
        None
    }
    fn file_limit(&self) -> Option<u64> {
        None
    }
}
