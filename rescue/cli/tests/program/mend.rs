//! A damaged image is made whole, and nothing else of it changes.

use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::made::{self, digest, rescue, shell};

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn an_image_whose_end_is_cut_off_is_what_it_was_after_reindex() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("store")).unwrap();
    let disk = made::disk().display().to_string();
    let made = rescue(path, &["image", &disk, "store", "--name", "pc"]);
    assert!(made.status.success(), "{}", said(&made));
    let image = path.join("store/pc.img.zst");
    let whole = digest(&image);
    shell(&format!("truncate -s -1500 {}", image.display()));
    assert!(digest(&image) != whole);
    let found = rescue(path, &["check", "store/pc.img.zst"]);
    assert!(said(&found).contains("has no end"), "{}", said(&found));
    let mended = rescue(path, &["reindex", "store/pc.img.zst"]);
    assert!(mended.status.success(), "{}", said(&mended));
    assert!(said(&mended).contains("made good: "), "{}", said(&mended));
    assert!(digest(&image) == whole);
    let again = rescue(path, &["reindex", "store/pc.img.zst"]);
    assert!(
        said(&again).contains("the image is whole"),
        "{}",
        said(&again)
    );
    assert_eq!(std::fs::read_dir(path.join("store")).unwrap().count(), 1);
}

/// Sets `len` bytes in the middle of the image to zeros.
fn spoiled(image: &Path, len: usize) {
    let mut bytes = std::fs::read(image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + len].fill(0);
    std::fs::write(image, bytes).unwrap();
}

#[test]
fn a_restore_makes_good_what_parity_can_and_otherwise_stops_until_it_is_told_to_keep_going() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let disk = made::disk().display().to_string();
    let words = ["image", &disk, ".", "--name", "pc", "--parity", "3"];
    let made = rescue(path, &words);
    assert!(made.status.success(), "{}", said(&made));
    let image = path.join("pc.img.zst");
    shell(&format!("cd {}; zstd -qdc pc.img.zst >raw", path.display()));
    let len = usize::try_from(image.metadata().unwrap().len()).unwrap();

    // As much as parity can: the file stays as it is, and the disk is whole.
    spoiled(&image, len / 100);
    let damaged = digest(&image);
    let restored = rescue(path, &["restore", "pc.img.zst", "whole.img"]);
    assert_eq!(restored.status.code(), Some(0), "{}", said(&restored));
    assert!(
        said(&restored).contains("made good by its parity on the way; 'rescue repair pc.img.zst'"),
        "{}",
        said(&restored)
    );
    assert!(digest(&path.join("whole.img")) == digest(&path.join("raw")));
    assert!(digest(&image) == damaged);

    // More than it can: it ends there, and goes on when it is told to.
    spoiled(&image, len / 8);
    let restore = ["restore", "pc.img.zst", "holes.img"];
    let stopped = rescue(path, &restore);
    assert_eq!(stopped.status.code(), Some(2), "{}", said(&stopped));
    for part in [
        "stopped at damage: pc.img.zst is damaged",
        "holes.img is not whole",
        "'rescue repair pc.img.zst'",
        "--keep-going",
    ] {
        assert!(said(&stopped).contains(part), "{}", said(&stopped));
    }
    // No table and no boot sector: they are written last.
    let mut front = vec![1; 4096];
    let mut file = std::fs::File::open(path.join("holes.img")).unwrap();
    std::io::Read::read_exact(&mut file, &mut front).unwrap();
    assert!(front.iter().all(|byte| *byte == 0));
    let finished = rescue(path, &[&restore[..], &["--keep-going"]].concat());
    assert_eq!(finished.status.code(), Some(2), "{}", said(&finished));
    for part in ["finished with damage", "unreadable: ", "by an earlier run"] {
        assert!(said(&finished).contains(part), "{}", said(&finished));
    }
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_exact(&mut file, &mut front).unwrap();
    assert!(front.iter().any(|byte| *byte != 0));
}
