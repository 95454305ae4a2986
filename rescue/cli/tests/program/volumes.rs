//! `--volume-size`: an image in several files, read as one.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::made::{self, rescue, shell};

fn done(directory: &Path, words: &[&str]) -> String {
    let output = rescue(directory, words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "rescue {words:?}: {said}");
    said
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory.join("store")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_image_in_volumes_is_restored_unpacked_and_a_missing_volume_is_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("store")).unwrap();
    let disk = made::disk().display().to_string();
    let said = done(
        path,
        &[
            "image",
            &disk,
            "store",
            "--name",
            "pc",
            "--volume-size",
            "4M",
        ],
    );
    assert!(said.contains("in volumes of at most 4.0 MB"), "{said}");
    let all = names(path);
    assert!(all.len() >= 4, "{all:?}");
    assert_eq!(all[0], "pc.img.zst");
    assert!(
        all[1..]
            .iter()
            .enumerate()
            .all(|(nth, name)| { *name == format!("pc.img.zst.{:03}of{:03}", nth + 2, all.len()) }),
        "{all:?}"
    );
    let largest = all
        .iter()
        .map(|name| path.join("store").join(name).metadata().unwrap().len())
        .max();
    assert!(largest.unwrap() <= 4_000_000);

    // What came of it is what an image in one file gives, with our program and without it.
    done(path, &["check", "store/pc.img.zst"]);
    made::full_of_ones(&path.join("back.img"), made::SIZE_MIB);
    done(
        path,
        &[
            "restore",
            "store/pc.img.zst",
            "back.img",
            "--approve",
            "back.img",
        ],
    );
    made::assert_clean(&path.join("back.img"));
    assert_eq!(
        made::content(&path.join("back.img")),
        made::content(made::disk())
    );
    shell(&format!(
        "cd {}; cat store/pc.img.zst* | zstd -qdc >unpacked.img; rm -f unpacked.map",
        path.display()
    ));
    assert_eq!(
        made::content(&path.join("unpacked.img")),
        made::content(made::disk())
    );
    let shown = rescue(path, &["images", "store"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.matches("pc").count(), 1, "{shown}");

    // A child of it, of one file, and of several.
    done(
        path,
        &["image", &disk, "store", "--name", "later", "--parent", "pc"],
    );
    done(path, &["check", "store/later.img.zst"]);

    fs::rename(path.join("store").join(&all[2]), path.join("elsewhere")).unwrap();
    let checked = rescue(path, &["check", "store/pc.img.zst"]);
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert_ne!(checked.status.code(), Some(0), "{said}");
    assert!(said.contains("volume 3 of"), "{said}");
}
