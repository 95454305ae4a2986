//! NTFS volumes as mkntfs makes them, filled and thinned out through ntfs-3g, and what other tools say of them.
#![allow(
    clippy::allow_attributes,
    dead_code,
    clippy::cast_possible_truncation,
    reason = "each test binary uses its own share; the numbers are small"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use disk::extent::{Extent, ExtentMap};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{blank, run};

const PACKAGE: &str = "ntfs-3g";

/// Bytes that differ from file to file and from place to place, none of them zero.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 | 1
    })
    .take(len)
    .collect()
}

pub fn mkntfs(file: &NamedTempFile, options: &[&str]) {
    let path = file.path().to_str().unwrap();
    run(
        "mkntfs",
        PACKAGE,
        &[&["-F", "-f", "-q"], options, &[path]].concat(),
        "",
    );
}

pub fn made(size_bytes: u64, sector: u32, cluster: u32) -> NamedTempFile {
    let file = blank(size_bytes);
    let (sector, cluster) = (sector.to_string(), cluster.to_string());
    mkntfs(&file, &["-s", &sector, "-c", &cluster, "-L", "Täst 文件"]);
    file
}

/// A volume mounted by ntfs-3g; unmounted, and the driver's end awaited, on [`Mounted::end`].
#[derive(Debug)]
pub struct Mounted {
    pub dir: TempDir,
    driver: Option<Child>,
}

impl Mounted {
    pub fn new(path: &Path, options: &str) -> Mounted {
        let dir = TempDir::new().unwrap();
        let driver = Command::new("/usr/bin/ntfs-3g")
            .args(["-o", &format!("no_detach,{options}")])
            .args([path, dir.path()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ntfs-3g cannot be run: install the package ntfs-3g");
        let mounted = Mounted {
            dir,
            driver: Some(driver),
        };
        mounted.wait_until_there();
        mounted
    }

    fn wait_until_there(&self) {
        let name = self.dir.path().to_str().unwrap();
        let begun = Instant::now();
        while !fs::read_to_string("/proc/mounts").unwrap().contains(name) {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "ntfs-3g did not mount: /dev/fuse and root are needed"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn end(mut self) {
        self.unmount();
    }

    fn unmount(&mut self) {
        if let Some(mut driver) = self.driver.take() {
            // Busy until the driver has heard of the last close.
            let begun = Instant::now();
            let unmount = || Command::new("umount").arg(self.dir.path()).status();
            while !unmount().unwrap().success() {
                assert!(begun.elapsed() < Duration::from_secs(60), "umount failed");
                std::thread::sleep(Duration::from_millis(100));
            }
            assert!(driver.wait().unwrap().success(), "ntfs-3g failed");
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mut driver) = self.driver.take() {
            // Only after a failed test.
            let _ = Command::new("umount").arg(self.dir.path()).status();
            let _ = driver.kill();
            let _ = driver.wait();
        }
    }
}

/// Files of every kind in a mounted volume: small and large ones, deleted ones, holes, depth,
/// and a directory of many.
pub fn fill(mounted: &Mounted, many: u64) {
    let at = |name: &str| mounted.at(name);
    fs::create_dir_all(at("deep/er/and/deeper")).unwrap();
    fs::create_dir(at("many")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    for n in 0..many {
        let len = usize::try_from(n * n % 9000).unwrap();
        let name = format!("many/{n:03} {}", "x".repeat(n as usize % 90));
        fs::write(at(&name), bytes(n, len)).unwrap();
    }
    for (n, len) in [0, 1, 300, 700, 1024, 4096, 65536, 1 << 20, 2_000_001]
        .into_iter()
        .enumerate()
    {
        fs::write(at(&format!("deep/er/file{n}")), bytes(1000 + n as u64, len)).unwrap();
    }
    fs::write(at("deep/er/and/deeper/grüße 文件"), "hello").unwrap();
    for n in (0..many).step_by(3) {
        fs::remove_file(at(&format!("many/{n:03} {}", "x".repeat(n as usize % 90)))).unwrap();
    }
    scattered(mounted, "scattered", 120);
    let sparse = File::create(at("sparse")).unwrap();
    for n in 0..20 {
        sparse
            .write_all_at(&bytes(n, 5000), n * 400_000 + 77)
            .unwrap();
    }
    sparse.set_len(10 << 20).unwrap();
}

/// A file written out of order.
fn scattered(mounted: &Mounted, name: &str, parts: u64) {
    const PART: usize = 6000;
    let file = File::create(mounted.at(name)).unwrap();
    for n in 0..parts {
        let part = n * 7 % parts;
        file.write_all_at(&bytes(5000 + part, PART), part * PART as u64)
            .unwrap();
    }
}

/// A made and filled volume.
pub fn filled(size_bytes: u64, sector: u32, cluster: u32) -> NamedTempFile {
    let file = made(size_bytes, sector, cluster);
    let mounted = Mounted::new(file.path(), "rw");
    fill(&mounted, 100);
    mounted.end();
    file
}

/// What partclone would copy of a volume.
pub fn partclone_used(path: &Path) -> ExtentMap {
    let dir = TempDir::new().unwrap();
    let map = dir.path().join("map");
    let args = [
        "-D",
        "-s",
        path.to_str().unwrap(),
        "-o",
        map.to_str().unwrap(),
        "-L",
        "/dev/null",
    ];
    run("partclone.ntfs", "partclone", &args, "");
    let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
    fs::read_to_string(map)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words.len() == 3 && words[2] == "+")
                .then(|| Extent::new(hex(words[0]), hex(words[1])).unwrap())
        })
        .collect()
}

/// The number behind `name:` in what ntfsinfo says of the volume.
pub fn ntfsinfo(path: &Path, name: &str) -> u64 {
    let text = run("ntfsinfo", PACKAGE, &["-m", path.to_str().unwrap()], "");
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
    let value = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    value.split_whitespace().next().unwrap().parse().unwrap()
}

/// Every file below a directory by its path, with its content and its time.
pub fn contents(dir: &Path) -> BTreeMap<String, (Vec<u8>, i64)> {
    let mut found = BTreeMap::new();
    let mut stack = vec![dir.to_owned()];
    while let Some(at) = stack.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                stack.push(path);
            } else if metadata.is_file() {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.insert(name, (fs::read(&path).unwrap(), metadata.mtime()));
            }
        }
    }
    found
}

/// A small volume on which the file table and a file had to grow into what small deleted files left free.
pub fn in_pieces() -> NamedTempFile {
    let file = made(20 << 20, 512, 512);
    let mounted = Mounted::new(file.path(), "rw");
    fs::create_dir(mounted.at("fill")).unwrap();
    let until_full =
        |write: &dyn Fn(u32) -> std::io::Result<()>| (0..).find(|n| write(*n).is_err()).unwrap();
    let filler = |n: u32| mounted.at(&format!("fill/{n}"));
    let count = until_full(&|n| fs::write(filler(n), bytes(n.into(), 900)));
    for n in (0..count).step_by(2) {
        fs::remove_file(filler(n)).unwrap();
    }
    until_full(&|n| fs::write(mounted.at(&format!("small {n}")), b"small"));
    for n in (1..count).step_by(4) {
        fs::remove_file(filler(n)).unwrap();
    }
    fs::write(mounted.at("in pieces"), bytes(1, 1_800_000)).unwrap();
    mounted.end();
    let path = file.path().to_str().unwrap();
    let of_the_table = run("ntfsinfo", PACKAGE, &["-i", "0", path], "");
    assert!(of_the_table.contains("$ATTRIBUTE_LIST"), "{of_the_table}");
    file
}
