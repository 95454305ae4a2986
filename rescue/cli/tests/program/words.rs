//! Bad words and bad input: a sentence with device, fact and remedy, the right exit code, nothing written.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn rescue(directory: &Path, words: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args(words)
        .current_dir(directory)
        .output()
        .unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// It ends with the code, says every word, and leaves nothing new in the directory.
fn refused(directory: &TempDir, words: &[&str], code: i32, said: &[&str]) {
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = names();
    let result = rescue(directory.path(), words);
    assert_eq!(
        result.code, code,
        "rescue {words:?}: {}{}",
        result.out, result.err
    );
    for word in said {
        assert!(
            result.err.contains(word),
            "rescue {words:?} does not say '{word}': {}",
            result.err
        );
    }
    assert_eq!(names(), before, "rescue {words:?} left something behind");
}

#[test]
fn wrong_words_end_with_64() {
    let dir = TempDir::new().unwrap();
    refused(
        &dir,
        &["clone", "a", "b", "--frobnicate"],
        64,
        &["--frobnicate"],
    );
    refused(&dir, &["copy", "a", "b"], 64, &["copy"]);
    refused(&dir, &["image", "a", "b"], 64, &["--name"]);
    refused(
        &dir,
        &["image", "a", "b", "--name", "x", "--level", "77"],
        64,
        &["77"],
    );
    refused(&dir, &["clone", "serial:", "b"], 64, &["serial:"]);
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let dir = TempDir::new().unwrap();
    let all = rescue(dir.path(), &["--help"]);
    assert_eq!(all.code, 0);
    assert!(all.out.contains("Exit codes"), "{}", all.out);
    for command in [
        "disks", "image", "restore", "clone", "verify", "check", "info", "map",
    ] {
        let help = rescue(dir.path(), &[command, "--help"]);
        assert_eq!(help.code, 0);
        assert!(help.out.contains("Example"), "{command}: {}", help.out);
    }
}

#[test]
fn completions_and_manual_pages_come_from_the_words() {
    let dir = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let said = rescue(dir.path(), &["completions", shell]);
        assert_eq!(said.code, 0);
        assert!(said.out.contains("restore"), "{shell}");
    }
    assert_eq!(rescue(dir.path(), &["man", "."]).code, 0);
    assert!(
        std::fs::read_to_string(dir.path().join("rescue-image.1"))
            .unwrap()
            .contains("level")
    );
    refused(
        &dir,
        &["man", "absent"],
        1,
        &["absent", "name a directory that exists"],
    );
}

#[test]
fn what_is_no_disk_is_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("text"), "hello").unwrap();
    refused(
        &dir,
        &["clone", "absent.img", "new.img"],
        3,
        &["absent.img"],
    );
    refused(
        &dir,
        &["clone", "/dev/absent", "new.img"],
        3,
        &["/dev/absent"],
    );
    refused(&dir, &["clone", "/", "new.img"], 3, &["directory"]);
    refused(&dir, &["clone", "/dev/null", "new.img"], 3, &["/dev/null"]);
    refused(
        &dir,
        &["image", "serial:NOSUCHDISK", ".", "--name", "x"],
        3,
        &["NOSUCHDISK"],
    );
    refused(&dir, &["map", "absent.img"], 3, &["absent.img"]);
}

#[test]
fn what_is_no_image_is_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::write(
        dir.path().join("foreign.zst"),
        "this is not an image at all",
    )
    .unwrap();
    crate::made::shell(&format!(
        "cd {}; echo hello | zstd -q -o plain.img.zst",
        dir.path().display()
    ));
    for name in ["foreign.zst", "plain.img.zst"] {
        for words in [
            vec!["restore", name, "new.img"],
            vec!["check", name],
            vec!["info", name],
            vec!["verify", name, name],
        ] {
            refused(&dir, &words, 3, &[name]);
        }
    }
    refused(
        &dir,
        &["restore", "absent.img.zst", "new.img"],
        3,
        &["absent.img.zst"],
    );
}

#[test]
fn writing_over_something_needs_its_own_word() {
    let dir = TempDir::new().unwrap();
    let source = crate::made::disk().display().to_string();
    crate::made::full_of_ones(&dir.path().join("old.img"), crate::made::SIZE_MIB);
    let before = crate::made::digest(&dir.path().join("old.img"));
    refused(
        &dir,
        &["clone", &source, "old.img"],
        3,
        &["--approve old.img"],
    );
    refused(
        &dir,
        &["clone", &source, "old.img", "--approve", "other"],
        3,
        &["other"],
    );
    assert_eq!(crate::made::digest(&dir.path().join("old.img")), before);
}

#[test]
fn every_reason_comes_at_once() {
    let dir = TempDir::new().unwrap();
    let source = crate::made::disk().display().to_string();
    std::fs::write(dir.path().join("small.img"), vec![1; 1 << 20]).unwrap();
    refused(
        &dir,
        &["clone", &source, "small.img", "--approve", "small.img"],
        3,
        &["small.img"],
    );
    refused(
        &dir,
        &["clone", &source, &source, "--approve", "disk.img"],
        3,
        &["both source and destination"],
    );
    let copy = dir.path().join("copy.img");
    std::fs::copy(crate::made::disk(), &copy).unwrap();
    assert_eq!(
        rescue(
            dir.path(),
            &["image", "copy.img", ".", "--name", "pc", "--no-verify"]
        )
        .code,
        0
    );
    refused(
        &dir,
        &["image", "copy.img", ".", "--name", "pc"],
        3,
        &["pc.img.zst"],
    );
}

#[test]
fn disks_shows_what_is_on_a_file() {
    let dir = TempDir::new().unwrap();
    let source = crate::made::disk().display().to_string();
    let said = rescue(dir.path(), &["disks", &source]);
    assert_eq!(said.code, 0, "{}", said.err);
    for word in [
        "GPT", "ext4", "root", "ntfs", "data", "FAT32", "ESP", "swap",
    ] {
        assert!(said.out.contains(word), "{word} is missing: {}", said.out);
    }
    let json = rescue(dir.path(), &["disks", &source, "--json"]);
    let parsed: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        parsed[0]["geometry"]["size_bytes"],
        crate::made::SIZE_MIB << 20
    );
}

#[test]
fn the_used_map_is_what_ddrescue_takes() {
    let dir = TempDir::new().unwrap();
    let source = crate::made::disk().display().to_string();
    let said = rescue(dir.path(), &["map", &source]);
    assert_eq!(said.code, 0, "{}", said.err);
    std::fs::write(dir.path().join("used.map"), &said.out).unwrap();
    crate::made::shell(&format!(
        "cd {}; ddrescue -q -m used.map {source} part.img rescue.map; ddrescuelog -t used.map",
        dir.path().display()
    ));
    // A copy of only what the map calls used has every file.
    crate::made::assert_clean(&dir.path().join("part.img"));
    assert_eq!(
        crate::made::content(&dir.path().join("part.img")),
        crate::made::content(crate::made::disk())
    );
}

#[test]
fn a_source_that_is_mounted_for_writing_is_copied_only_when_it_is_asked_for_live() {
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    for command in ["image", "clone"] {
        let help = rescue(dir.path(), &[command, "--help"]);
        assert!(help.out.contains("--live"), "{command}: {}", help.out);
    }
    crate::made::shell(&format!(
        "cd {at}; truncate -s 20M live.img; mke2fs -q -t ext4 live.img; mkdir mnt; mount -o loop live.img mnt"
    ));
    let mounted = Unmounted(dir.path().join("mnt"));
    refused(
        &dir,
        &["clone", "live.img", "new.img"],
        3,
        &["live.img", "is mounted at", "--live"],
    );
    let said = rescue(dir.path(), &["clone", "live.img", "new.img", "--live"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("torn"), "{}", said.err);
    std::fs::remove_file(dir.path().join("new.img")).unwrap();
    crate::made::shell(&format!("mount -o remount,ro {at}/mnt"));
    let said = rescue(dir.path(), &["clone", "live.img", "new.img"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("mounted read-only"), "{}", said.err);
    drop(mounted);
}

/// Unmounts when it is dropped.
struct Unmounted(std::path::PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        crate::made::shell(&format!("umount {}", self.0.display()));
    }
}

#[test]
fn an_image_writes_a_map_that_ddrescue_reads() {
    let dir = TempDir::new().unwrap();
    let source = crate::made::disk().display().to_string();
    let words = [
        "image",
        &source,
        ".",
        "--name",
        "pc",
        "--map",
        "pc.map",
        "--no-verify",
    ];
    let said = rescue(dir.path(), &words);
    assert_eq!(said.code, 0, "{}", said.err);
    let used = rescue(dir.path(), &["map", &source]).out;
    std::fs::write(dir.path().join("used.map"), used).unwrap();
    crate::made::shell(&format!(
        "cd {}; ddrescuelog -t pc.map; [ \"$(ddrescuelog -l+ pc.map | wc -l)\" -ge \"$(ddrescuelog -l+ used.map | wc -l)\" ]",
        dir.path().display()
    ));
}
