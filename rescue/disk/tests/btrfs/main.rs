//! btrfs against btrfs-progs and the kernel.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod features;
mod files;
#[path = "../made/mod.rs"]
mod made;
mod mkfs;
mod restore;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{Basis, State, Used};
use files::{assert_files, assert_fsynced, assert_parts};
use made::{blank, cases, run, run_any, write_at};
use mkfs::{FILL, LIST, MIB, PACKAGE, SUMS, array, filled, made, mounted};
use restore::{assert_parity, assert_whole, map, open_size, read, restored};
use tempfile::NamedTempFile;

fn progs(args: &[&str], file: &NamedTempFile) -> String {
    let path = file.path().to_str().unwrap();
    run(
        "btrfs",
        PACKAGE,
        &[&["inspect-internal"], args, &[path]].concat(),
        "",
    )
}

/// The number that follows a word.
fn after(line: &str, word: &str) -> Option<u64> {
    let (_, rest) = line.split_once(word)?;
    rest.split(|c: char| !c.is_ascii_digit())
        .find(|n| !n.is_empty())?
        .parse()
        .ok()
}

/// Start, length and the places of each chunk.
pub fn chunks(file: &NamedTempFile) -> Vec<(u64, u64, Vec<u64>)> {
    let mut chunks: Vec<(u64, u64, Vec<u64>)> = Vec::new();
    for line in progs(&["dump-tree", "-t", "chunk"], file).lines() {
        if let Some((_, key)) = line.split_once("CHUNK_ITEM ") {
            chunks.push((
                key.split(')').next().unwrap().parse().unwrap(),
                0,
                Vec::new(),
            ));
        } else if line.trim().starts_with("length ") {
            chunks.last_mut().unwrap().1 = after(line, "length ").unwrap();
        } else if line.contains(" offset ") && line.trim().starts_with("stripe ") {
            chunks
                .last_mut()
                .unwrap()
                .2
                .push(after(line, "offset ").unwrap());
        }
    }
    assert!(chunks.len() >= 2);
    chunks
}

/// What btrfs-progs lists of a filesystem whose chunks each lie on this one disk, once or twice.
fn listed(file: &NamedTempFile) -> ExtentMap {
    let node = progs(&["dump-super"], file);
    let node = node
        .lines()
        .find_map(|line| line.strip_prefix("nodesize"))
        .unwrap();
    let node: u64 = node.trim().parse().unwrap();
    let chunks = chunks(file);
    let mut used = vec![Extent::new(0, MIB), Extent::new(64 * MIB, 64 << 10)];
    let mut extents = 0;
    for line in progs(&["dump-tree", "-t", "extent"], file).lines() {
        let Some((_, key)) = line.split_once("key (") else {
            continue;
        };
        let words: Vec<_> = key.split([' ', ')']).collect();
        let (start, number) = (words[0].parse::<u64>(), words[2].parse::<u64>());
        let len = match words[1] {
            "EXTENT_ITEM" => number.unwrap(),
            "METADATA_ITEM" => node,
            _ => continue,
        };
        extents += 1;
        let start = start.unwrap();
        let chunk = chunks
            .iter()
            .find(|c| (c.0..c.0 + c.1).contains(&start))
            .unwrap();
        used.extend(
            chunk
                .2
                .iter()
                .map(|at| Extent::new(at + (start - chunk.0), len)),
        );
    }
    assert!(extents >= 6, "{extents}");
    let mut used: ExtentMap = used.into_iter().flatten().collect::<Vec<_>>().into();
    let size = open_size(file);
    used.insert(Extent::between(size - 4096, size).unwrap());
    used.remove(Extent::between(size - 4096, size).unwrap());
    used
}

const LAYOUTS: &[&[&str]] = &[
    &["-L", "a label"],
    &[
        "-m", "single", "-d", "single", "-n", "4096", "--csum", "xxhash",
    ],
    &["-m", "dup", "-d", "dup", "-n", "65536", "--csum", "sha256"],
    &["--mixed", "--csum", "blake2"],
    &[
        "-R",
        "^free-space-tree",
        "-O",
        "^no-holes,^skinny-metadata,^extref",
    ],
];

/// One after the other in as many threads as there are: most of it is waiting for the kernel.
fn each_layout(test: impl Fn(&'static [&'static str]) + Sync) {
    std::thread::scope(|scope| {
        for options in LAYOUTS {
            let test = &test;
            scope.spawn(move || test(options));
        }
    });
}

#[test]
fn every_layout_is_mapped_to_the_extent() {
    each_layout(|options| {
        let file = made(256 * MIB, options);
        let found = read(&file);
        assert_eq!(*map(&found), listed(&file), "{options:?}");
        let files = filled(
            std::slice::from_ref(&file),
            "btrfs -q balance start --full-balance . || true",
        );
        let found = read(&file);
        assert_eq!(found.state, State::Clean, "{options:?}");
        let (ours, theirs) = (map(&found), listed(&file));
        assert_eq!(
            ours.difference(&theirs),
            theirs.difference(ours),
            "{options:?}"
        );
        let path = file.path().to_str().unwrap();
        for (tag, ours) in [("UUID", found.uuid), ("LABEL", found.label)] {
            let args = ["-p", "-o", "value", "-s", tag, path];
            let theirs = run_any("blkid", "util-linux", &args, "").1;
            assert_eq!(ours.unwrap_or_default(), theirs.trim(), "{options:?}");
        }
        assert_files(&file, &files, &format!("{options:?}"));
        let back = restored(&file);
        assert_whole(&[back], &files.1, &format!("{options:?}"));
    });
}

/// Changes of what was committed, each fsynced: rewritten in the middle, made shorter and longer, a hole, another name,
/// a second one, in the place of another file, taken away; and directories that are new.
const CHANGES: &str = "\
    printf middle | dd of=large bs=1 seek=5000000 conv=notrunc,fsync status=none; \
    truncate -s 5000 a/b/some-3; sync a/b/some-3; truncate -s 70000 a/b/some-4; sync a/b/some-4; \
    fallocate -p -o 8192 -l 16384 a/b/some-60; sync a/b/some-60; head -c 50000 /dev/urandom >a/inline-8; sync a/inline-8; \
    mv a/b/some-6 a/b/other; sync a/b/other; ln a/b/some-7 a/second; sync a/b/some-7; \
    mv a/b/some-9 a/b/some-10; sync a/b/some-10; rm a/b/some-13; sync a/b; \
    mkdir -p new/newer; echo within >new/newer/file; sync new/newer/file; echo more >sub/one; sync sub/one";

#[test]
fn what_was_fsynced_before_a_power_cut_is_found_by_the_log() {
    each_layout(|options| {
        let file = made(512 * MIB, options);
        let path = file.path().display();
        // The file behind it, copied while it is mounted, is what a power cut leaves.
        let (_, dir) = mounted(
            std::slice::from_ref(&file),
            &format!(
                "({FILL}) >&2; for n in {{1..40}}; do head -c $((n * 7000)) /dev/urandom >fsynced-$n; sync fsynced-$n; done; \
                 fallocate -l 1M kept; sync kept; printf more >>a/b/some-1; sync a/b/some-1; {CHANGES}; \
                 {SUMS} >$dir/sums; {LIST} >$dir/list; sync $dir/sums $dir/list; cp --sparse=always {path} $dir/cut"
            ),
        );
        let cut = blank(0);
        std::fs::copy(dir.path().join("cut"), cut.path()).unwrap();
        let found = read(&cut);
        assert!(
            matches!(&found.state, State::Dirty(why) if why.contains("found by its log")),
            "{options:?}: {:?}",
            found.state
        );
        assert!(matches!(
            found.used,
            Used::Map {
                basis: Basis::Replayed,
                ..
            }
        ));
        assert!(map(&found).total_bytes() < 150 * MIB);
        let text = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let (list, sums) = (text("list"), text("sums"));
        assert_fsynced(&cut, &list, &sums, &format!("{options:?}"));
        assert_whole(&[restored(&cut)], &sums, &format!("{options:?}"));
    });
}

#[test]
fn each_disk_of_an_array_is_restored_on_its_own() {
    let profiles: &[(usize, &[&str])] = &[
        (2, &["-m", "raid1", "-d", "raid1"]),
        (2, &["-m", "raid1", "-d", "raid0"]),
        (4, &["-m", "raid1c4", "-d", "raid10"]),
        (3, &["-m", "raid1c3", "-d", "raid5"]),
        (4, &["-m", "raid1c4", "-d", "raid6"]),
        // What can be read from one disk of these are the chunks only, or nothing.
        (4, &["-m", "raid10", "-d", "raid10"]),
        (2, &["-m", "raid0", "-d", "raid0"]),
        (3, &["-m", "raid1c3", "-d", "raid1c3"]),
        (3, &["-m", "raid5", "-d", "raid5"]),
    ];
    let share = if cases(1) > 1 { profiles.len() } else { 6 };
    std::thread::scope(|scope| {
        for (count, options) in &profiles[..share] {
            scope.spawn(move || {
                // With room for a scrub, which wants a chunk of its own.
                let is_roomy = options[3] == "raid1c3" || options[1] == "raid5";
                let disks = array(*count, if is_roomy { 320 } else { 160 } * MIB, options);
                let files = filled(&disks, "true");
                let parity = options[3] == "raid5" || options[3] == "raid6";
                let exact = options[1].starts_with("raid1") && options[1] != "raid10";
                if exact {
                    for disk in &disks {
                        assert_eq!(read(disk).state, State::Clean, "{options:?}");
                    }
                    assert_parts(&disks, &files, options[3]);
                }
                let back: Vec<_> = disks.iter().map(restored).collect();
                if parity {
                    assert_parity(&back, &files.1, &format!("{options:?}"));
                }
                assert_whole(&back, &files.1, &format!("{options:?}"));
            });
        }
    });
}

#[test]
fn what_is_damaged_or_cut_off_is_whole() {
    let file = made(512 * MIB, &["-m", "single"]);
    let wrong = |patches: &[u64]| {
        let bent = blank(0);
        std::fs::copy(file.path(), bent.path()).unwrap();
        for at in patches {
            write_at(&bent, *at, &[0xA5; 7]);
        }
        read(&bent)
    };
    for at in [0x58, 0x60, 0xC4, 0xD9, 0x32B + 30] {
        let found = wrong(&[(64 << 10) + at, (64 << 20) + at]);
        assert!(matches!(found.used, Used::Whole(_)), "{at}");
        // The second copy leads to the chunks.
        let found = wrong(&[(64 << 10) + at]);
        assert!(matches!(&found.state, State::Dirty(why) if why.contains("kept whole")));
        assert!(map(&found).total_bytes() > map(&read(&file)).total_bytes() + 8 * MIB);
    }
    file.as_file().set_len(300 * MIB).unwrap();
    assert!(matches!(read(&file).used, Used::Whole(_)));
}
