//! Unfinished images after kill -9, a power cut, a full store.

use image::chunk::Kind;
use image::error::ImageError;
use image::head::Head;
use image::memory::MemoryStore;
use image::reader::Reader;
use image::store::{Append, ReadFile, Store, StoreError};
use image::writer::Writer;

use crate::making::{Disk, extent, manifest, noise, open, restore, rounds};

const UNFINISHED: &str = "pc.img.zst.unfinished";

/// The image as it is when everything was written and it was not yet renamed, and where its pages end.
fn almost_finished(disk: &Disk, every: u64) -> (Vec<u8>, Vec<usize>) {
    let store = MemoryStore::new();
    disk.image(&store, "pc", 1, every);
    let bytes = store.get("pc.img.zst").unwrap();
    let pages = frames(&bytes, b"rescPAGE").map(|(_, end)| end).collect();
    (bytes, pages)
}

fn frames<'a>(bytes: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = (usize, usize)> + 'a {
    let starts = (8..bytes.len())
        .filter(move |at| bytes[*at..].starts_with(name))
        .map(|at| at - 8);
    starts.map(|at| {
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
        (at, at + 8 + usize::try_from(len).unwrap())
    })
}

/// Resumes after `bytes`, finishes, and returns where it went on.
fn resume_and_finish(disk: &Disk, bytes: &[u8]) -> u64 {
    let store = MemoryStore::new();
    store.put(UNFINISHED, bytes.to_vec());
    let mut writer = Writer::resume(&store, "pc", &disk.head()).unwrap();
    let from = writer.at();
    disk.write(&mut writer, 1, 7);
    writer.finish(&manifest()).unwrap();
    assert!(!store.exists(UNFINISHED).unwrap());
    let reader = open(&store);
    assert_eq!(reader.notes(), <[String; 0]>::default());
    let (content, lost) = restore(&reader);
    assert!(lost.is_empty());
    assert!(content == disk.expected(), "cut at {}", bytes.len());
    from
}

#[test]
fn an_image_cut_anywhere_goes_on_from_its_last_page() {
    let disk = Disk::new(13, 4);
    let (bytes, pages) = almost_finished(&disk, 3);
    let mut cuts: Vec<usize> = vec![0, 1, 12, 13, bytes.len(), bytes.len() - 1];
    for name in [
        &b"rescHEAD"[..],
        b"rescCHNK",
        b"rescLEAF",
        b"rescPAGE",
        b"rescTALE",
        b"rescROOT",
        b"rescDONE",
    ] {
        for (start, end) in frames(&bytes, name) {
            cuts.extend([
                start.saturating_sub(1),
                start,
                start + 1,
                start + 20,
                end - 1,
                end,
                end + 1,
            ]);
        }
    }
    for place in noise(8 * rounds(20), 3).chunks(8) {
        cuts.push(
            usize::try_from(u64::from_le_bytes(place.try_into().unwrap()) % bytes.len() as u64)
                .unwrap(),
        );
    }
    let finished = Reader::open(&crate::making::store_with(bytes.clone()), "pc.img.zst").unwrap();
    let page_ends: Vec<u64> = page_ends(&finished, &pages);
    for cut in cuts.into_iter().filter(|cut| *cut <= bytes.len()) {
        let from = resume_and_finish(&disk, &bytes[..cut]);
        let last = pages.iter().rposition(|end| *end <= cut);
        assert_eq!(from, last.map_or(0, |nth| page_ends[nth]), "cut at {cut}");
    }
}

/// Up to which byte of the disk each page reaches.
fn page_ends(reader: &Reader, pages: &[usize]) -> Vec<u64> {
    let mut ends = vec![0; pages.len()];
    for piece in reader.pieces() {
        let image::reader::Piece::Entry(entry) = piece.unwrap() else {
            panic!("nothing is lost")
        };
        let page = pages
            .iter()
            .position(|end| entry.offset < *end as u64)
            .unwrap();
        ends[page] = entry.extent.end();
    }
    ends
}

#[test]
fn garbage_and_zeros_behind_the_last_page_do_not_matter() {
    let disk = Disk::new(20, 1);
    let (bytes, pages) = almost_finished(&disk, 4);
    let kept = pages[2];
    for tail in [
        vec![0; 100_000],
        noise(3_000_000, 1),
        b"rescPAGE".repeat(1000),
        bytes[..kept].to_vec(),
    ] {
        let torn = [&bytes[..kept], &tail].concat();
        assert_ne!(resume_and_finish(&disk, &torn), 0);
    }
}

#[test]
fn a_page_that_is_damaged_is_not_gone_on_from() {
    let disk = Disk::new(17, 4);
    let (bytes, pages) = almost_finished(&disk, 3);
    assert!(pages.len() > 4);
    for (nth, end) in pages.iter().enumerate() {
        let mut torn = bytes[..*pages.last().unwrap()].to_vec();
        torn[end - 40] ^= 1;
        let from = resume_and_finish(&disk, &torn);
        assert_eq!(from == 0, nth == 0, "page {nth}");
    }
}

#[test]
fn another_source_is_refused_with_a_sentence() {
    let disk = Disk::new(9, 1);
    let (bytes, _) = almost_finished(&disk, 5);
    let store = MemoryStore::new();
    store.put(UNFINISHED, bytes.clone());
    let changed = Disk::new(9, 2).head();
    let error = Writer::resume(&store, "pc", &changed).unwrap_err();
    assert_eq!(
        error.to_string(),
        "memory/pc.img.zst.unfinished was begun for another state of the source (what is in use on it was different); \
         remove it to start anew, or choose another name"
    );
    let larger = Disk::new(10, 1).head();
    let error = Writer::resume(&store, "pc", &larger).unwrap_err();
    assert!(matches!(error, ImageError::OtherSource { .. }), "{error}");
    assert_eq!(store.get(UNFINISHED).unwrap(), bytes, "nothing was written");
}

#[test]
fn what_is_not_an_image_is_left_alone() {
    let store = MemoryStore::new();
    for bytes in [noise(100_000, 5), vec![0; 100_000], b"rescHEAD".repeat(100)] {
        store.put(UNFINISHED, bytes.clone());
        let error = Writer::resume(&store, "pc", &Disk::new(9, 1).head()).unwrap_err();
        assert!(matches!(error, ImageError::Foreign { .. }), "{error}");
        assert_eq!(store.get(UNFINISHED).unwrap(), bytes);
    }
    store.remove(UNFINISHED).unwrap();
    let error = Writer::resume(&store, "pc", &Disk::new(9, 1).head()).unwrap_err();
    assert!(
        matches!(error, ImageError::Store(StoreError::Missing(_))),
        "{error}"
    );
}

#[test]
fn a_resumed_image_keeps_its_id_and_its_chunk_size() {
    let disk = Disk::new(9, 1);
    let (bytes, _) = almost_finished(&disk, 3);
    let store = MemoryStore::new();
    store.put(UNFINISHED, bytes);
    let asked = Head {
        id: image::digest::ImageId([1; 16]),
        ..disk.head().with_chunk_size(1 << 20)
    };
    let writer = Writer::resume(&store, "pc", &asked).unwrap();
    assert_eq!(*writer.head(), disk.head());
}

#[test]
fn a_full_store_is_said_and_what_is_there_is_kept() {
    let disk = Disk::new(37, 4);
    let small = MemoryStore::limited(500_000);
    let mut writer = Writer::create(&small, "pc", disk.head()).unwrap();
    let mut encoder = image::codec::Encoder::new(1).unwrap();
    let mut encoded = image::codec::Encoded::default();
    let content = noise(crate::making::CHUNK as usize, 9);
    let kept = image::states::States::all(content.len(), image::states::State::Kept);
    let error = loop {
        let at = writer.at();
        encoder.encode(at, &content, &kept, &mut encoded).unwrap();
        match writer
            .append(&mut encoded)
            .and_then(|()| writer.checkpoint())
        {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, ImageError::Store(StoreError::Full(_))),
        "{error}"
    );
    drop(writer);
    let large = MemoryStore::new();
    large.put(UNFINISHED, small.get(UNFINISHED).unwrap());
    let writer = Writer::resume(&large, "pc", &disk.head()).unwrap();
    assert_eq!(writer.at(), 3 * u64::from(crate::making::CHUNK));
}

#[test]
fn it_can_be_interrupted_again_and_again() {
    let disk = Disk::new(37, 4);
    let store = MemoryStore::new();
    drop(Writer::create(&store, "pc", disk.head()).unwrap());
    let mut before = 0;
    loop {
        let mut writer = Writer::resume(&store, "pc", &disk.head()).unwrap();
        assert!(writer.at() >= before);
        before = writer.at();
        if before == disk.bytes.len() as u64 {
            writer.finish(&manifest()).unwrap();
            break;
        }
        let cell = extent(before, writer.head().cell_len(before));
        writer.free(cell).unwrap();
        writer.checkpoint().unwrap();
        // Begun and not in a page: gone after the next resume.
        let after = writer.at();
        if after < disk.bytes.len() as u64 {
            writer
                .free(extent(after, writer.head().cell_len(after)))
                .unwrap();
        }
    }
    let (content, lost) = restore(&open(&store));
    assert!(lost.is_empty() && content.iter().all(|byte| *byte == 0));
}

#[test]
fn after_a_failed_write_nothing_more_is_written_and_a_resume_cuts_it_off() {
    let disk = Disk::new(13, 4);
    for failing in 3..9 {
        let store = MemoryStore::new();
        let hiccup = Hiccup(store.clone(), failing);
        let mut writer = Writer::create(&hiccup, "pc", disk.head()).unwrap();
        let failed = loop {
            let at = writer.at();
            let cell = extent(at, writer.head().cell_len(at));
            let kind = if (at / cell.len()).is_multiple_of(2) {
                Kind::Free
            } else {
                Kind::Zero
            };
            match writer.zeros(cell, kind).and_then(|()| writer.checkpoint()) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        let len = store.get(UNFINISHED).unwrap().len();
        assert_eq!(writer.checkpoint(), Err(failed.clone()));
        assert_eq!(writer.finish(&manifest()), Err(failed));
        assert_eq!(
            store.get(UNFINISHED).unwrap().len(),
            len,
            "nothing more was written"
        );
        let bytes = store.get(UNFINISHED).unwrap();
        let again = MemoryStore::new();
        again.put(UNFINISHED, bytes);
        let mut writer = Writer::resume(&again, "pc", &disk.head()).unwrap();
        disk.write(&mut writer, 1, 4);
        writer.finish(&manifest()).unwrap();
        let image = again.get("pc.img.zst").unwrap();
        assert!(image::check::all(&open(&again), |_| {}).unwrap().is_clean());
        let decoded = zstd::stream::decode_all(&*image).unwrap();
        assert_eq!(decoded.len(), disk.bytes.len());
    }
}

/// A store whose nth write fails in the middle, once.
struct Hiccup(MemoryStore, u32);

struct HiccupFile(Box<dyn Append>, u32);

impl Append for HiccupFile {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        self.1 = self.1.wrapping_sub(1);
        if self.1 == 0 {
            self.0.append(&data[..data.len() / 2])?;
            return Err(StoreError::Fault(
                "the store had a hiccup; repeat the command".into(),
            ));
        }
        self.0.append(data)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        self.0.sync()
    }
}

impl Store for Hiccup {
    fn create(&self, name: &str) -> Result<Box<dyn Append>, StoreError> {
        Ok(Box::new(HiccupFile(self.0.create(name)?, self.1)))
    }
    fn describe(&self) -> String {
        self.0.describe()
    }
    fn resume(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError> {
        self.0.resume(name, len)
    }
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StoreError> {
        self.0.open(name)
    }
    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        self.0.exists(name)
    }
    fn publish(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.0.publish(from, to)
    }
    fn replace(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.0.replace(from, to)
    }
    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.0.remove(name)
    }
    fn list(&self) -> Result<Vec<String>, StoreError> {
        self.0.list()
    }
    fn free_bytes(&self) -> Option<u64> {
        None
    }
    fn file_limit(&self) -> Option<u64> {
        None
    }
}
