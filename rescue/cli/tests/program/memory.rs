//! A disk of 20 TB, sparse, is imaged, checked, restored, served and merged, each by a process that stays small.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, seek};
use tempfile::TempDir;

use crate::made::{shell, tool};

/// As drives sold with 20 TB have it.
const DISK_BYTES: u64 = 20_000_588_955_648;
const MOST_MIB: u64 = 256;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Where its partitions begin and how long they are, in GiB: the table lies in front of the first.
const NTFS: (u64, u64) = (1, 11_000);
const EXT4: (u64, u64) = (11_001, 5_000);
const XFS: (u64, u64) = (16_001, 2_625);

const CLUSTER: u64 = 8 << 10;
/// Of so many used clusters one holds bytes other than zero.
const FILLED: u64 = 8;
const PAGE: usize = 4 << 10;

/// Used clusters that lie alone, spread over a third of NTFS. A used map has 1,048,576 extents at most: beyond, the
/// smallest gaps count as used.
fn pieces() -> u64 {
    match std::env::var_os("RESCUE_TEST_ALL") {
        Some(_) => 250_000,
        None => 12_000,
    }
}

/// ext4 has no file of 20 TB, tmpfs has.
fn place() -> TempDir {
    let wanted = [std::env::temp_dir(), PathBuf::from("/dev/shm")];
    let found = wanted.iter().find_map(|path| {
        let directory = TempDir::new_in(path).ok()?;
        let file = File::create(directory.path().join("try")).ok()?;
        file.set_len(DISK_BYTES).ok()?;
        let room = rustix::fs::fstatvfs(&file).ok()?;
        // What the restored pieces take, beside the images.
        (room.f_bavail * room.f_frsize > pieces() * CLUSTER + 2 * GIB).then_some(directory)
    });
    found.unwrap_or_else(|| {
        panic!("no place for a file of 20 TB among {wanted:?}; name a tmpfs or XFS with some GB free in TMPDIR")
    })
}

fn open(path: &Path) -> File {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.unwrap()
}

/// Puts what a sparse file has at `offset` of a disk.
fn put(from: &Path, disk: &File, offset: u64) {
    let file = open(from);
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        let end = seek(&file, SeekFrom::Hole(start)).unwrap();
        for piece in (start..end).step_by(usize::try_from(MIB).unwrap()) {
            let mut bytes = vec![0; usize::try_from(MIB.min(end - piece)).unwrap()];
            file.read_exact_at(&mut bytes, piece).unwrap();
            disk.write_all_at(&bytes, offset + piece).unwrap();
        }
        at = end;
    }
    fs::remove_file(from).unwrap();
}

/// First byte of a piece, in NTFS: mkntfs puts files of its own at an eighth and at the half.
fn piece(nth: u64) -> u64 {
    let apart = NTFS.1 * GIB / 3 / pieces() / CLUSTER * CLUSTER;
    NTFS.1 * GIB / 7 / CLUSTER * CLUSTER + nth * apart
}

/// The bytes of a piece, which are those of no other.
fn content(nth: u64, version: u64) -> Vec<u8> {
    let mut state = (nth << 8 | version).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(PAGE).collect()
}

/// Marks the pieces in the bitmap of a fresh NTFS, as its own tool says where that lies, and fills some.
fn scatter(ntfs: &Path) {
    let first = shell(&format!(
        "ntfsinfo -f -v -i 6 {} | awk '$1 == \"0x0\" && NF == 3 {{ print $2, $3 }}'",
        ntfs.display()
    ));
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
    let numbers: Vec<u64> = first.split_whitespace().map(number).collect();
    let (start, len) = (numbers[0] * CLUSTER, numbers[1] * CLUSTER);
    // Eight clusters in a byte.
    assert!(
        len * 8 >= NTFS.1 * GIB / CLUSTER,
        "$Bitmap is in one run: {first}"
    );
    let file = open(ntfs);
    for nth in 0..pieces() {
        let cluster = piece(nth) / CLUSTER;
        let mut byte = [0];
        file.read_exact_at(&mut byte, start + cluster / 8).unwrap();
        assert_eq!(byte[0] >> (cluster % 8) & 1, 0, "cluster {cluster} is free");
        byte[0] |= 1 << (cluster % 8);
        file.write_all_at(&byte, start + cluster / 8).unwrap();
        if nth % FILLED == 0 {
            file.write_all_at(&content(nth, 0), piece(nth)).unwrap();
        }
    }
}

fn make(directory: &Path) {
    let parts = [NTFS, EXT4, XFS];
    let table = parts.map(|(start, len)| format!("-n 0:{start}G:+{len}G"));
    let [ntfs, ext4, xfs] = parts.map(|(_, len)| len);
    shell(&format!(
        "cd {}; truncate -s {DISK_BYTES} disk.img; sgdisk {} disk.img >/dev/null
         truncate -s {ntfs}G p0; mkntfs -Q -F -q -c {CLUSTER} p0 2>/dev/null
         truncate -s {ext4}G p1; mke2fs -q -F -t ext4 -N 65536 -E nodiscard,lazy_itable_init=1,lazy_journal_init=1 p1
         truncate -s {xfs}G p2; mkfs.xfs -q -K -l size=64m p2",
        directory.display(),
        table.join(" ")
    ));
    scatter(&directory.join("p0"));
    let disk = open(&directory.join("disk.img"));
    for (nth, (start, _)) in parts.into_iter().enumerate() {
        put(&directory.join(format!("p{nth}")), &disk, start * GIB);
    }
}

/// A process of the program, and the most memory it had so far; what it says is in the file `said`.
struct Watched {
    child: Child,
    begun: Instant,
    most_kib: u64,
    said: PathBuf,
}

impl Watched {
    fn start(directory: &Path, words: &[&str]) -> Watched {
        let said = directory.join("said");
        let child = Command::new(env!("CARGO_BIN_EXE_rescue"))
            .args(words)
            .current_dir(directory)
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn();
        Watched {
            child: child.unwrap(),
            begun: Instant::now(),
            most_kib: 0,
            said,
        }
    }

    /// The kernel's own high-water mark, which only grows.
    fn look(&mut self) {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap_or_default();
        let mark = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
        if let Some(kib) = mark {
            self.most_kib = kib.parse().unwrap();
        }
    }

    /// Looks until it has ended, and tells what it took.
    fn end(mut self) {
        let status = loop {
            self.look();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let (seconds, mib) = (self.begun.elapsed().as_secs_f64(), self.most_kib / 1024);
        let said = fs::read_to_string(&self.said).unwrap();
        let command = said.lines().find(|line| line.starts_with("command: "));
        let command = command.unwrap_or("rescue");
        println!("{command}: {seconds:.1} s, {mib} MiB");
        assert!(status.success(), "{said}");
        assert!((1..MOST_MIB).contains(&mib), "{command} took {mib} MiB");
    }
}

fn run(directory: &Path, words: &[&str]) {
    Watched::start(directory, words).end();
}

/// Its map is asked for, and all that the image keeps is read.
fn serve(directory: &Path, image: &str) {
    let mut server = Watched::start(directory, &["serve", image, "--socket", "socket"]);
    while !directory.join("socket").exists() {
        assert!(server.child.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    let url = format!("nbd+unix:///?socket={}/socket", directory.display());
    let map = tool("nbdinfo", &["--map", &url]);
    let rows = map.stdout.split(|byte| *byte == b'\n').count() as u64;
    assert!(rows > 2 * pieces(), "{rows} rows for {} pieces", pieces());
    tool("nbdcopy", &[&url, "null:"]);
    shell(&format!("kill -INT {}", server.child.id()));
    server.look();
    server.end();
}

/// Every piece of the restored disk is what it was, and what lies between two is not there.
fn assert_restored(directory: &Path) {
    let (disk, out) = (
        open(&directory.join("disk.img")),
        open(&directory.join("out.img")),
    );
    let mut filled = 0;
    for nth in 0..pieces() {
        let mut pair = [vec![0; 2 * PAGE], vec![0; 2 * PAGE]];
        for (file, bytes) in [&disk, &out].into_iter().zip(&mut pair) {
            file.read_exact_at(bytes, NTFS.0 * GIB + piece(nth))
                .unwrap();
        }
        filled += u64::from(pair[0].iter().any(|byte| *byte != 0));
        assert!(pair[0] == pair[1], "piece {nth}");
    }
    assert_eq!(filled, pieces() / FILLED);
    assert_eq!(out.metadata().unwrap().len(), DISK_BYTES);
}

#[test]
fn no_process_that_works_on_a_disk_of_20_tb_takes_256_mib() {
    let place = place();
    let path = place.path();
    make(path);
    run(path, &["image", "disk.img", ".", "--name", "full"]);
    run(path, &["check", "full.img.zst"]);
    let disk = open(&path.join("disk.img"));
    for nth in (0..pieces()).step_by(4 * usize::try_from(FILLED).unwrap()) {
        let at = NTFS.0 * GIB + piece(nth);
        disk.write_all_at(&content(nth, 1), at).unwrap();
    }
    let words = [
        "image", "disk.img", ".", "--name", "child", "--parent", "full",
    ];
    run(path, &words);
    run(path, &["check", "child.img.zst"]);
    run(path, &["restore", "child.img.zst", "out.img"]);
    assert_restored(path);
    fs::remove_file(path.join("out.img")).unwrap();
    serve(path, "child.img.zst");
    run(path, &["merge", "child.img.zst"]);
    fs::remove_file(path.join("full.img.zst")).unwrap();
    run(path, &["check", "child.img.zst"]);
    run(path, &["restore", "child.img.zst", "out.img"]);
    assert_restored(path);
}
