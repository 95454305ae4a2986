//! A few images made here, with the facts taken from blkid and the reference mapper as the corpus has them.

use std::fs::File;

use tempfile::NamedTempFile;

use crate::facts::{Facts, used_of_map};
use crate::judge::{Verdict, judge};
use crate::made::{blank, run, run_any};
use crate::sparse::Sparse;

const MIB: u64 = 1 << 20;

pub fn images() -> Vec<Verdict> {
    let files: &[(&str, u64, &[&str], &str, &str)] = &[
        (
            "mkfs.fat",
            40 * MIB,
            &["-F", "16", "-n", "SIXTEEN"],
            "dosfstools",
            "vfat",
        ),
        (
            "mkfs.fat",
            300 * MIB,
            &["-F", "32", "-n", "THIRTYTWO"],
            "dosfstools",
            "vfat",
        ),
        (
            "mkfs.exfat",
            40 * MIB,
            &["-c", "8K", "-L", "CLUSTERS"],
            "exfatprogs",
            "exfat",
        ),
        (
            "mkfs.ext2",
            20 * MIB,
            &["-q", "-L", "two"],
            "e2fsprogs",
            "extfs",
        ),
        (
            "mkfs.ext4",
            80 * MIB,
            &["-q", "-L", "four"],
            "e2fsprogs",
            "extfs",
        ),
        (
            "mkntfs",
            40 * MIB,
            &[
                "-F", "-Q", "-q", "-L", "daten", "-s", "512", "-p", "0", "-H", "0", "-S", "0",
            ],
            "ntfs-3g",
            "ntfs",
        ),
        // Its reference calls free space used: tests of its own hold the map against btrfs-progs.
        (
            "mkfs.btrfs",
            256 * MIB,
            &["-q", "-L", "wald"],
            "btrfs-progs",
            "",
        ),
        ("mkapfs", 140 * MIB, &["-L", "obst"], "apfsprogs", ""),
        // No reference maps them in Debian: tests of their own hold the maps against reiserfsprogs, jfsutils, and Linux.
        (
            "mkreiserfs",
            64 * MIB,
            &["-q", "-f", "-l", "tanne"],
            "reiserfsprogs",
            "",
        ),
        ("mkfs.jfs", 64 * MIB, &["-q", "-L", "eiche"], "jfsutils", ""),
        (
            "mkfs.nilfs2",
            140 * MIB,
            &["-q", "-L", "linde"],
            "nilfs-tools",
            "",
        ),
        (
            "mkswap",
            16 * MIB,
            &["-q", "-L", "schlaf"],
            "util-linux",
            "",
        ),
    ];
    files
        .iter()
        .map(|(program, size, options, package, mapper)| {
            let file = blank(*size);
            let path = file.path().to_str().unwrap();
            run(program, package, &[*options, &[path]].concat(), "");
            let image = Sparse::read(File::open(path).unwrap()).unwrap();
            judge(&image, &facts(&file, program, mapper))
        })
        .collect()
}

fn facts(file: &NamedTempFile, name: &str, mapper: &str) -> Facts {
    let path = file.path().to_str().unwrap();
    let mut all = run("blkid", "util-linux", &["-p", "-o", "export", path], "").replace('\n', ";");
    let value = |all: &str, key: &str| {
        let found = all
            .split(';')
            .find_map(|fact| fact.strip_prefix(key).map(str::to_owned));
        found.unwrap_or_default()
    };
    let kind = value(&all, "TYPE=");
    if mapper.is_empty() {
        return Facts::new(name, &kind, &all);
    }
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map").display().to_string();
    let log = folder.path().join("log").display().to_string();
    let program = format!("partclone.{mapper}");
    let program = if mapper == "vfat" {
        "partclone.fat"
    } else {
        &program
    };
    let told = run(
        program,
        "partclone",
        &["-D", "-s", path, "-o", &map, "-L", &log],
        "",
    );
    all += &counts(&kind, path, &told);
    let mut facts = Facts::new(name, &kind, &all);
    facts.map = Some(used_of_map(&std::fs::read_to_string(map).unwrap()));
    facts
}

/// The filesystem's own count and the mapper's, in the manifest's words.
fn counts(kind: &str, path: &str, told: &str) -> String {
    let after = |text: &str, words: &str| -> u64 {
        let line = text
            .lines()
            .find(|l| l.contains(words))
            .unwrap_or_else(|| panic!("no {words} in {text}"));
        let tail = &line[line.find(words).unwrap() + words.len()..];
        let digits: String = tail
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().unwrap()
    };
    let block = after(told, "Block size:");
    let blocks = |words: &str| {
        let line = told.lines().find(|l| l.contains(words)).unwrap();
        let (_, tail) = line.rsplit_once('=').unwrap();
        tail.split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let mut facts = format!(
        "pc_bs={block};pc_used={};pc_total={};",
        blocks("Space in use:"),
        blocks("Device size:")
    );
    facts += &match kind {
        "vfat" => {
            let (_, text) = run_any("fsck.fat", "dosfstools", &["-nv", path], "");
            let pair = text.lines().find(|l| l.contains(" files, ")).unwrap();
            let (used, all) = pair.rsplit(' ').nth(1).unwrap().split_once('/').unwrap();
            let line = text
                .lines()
                .find(|l| l.contains("bytes per cluster"))
                .unwrap();
            let cluster = line.split_whitespace().next().unwrap();
            format!("used_clusters={used};clusters={all};cluster={cluster}")
        }
        "exfat" => {
            let text = run("dump.exfat", "exfatprogs", &[path], "");
            format!(
                "clusters={};free={}",
                after(&text, "Total Clusters:"),
                after(&text, "Free Clusters:")
            )
        }
        "ntfs" => {
            let text = run("ntfsinfo", "ntfs-3g", &["-m", path], "");
            format!(
                "clusters={};free={};cluster={}",
                after(&text, "Volume Size in Clusters:"),
                after(&text, "Free Clusters:"),
                after(&text, "Cluster Size:")
            )
        }
        _ => {
            let text = run("dumpe2fs", "e2fsprogs", &["-h", path], "");
            format!(
                "blocks={};free={};bs={}",
                after(&text, "Block count:"),
                after(&text, "Free blocks:"),
                after(&text, "Block size:")
            )
        }
    };
    facts
}
