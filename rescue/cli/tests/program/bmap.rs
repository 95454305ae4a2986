//! bmaptool flashes an image of ours, with a block map of ours or without.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::TempDir;

use crate::made::{self, attempt, disk, rescue, shell, tool};

const BLOCK: u64 = 4096;

fn done(directory: &Path, words: &[&str]) -> String {
    let output = rescue(directory, words);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rescue {words:?}: {said}");
    said.into_owned()
}

/// Every block that `rescue map` calls used, in part or whole.
fn used_blocks(directory: &Path, disk: &str) -> Vec<u64> {
    let map = done(directory, &["map", disk]);
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let mut blocks: Vec<u64> = Vec::new();
    for row in map.lines().filter(|row| row.ends_with('+')) {
        let [start, len, "+"] = row.split_whitespace().collect::<Vec<_>>()[..] else {
            continue;
        };
        let (start, end) = (number(start), number(start) + number(len));
        blocks.extend(start / BLOCK..end.div_ceil(BLOCK));
    }
    blocks.dedup();
    blocks
}

/// The blocks that a block map lists.
fn mapped_blocks(map: &Path) -> Vec<u64> {
    let text = fs::read_to_string(map).unwrap();
    let rows = text.lines().filter(|row| row.contains("<Range"));
    rows.flat_map(|row| {
        let range = row.split(['>', '<']).nth(2).unwrap().trim();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<u64>().unwrap()..=last.parse::<u64>().unwrap()
    })
    .collect()
}

#[test]
fn bmaptool_flashes_an_image_by_its_block_map_and_without_one() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let raw = disk().display().to_string();
    done(path, &["image", &raw, ".", "--name", "pc", "--no-verify"]);
    done(path, &["restore", "pc.img.zst", "restored"]);
    let words = ["export", "pc.img.zst", "pc.img.bmap", "--format", "bmap"];
    let said = done(path, &words);
    assert!(said.contains("not verified: a block map"), "{said}");
    done(path, &["export", &raw, "map", "--format", "bmap"]);
    let used = used_blocks(path, &raw);
    for map in ["pc.img.bmap", "map"] {
        let is_used = mapped_blocks(&path.join(map)) == used;
        assert!(is_used, "{map} has other blocks than are used");
    }
    assert!(used.len() as u64 * BLOCK > made::SIZE_MIB << 17);
    // By the map of the disk what nothing uses is not written, whatever bytes it has.
    shell(&format!(
        "cd {}; bmaptool copy --bmap map {raw} direct 2>&1; cmp direct restored",
        path.display()
    ));
    // Found beside the image, by its name. On a loop device or a file what is not in the map is left alone.
    let said = shell(&format!(
        "cd {}; bmaptool copy pc.img.zst flashed 2>&1; cmp flashed restored",
        path.display()
    ));
    assert!(said.contains("discovered bmap file"), "{said}");
    shell(&format!(
        "cd {}; rm pc.img.bmap; bmaptool copy --nobmap pc.img.zst plain 2>&1; cmp plain restored",
        path.display()
    ));
}

#[test]
fn a_block_map_tells_of_a_byte_that_is_not_the_images() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    // Nobody knows what is on it, so all is kept; its last block is cut.
    shell(&format!(
        "cd {}; head -c $((3000000 / 512 * 512)) /dev/urandom >odd",
        path.display()
    ));
    done(path, &["export", "odd", "map", "--format", "bmap"]);
    let words = ["copy", "--bmap", "map", "odd", "flashed"];
    let at = |name: &str| path.join(name).display().to_string();
    let words = words.map(|word| match word {
        "copy" | "--bmap" => word.to_owned(),
        name => at(name),
    });
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    tool("bmaptool", &words);
    tool("cmp", &[&at("odd"), &at("flashed")]);
    for place in [0, 1_500_000, 2_999_000] {
        let file = OpenOptions::new().read(true).write(true).open(at("odd"));
        let file = file.unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).unwrap();
        file.write_all_at(&[byte[0] ^ 1], place).unwrap();
        let output = attempt("bmaptool", &words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{place}: {said}");
        assert!(said.contains("checksum mismatch"), "{place}: {said}");
        file.write_all_at(&byte, place).unwrap();
    }
}

#[test]
fn a_block_map_of_a_child_comes_with_the_word_that_makes_it_useful() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let flash = |equal: bool| {
        let words = ["copy", "--bmap", "map", "child.img.zst", "flashed"];
        let said = shell(&format!(
            "cd {}; bmaptool {} 2>&1 && echo done || true",
            path.display(),
            words.join(" ")
        ));
        assert_eq!(said.ends_with("done"), equal, "{said}");
    };
    shell(&format!(
        "cd {}; head -c 3M /dev/urandom >disk",
        path.display()
    ));
    done(path, &["image", "disk", ".", "--name", "full"]);
    shell(&format!(
        "cd {}; printf new | dd of=disk bs=1 seek=1M conv=notrunc status=none",
        path.display()
    ));
    let words = ["image", "disk", ".", "--name", "child", "--parent", "full"];
    done(path, &words);
    let said = done(
        path,
        &["export", "child.img.zst", "map", "--format", "bmap"],
    );
    assert!(said.contains("rescue merge child.img.zst"), "{said}");
    flash(false);
    done(path, &["merge", "child.img.zst"]);
    flash(true);
    shell(&format!("cd {}; cmp flashed disk", path.display()));
}

#[test]
fn a_block_map_of_a_sealed_image_comes_with_the_word_that_makes_it_useful() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let flash = |from: &str| {
        shell(&format!(
            "cd {}; bmaptool copy --bmap map {from} flashed 2>&1 && echo done || true",
            path.display()
        ))
    };
    shell(&format!(
        "cd {}; head -c 3M /dev/urandom >disk; echo 'open sesame' >word",
        path.display()
    ));
    let word = ["--passphrase-file", "word"];
    let with = |words: &[&'static str]| done(path, &[words, &word].concat());
    with(&["image", "disk", ".", "--name", "shut", "--seal"]);
    let said = with(&["export", "shut.img.zst", "map", "--format", "bmap"]);
    let remedy = "rescue export shut.img.zst FILE --format raw";
    assert!(said.contains(remedy), "{said}");
    let said = flash("shut.img.zst");
    assert!(!said.ends_with("done"), "{said}");
    with(&["export", "shut.img.zst", "raw", "--format", "raw"]);
    let said = flash("raw");
    assert!(said.ends_with("done"), "{said}");
    shell(&format!("cd {}; cmp flashed disk", path.display()));
}
