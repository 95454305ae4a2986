//! Volumes for the tests of this binary.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use disk::extent::ExtentMap;
use disk::fs::{Filesystem, READERS, Reader, Used, recognise};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{open, run};

/// With 4 KiB and 16 KiB blocks, and HFSX with 1 KiB.
pub const FILLED: &[&str] = &["plain", "large", "x"];
/// With an empty journal.
pub const JOURNALED: &str = "journaled";

/// Memory is counted for the whole process, so one test works at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kept(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/hfsplus")
        .join(name)
}

pub fn volume(name: &str) -> NamedTempFile {
    let packed = std::fs::File::open(kept(&format!("{name}.img.zst"))).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&zstd::decode_all(packed).unwrap()).unwrap();
    file
}

/// Lines of what the kernel listed: digests as `sha256sum` prints them, then `kind|size|modified|links|./path`.
pub fn listed(name: &str) -> String {
    std::fs::read_to_string(kept(&format!("{name}.list"))).unwrap()
}

/// As xorriso writes it into an image for Macs; the partition alone.
pub fn by_xorriso() -> NamedTempFile {
    let dir = TempDir::new().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("deep/er")).unwrap();
    for n in 0..300usize {
        let text = format!("file {n}\n").repeat(n * 7);
        std::fs::write(tree.join(format!("deep/a name {n}")), text).unwrap();
    }
    std::fs::write(tree.join("deep/er/BIG"), vec![7; 3 << 20]).unwrap();
    std::os::unix::fs::symlink("deep/er/BIG", tree.join("link")).unwrap();
    let image = dir.path().join("image.iso").display().to_string();
    let from = tree.display().to_string();
    let args = [
        "-as",
        "mkisofs",
        "-hfsplus",
        "-V",
        "By xorriso",
        "-o",
        &image,
        &from,
    ];
    run("xorriso", "xorriso", &args, "");
    // Its map of partitions is Apple's, which sfdisk does not read; xorriso tells.
    let args = ["-indev", &image, "-report_system_area", "plain"];
    let told = run("xorriso", "xorriso", &args, "");
    let line = |key: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("{told}")).trim()
    };
    assert_eq!(line("APM partition type :   2"), "Apple_HFS");
    let numbers = line("APM start and size :   2").split_whitespace();
    let place: Vec<u64> = numbers.map(|n| n.parse().unwrap()).collect();
    let mut bytes = vec![0; usize::try_from(place[1] * 512).unwrap()];
    std::fs::File::open(&image)
        .unwrap()
        .read_exact_at(&mut bytes, place[0] * 512)
        .unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    file
}

pub fn reader() -> &'static Reader {
    READERS
        .iter()
        .find(|reader| reader.name == "hfsplus")
        .unwrap()
}

pub fn read(file: &NamedTempFile) -> Filesystem {
    recognise(&open(file)).unwrap().expect("it is HFS+").1
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
    let size = usize::try_from(file.as_file().metadata().unwrap().len()).unwrap();
    let mut back = NamedTempFile::new().unwrap();
    back.write_all(&vec![0xFF; size]).unwrap();
    for extent in used.iter() {
        let mut bytes = vec![0; usize::try_from(extent.len()).unwrap()];
        file.as_file()
            .read_exact_at(&mut bytes, extent.start())
            .unwrap();
        back.as_file().write_all_at(&bytes, extent.start()).unwrap();
    }
    back
}
