//! A damaged image is made whole, and nothing else of it changes.

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
