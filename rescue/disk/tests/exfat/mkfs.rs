//! exFAT as mkfs.exfat makes it and exfat-fuse fills it, and what exfatprogs and partclone say of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;

use disk::extent::{Extent, ExtentMap};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{blank, read_at, run, run_any, write_at};

pub const MIB: u64 = 1 << 20;

/// Size, sector, cluster.
pub type Shape = (u64, u64, &'static str);

/// The smallest clusters and large ones, both sizes of sectors, sizes that are no multiple of a cluster.
pub const SHAPES: &[Shape] = &[
    (16 * MIB, 512, "512"),
    (24 * MIB + 5 * 512, 512, "4K"),
    (24 * MIB, 4096, "4K"),
    (40 * MIB, 512, "32K"),
    (60 * MIB + 7 * 4096, 4096, "128K"),
];

fn bytes(seed: u32, len: u32) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(seed | 1) >> 7).to_le_bytes()[0])
        .collect()
}

/// What every image holds: long names, deep folders, a folder that is in pieces where clusters are small, and files
/// of every length around a cluster's.
pub fn contents() -> BTreeMap<String, Vec<u8>> {
    let long = "ü".repeat(120);
    let mut all: BTreeMap<String, Vec<u8>> = [
        ("short.txt".to_owned(), bytes(3, 5)),
        ("empty".into(), Vec::new()),
        (
            "A long name, with 文件 and 🚲.document".into(),
            bytes(77, 20_000),
        ),
        (format!("folder/{long}"), bytes(9, 4096)),
        (
            "folder/deeper/and deeper/still/here.bin".into(),
            bytes(123_457, 70_001),
        ),
        ("large".into(), bytes(99, 900_000)),
    ]
    .into();
    for n in 0..60 {
        all.insert(format!("many/a name of some length {n}"), bytes(n, n * 37));
    }
    all
}

/// Runs a shell in a filesystem on a loop device: `$dev` is the device, `$from` a folder with [`contents`].
pub fn worked_on(file: &NamedTempFile, sector: u64, before: &str, script: &str) {
    let dir = TempDir::new().unwrap();
    for (name, content) in contents() {
        let path = dir.path().join("from").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::create_dir(dir.path().join("at")).unwrap();
    let script = format!(
        "set -eu; from={dir}/from; at={dir}/at; dev=$(losetup -f --show --sector-size {sector} {image}); \
         unmount() {{ cd /; for n in $(seq 600); do umount $at 2>/dev/null && return; sleep 0.1; done; umount $at; }}; \
         trap '! mountpoint -q $at || unmount; losetup -d $dev' EXIT; \
         {before}; mount.exfat-fuse $dev $at >/dev/null; cd $at; {script}",
        dir = dir.path().display(),
        image = file.path().display(),
    );
    let (code, text) = run_any("bash", "bash", &["-c", &script], "");
    assert_eq!(
        code, 0,
        "root, loop devices and the packages exfatprogs and exfat-fuse are needed: {text}"
    );
}

pub fn empty((size, sector, cluster): Shape) -> NamedTempFile {
    let file = blank(size);
    let mkfs = format!("mkfs.exfat -c {cluster} -L DÄTEN $dev >/dev/null");
    worked_on(&file, sector, &mkfs, "true");
    file
}

/// Filled with [`contents`] into what deleted files left free, so that some are in pieces.
pub fn filled(shape: Shape) -> NamedTempFile {
    let file = empty(shape);
    worked_on(
        &file,
        shape.1,
        "true",
        "mkdir gone many; for n in $(seq 40); do head -c $((n * 600)) /dev/urandom >gone/$n; \
         echo $n >many/stays$n; done; rm gone/*[02468]; cp -r $from/* .; rm -r gone many/stays*; \
         touch -d @1700000000 short.txt; unmount; fsck.exfat -n $dev",
    );
    file
}

/// `(used clusters, all clusters, cluster bytes, heap start)` by dump.exfat.
pub fn dumped(file: &NamedTempFile) -> (u64, u64, u64, u64) {
    let path = file.path().to_str().unwrap();
    let text = run("dump.exfat", "exfatprogs", &[path], "");
    let number = |words: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(words)).unwrap();
        line.split_whitespace().last().unwrap().parse().unwrap()
    };
    let all = number("Total Clusters:");
    (
        all - number("Free Clusters:"),
        all,
        number("Cluster size:"),
        number("Cluster Heap Offset") << number("Sector Size Bits:"),
    )
}

/// The used map by partclone.
pub fn partclone(file: &NamedTempFile) -> ExtentMap {
    let dir = TempDir::new().unwrap();
    let [map, log] = ["map", "log"].map(|name| dir.path().join(name).display().to_string());
    let path = file.path().to_str().unwrap();
    run(
        "partclone.exfat",
        "partclone",
        &["-D", "-s", path, "-o", &map, "-L", &log],
        "",
    );
    fs::read_to_string(map)
        .unwrap()
        .lines()
        .filter(|line| line.ends_with('+'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
            Extent::new(number()?, number()?)
        })
        .collect()
}

/// Only the used bytes of it, on a disk full of ones.
pub fn restored(file: &NamedTempFile, used: &ExtentMap) -> NamedTempFile {
    let size = file.as_file().metadata().unwrap().len();
    let mut all = vec![0xFF; usize::try_from(size).unwrap()];
    for extent in used.iter() {
        let [start, end] = [extent.start(), extent.end()].map(|at| usize::try_from(at).unwrap());
        file.as_file()
            .read_exact_at(&mut all[start..end], extent.start())
            .unwrap();
    }
    let back = blank(size);
    write_at(&back, 0, &all);
    back
}

/// fsck.exfat finds nothing, and every file is what it was.
pub fn assert_whole(file: &NamedTempFile, sector: u64) {
    worked_on(file, sector, "fsck.exfat -n $dev", "diff -r $from .");
}

pub fn number_at(file: &NamedTempFile, at: u64) -> u64 {
    u64::from(u32::from_le_bytes(read_at(file, at, 4).try_into().unwrap()))
}

/// Puts the checksum of the boot region at a sector right, after a change.
pub fn sum_boot(file: &NamedTempFile, first: u64, sector: u64) {
    let region = read_at(file, first * sector, usize::try_from(11 * sector).unwrap());
    let mut sum = 0u32;
    for (at, byte) in region.iter().enumerate() {
        if ![106, 107, 112].contains(&at) {
            sum = sum.rotate_right(1).wrapping_add(u32::from(*byte));
        }
    }
    let sums = sum
        .to_le_bytes()
        .repeat(usize::try_from(sector / 4).unwrap());
    write_at(file, (first + 11) * sector, &sums);
}

/// The place of the first entry of a file in the root directory, found by its name, and its entries.
pub fn set_of(file: &NamedTempFile, name: &str) -> (u64, Vec<u8>) {
    let sector = 1u64 << read_at(file, 108, 1)[0];
    let cluster = sector << read_at(file, 109, 1)[0];
    let root = number_at(file, 88) * sector + (number_at(file, 96) - 2) * cluster;
    let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for at in (root..root + cluster).step_by(32) {
        let set = read_at(file, at, 96);
        if set[0] == 0x85 && set[66..].starts_with(&units) && set[35] as usize == name.len() {
            return (at, set);
        }
    }
    panic!("{name} is not in the first cluster of the root directory");
}

/// Puts a set of three entries back with its checksum right.
pub fn put_set(file: &NamedTempFile, at: u64, mut set: Vec<u8>) {
    let mut sum = 0u16;
    for (at, byte) in set.iter().enumerate() {
        if ![2, 3].contains(&at) {
            sum = sum.rotate_right(1).wrapping_add(u16::from(*byte));
        }
    }
    set[2..4].copy_from_slice(&sum.to_le_bytes());
    write_at(file, at, &set);
}
