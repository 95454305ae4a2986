//! Disks made with the tools people use, for the tests of this crate.
#![allow(
    clippy::allow_attributes,
    dead_code,
    reason = "each test binary uses its own share"
)]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};
use tempfile::NamedTempFile;

/// A file as a disk.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    geometry: Geometry,
}

impl FileSource {
    pub fn open(path: &Path, sector: u32) -> FileSource {
        let file = File::open(path).unwrap();
        let geometry = Geometry {
            size_bytes: file.metadata().unwrap().len(),
            logical_sector: sector,
            physical_sector: sector,
        };
        FileSource { file, geometry }
    }
}

impl BlockSource for FileSource {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(|_| ReadError::BeyondEnd {
                offset,
                len: buf.len() as u64,
                size_bytes: self.geometry.size_bytes,
            })
    }
}

/// An empty sparse file of this size.
pub fn blank(size_bytes: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(size_bytes).unwrap();
    file
}

pub fn open(file: &NamedTempFile) -> FileSource {
    FileSource::open(file.path(), 512)
}

/// Runs an oracle; its exit code and what it printed. A missing one fails the test and names its package.
pub fn run_any(program: &str, package: &str, args: &[&str], stdin: &str) -> (i32, String) {
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program} cannot be run ({e}): install the package {package}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

/// As [`run_any`], and it must succeed.
pub fn run(program: &str, package: &str, args: &[&str], stdin: &str) -> String {
    let (code, text) = run_any(program, package, args, stdin);
    assert_eq!(code, 0, "{program} {args:?}: {text}");
    text
}

pub fn sgdisk(file: &NamedTempFile, args: &[&str]) -> String {
    let mut all = args.to_vec();
    let path = file.path().to_str().unwrap().to_owned();
    all.push(&path);
    run("sgdisk", "gdisk", &all, "")
}

pub fn sfdisk(file: &NamedTempFile, script: &str) {
    let path = file.path().to_str().unwrap();
    run(
        "sfdisk",
        "fdisk",
        &["--no-reread", "--no-tell-kernel", "-q", path],
        script,
    );
}

pub fn sfdisk_dump(file: &NamedTempFile) -> String {
    run(
        "sfdisk",
        "fdisk",
        &["-d", file.path().to_str().unwrap()],
        "",
    )
}

/// `(number, start, sectors)` as the kernel's parser numbers them, by `partx`, an independent reader.
pub fn partx(file: &NamedTempFile, sector: u32) -> Vec<(u32, u64, u64)> {
    let sector = sector.to_string();
    let text = run(
        "partx",
        "util-linux",
        &[
            "--sector-size",
            &sector,
            "-g",
            "-b",
            "-o",
            "NR,START,SECTORS",
            file.path().to_str().unwrap(),
        ],
        "",
    );
    text.lines()
        .map(|line| {
            let n: Vec<u64> = line
                .split_whitespace()
                .map(|w| w.parse().unwrap())
                .collect();
            (u32::try_from(n[0]).unwrap(), n[1], n[2])
        })
        .collect()
}

pub fn write_at(file: &NamedTempFile, offset: u64, bytes: &[u8]) {
    file.as_file().write_all_at(bytes, offset).unwrap();
}

pub fn all_of(file: &NamedTempFile) -> Vec<u8> {
    std::fs::read(file.path()).unwrap()
}

pub fn read_at(file: &NamedTempFile, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    file.as_file().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// How many cases a property test runs: more with `RESCUE_TEST_ALL=1`.
pub fn cases(ordinary: u32) -> u32 {
    if std::env::var_os("RESCUE_TEST_ALL").is_some() {
        ordinary * 50
    } else {
        ordinary
    }
}
