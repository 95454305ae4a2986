//! XFS against xfsprogs and the kernel, on filesystems made by mkfs.xfs and filled by the kernel.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;
#[path = "made/xfs.rs"]
mod mkfs;

use disk::extent::ExtentMap;
use disk::fs::{Basis, Filesystem, State, Used, recognise};
use made::{cases, open, run, write_at};
use mkfs::{SUMS, check, churned, copy, cut_off, filled, free, mounted, restored};
use tempfile::NamedTempFile;

const MIB: u64 = 1 << 20;

fn read(file: &NamedTempFile) -> Filesystem {
    recognise(&open(file)).unwrap().expect("it is XFS").1
}

fn map(filesystem: &Filesystem) -> (Basis, &ExtentMap) {
    match &filesystem.used {
        Used::Map { basis, extents } => (*basis, extents),
        Used::Whole(why) => panic!("it was taken whole: {why}"),
    }
}

fn blkid(file: &NamedTempFile, tag: &str) -> String {
    let path = file.path().to_str().unwrap();
    let args = ["-p", "-o", "value", "-s", tag, path];
    run("blkid", "util-linux", &args, "").trim().to_owned()
}

/// Size and mkfs options; every layout the used map has to get right.
const LAYOUTS: &[(u64, &[&str])] = &[
    (320 * MIB, &["-L", "a label"]),
    (320 * MIB, &["-b", "size=1024"]),
    (320 * MIB, &["-s", "size=4096"]),
    (600 * MIB, &["-m", "rmapbt=1", "-d", "agcount=6"]),
    (
        320 * MIB,
        &[
            "-m",
            "reflink=0,finobt=0,bigtime=0",
            "-i",
            "size=1024,sparse=0",
        ],
    ),
    (320 * MIB, &["-i", "nrext64=1", "-n", "size=16384"]),
    (3 << 30, &["-d", "su=64k,sw=4", "-l", "su=64k"]),
    (20 << 30, &["-d", "agcount=40"]),
];

/// Layouts that the kernel here does not mount: version 4, which new kernels leave out, and blocks larger than
/// its pages, as older ones want them.
const UNMOUNTED: &[(u64, &[&str])] = &[
    (320 * MIB, &["-m", "crc=0", "-L", "twelve bytes"]),
    (320 * MIB, &["-m", "crc=0", "-b", "size=512"]),
    (
        320 * MIB,
        &[
            "-m",
            "crc=0",
            "-l",
            "version=1,lazy-count=0",
            "-n",
            "ftype=0",
        ],
    ),
    (600 * MIB, &["-b", "size=65536"]),
    (320 * MIB, &["-m", "crc=0", "-s", "size=4096"]),
];

fn assert_exact(file: &NamedTempFile, size: u64, options: &[&str]) {
    let found = read(file);
    let (basis, extents) = map(&found);
    assert_eq!(basis, Basis::Records, "{options:?}");
    assert_eq!(found.state, State::Clean, "{options:?}");
    assert_eq!(*extents, free(file.path()).complement(size), "{options:?}");
    assert_eq!(found.kind, "xfs");
    assert_eq!(found.uuid, Some(blkid(file, "UUID")));
    assert_eq!(found.label.unwrap_or_default(), blkid(file, "LABEL"));
}

#[test]
fn every_layout_is_mapped_bit_for_bit_as_xfs_db_lists_it() {
    std::thread::scope(|scope| {
        for (size, options) in LAYOUTS {
            scope.spawn(move || assert_exact(&filled(*size, options), *size, options));
        }
        for (size, options) in UNMOUNTED {
            scope.spawn(move || assert_exact(&mkfs::poured(*size, options), *size, options));
        }
    });
}

#[test]
fn after_a_power_cut_every_fsynced_file_comes_back() {
    std::thread::scope(|scope| {
        // Each takes seconds of mounting; cases(1) is 1 or, with RESCUE_TEST_ALL, many.
        let step = if cases(1) == 1 { 2 } else { 1 };
        for (size, options) in LAYOUTS.iter().take(7).step_by(step) {
            scope.spawn(move || {
                let (file, sums) = cut_off(*size, options);
                let found = read(&file);
                let (basis, extents) = map(&found);
                assert_eq!(basis, Basis::Replayed, "{options:?}");
                let State::Dirty(why) = &found.state else {
                    panic!("it is called clean")
                };
                assert!(why.contains("replayed in memory"), "{why}");
                let back = restored(&file, extents);
                let check_sums = format!("sha256sum --quiet -c - <<'END'\n{sums}END\n{SUMS}");
                let theirs = mounted(copy(&file).path(), SUMS);
                assert_eq!(mounted(back.path(), &check_sums), theirs, "{options:?}");
                check(back.path());
            });
        }
    });
}

/// The kernel finds the same files and nothing to repair in what is restored from the used map alone; all that
/// was fsynced and not removed since is there.
fn assert_restores(file: &NamedTempFile, synced: &str, what: &str) {
    let found = read(file);
    let (basis, extents) = map(&found);
    assert_eq!(basis, Basis::Replayed, "{what}: {}", found.state);
    let back = restored(file, extents);
    let theirs = mounted(copy(file).path(), SUMS);
    assert!(mounted(back.path(), SUMS) == theirs, "{what}");
    check(back.path());
    let last: Vec<&str> = synced.lines().rev().take(50).collect();
    assert!(last.len() > 3, "{what}: {synced}");
    for line in last {
        let (sum, name) = line.split_once("  ").unwrap();
        assert!(
            theirs.contains(&format!("{sum}  ./{name}\n")),
            "{what}: {line}"
        );
    }
}

/// A log so small that it goes around in seconds.
const SMALL_LOG: &[&str] = &["--unsupported", "-m", "reflink=0", "-l", "size=4m"];

#[test]
fn a_power_cut_in_the_middle_of_work_loses_nothing_that_was_fsynced() {
    let rounds = if cases(1) == 1 { 1 } else { 10 };
    for round in 0..rounds {
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (size, options) = LAYOUTS[round % 7];
                let log = ["nouuid,logbsize=256k", "nouuid"][round % 2];
                let (file, synced) = churned(size, options, log, 1);
                assert_restores(&file, &synced, &format!("{options:?} {log}"));
            });
            scope.spawn(move || {
                let (file, synced) = churned(320 * MIB, SMALL_LOG, "nouuid", 2);
                assert_restores(&file, &synced, "a log in its second round");
            });
        });
    }
}

#[test]
fn what_lies_behind_the_filesystem_is_kept() {
    let file = filled(320 * MIB, &[]);
    file.as_file().set_len(320 * MIB + 12345).unwrap();
    write_at(&file, 320 * MIB + 100, b"something");
    let found = read(&file);
    assert_eq!(found.size_bytes, 320 * MIB);
    let (_, extents) = map(&found);
    assert!((0..12345).all(|at| extents.contains(320 * MIB + at)));
}
