//! ext filesystems as mke2fs makes them, filled and thinned out, and what e2fsprogs says of them.
#![allow(
    clippy::allow_attributes,
    dead_code,
    clippy::cast_possible_truncation,
    reason = "each test binary uses its own share"
)]

use std::fs;
use std::path::Path;

use disk::extent::{Extent, ExtentMap};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{blank, run, run_any};

const PACKAGE: &str = "e2fsprogs";

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

/// A small tree with what trees have: depth, long names, links, holes, files of every size, many in one place.
pub fn files() -> TempDir {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("deep/er/and/deeper")).unwrap();
    fs::create_dir(at("many")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    for n in 0..400u64 {
        let len = usize::try_from(n * n % 9000).unwrap();
        fs::write(
            at(&format!("many/{n:03} {}", "x".repeat(n as usize % 90))),
            bytes(n, len),
        )
        .unwrap();
    }
    for (n, len) in [0, 1, 59, 60, 61, 160, 1024, 4096, 65536, 1 << 20, 5_000_001]
        .into_iter()
        .enumerate()
    {
        fs::write(at(&format!("deep/er/file{n}")), bytes(1000 + n as u64, len)).unwrap();
    }
    fs::write(at("deep/er/and/deeper/grüße 文件"), "hello").unwrap();
    std::os::unix::fs::symlink("short", at("link")).unwrap();
    std::os::unix::fs::symlink("long/".repeat(40), at("deep/long link")).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    for n in 0..40 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &bytes(n, 5000), n * 200_000 + 77)
            .unwrap();
    }
    // Far enough for three levels of indirect blocks of 1 KiB. It ends with bytes: mke2fs forgets a hole at the
    // end of a file when it makes inline data.
    std::os::unix::fs::FileExt::write_all_at(&sparse, &bytes(77, 9000), 70 << 20).unwrap();
    dir
}

/// A filesystem of this size with these options, holding [`files`], every third of the many removed again.
pub fn filled(size_bytes: u64, options: &[&str], files: &TempDir) -> NamedTempFile {
    let file = blank(size_bytes);
    let root = files.path().to_str().unwrap();
    mke2fs(&file, &[options, &["-d", root]].concat());
    let names: Vec<String> = fs::read_dir(files.path().join("many"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name[..3].parse::<u32>().unwrap() % 3 == 0)
        .map(|name| format!("rm \"/many/{name}\"\n"))
        .collect();
    debugfs_write(&file, &names.concat());
    file
}

pub fn mke2fs(file: &NamedTempFile, options: &[&str]) {
    let path = file.path().to_str().unwrap();
    run(
        "mke2fs",
        PACKAGE,
        &[&["-q", "-F"], options, &[path]].concat(),
        "",
    );
}

/// Lets debugfs change the filesystem, one command a line.
pub fn debugfs_write(file: &NamedTempFile, commands: &str) -> String {
    // From a file: commands on a pipe and answers on another would wait for each other.
    let script = NamedTempFile::new().unwrap();
    fs::write(script.path(), commands).unwrap();
    let [script, path] = [script.path(), file.path()].map(|path| path.to_str().unwrap());
    run("debugfs", PACKAGE, &["-w", "-f", script, path], "")
}

pub fn debugfs(file: &NamedTempFile, command: &str) -> String {
    run(
        "debugfs",
        PACKAGE,
        &["-R", command, file.path().to_str().unwrap()],
        "",
    )
}

/// Exit codes up to 1 mean that the filesystem is now in order.
pub fn e2fsck(path: &Path, options: &[&str]) {
    let (code, text) = run_any(
        "e2fsck",
        PACKAGE,
        &[options, &[path.to_str().unwrap()]].concat(),
        "",
    );
    assert!(code <= 1, "e2fsck {options:?}: {text}");
}

/// Free bytes of the filesystem by dumpe2fs, and the filesystem's size in bytes.
pub fn dumpe2fs_free(path: &Path) -> (ExtentMap, u64) {
    let text = run("dumpe2fs", PACKAGE, &[path.to_str().unwrap()], "");
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().parse::<u64>().unwrap())
    };
    let size = number("Block size:").unwrap();
    let blocks = number("Block count:").unwrap();
    let cluster = number("Cluster size:").unwrap_or(size) / size;
    let mut free = Vec::new();
    // The first such line is the superblock's count; those of the groups are indented.
    for list in text
        .lines()
        .filter_map(|line| line.strip_prefix("  Free blocks: "))
    {
        for range in list.split(", ").filter(|range| !range.trim().is_empty()) {
            let (first, last) = range
                .trim()
                .split_once('-')
                .unwrap_or((range.trim(), range.trim()));
            let first: u64 = first.parse().unwrap();
            // A range of clusters ends with the first block of its last cluster.
            let end = (last.parse::<u64>().unwrap() + cluster).min(blocks);
            free.extend(Extent::between(first * size, end * size));
        }
    }
    (ExtentMap::from(free), blocks * size)
}

/// What partclone would copy of a filesystem.
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
    run("partclone.extfs", "partclone", &args, "");
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

/// Checksums of a journal, as debugfs is told to make them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JournalSums {
    None,
    V2,
    V3,
}

/// A copy of a filesystem as a power cut would leave it: `before` on the disk, and all that makes it `after` in
/// the journal, among older copies, copies that were revoked, and a transaction that was not committed.
pub fn power_cut(
    before: &NamedTempFile,
    after: &NamedTempFile,
    sums: JournalSums,
) -> NamedTempFile {
    let size = block_size(before.path());
    let (old, new) = (
        fs::read(before.path()).unwrap(),
        fs::read(after.path()).unwrap(),
    );
    let block = |bytes: &[u8], at: u64| bytes[index(at * size)..index((at + 1) * size)].to_vec();
    let differs = |at: &u64| block(&old, *at) != block(&new, *at);
    let changed: Vec<u64> = (0..old.len() as u64 / size).filter(differs).collect();
    assert!(changed.len() > 20, "{} blocks changed", changed.len());
    // Everything a bitmap could lose: if a copy of these were replayed, used blocks would be free.
    let bitmaps = block_bitmaps(before.path());
    let kept: Vec<u64> = bitmaps
        .iter()
        .copied()
        .filter(|at| !changed.contains(at))
        .take(5)
        .collect();

    let dir = TempDir::new().unwrap();
    let mut commands = String::from(match sums {
        JournalSums::None => "jo\n",
        JournalSums::V2 => "jo -c -v 2\n",
        JournalSums::V3 => "jo -c -v 3\n",
    });
    let mut write = |name: String, option: &str, blocks: &[u64], bytes: Vec<u8>| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        commands += &format!("jw {option} {} {}\n", list(blocks), path.display());
    };
    let zeros = |count: usize| vec![0; count * index(size)];
    // Not the superblock, so that a log cut short still shows a filesystem.
    let stale = &changed[1..changed.len() / 2];
    write("stale".into(), "-b", stale, zeros(stale.len()));
    write("revoked".into(), "-b", &kept, zeros(kept.len()));
    // A transaction of its own: with blocks beside them debugfs forgets the commit.
    write("none".into(), "-r", &kept, Vec::new());
    for (n, part) in changed.chunks(90).enumerate() {
        let bytes = part.iter().flat_map(|at| block(&new, *at)).collect();
        write(format!("part{n}"), "-b", part, bytes);
    }
    write("torn".into(), "-c -b", &bitmaps, zeros(bitmaps.len()));
    commands += "jc\n";

    let copy = blank(old.len() as u64);
    fs::copy(before.path(), copy.path()).unwrap();
    debugfs_write(&copy, &commands);
    copy
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap()
}

fn list(blocks: &[u64]) -> String {
    blocks
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

pub fn block_size(path: &Path) -> u64 {
    let text = run("dumpe2fs", PACKAGE, &["-h", path.to_str().unwrap()], "");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Block size:"));
    line.unwrap().trim().parse().unwrap()
}

pub fn block_bitmaps(path: &Path) -> Vec<u64> {
    let text = run("dumpe2fs", PACKAGE, &[path.to_str().unwrap()], "");
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("Block bitmap at "))
        .map(|rest| rest.split([' ', ',']).next().unwrap().parse().unwrap())
        .collect()
}

/// The blocks of the journal, in order.
pub fn journal_blocks(file: &NamedTempFile) -> Vec<u64> {
    let text = debugfs(file, "stat <8>");
    let (_, size) = text.split_once("Size: ").unwrap();
    let bytes: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
    let count = bytes / block_size(file.path());
    let ask: String = (0..count).map(|at| format!("bmap <8> {at}\n")).collect();
    let answers = debugfs_write(file, &ask);
    let blocks: Vec<u64> = answers
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert_eq!(blocks.len() as u64, count);
    blocks
}

/// The file of [`changed`] whose copies in a journal are not as they are.
pub const ESCAPED: &str = "new/7";

/// The same filesystem with files added and removed; one file's blocks begin with the journal's magic number.
pub fn changed(file: &NamedTempFile) -> NamedTempFile {
    let after = blank(0);
    fs::copy(file.path(), after.path()).unwrap();
    let dir = TempDir::new().unwrap();
    let mut commands = String::from("rm /deep/er/file9\nrm /deep/er/file8\nmkdir /new\n");
    for n in 0..12u64 {
        let path = dir.path().join(format!("{n}"));
        let mut content = bytes(5000 + n, 3000 * usize::try_from(n).unwrap() + 10);
        if format!("new/{n}") == ESCAPED {
            content
                .chunks_mut(1024)
                .filter(|c| c.len() > 4)
                .for_each(|c| c[..4].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98]));
        }
        fs::write(&path, content).unwrap();
        commands += &format!("write {} /new/{n}\n", path.display());
    }
    debugfs_write(&after, &commands);
    after
}
