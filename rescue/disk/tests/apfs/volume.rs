//! Containers for the tests of this binary.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use disk::extent::ExtentMap;
use disk::fs::{Filesystem, READERS, Reader, Used, recognise};
use tempfile::NamedTempFile;

use crate::made::{blank, open, read_at, run, write_at};

pub const BLOCK: u64 = 4096;
/// Without regard to case; with it, and with two snapshots. Beside each the folder that its volume is.
pub const FILLED: &[(&str, &str)] = &[("plain", "Plain é"), ("cased", "cased, with snapshots")];

/// Memory is counted for the whole process, so one test works at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/apfs")
        .join(name)
}

/// A container that Linux filled, as a sparse file.
pub fn volume(name: &str) -> NamedTempFile {
    let packed = std::fs::File::open(kept(&format!("{name}.img.zst"))).unwrap();
    let mut plain = zstd::Decoder::new(packed).unwrap();
    let file = NamedTempFile::new().unwrap();
    let (mut at, mut piece) = (0, vec![0; 1 << 20]);
    loop {
        let read = plain.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        if piece[..read].iter().any(|byte| *byte != 0) {
            file.as_file().write_all_at(&piece[..read], at).unwrap();
        }
        at += read as u64;
    }
    file.as_file().set_len(at).unwrap();
    file
}

/// Lines of what the kernel listed: digests as `sha256sum` prints them, then `kind|size|modified|links|./path`.
pub fn listed(name: &str) -> String {
    std::fs::read_to_string(kept(&format!("{name}.list"))).unwrap()
}

/// A new one, as mkapfs makes it.
pub fn formatted(size_bytes: u64) -> NamedTempFile {
    let file = blank(size_bytes);
    let path = file.path().to_str().unwrap();
    let uuid = "6237428d-08cb-49e8-b0b2-e0ac512f4b22";
    run(
        "mkapfs",
        "apfsprogs",
        &["-L", "A new one", "-U", uuid, path],
        "",
    );
    file
}

pub fn reader() -> &'static Reader {
    READERS.iter().find(|reader| reader.name == "apfs").unwrap()
}

pub fn read(file: &NamedTempFile) -> Filesystem {
    recognise(&open(file)).unwrap().expect("it is APFS").1
}

pub fn mapped(filesystem: &Filesystem) -> &ExtentMap {
    match &filesystem.used {
        Used::Map { extents, .. } => extents,
        Used::Whole(why) => panic!("it was taken whole: {why}"),
    }
}

pub fn why_whole(file: &NamedTempFile) -> String {
    match read(file).used {
        Used::Whole(why) => why,
        Used::Map { .. } => panic!("it was not taken whole"),
    }
}

/// Only the used bytes of it, on a disk full of ones.
pub fn restored(file: &NamedTempFile, used: &ExtentMap) -> NamedTempFile {
    let size = file.as_file().metadata().unwrap().len();
    let mut back = NamedTempFile::new().unwrap();
    let ones = vec![0xFF; 1 << 20];
    let mut left = size;
    while left > 0 {
        let some = usize::try_from(left).unwrap().min(ones.len());
        back.write_all(&ones[..some]).unwrap();
        left -= some as u64;
    }
    for extent in used.iter() {
        let bytes = read_at(file, extent.start(), usize::try_from(extent.len()).unwrap());
        back.as_file().write_all_at(&bytes, extent.start()).unwrap();
    }
    back
}

/// The sum that APFS has in front of an object of these bytes, computed in the plain way.
pub fn sum(bytes: &[u8]) -> u64 {
    let (mut first, mut second) = (0u128, 0u128);
    for word in bytes.chunks_exact(4) {
        first += u128::from(u32::from_le_bytes(word.try_into().unwrap()));
        second += first;
    }
    let modulus = 0xFFFF_FFFFu128;
    let low = modulus - (first + second) % modulus;
    let high = modulus - (first + low) % modulus;
    u64::try_from(high << 32 | low).unwrap()
}

/// Changes an object of one block and puts its checksum right.
pub fn patch(file: &NamedTempFile, block: u64, at: usize, bytes: &[u8]) {
    let mut object = read_at(file, block * BLOCK, 4096);
    object[at..at + bytes.len()].copy_from_slice(bytes);
    let right = sum(&object[8..]);
    object[..8].copy_from_slice(&right.to_le_bytes());
    write_at(file, block * BLOCK, &object);
}

pub fn number(file: &NamedTempFile, block: u64, at: u64) -> u64 {
    u64::from_le_bytes(read_at(file, block * BLOCK + at, 8).try_into().unwrap())
}

/// Blocks whose head says they are of this kind, the newest last.
pub fn objects(file: &NamedTempFile, kind: u16) -> Vec<u64> {
    let size = file.as_file().metadata().unwrap().len();
    let mut found = Vec::new();
    for block in 0..size / BLOCK {
        let head = read_at(file, block * BLOCK, 32);
        let whole = || read_at(file, block * BLOCK, 4096);
        let sound = |bytes: &[u8]| bytes[..8] == sum(&bytes[8..]).to_le_bytes();
        if head[24..26] == kind.to_le_bytes() && sound(&whole()) {
            found.push((u64::from_le_bytes(head[16..24].try_into().unwrap()), block));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, block)| block).collect()
}
