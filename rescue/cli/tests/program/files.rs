//! `rescue ls` and `rescue cp`: single files, from a disk and from its image.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::made::{digest, disk, shell};

fn rescue(directory: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args(words)
        .current_dir(directory)
        .output()
        .unwrap()
}

/// What it printed, if it ended with this code.
fn expect(directory: &Path, words: &[&str], code: i32) -> String {
    let output = rescue(directory, words);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        output.status.code(),
        Some(code),
        "rescue {words:?} said: {said}"
    );
    said
}

fn made_disk() -> String {
    disk().display().to_string()
}

/// Names and digests below a directory.
fn content(directory: &Path) -> String {
    shell(&format!(
        "cd {}; find . -type f -print0 | sort -z | xargs -0 sha256sum; find . -type l -printf '%p %l\\n' | sort",
        directory.display()
    ))
}

/// The second partition's files, as debugfs gives them out.
fn expected(directory: &Path) -> String {
    shell(&format!(
        "cd {dir}; dd if={disk} of=ext4 bs=1M skip=41 count=60 status=none; mkdir oracle; \
         debugfs -R 'rdump / oracle' ext4 2>/dev/null; rm -rf oracle/lost+found",
        dir = directory.display(),
        disk = made_disk()
    ));
    content(&directory.join("oracle"))
}

#[test]
fn files_copied_out_of_a_disk_and_of_its_image_are_what_debugfs_gives_out() {
    let dir = TempDir::new().unwrap();
    let before = digest(disk());
    let expected = expected(dir.path());
    expect(
        dir.path(),
        &["image", &made_disk(), ".", "--name", "pc", "--no-verify"],
        0,
    );
    for (from, to) in [(made_disk().as_str(), "a"), ("pc.img.zst", "b")] {
        fs::create_dir(dir.path().join(to)).unwrap();
        expect(dir.path(), &["cp", from, "2", to], 0);
        let got = dir.path().join(to).join("2");
        fs::remove_dir_all(got.join("lost+found")).unwrap();
        assert_eq!(content(&got), expected, "{from}");
    }
    assert_eq!(digest(disk()), before, "the source was touched");
}

#[test]
fn the_same_command_again_copies_nothing_twice_and_overwrites_nothing() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("to");
    fs::create_dir(&to).unwrap();
    let words = ["cp", &made_disk(), "3/20.txt", "2/docs", "to"];
    let said = expect(dir.path(), &words, 0);
    assert!(said.contains("81 files in 1 directories copied"), "{said}");
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let written = time(&to.join("20.txt"));
    fs::write(to.join("docs/4.txt"), "mine").unwrap();
    fs::remove_file(to.join("docs/5.txt")).unwrap();
    fs::write(to.join("docs/.rescue-partial"), "of a run that was killed").unwrap();
    let said = expect(dir.path(), &words, 2);
    assert!(
        said.contains("1 files in 1 directories copied") && said.contains("79 files were there"),
        "{said}"
    );
    assert!(
        said.contains("docs/4.txt: another file of this name is there"),
        "{said}"
    );
    assert_eq!(fs::read(to.join("docs/4.txt")).unwrap(), b"mine");
    assert_eq!(time(&to.join("20.txt")), written);
    assert!(!to.join("docs/.rescue-partial").exists());
}

#[test]
fn a_list_has_names_sizes_times_and_links() {
    let dir = TempDir::new().unwrap();
    let top = expect(dir.path(), &["ls", &made_disk()], 0);
    for line in ["1/", "vfat", "2/", "ext4", "“root”", "3/", "ntfs"] {
        assert!(top.contains(line), "{top}");
    }
    assert!(!top.contains("swap"), "{top}");
    let root = expect(dir.path(), &["ls", &made_disk(), "2"], 0);
    assert!(
        root.contains("docs/") && root.contains("lost+found/"),
        "{root}"
    );
    let docs = expect(dir.path(), &["ls", &made_disk(), "2/docs"], 0);
    assert_eq!(docs.lines().count(), 80, "{docs}");
    let names: Vec<&str> = docs
        .lines()
        .map(|line| line.split_whitespace().last().unwrap())
        .collect();
    assert!(names.is_sorted(), "{docs}");
    let json = expect(dir.path(), &["ls", &made_disk(), "2/docs", "--json"], 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 80);
    let size = json[0]["size_bytes"].as_u64().unwrap();
    let name = json[0]["name"].as_str().unwrap();
    let line = docs.lines().find(|line| line.ends_with(name)).unwrap();
    assert!(line.contains(&size.to_string()), "{line}");
    let one = expect(dir.path(), &["ls", &made_disk(), "3/20.TXT"], 0);
    assert_eq!(one.lines().count(), 1, "{one}");
}

#[test]
fn a_path_that_leads_nowhere_is_refused_with_what_there_is() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("to")).unwrap();
    for (path, word) in [
        (
            "docs/4.txt",
            "write its number first: 1 (vfat), 2 (ext4), 3 (ntfs)",
        ),
        ("9/docs", "write its number first"),
        ("2/docs/none", "partition 2 (ext4) has no '2/docs/none'"),
        ("2/../3", "has a .. in it"),
    ] {
        for words in [vec!["ls", path], vec!["cp", path, "to"]] {
            let mut all = vec![words[0], "disk"];
            let disk = made_disk();
            all[1] = &disk;
            all.extend(&words[1..]);
            let said = expect(dir.path(), &all, 3);
            assert!(said.contains(word), "{said}");
        }
    }
    let said = expect(dir.path(), &["cp", &made_disk(), "2/docs", "nowhere"], 3);
    assert!(said.contains("has no directory nowhere"), "{said}");
    assert_eq!(fs::read_dir(dir.path().join("to")).unwrap().count(), 0);
}
