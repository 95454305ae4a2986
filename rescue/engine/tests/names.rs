//! The files that lost something are named, exactly those, by what other tools say of where they are.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

mod scene;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use disk::extent::ExtentMap;
use engine::fake::{FakeDisk, FakeHost, FakeStore};
use engine::report::Report;

use scene::{MIB, clone, exact, image, map, request, restore, run, verify};

/// Partitions: number, first byte.
const EXT4: (u32, u64) = (1, 1 << 20);
const NTFS: (u32, u64) = (2, 21 << 20);
const FAT: (u32, u64) = (3, 31 << 20);

fn shell(script: &str) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .env("LC_ALL", "C")
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .expect("bash runs");
    assert!(
        output.status.success(),
        "e2fsprogs, ntfs-3g, dosfstools, mtools and gdisk are needed: {script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

struct Made {
    bytes: Vec<u8>,
    directory: tempfile::TempDir,
}

/// A GPT disk with the same files on ext4, NTFS and FAT16.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        shell(&format!(
            "cd {}; mkdir -p tree/docs; \
             for n in $(seq 1 40); do head -c $((n * 3000)) /dev/urandom >tree/docs/$n.bin; done; \
             truncate -s 20M ext4; mke2fs -q -F -t ext4 -d tree ext4; \
             truncate -s 10M ntfs; mkntfs -Q -F -s 512 ntfs >mkntfs.log 2>&1; \
             for n in 7 12 30; do ntfscp -q ntfs tree/docs/$n.bin $n.bin; done; \
             truncate -s 8M fat; mkfs.fat -F 16 -s 1 fat >mkfs.log; \
             mcopy -i fat tree/docs/7.bin tree/docs/12.bin tree/docs/30.bin ::/; \
             truncate -s 40M disk; \
             sgdisk --clear --new=1:1M:+20M --new=2:21M:+10M --typecode=2:0700 --new=3:31M:+8M --typecode=3:0700 disk >sgdisk.log; \
             dd if=ext4 of=disk bs=1M seek=1 conv=notrunc status=none; \
             dd if=ntfs of=disk bs=1M seek=21 conv=notrunc status=none; \
             dd if=fat of=disk bs=1M seek=31 conv=notrunc status=none",
            directory.path().display()
        ));
        let bytes = std::fs::read(directory.path().join("disk")).unwrap();
        Made { bytes, directory }
    })
}

impl Made {
    fn ask(&self, command: &str) -> String {
        shell(&format!(
            "cd {}; {command}",
            self.directory.path().display()
        ))
    }

    /// Where block `nth` of a file on ext4 is, as debugfs says.
    fn ext4(&self, path: &str, nth: usize) -> u64 {
        let blocks = self.ask(&format!("debugfs -R 'blocks {path}' ext4 2>/dev/null"));
        let block: u64 = blocks.split_whitespace().nth(nth).unwrap().parse().unwrap();
        EXT4.1 + block * 1024
    }

    /// The sector of a file's inode on ext4, as debugfs says.
    fn inode(&self, path: &str) -> u64 {
        let said = self.ask(&format!("debugfs -R 'imap {path}' ext4 2>/dev/null"));
        let block = said.split("block ").last().unwrap();
        let block: u64 = block.split(',').next().unwrap().parse().unwrap();
        let offset = said.split("0x").nth(1).unwrap().trim();
        (EXT4.1 + block * 1024 + u64::from_str_radix(offset, 16).unwrap()) / 512 * 512
    }

    /// The first sector of cluster `nth` of a file in one run on NTFS, as ntfscluster says.
    fn ntfs(&self, name: &str, nth: u64) -> u64 {
        let said = self.ask(&format!("ntfscluster -f -F {name} ntfs 2>/dev/null"));
        let run = said.lines().last().unwrap();
        let lcn: u64 = run.split_whitespace().nth(1).unwrap().parse().unwrap();
        NTFS.1 + (lcn + nth) * 4096
    }

    /// The sector of cluster `nth` of a file on FAT16, as mshowfat says.
    fn fat(&self, name: &str, nth: u64) -> u64 {
        let said = self.ask(&format!("mshowfat -i fat ::/{name}"));
        let first = said.split('<').nth(1).unwrap();
        let first: u64 = first.split(['-', '>']).next().unwrap().parse().unwrap();
        // One boot sector, two FATs of 64 sectors, 512 entries of the root directory.
        FAT.1 + (1 + 2 * 64 + 32 + first - 2 + nth) * 512
    }
}

fn machine(bad: &ExtentMap) -> FakeHost {
    let host = FakeHost::new();
    let source = FakeDisk::new("/dev/sda", "SOURCE01", made().bytes.clone());
    source.set_bad(bad.clone());
    host.add(&source);
    host.add(&FakeDisk::new("/dev/sdb", "DEST0002", vec![0; 41 * MIB]));
    host.add_store("/mnt", &FakeStore::new("/mnt", 1 << 30));
    host
}

fn named(report: &Report) -> Vec<(Option<u32>, &str, u64)> {
    report
        .files
        .iter()
        .map(|file| (file.partition, file.path.as_str(), file.lost_bytes))
        .collect()
}

#[test]
fn the_damaged_files_of_three_filesystems_are_named_and_no_others() {
    let made = made();
    let bad = map(&[
        (made.ext4("/docs/7.bin", 0), 1024),
        (made.ext4("/docs/7.bin", 5), 512),
        (made.ext4("/docs/40.bin", 100), 512),
        (made.ntfs("12.bin", 3), 512),
        (made.fat("30.bin", 9), 512),
    ]);
    let expected = [
        (Some(1), "docs/7.bin", 1536),
        (Some(1), "docs/40.bin", 512),
        (Some(2), "12.bin", 512),
        (Some(3), "30.BIN", 512),
    ];
    let host = machine(&bad);
    let check = |report: &Report| {
        assert_eq!(report.outcome.exit_code(), 2, "{report}");
        let mut found = named(report);
        found.iter_mut().for_each(|file| {
            if file.1.eq_ignore_ascii_case("30.bin") {
                file.1 = "30.BIN";
            }
        });
        assert_eq!(found, expected, "{report}");
        assert_eq!(report.more_files, 0);
    };
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &host);
    check(&report);
    let said = report.to_string();
    assert!(
        said.contains("partition 1: docs/7.bin, 1536 of 21000 bytes"),
        "{said}"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["files"][0]["path"], "docs/7.bin");
    assert_eq!(json["files"][0]["size_bytes"], 21_000);
    // An image tells it when it is made; of what it left out a whole granule counts when it is read back.
    check(&run(&request(image("/dev/sda", "/mnt", "pc")), &host));
    let report = run(&request(restore("/mnt/pc.img.zst", "/dev/sdb")), &host);
    let mut names: Vec<&str> = report.files.iter().map(|f| f.path.as_str()).collect();
    names.sort_unstable();
    for (_, path, _) in expected {
        assert!(
            names.iter().any(|name| name.eq_ignore_ascii_case(path)),
            "{path} is missing: {names:?}"
        );
    }
}

#[test]
fn what_lies_behind_the_end_of_a_file_is_no_loss() {
    let made = made();
    // 3000 bytes are two blocks and 952 bytes: the last 72 bytes of the third lie behind its end. Its second
    // sector begins inside the file, so that the file loses 440 bytes.
    let bad = map(&[(made.ext4("/docs/1.bin", 2) + 512, 512)]);
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &machine(&bad));
    assert_eq!(named(&report), [(Some(1), "docs/1.bin", 440)], "{report}");
}

#[test]
fn a_file_whose_record_is_lost_and_a_directory_are_told_apart() {
    let made = made();
    let inode = map(&[(made.inode("/docs/9.bin"), 512)]);
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &machine(&inode));
    let lost: Vec<_> = report
        .files
        .iter()
        .filter(|file| file.size_bytes.is_none())
        .map(|file| file.path.as_str())
        .collect();
    assert!(lost.contains(&"docs/9.bin"), "{report}");
    // Two inodes of 256 bytes share a sector.
    assert!(lost.len() <= 2, "{report}");
    let said = report.to_string();
    assert!(
        said.contains("docs/9.bin, whose record cannot be read"),
        "{said}"
    );
    assert!(said.contains("own records"), "{said}");

    let directory = map(&[(made.ext4("/docs", 0), 512)]);
    let report = run(
        &request(clone("/dev/sda", "/dev/sdb")),
        &machine(&directory),
    );
    assert!(
        report.files.iter().any(|file| file.path == "docs"),
        "{report}"
    );
    let said = report.notes.join("\n");
    assert!(
        said.contains("the index of directory docs of partition 1 (ext4) is damaged"),
        "{said}"
    );
}

/// What the disk had no second copy of is a part that nobody knows: neither files nor free space.
#[test]
fn what_lies_where_the_map_cannot_be_read_is_said_to_be_unknown() {
    let made = made();
    let stated = made.ask("dumpe2fs ext4 2>/dev/null");
    let group = stated.split("Group 1:").nth(1).unwrap();
    let bitmap = group.split("Block bitmap at ").nth(1).unwrap();
    let bitmap: u64 = bitmap.split(' ').next().unwrap().parse().unwrap();
    // The map of the second group of 8 MiB, and a block in the middle of it that is free.
    let bad = map(&[(EXT4.1 + bitmap * 1024, 512), (EXT4.1 + (15 << 20), 512)]);
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &machine(&bad));
    let said = report.notes.join("\n");
    assert!(
        said.contains("whether anything was there is not known"),
        "{said}"
    );
}

#[test]
fn records_free_space_and_the_table_are_no_files_and_said_as_such() {
    let journal = map(&[(made().ext4("<8>", 100), 512)]);
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &machine(&journal));
    assert!(report.files.is_empty(), "{report}");
    let said = report.notes.join("\n");
    assert!(
        said.contains("partition 1 (ext4)'s own records") && said.contains("512 bytes"),
        "{said}"
    );
    // The last block but some of the partition is free.
    let free = map(&[(EXT4.1 + (19 << 20), 512)]);
    let report = run(&exact(clone("/dev/sda", "/dev/sdb")), &machine(&free));
    assert!(report.files.is_empty(), "{report}");
    assert!(
        report
            .notes
            .join("\n")
            .contains("free space of partition 1 (ext4)"),
        "{report}"
    );
    let gap = map(&[(512 << 10, 512)]);
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &machine(&gap));
    assert!(
        report.notes.join("\n").contains("in no partition"),
        "{report}"
    );
}

#[test]
fn the_files_that_differ_and_those_an_image_lost_are_named() {
    let made = made();
    let host = machine(&ExtentMap::new());
    let store = FakeStore::new("/mnt", 1 << 30);
    host.add_store("/mnt", &store);
    run(&request(image("/dev/sda", "/mnt", "pc")), &host);
    run(&request(clone("/dev/sda", "/dev/sdb")), &host);
    // One byte of a file is another on the copy.
    let place = usize::try_from(made.ext4("/docs/33.bin", 20) + 7).unwrap();
    let mut bytes = host.disk("/dev/sdb").unwrap().bytes();
    bytes[place] ^= 1;
    host.remove("/dev/sdb");
    host.add(&FakeDisk::new("/dev/sdb", "DEST0002", bytes));
    let report = run(&request(verify("/mnt/pc.img.zst", "/dev/sdb")), &host);
    assert_eq!(report.outcome.exit_code(), 2, "{report}");
    let names: Vec<&str> = report.files.iter().map(|f| f.path.as_str()).collect();
    assert!(names.contains(&"docs/33.bin"), "{report}");
    // What differs is told in blocks of 4 KiB: four of this filesystem's.
    assert!(names.len() <= 4, "{report}");

    // Noise is stored as it is, so that the same bytes are in the image.
    let content = &made.bytes[place..place + 64];
    let mut stored = store.get("pc.img.zst").unwrap();
    let at = stored.windows(64).position(|w| w == content).unwrap();
    stored[at] ^= 1;
    store.put("bad.img.zst", stored);
    let check = engine::request::Action::Check {
        image: engine::request::Place::Path("/mnt/bad.img.zst".into()),
    };
    let report = run(&request(check), &host);
    assert_eq!(report.outcome.exit_code(), 2, "{report}");
    assert!(
        report
            .files
            .iter()
            .any(|f| f.path == "docs/33.bin" && f.partition == Some(1)),
        "{report}"
    );
    let lost: u64 = report.files.iter().map(|f| f.lost_bytes).sum();
    assert!(lost <= report.unreadable.total_bytes(), "{report}");
}

#[test]
fn a_job_without_damage_names_nothing() {
    let report = run(
        &request(clone("/dev/sda", "/dev/sdb")),
        &machine(&ExtentMap::new()),
    );
    assert!(
        report.files.is_empty() && report.notes.is_empty(),
        "{report}"
    );
    assert!(Path::new(made().directory.path()).exists());
}
