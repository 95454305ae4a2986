//! A disk with data, holes and zeros, and files as sources.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};
use foreign::{Folder, ForeignError, Opened};

pub struct OnDisk(File);

impl BlockSource for OnDisk {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.0.metadata().unwrap().len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let beyond = ReadError::BeyondEnd {
            offset,
            len: buf.len() as u64,
            size_bytes: self.size_bytes(),
        };
        self.0.read_exact_at(buf, offset).map_err(|_| beyond)
    }
}

pub struct Dir(pub PathBuf);

impl Folder for Dir {
    fn open(&self, name: &str) -> Result<foreign::File, String> {
        let file = File::open(self.0.join(name)).map_err(|error| error.to_string())?;
        Ok(Arc::new(OnDisk(file)))
    }

    fn names(&self) -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(&self.0).map_err(|error| error.to_string())?;
        let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        Ok(names.collect())
    }
}

pub fn open(image: &Path) -> Result<Option<Opened>, ForeignError> {
    let file: foreign::File = Arc::new(OnDisk(File::open(image).unwrap()));
    foreign::open(&file, &Dir(image.parent().unwrap().to_owned()))
}

pub fn qemu_img(words: &[&str]) -> String {
    let output = Command::new("qemu-img").args(words).output();
    let output =
        output.unwrap_or_else(|error| panic!("qemu-img of the package qemu-utils: {error}"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "qemu-img {words:?}: {said}");
    said
}

/// 20 MiB and some: what compresses, what does not, zeros, single sectors, and an end that is not round.
pub fn disk(directory: &Path) -> PathBuf {
    let path = directory.join("disk.raw");
    let file = File::create(&path).unwrap();
    file.set_len((20 << 20) + 512 * 7).unwrap();
    let mut seed = 1u64;
    let mut random = |len: usize| -> Vec<u8> {
        let words = (0..len.div_ceil(8)).flat_map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()
        });
        words.take(len).collect()
    };
    file.write_all_at(&random(300_000), 4096).unwrap();
    let text = "a line that repeats itself, ".repeat(40_000);
    file.write_all_at(text.as_bytes(), 3 << 20).unwrap();
    file.write_all_at(&random(2 << 20), (7 << 20) + 512)
        .unwrap();
    for sector in [0, 5000, 5003, 21_000, 40_960 + 6] {
        file.write_all_at(&random(512), sector * 512).unwrap();
    }
    path
}

pub fn read_all(source: &dyn BlockSource) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(source.size_bytes()).unwrap()];
    source.read_at(0, &mut bytes).unwrap();
    bytes
}

/// For messages of a bearable length.
pub fn digest_of(bytes: &[u8]) -> (usize, u32) {
    (bytes.len(), crc32c::crc32c(bytes))
}
