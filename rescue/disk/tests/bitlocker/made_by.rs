//! BitLocker volumes by a script that follows the public description.

use std::fs;

use disk::extent::Extent;
use tempfile::NamedTempFile;

use crate::ext;
use crate::made::{all_of, blank, read_at, run, write_at};

pub const PASSWORD: &str = "grün wie Gras";
pub const RECOVERY_KEY: &str = "000011-720885-000000-111111-222222-333333-444444-555555";
const AREA: u64 = 64 << 10;

pub struct Volume {
    pub file: NamedTempFile,
    pub plain: NamedTempFile,
    /// The three copies of the metadata, and the first bytes.
    pub places: [u64; 4],
    /// What says which part is encrypted.
    pub conversion: Vec<Extent>,
}

impl Volume {
    pub fn new(plain: NamedTempFile, method: &str, sector: u32, protectors: &[&str]) -> Volume {
        Volume::in_state(4, plain, method, sector, protectors)
    }

    /// Only some of its chunks are encrypted: `0110`, over and over; an `x` behind it says that one is being converted.
    pub fn in_part(plain: NamedTempFile, method: &str, chunks: &str) -> Volume {
        let base = places(&all_of(&plain))[4];
        let extents = [(0, 512), (0x1000, 512)];
        let regions = (0..3).map(|nth| 0x2000 + nth * 0x4000);
        let regions = regions.flat_map(|at| [(at, 0x600), (at + 0x1000, 0x1000)]);
        let all = extents.into_iter().chain(regions);
        Volume {
            conversion: all
                .map(|(at, len)| Extent::new(base + at, len).unwrap())
                .collect(),
            ..Volume::in_state(4, plain, method, 512, &["clear", chunks])
        }
    }

    /// With bitmaps where the last word is not a protector's.
    pub fn in_state(
        state: u16,
        plain: NamedTempFile,
        method: &str,
        sector: u32,
        protectors: &[&str],
    ) -> Volume {
        let file = NamedTempFile::new().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bitlocker/volume.py");
        let places = places(&all_of(&plain));
        let [from, to] = [&plain, &file].map(|file| file.path().to_str().unwrap());
        let in_part = protectors
            .last()
            .is_some_and(|word| word.starts_with(['0', '1']));
        let told = places[..4 + usize::from(in_part)]
            .iter()
            .map(u64::to_string);
        let told = told.collect::<Vec<_>>().join(",");
        let (sector, state) = (sector.to_string(), state.to_string());
        let words = [script, from, to, method, &sector, &state, &told];
        run(
            "python3",
            "python3-cryptography",
            &[&words, protectors].concat(),
            "",
        );
        Volume {
            file,
            plain,
            places: [places[0], places[1], places[2], places[3]],
            conversion: Vec::new(),
        }
    }

    /// Changes one copy of the metadata and puts its checksum right.
    pub fn edit(&self, copy: usize, change: impl Fn(&mut [u8])) {
        let mut bytes = read_at(
            &self.file,
            self.places[copy],
            usize::try_from(AREA).unwrap(),
        );
        change(&mut bytes);
        seal(&mut bytes);
        write_at(&self.file, self.places[copy], &bytes);
    }
}

pub fn seal(metadata: &mut [u8]) {
    let len = usize::from(u16::from_le_bytes([metadata[8], metadata[9]])) << 4;
    if len + 8 <= metadata.len() {
        let sum = crc32fast::hash(&metadata[..len]);
        metadata[len + 4..len + 8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Places of nothing but zeros: what Windows marks as used there reads as zeros too.
fn places(plain: &[u8]) -> [u64; 5] {
    let blocks = plain.chunks(64 << 10).zip(0u64..);
    let free = blocks.filter(|(block, _)| block.len() == 64 << 10 && block.iter().all(|b| *b == 0));
    let free: Vec<u64> = free.map(|(_, number)| number * AREA).collect();
    assert!(free.len() > 20, "there is no room for BitLocker's own");
    [10, 5, 2, 4, 3].map(|part| free[free.len() / part])
}

/// About a third of it is in use.
pub fn filled(size: u64) -> NamedTempFile {
    let file = blank(size);
    let files = tempfile::tempdir().unwrap();
    for n in 0..size >> 18 {
        let bytes = ext::bytes(n, 9000 + 1997 * usize::try_from(n).unwrap());
        fs::write(files.path().join(format!("file {n}")), bytes).unwrap();
    }
    let root = files.path().to_str().unwrap();
    ext::mke2fs(
        &file,
        &["-t", "ext4", "-b", "1024", "-J", "size=1", "-d", root],
    );
    file
}

pub fn formatted_fat(size: u64) -> NamedTempFile {
    let file = blank(size);
    run(
        "mkfs.fat",
        "dosfstools",
        &["-n", "STICK", file.path().to_str().unwrap()],
        "",
    );
    file
}

pub fn formatted_ntfs(size: u64) -> NamedTempFile {
    let file = blank(size);
    let path = file.path().to_str().unwrap();
    run("mkntfs", "ntfs-3g", &["-F", "-Q", "-q", path], "");
    file
}
