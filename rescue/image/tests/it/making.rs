//! Disks and images to try things on.

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use image::codec::{Decoder, Encoded, Encoder};
use image::digest::{Digest, ImageId};
use image::head::Head;
use image::manifest::Manifest;
use image::memory::MemoryStore;
use image::reader::{Piece, Reader};
use image::states::{State, States};
use image::store::Store;
use image::writer::Writer;

pub const CHUNK: u32 = 128 << 10;

/// A disk with everything in it: text, noise, zeros in use, free space with garbage, bad places.
pub struct Disk {
    pub bytes: Vec<u8>,
    pub used: ExtentMap,
    pub unreadable: ExtentMap,
}

pub fn extent(start: u64, len: u64) -> Extent {
    Extent::new(start, len).unwrap()
}

pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    std::iter::repeat_with(next)
        .flat_map(u64::to_le_bytes)
        .take(len)
        .collect()
}

pub fn text(len: usize, seed: u64) -> Vec<u8> {
    (seed..)
        .flat_map(|n| format!("line {} of a file, {}\n", n, n * n % 977).into_bytes())
        .take(len)
        .collect()
}

impl Disk {
    /// About `chunks` chunks and a short last one.
    pub fn new(chunks: u64, seed: u64) -> Disk {
        let chunk = u64::from(CHUNK);
        let size = chunks * chunk + 5120;
        let mut bytes = noise(usize::try_from(size).unwrap(), seed);
        let mut used = ExtentMap::new();
        let mut unreadable = ExtentMap::new();
        for nth in 0..=chunks {
            let start = nth * chunk;
            let len = chunk.min(size - start);
            let at = usize::try_from(start).unwrap();
            let content = &mut bytes[at..at + usize::try_from(len).unwrap()];
            match (nth + seed) % 8 {
                0 => content.copy_from_slice(&text(content.len(), nth)),
                1 => content.fill(0),
                2 | 3 => continue,
                4 => {
                    // Used here and there, and not always readable.
                    used.insert(extent(start, len / 3));
                    used.insert(extent(start + len / 2, 4096));
                    unreadable.insert(extent(start + 8192, 512));
                    continue;
                }
                5 => {
                    unreadable.insert(extent(start, len));
                }
                _ => {}
            }
            used.insert(extent(start, len));
        }
        used = used.aligned_out(4096, size);
        Disk {
            bytes,
            used,
            unreadable,
        }
    }

    pub fn head(&self) -> Head {
        let fingerprint = Digest::of(format!("{:?}", self.used).as_bytes());
        Head::new(
            ImageId([0xA5; 16]),
            Geometry::of_file(self.bytes.len() as u64),
            fingerprint,
        )
        .with_chunk_size(CHUNK)
    }

    /// What an image of it decompresses to.
    pub fn expected(&self) -> Vec<u8> {
        let mut expected = vec![0; self.bytes.len()];
        for extent in self.used.difference(&self.unreadable).iter() {
            let range =
                usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap();
            expected[range.clone()].copy_from_slice(&self.bytes[range]);
        }
        expected
    }

    /// Gives the writer what is missing, with a checkpoint after every `every` chunks.
    pub fn write(&self, writer: &mut Writer<'_>, level: i32, every: u64) {
        self.write_telling(writer, level, every, &mut |_| {});
    }

    /// `told` of the address behind each checkpoint, when it is made.
    pub fn write_telling(
        &self,
        writer: &mut Writer<'_>,
        level: i32,
        every: u64,
        told: &mut dyn FnMut(u64),
    ) {
        let expected = self.expected();
        let mut encoder = Encoder::new(level).unwrap();
        let mut encoded = Encoded::default();
        let mut count = 0;
        while writer.at() < self.bytes.len() as u64 {
            let at = writer.at();
            let cell = extent(at, writer.head().cell_len(at));
            let states = States::of(cell, &self.used, &self.unreadable);
            if states.uniform() == Some(State::Free) {
                writer.free(cell).unwrap();
            } else {
                let range = usize::try_from(at).unwrap()..usize::try_from(cell.end()).unwrap();
                encoder
                    .encode_over(writer.parent(), at, &expected[range], &states, &mut encoded)
                    .unwrap();
                writer.append(&mut encoded).unwrap();
            }
            count += 1;
            if count % every == 0 {
                writer.checkpoint().unwrap();
                told(writer.at());
            }
        }
    }

    pub fn image(&self, store: &dyn Store, name: &str, level: i32, every: u64) {
        let mut writer = Writer::create(store, name, self.head()).unwrap();
        self.write(&mut writer, level, every);
        writer.finish(&manifest()).unwrap();
    }

    /// The bytes of an image of it.
    pub fn image_bytes(&self, level: i32, every: u64) -> Vec<u8> {
        let store = MemoryStore::new();
        self.image(&store, "pc", level, every);
        store.get("pc.img.zst").unwrap()
    }
}

pub fn manifest() -> Manifest {
    Manifest {
        program: "rescue test".to_owned(),
        note: Some("a note\u{1b}[2J".to_owned()),
        ..Manifest::default()
    }
}

pub fn store_with(bytes: Vec<u8>) -> MemoryStore {
    let store = MemoryStore::new();
    store.put("pc.img.zst", bytes);
    store
}

pub fn open(store: &dyn Store) -> Reader {
    Reader::open(store, "pc.img.zst").unwrap()
}

/// The disk as far as the image gives it (zeros elsewhere), and what it does not give.
pub fn restore(reader: &Reader) -> (Vec<u8>, ExtentMap) {
    let size = usize::try_from(reader.head().geometry.size_bytes).unwrap();
    let mut disk = vec![0; size];
    let mut lost = ExtentMap::new();
    let mut decoder = Decoder::new().unwrap();
    let (mut stored, mut content) = (Vec::new(), Vec::new());
    for piece in reader.pieces() {
        let entry = match piece.unwrap() {
            Piece::Lost(extent) => {
                lost.insert(extent);
                continue;
            }
            Piece::Entry(entry) => entry,
        };
        reader.read_stored(&entry, &mut stored).unwrap();
        if decoder
            .decode(reader, &entry, &stored, &mut content)
            .is_err()
        {
            for extent in reader.salvage(&entry, &mut content).unwrap().iter() {
                lost.insert(extent);
            }
        }
        let at = usize::try_from(entry.extent.start()).unwrap();
        disk[at..at + content.len()].copy_from_slice(&content);
    }
    (disk, lost)
}

/// Reproducible, and well mixed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((x ^ (x >> 31)) % limit as u64).unwrap()
    }
}

/// So many rounds, and twenty times as many when everything is asked for.
pub fn rounds(default: usize) -> usize {
    if std::env::var_os("RESCUE_TEST_ALL").is_some() {
        20 * default
    } else {
        default
    }
}
