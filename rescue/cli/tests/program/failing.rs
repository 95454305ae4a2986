//! A disk that gets worse while it is imaged, with real filesystems and a kernel that returns errors: the job is
//! killed, goes on with less knowledge than it began with, and nothing that could be read is missing.
//!
//! The disk is a file on btrfs. A block of it whose checksum is wrong cannot be read, and any other can.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::made::{shell, tool};

/// What btrfs has a checksum of, and what a cluster of the NTFS has.
const LEN: usize = 4096;
const BLOCK: u64 = LEN as u64;
const MIB: u64 = 1 << 20;
/// Partition number and first byte.
const EXT4: (u64, u64) = (1, MIB);
const NTFS: (u64, u64) = (2, 97 * MIB);
/// Of the ext4: small enough that a bad block hits several.
const EXT4_BLOCK: u64 = 1024;

/// A disk in a file, with errors.
struct Failing {
    dir: TempDir,
    /// As it was when it was well.
    healthy: Vec<u8>,
    bad: BTreeSet<u64>,
}

impl Failing {
    fn new() -> Failing {
        let dir = TempDir::new().unwrap();
        let mut made = Failing {
            healthy: Vec::new(),
            bad: BTreeSet::new(),
            dir,
        };
        made.ask(
            "mkdir tree tree/docs mnt out
             for n in $(seq 1 60); do head -c $((n * 3000)) /dev/urandom >tree/docs/$n.bin; done
             head -c 14M /dev/urandom >tree/media.bin
             head -c 160M /dev/urandom >disk
             dd if=disk of=ext4 bs=1M skip=1 count=96 status=none; dd if=disk of=ntfs bs=1M skip=97 count=48 status=none
             mke2fs -q -F -t ext4 -b 1024 -E nodiscard -d tree ext4
             for n in $(seq 3 3 60); do echo rm docs/$n.bin; done | debugfs -w -f - ext4 >/dev/null 2>&1
             e2fsck -fy ext4 >/dev/null 2>&1 || [ $? -le 1 ]
             mkntfs -Q -F -c 4096 ntfs >/dev/null 2>&1
             for n in 8 10 20 35 50; do ntfscp -q ntfs tree/docs/$n.bin $n.bin; done
             ntfscp -q ntfs tree/media.bin media.bin
             sgdisk --zap-all disk >/dev/null 2>&1 || true
             sgdisk --clear --new=1:1M:+96M --new=2:97M:+48M --typecode=2:0700 disk >/dev/null
             dd if=ext4 of=disk bs=1M seek=1 conv=notrunc status=none
             dd if=ntfs of=disk bs=1M seek=97 conv=notrunc status=none
             truncate -s 400M btrfs; mkfs.btrfs -q -m single -d single btrfs >/dev/null 2>&1
             mount -o loop btrfs mnt; cp disk mnt/disk.img; sync mnt/disk.img
             filefrag -v mnt/disk.img >places; umount mnt; mount -o loop,ro btrfs mnt",
        );
        made.healthy = std::fs::read(made.path("disk")).unwrap();
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ask(&self, script: &str) -> String {
        shell(&format!("cd {}; {script}", self.dir.path().display()))
    }

    /// From now on these blocks of the disk cannot be read.
    fn fail(&mut self, blocks: &BTreeSet<u64>) {
        self.ask("umount mnt");
        let file = File::options()
            .read(true)
            .write(true)
            .open(self.path("btrfs"))
            .unwrap();
        for block in blocks {
            let at = self.place(*block);
            let mut there = vec![0; LEN];
            file.read_exact_at(&mut there, at).unwrap();
            assert_eq!(there, self.block(*block), "filefrag told another place");
            there.iter_mut().for_each(|byte| *byte ^= 0x55);
            file.write_all_at(&there, at).unwrap();
        }
        file.sync_all().unwrap();
        self.ask("mount -o loop,ro btrfs mnt");
        self.bad.extend(blocks);
    }

    fn block(&self, block: u64) -> &[u8] {
        let at = usize::try_from(block * BLOCK).unwrap();
        &self.healthy[at..at + LEN]
    }

    /// Where btrfs has a block of the disk: a new one with a single device counts as that device does.
    fn place(&self, block: u64) -> u64 {
        let told = std::fs::read_to_string(self.path("places")).unwrap();
        told.lines()
            .find_map(|line| {
                let numbers: Vec<u64> = line
                    .split([':', '.'])
                    .filter_map(|word| word.trim().parse().ok())
                    .collect();
                let [_, first, last, start, ..] = numbers[..] else {
                    return None;
                };
                (first..=last)
                    .contains(&block)
                    .then(|| (start + block - first) * BLOCK)
            })
            .expect("filefrag lists every block")
    }

    /// Blocks of the disk in which a file of the ext4 is, as debugfs says.
    fn ext4(&self, path: &str) -> Vec<u64> {
        self.ask(&format!("debugfs -R 'blocks {path}' ext4 2>/dev/null"))
            .split_whitespace()
            .map(|block| (EXT4.1 + block.parse::<u64>().unwrap() * EXT4_BLOCK) / BLOCK)
            .collect()
    }

    /// And of the NTFS, as ntfscluster says.
    fn ntfs(&self, name: &str) -> Vec<u64> {
        let said = self.ask(&format!("ntfscluster -f -F '{name}' ntfs 2>/dev/null"));
        let data = said.split("0x80").last().unwrap();
        data.lines()
            .filter_map(|line| {
                let numbers: Vec<u64> = line
                    .split_whitespace()
                    .map_while(|word| word.parse().ok())
                    .collect();
                <[u64; 3]>::try_from(numbers).ok()
            })
            .flat_map(|[_, lcn, len]| lcn..lcn + len)
            .map(|cluster| NTFS.1 / BLOCK + cluster)
            .collect()
    }

    /// Blocks in which the ext4 says what of it is free.
    fn bitmaps(&self) -> BTreeSet<u64> {
        self.ask("dumpe2fs ext4 2>/dev/null | grep -o 'Block bitmap at [0-9]*' | cut -d' ' -f4")
            .lines()
            .map(|block| (EXT4.1 + block.parse::<u64>().unwrap() * EXT4_BLOCK) / BLOCK)
            .collect()
    }

    /// Partition and path of every file that has a part in one of these blocks, as the tools of the filesystems say.
    fn owners(&self, blocks: &BTreeSet<u64>) -> BTreeSet<(u64, String)> {
        let mut owners = BTreeSet::new();
        for block in blocks {
            let at = block * BLOCK;
            let said = if at >= NTFS.1 {
                let cluster = (at - NTFS.1) / BLOCK;
                let told = format!(
                    "ntfscluster -f -c {cluster}-{cluster} ntfs 2>/dev/null | sed -n 's,^Inode [0-9]* /\\(.*\\)/\\$DATA$,2 \\1,p'"
                );
                self.ask(&told)
            } else {
                let first = (at - EXT4.1) / EXT4_BLOCK;
                let each: Vec<String> = (first..first + BLOCK / EXT4_BLOCK)
                    .map(|b| b.to_string())
                    .collect();
                self.ask(&format!(
                    "inodes=$(debugfs -R 'icheck {}' ext4 2>/dev/null | awk '$2 ~ /^[0-9]+$/ {{print $2}}' | sort -u | xargs); \
                     [ -z \"$inodes\" ] || debugfs -R \"ncheck $inodes\" ext4 2>/dev/null | sed -n 's,^[0-9]*[[:space:]]*/*\\(.*\\)$,1 \\1,p' | grep -v Pathname || true",
                    each.join(" ")
                ))
            };
            owners.extend(said.lines().filter_map(|line| {
                let (partition, path) = line.split_once(' ')?;
                Some((partition.parse().ok()?, path.to_owned()))
            }));
        }
        owners
    }

    fn rescue(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rescue"));
        command.args(words).current_dir(self.dir.path());
        command
    }

    /// kill -9 as soon as so many bytes of the image are there.
    fn image_killed_at(&self, len: u64) {
        let unfinished = self.path("out/pc.img.zst.unfinished");
        let said = self.path("said");
        let mut child = self
            .rescue(&IMAGE)
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while unfinished.metadata().map_or(0, |found| found.len()) < len {
            let ended = child.try_wait().unwrap();
            let said = || std::fs::read_to_string(&said).unwrap();
            assert!(ended.is_none(), "it ended by itself: {}", said());
            assert!(begun.elapsed() < Duration::from_secs(120), "{}", said());
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The blocks of what a report names.
    fn blocks_of(report: &Value, what: &str) -> BTreeSet<u64> {
        let extents = report[what].as_array().unwrap();
        let number = |value: &Value| value.as_u64().unwrap();
        extents
            .iter()
            .flat_map(|extent| {
                let (start, len) = (number(&extent[0]), number(&extent[1]));
                start / BLOCK..(start + len).div_ceil(BLOCK)
            })
            .collect()
    }

    /// The copy with what was lost put back is the disk: every file, every record.
    fn assert_nothing_else_is_missing(&self, copy: &Path, lost: &BTreeSet<u64>) {
        let file = File::options().write(true).open(copy).unwrap();
        for block in lost {
            file.write_all_at(self.block(*block), block * BLOCK)
                .unwrap();
        }
        drop(file);
        self.ask(
            "dd if=back.img of=ext4.back bs=1M skip=1 count=96 status=none
             dd if=back.img of=ntfs.back bs=1M skip=97 count=48 status=none
             e2fsck -fn ext4.back >&2; ntfsfix -n ntfs.back >&2
             mkdir then now
             debugfs -R 'rdump / then' ext4 >/dev/null 2>&1; debugfs -R 'rdump / now' ext4.back >/dev/null 2>&1
             for n in 8 10 20 35 50; do ntfscat ntfs $n.bin >then/n$n; ntfscat ntfs.back $n.bin >now/n$n; done
             ntfscat ntfs media.bin >then/media; ntfscat ntfs.back media.bin >now/media
             [ $(find then -type f | wc -l) -ge 45 ]; diff -r then now",
        );
        tool("sgdisk", &["-v", &copy.display().to_string()]);
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let mount = self.path("mnt");
        // A test that failed in between may have it unmounted.
        let _ = Command::new("umount").arg(mount).status();
    }
}

const IMAGE: [&str; 6] = ["image", "mnt/disk.img", "out", "--name", "pc", "--json"];

#[test]
fn a_disk_that_gets_worse_is_imaged_by_a_job_that_is_killed_twice() {
    let mut disk = Failing::new();
    let nth = |blocks: Vec<u64>, nth: usize| blocks[nth];
    let media = disk.ext4("/media.bin");
    let first: BTreeSet<u64> = [
        nth(disk.ext4("/docs/7.bin"), 3),
        nth(disk.ext4("/docs/40.bin"), 100),
        media[3000],
        media[9000],
        media[9004],
        nth(disk.ntfs("20.bin"), 5),
        nth(disk.ntfs("media.bin"), 1000),
    ]
    .into();
    disk.fail(&first);
    disk.image_killed_at(14 * MIB);
    // What is free on the ext4 is not known any more, and more files are hit.
    let mut second = disk.bitmaps();
    second.extend([media[13_000], nth(disk.ntfs("50.bin"), 20)]);
    second.extend(disk.ntfs("$Bitmap"));
    disk.fail(&second);
    disk.image_killed_at(40 * MIB);
    disk.fail(&[nth(disk.ntfs("media.bin"), 2000)].into());

    let output = disk.rescue(&IMAGE).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        report["resumed_bytes"].as_u64().unwrap() > 4 * MIB,
        "{report}"
    );
    let mut lost = Failing::blocks_of(&report, "unreadable");
    lost.extend(Failing::blocks_of(&report, "untried"));
    assert!(lost.is_subset(&disk.bad), "{lost:?} {:?}", disk.bad);
    assert!(first.is_subset(&lost), "{lost:?} {first:?}");

    let named: BTreeSet<(u64, String)> = report["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            (
                file["partition"].as_u64().unwrap(),
                file["path"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(named, disk.owners(&lost), "{report}");
    assert!(named.len() >= 5, "{named:?}");

    crate::made::full_of_ones(&disk.path("back.img"), 160);
    let restore = [
        "restore",
        "out/pc.img.zst",
        "back.img",
        "--approve",
        "back.img",
    ];
    let output = disk.rescue(&restore).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    disk.assert_nothing_else_is_missing(&disk.path("back.img"), &lost);
}
