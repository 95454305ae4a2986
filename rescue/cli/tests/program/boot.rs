//! `rescue boot`: a picture shows that an image boots, and which does not.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::made::rescue;

/// Text mode, 80 by 25 spaces on red, and halted.
const PAINTS_RED: [u8; 23] = [
    0xB8, 0x03, 0x00, 0xCD, 0x10, 0xB8, 0x00, 0xB8, 0x8E, 0xC0, 0x31, 0xFF, 0xB8, 0x20, 0x40, 0xB9,
    0xD0, 0x07, 0xF3, 0xAB, 0xF4, 0xEB, 0xFD,
];

/// An image of a disk with one partition, whose first sector holds this program.
fn imaged(program: &[u8]) -> TempDir {
    let directory = TempDir::new().unwrap();
    let mut disk = vec![0; 4 << 20];
    disk[..program.len()].copy_from_slice(program);
    disk[446] = 0x80;
    disk[450] = 0x83;
    disk[454..458].copy_from_slice(&2048u32.to_le_bytes());
    disk[458..462].copy_from_slice(&4096u32.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    fs::write(directory.path().join("disk.img"), disk).unwrap();
    let output = rescue(
        directory.path(),
        &["image", "disk.img", ".", "--name", "pc"],
    );
    assert!(output.status.success(), "{output:?}");
    directory
}

/// How much of the screen is red, in percent.
fn red(directory: &Path, after: u64) -> usize {
    let picture = directory.join("screen.ppm");
    let _ = fs::remove_file(&picture);
    let after = after.to_string();
    let words = [
        "boot",
        "pc.img.zst",
        "--no-kvm",
        "--memory",
        "128",
        "--screenshot",
        "screen.ppm",
        "--after",
        &after,
    ];
    let output = rescue(directory, &words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("the screen after") && said.contains("a BIOS"),
        "{said}"
    );
    let picture = fs::read(picture).unwrap();
    assert!(picture.starts_with(b"P6\n"));
    let pixels = picture[15..].chunks_exact(3);
    let count = pixels.len();
    pixels
        .filter(|pixel| pixel[0] > 100 && pixel[1] == 0 && pixel[2] == 0)
        .count()
        * 100
        / count
}

#[test]
fn the_picture_shows_a_system_that_boots() {
    let directory = imaged(&PAINTS_RED);
    let image = fs::read(directory.path().join("pc.img.zst")).unwrap();
    // A busy machine takes its time.
    let boots = [3, 10, 30, 90]
        .into_iter()
        .any(|after| red(directory.path(), after) > 95);
    assert!(boots);
    assert_eq!(
        fs::read(directory.path().join("pc.img.zst")).unwrap(),
        image
    );
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn a_picture_that_is_there_is_not_overwritten() {
    let directory = imaged(&[]);
    fs::write(directory.path().join("mine.png"), "mine").unwrap();
    let words = ["boot", "pc.img.zst", "--no-kvm", "--screenshot", "mine.png"];
    let output = rescue(directory.path(), &words);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(
        fs::read(directory.path().join("mine.png")).unwrap(),
        b"mine"
    );
}
