//! `--seal` and `rescue key`.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::made::{rescue, shell};

/// What it said, which ended so.
fn said(directory: &Path, words: &[&str], code: i32) -> String {
    let output = rescue(directory, words);
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(code), "rescue {words:?}: {said}");
    said
}

const DISKS: &str = r#"
    mkdir -p tree/home
    seq 200000 >tree/home/numbers
    seq 1000 >tree/letter
    mkfs.ext4 -q -b 4096 -d tree disk.img 24M
    cp disk.img later.img
    debugfs -w -R 'rm /letter' later.img
    printf 'open sesame\n' >word
    printf 'something else' >other
"#;

#[test]
fn a_sealed_image_is_restored_has_a_child_is_merged_and_changes_its_keys() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    shell(&format!("cd '{}'\n{DISKS}", path.display()));
    let word = ["--passphrase-file", "word"];
    let with = |words: &[&'static str]| [words, &word].concat();

    let none = said(
        path,
        &["image", "disk.img", ".", "--name", "s", "--seal"],
        3,
    );
    assert!(none.contains("no passphrase to seal with"), "{none}");
    let plan = said(
        path,
        &with(&["image", "disk.img", ".", "--name", "s", "--seal"]),
        0,
    );
    assert!(
        plan.contains("sealed: without the passphrase nobody"),
        "{plan}"
    );
    assert!(!plan.contains("open sesame"));
    shell(&format!("zstd -q -t '{}/s.img.zst'", path.display()));

    let locked = said(path, &["restore", "s.img.zst", "new.img"], 3);
    assert!(
        locked.contains("s.img.zst is sealed; give its passphrase"),
        "{locked}"
    );
    let wrong = [
        "restore",
        "s.img.zst",
        "new.img",
        "--passphrase-file",
        "other",
    ];
    assert!(said(path, &wrong, 3).contains("does not open it"));
    assert!(!path.join("new.img").exists());
    let info = said(path, &["info", "s.img.zst"], 3);
    assert!(info.contains("sealed     yes, with 1 key"), "{info}");
    assert!(said(path, &["images", "."], 0).contains("sealed; its passphrase opens it"));
    said(path, &with(&["restore", "s.img.zst", "new.img"]), 0);
    said(path, &with(&["verify", "s.img.zst", "new.img"]), 0);
    assert!(fs::read(path.join("new.img")).unwrap() == fs::read(path.join("disk.img")).unwrap());

    // A child is sealed likewise, without being asked, and merged it stays so.
    said(
        path,
        &with(&["image", "later.img", ".", "--name", "t", "--parent", "s"]),
        0,
    );
    said(path, &["ls", "t.img.zst"], 3);
    said(path, &with(&["merge", "t.img.zst"]), 0);
    fs::remove_file(path.join("s.img.zst")).unwrap();
    said(path, &["ls", "t.img.zst"], 3);
    let listed = said(path, &with(&["ls", "t.img.zst"]), 0);
    assert!(
        listed.contains("home/") && !listed.contains("letter"),
        "{listed}"
    );
    said(path, &with(&["check", "t.img.zst", "--deep"]), 0);

    // Over an open image it would not be sealed.
    said(path, &["image", "disk.img", ".", "--name", "open"], 0);
    let half = [
        "image",
        "later.img",
        ".",
        "--name",
        "u",
        "--parent",
        "open",
        "--seal",
    ];
    assert!(said(path, &with(&half), 3).contains("open.img.zst is not sealed"));

    keys(path);
}

fn keys(path: &Path) {
    let word = ["--passphrase-file", "word"];
    let with = |words: &[&'static str]| [words, &word].concat();
    let approve = ["--approve", "t.img.zst"];
    let added = ["key", "add", "t.img.zst", "--new-passphrase-file", "other"];
    assert!(said(path, &with(&added), 3).contains("nothing was written: a passphrase is added"));
    let added = [&added[..], &approve].concat();
    assert!(said(path, &added, 3).contains("is sealed"));
    said(path, &with(&added), 0);
    let told = said(
        path,
        &with(&[&["key", "recovery", "t.img.zst"][..], &approve].concat()),
        0,
    );
    let words = told
        .lines()
        .find(|line| line.split(' ').count() == 12 && line.is_ascii())
        .unwrap();
    fs::write(path.join("words"), words.to_uppercase().replace(' ', "  ")).unwrap();
    said(path, &["ls", "t.img.zst", "--passphrase-file", "words"], 0);
    let listed = said(path, &["key", "list", "t.img.zst"], 0);
    assert!(
        listed.starts_with("1  passphrase ") && listed.contains("\n3  recovery key "),
        "{listed}"
    );

    let first = [
        "key",
        "remove",
        "t.img.zst",
        "1",
        "--passphrase-file",
        "other",
    ];
    assert!(said(path, &first, 3).contains("--approve t.img.zst"));
    said(path, &[&first[..], &["--approve", "t.img.zst"]].concat(), 0);
    said(path, &with(&["ls", "t.img.zst"]), 3);
    said(path, &["ls", "t.img.zst", "--passphrase-file", "other"], 0);
    let output = Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args(["ls", "t.img.zst"])
        .env("RESCUE_PASSPHRASE", "something else")
        .current_dir(path)
        .output();
    assert!(output.unwrap().status.success());
}

#[test]
fn a_sealed_image_that_was_killed_goes_on_sealed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    shell(&format!("cd '{}'\n{DISKS}", path.display()));
    let word = ["--passphrase-file", "word"];
    let image = ["image", "disk.img", ".", "--name", "s", "--seal"];
    said(path, &[&image[..], &word].concat(), 0);
    // As it is when the power goes before the last rename.
    fs::rename(path.join("s.img.zst"), path.join("s.img.zst.unfinished")).unwrap();
    let open = ["image", "disk.img", ".", "--name", "s"];
    assert!(said(path, &open, 3).contains("is sealed"));
    let gone_on = said(path, &[&open[..], &word].concat(), 0);
    assert!(gone_on.contains("sealed: it was begun so"), "{gone_on}");
    said(path, &["ls", "s.img.zst"], 3);
    said(path, &[&["check", "s.img.zst"][..], &word].concat(), 0);
    // And one that was begun without stays without.
    said(path, &["image", "disk.img", ".", "--name", "o"], 0);
    fs::rename(path.join("o.img.zst"), path.join("o.img.zst.unfinished")).unwrap();
    let sealed = ["image", "disk.img", ".", "--name", "o", "--seal"];
    assert!(said(path, &[&sealed[..], &word].concat(), 3).contains("was begun without --seal"));
}
