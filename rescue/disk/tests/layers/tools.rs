//! lvm2's tools on files, without device-mapper: what they write and what they say of it.

use std::process::Command;

use tempfile::{NamedTempFile, TempDir};

use crate::made::blank;

/// Physical volumes in files, shown to LVM as loop devices.
pub struct Lvm {
    home: TempDir,
    pub files: Vec<NamedTempFile>,
    pub loops: Vec<String>,
}

/// A stretch of a volume: first extent of the volume, number of extents, and where each stripe is:
/// number of the physical volume, first extent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Segment {
    pub volume: String,
    pub start: u64,
    pub len: u64,
    pub places: Vec<(usize, u64)>,
}

impl Lvm {
    pub fn new(sizes: &[u64], create: &[&str]) -> Lvm {
        let home = tempfile::tempdir().unwrap();
        let lock = home.path().join("lock");
        let settings = format!(
            "global {{ locking_dir=\"{}\" }}\nbackup {{ backup=0\narchive=0 }}\n",
            lock.display()
        );
        std::fs::write(home.path().join("lvm.conf"), settings).unwrap();
        let files: Vec<NamedTempFile> = sizes.iter().map(|size| blank(*size)).collect();
        let mut lvm = Lvm {
            home,
            files,
            loops: Vec::new(),
        };
        for file in &lvm.files {
            let path = file.path().to_str().unwrap();
            let device = tool("losetup", "mount", &["-f", "--show", path]);
            lvm.loops.push(device.trim().to_owned());
        }
        let devices = lvm.loops.clone();
        let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
        lvm.run(&[&["pvcreate", "-y"], create, &devices].concat());
        lvm
    }

    /// The program with these words, over these devices only.
    pub fn run(&self, words: &[&str]) -> String {
        let devices = self.loops.join(",");
        let (command, rest) = words.split_first().unwrap();
        let mut all = vec![*command, "-q", "--driverloaded", "n", "--devices", &devices];
        all.extend(rest);
        let output = Command::new("lvm")
            .args(&all)
            .env("LVM_SYSTEM_DIR", self.home.path())
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap_or_else(|e| panic!("lvm cannot be run ({e}): install the package lvm2"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "lvm {all:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn group(&self, extent: &str) {
        let devices: Vec<&str> = self.loops.iter().map(String::as_str).collect();
        self.run(&[&["vgcreate", "-s", extent, "vg"], &devices[..]].concat());
    }

    pub fn volume(&self, name: &str, size: &str, more: &[&str]) {
        let words = ["lvcreate", "-an", "-Zn", "-Wn", "-n", name, "-L", size];
        self.run(&[&words, more, &["vg"]].concat());
    }

    /// The metadata as text, through an editor, and back: LVM checks what it restores.
    pub fn edit(&self, edit: impl Fn(String) -> String) {
        let path = self.home.path().join("text");
        let name = path.to_str().unwrap();
        self.run(&["vgcfgbackup", "-f", name, "vg"]);
        let text = edit(std::fs::read_to_string(&path).unwrap());
        std::fs::write(&path, text).unwrap();
        self.run(&["vgcfgrestore", "--force", "-f", name, "vg"]);
    }

    /// Every stretch that is on a physical volume, as `lvs` tells.
    pub fn segments(&self) -> Vec<Segment> {
        let columns = "lv_name,seg_start_pe,seg_size_pe,seg_pe_ranges";
        let words = [
            "lvs",
            "-a",
            "--noheadings",
            "--separator",
            ";",
            "-o",
            columns,
            "vg",
        ];
        let mut found: Vec<Segment> = self.run(&words).lines().map(|l| self.segment(l)).collect();
        found.retain(|segment| !segment.places.is_empty());
        found.sort();
        found
    }

    fn segment(&self, line: &str) -> Segment {
        let words: Vec<&str> = line.trim().split(';').collect();
        let places = words[3].split_whitespace().filter_map(|range| {
            let (device, extents) = range.rsplit_once(':').unwrap();
            let number = self.loops.iter().position(|l| l == device)?;
            let first = extents.split('-').next().unwrap();
            Some((number, first.parse().unwrap()))
        });
        Segment {
            volume: words[0].trim_matches(['[', ']']).to_owned(),
            start: words[1].parse().unwrap(),
            len: words[2].parse().unwrap(),
            places: places.collect(),
        }
    }

    /// What LVM's own checkers say must be nothing.
    pub fn check(&self) {
        self.run(&["vgck", "vg"]);
        for device in &self.loops {
            self.run(&["pvck", device]);
        }
    }
}

impl Drop for Lvm {
    fn drop(&mut self) {
        for device in &self.loops {
            let _ = Command::new("losetup").args(["-d", device]).status();
        }
    }
}

fn tool(program: &str, package: &str, words: &[&str]) -> String {
    crate::made::run(program, package, words, "")
}
