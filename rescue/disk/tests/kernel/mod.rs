//! Filesystems that a Linux kernel filled: `made.sh` beside this file makes them, they are kept in the folder of their kind.
#![allow(
    clippy::allow_attributes,
    dead_code,
    reason = "each test binary uses its own share"
)]

use std::fs::File;
use std::io::Write;

use disk::extent::{Extent, ExtentMap};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{blank, read_at, run, run_any, write_at};

const PIECE: usize = 64 << 10;

/// The image of this name in a test's folder, with holes for its zeros.
pub fn kept_in(folder: &str, name: &str) -> NamedTempFile {
    let path = format!("{}/tests/{folder}/{name}.zst", env!("CARGO_MANIFEST_DIR"));
    let packed = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let bytes = zstd::decode_all(packed).unwrap();
    let file = blank(bytes.len() as u64);
    for (index, piece) in bytes.chunks(PIECE).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            write_at(&file, (index * PIECE) as u64, piece);
        }
    }
    file
}

pub fn copy(file: &NamedTempFile) -> NamedTempFile {
    let copy = NamedTempFile::new().unwrap();
    let [from, to] = [file, &copy].map(|file| file.path().to_str().unwrap());
    run("cp", "coreutils", &["--sparse=always", from, to], "");
    copy
}

/// Only the used bytes of it; the first of every gap held something else before.
pub fn restored(file: &NamedTempFile, used: &ExtentMap) -> NamedTempFile {
    let size = file.as_file().metadata().unwrap().len();
    let back = blank(size);
    for gap in used.complement(size).iter() {
        let len = usize::try_from(gap.len()).unwrap().min(PIECE);
        write_at(&back, gap.start(), &vec![0xA5; len]);
    }
    for extent in used.iter() {
        for piece in extent.split_at_multiples(PIECE as u64) {
            let bytes = read_at(file, piece.start(), usize::try_from(piece.len()).unwrap());
            if bytes.iter().any(|byte| *byte != 0) {
                write_at(&back, piece.start(), &bytes);
            }
        }
    }
    back
}

/// Blocks of `size` that begin with this word.
pub fn blocks_of(file: &NamedTempFile, word: &str, size: usize) -> Vec<Extent> {
    let image = std::fs::read(file.path()).unwrap();
    let found = image.chunks(size).enumerate().filter_map(|(index, block)| {
        let begins = block.starts_with(word.as_bytes());
        begins.then(|| Extent::new((index * size) as u64, size as u64).unwrap())
    });
    found.collect()
}

/// A file as GRUB reads it, whose driver is an independent one; `None` when it cannot.
pub fn by_grub(file: &NamedTempFile, path: &str) -> Option<Vec<u8>> {
    let dir = TempDir::new().unwrap();
    let into = dir.path().join("out").display().to_string();
    let image = file.path().to_str().unwrap();
    let path = format!("(loop0){path}");
    let args = [image, "cp", &path, &into];
    let (code, _) = run_any("grub-fstest", "grub-common", &args, "");
    (code == 0).then(|| std::fs::read(into).unwrap())
}

/// What `made.sh` wrote into a file.
pub fn text(word: &str, number: u32, blocks: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for line in 0..blocks * 64 {
        writeln!(
            text,
            "{word} {number:05} {line:06} a line of a file that compresses well........"
        )
        .unwrap();
    }
    text.truncate(blocks * 4096);
    text
}

/// Every file that was there before the last ones is what was written, for GRUB.
pub fn assert_files(file: &NamedTempFile) {
    assert_files_below(file, 90);
}

pub fn assert_files_below(file: &NamedTempFile, last: u32) {
    let file_at = |number: u32| match number {
        0..60 => (format!("/a/b/live{number}"), 1 + number * 7 % 40),
        60..90 => (format!("/a/live{number}"), 1 + number % 9),
        _ => (format!("/live{number}"), 2 + number % 9),
    };
    for number in [0, 7, 23, 59, 60, 75, 89]
        .into_iter()
        .filter(|number| *number < last)
    {
        let (path, blocks) = file_at(number);
        let wanted = text("live", number, usize::try_from(blocks).unwrap());
        let got = by_grub(file, &path).unwrap_or_else(|| panic!("GRUB cannot read {path}"));
        assert!(got == wanted, "{path}");
    }
    assert_eq!(by_grub(file, "/short").as_deref(), Some(&b"short\n"[..]));
}

/// One number of the image.
pub fn number_at(file: &NamedTempFile, at: u64) -> u64 {
    u64::from(u32::from_le_bytes(read_at(file, at, 4).try_into().unwrap()))
}
