//! One filesystem as one mkfs makes it, and its way there and back.

use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;

use super::hands::{Files, Hands};
use super::stage;
use crate::flow::expect;
use crate::made::{full_of_ones, shell};

/// Volumes that kernels filled whose drivers are not everywhere.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../disk/tests");

/// Of the disk that it lies on: files have sectors of 512 bytes, loop devices any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sectors {
    Of512,
    Of4096,
}

/// By default, or with `RESCUE_TEST_ALL=1` only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    Always,
    Asked,
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Is given the disk as its last word.
    mkfs: &'static str,
    size_mib: u64,
    sectors: Sectors,
    hands: Hands,
    run: Run,
}

pub const fn shape(
    mkfs: &'static str,
    size_mib: u64,
    sectors: Sectors,
    hands: Hands,
    run: Run,
) -> Shape {
    Shape {
        mkfs,
        size_mib,
        sectors,
        hands,
        run,
    }
}

/// Sends every shape whose turn it is there and back.
pub fn all(shapes: &[Shape]) {
    let asked = std::env::var_os("RESCUE_TEST_ALL").is_some();
    let mut ran = 0;
    for shape in shapes {
        if asked || shape.run == Run::Always {
            println!(
                "{} on sectors {:?}, judged by {}, rescue {}",
                shape.mkfs,
                shape.sectors,
                shape.hands.judges,
                if shape.hands.files == Files::None {
                    "check"
                } else {
                    "cp"
                }
            );
            let begun = Instant::now();
            shape.there_and_back();
            println!("{}: {:.1} s", shape.mkfs, begun.elapsed().as_secs_f64());
            ran += 1;
        }
    }
    assert!(ran > 0, "no shape is in the default share");
}

impl Shape {
    fn there_and_back(&self) {
        let dir = TempDir::new().unwrap();
        let at = dir.path();
        self.make(at);
        self.with_disks(at, |source, back| {
            let said = expect(at, &["image", source, ".", "--name", "pc"], 0);
            assert!(!said.contains("taken whole"), "{}: {said}", self.mkfs);
            expect(at, &["check", "pc.img.zst"], 0);
            let said = expect(at, &["restore", "pc.img.zst", back], 3);
            let word = said.rsplit("--approve ").next().unwrap().trim();
            expect(at, &["restore", "pc.img.zst", back, "--approve", word], 0);
        });
        let free = untouched(&at.join("back.img"));
        assert!(
            free > (self.size_mib << 20) / 100,
            "{}: free space was written too: {free} bytes are as they were",
            self.mkfs
        );
        self.judge(at);
    }

    /// Makes `source.img` and `before`, its files' digests by a tool that is not ours.
    fn make(&self, at: &Path) {
        self.run(
            at,
            "source.img",
            &format!(
                "truncate -s {}M source.img; attach; {} $disk >&2; fill; check >&2; sums >before; [ -s before ]",
                self.size_mib, self.mkfs
            ),
        );
    }

    fn judge(&self, at: &Path) {
        self.run(
            at,
            "back.img",
            "attach; check >&2; sums >after; cmp before after >&2",
        );
        if let Some((code, script)) = self.hands.files.judged() {
            std::fs::create_dir(at.join("out")).unwrap();
            expect(at, &["cp", "back.img", ".", "out"], code);
            self.run(at, "back.img", script);
        }
    }

    /// What of it the program is given: the file, or where its sectors are 4096 bytes, a device of it.
    fn with_disks(&self, at: &Path, job: impl FnOnce(&str, &str)) {
        full_of_ones(&at.join("back.img"), self.size_mib);
        match self.sectors {
            Sectors::Of512 => job("source.img", "back.img"),
            Sectors::Of4096 => {
                let [source, back] =
                    ["source.img", "back.img"].map(|name| Loop::of(&at.join(name)));
                job(&source.device, &back.device);
            }
        }
    }

    fn run(&self, at: &Path, file: &str, script: &str) -> String {
        let sectors = match self.sectors {
            Sectors::Of512 => 512,
            Sectors::Of4096 => 4096,
        };
        shell(&format!(
            "cd {}; export LC_ALL=C; file={file} sectors={sectors} size_mib={} stage={} kept={}\n{}{script}",
            at.display(),
            self.size_mib,
            stage::folder().display(),
            KEPT,
            self.hands.script()
        ))
    }
}

/// A disk with sectors of 4096 bytes; gone when dropped.
struct Loop {
    device: String,
}

impl Loop {
    fn of(file: &Path) -> Loop {
        let device = shell(&format!("losetup -b 4096 -f --show {}", file.display()));
        Loop { device }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        shell(&format!("losetup -d {}", self.device));
    }
}

/// Bytes of a disk that was full of 0xFF that still are.
fn untouched(disk: &Path) -> u64 {
    let bytes = std::fs::read(disk).unwrap();
    let whole = bytes
        .chunks(4096)
        .filter(|block| block.iter().all(|byte| *byte == 0xff));
    whole.map(|block| block.len() as u64).sum()
}
