//! Whole jobs by the real program on made-up disks, judged by tools that are not ours.

use std::path::Path;
use std::process::{Command, Output};

use crate::made::{self, UNMOUNT, assert_clean, content, digest, disk, full_of_ones, shell, tool};
use tempfile::TempDir;

fn rescue(directory: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args(words)
        .current_dir(directory)
        .output()
        .unwrap()
}

/// Runs a job that must end with this code, and returns what it said.
pub fn expect(directory: &Path, words: &[&str], code: i32) -> String {
    let output = rescue(directory, words);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        output.status.code(),
        Some(code),
        "rescue {words:?} said: {said}"
    );
    said
}

fn made_disk() -> String {
    disk().display().to_string()
}

#[test]
fn zstd_alone_unpacks_an_image_to_what_restore_writes() {
    let dir = TempDir::new().unwrap();
    let before = digest(disk());
    let said = expect(dir.path(), &["image", &made_disk(), ".", "--name", "pc"], 0);
    for line in [
        "partition 1 (vfat): whole, 120 files",
        "partition 2 (ext4): whole, 82 files",
        "partition 3 (ntfs): whole, 19 files",
        "partition 4 (swap): whole",
    ] {
        assert!(
            said.contains(&format!("read from the copy: {line}")),
            "{said}"
        );
    }
    tool(
        "zstd",
        &[
            "-q",
            "-t",
            &dir.path().join("pc.img.zst").display().to_string(),
        ],
    );
    expect(dir.path(), &["restore", "pc.img.zst", "new.img"], 0);
    shell(&format!(
        "cd {}; zstd -dc pc.img.zst | cmp - new.img",
        dir.path().display()
    ));
    assert_eq!(digest(disk()), before, "the source was touched");
    assert_clean(&dir.path().join("new.img"));
    assert_eq!(content(&dir.path().join("new.img")), content(disk()));
    expect(dir.path(), &["check", "pc.img.zst"], 0);
    expect(dir.path(), &["verify", "pc.img.zst", "new.img"], 0);
    expect(dir.path(), &["verify", "pc.img.zst", &made_disk()], 0);
    let info = expect(dir.path(), &["info", "pc.img.zst"], 0);
    assert!(info.contains("ext4") && info.contains("ntfs"), "{info}");
}

#[test]
fn an_image_is_smaller_by_what_nothing_uses() {
    let dir = TempDir::new().unwrap();
    expect(
        dir.path(),
        &["image", &made_disk(), ".", "--name", "used", "--no-verify"],
        0,
    );
    expect(
        dir.path(),
        &[
            "image",
            &made_disk(),
            ".",
            "--name",
            "all",
            "--exact",
            "--no-verify",
        ],
        0,
    );
    let size = |name: &str| dir.path().join(name).metadata().unwrap().len();
    // More than 100 of the 150 MiB are stale noise in free space.
    assert!(
        size("used.img.zst") < size("all.img.zst") / 3,
        "{} {}",
        size("used.img.zst"),
        size("all.img.zst")
    );
    shell(&format!(
        "cd {}; zstd -dc all.img.zst | cmp - {}",
        dir.path().display(),
        made_disk()
    ));
}

#[test]
fn a_disk_full_of_ones_is_whole_after_restore_and_after_clone() {
    let dir = TempDir::new().unwrap();
    expect(
        dir.path(),
        &["image", &made_disk(), ".", "--name", "pc", "--no-verify"],
        0,
    );
    for (name, words) in [
        ("a.img", ["restore", "pc.img.zst"]),
        ("b.img", ["clone", &made_disk()]),
    ] {
        let path = dir.path().join(name);
        full_of_ones(&path, made::SIZE_MIB);
        expect(
            dir.path(),
            &[words[0], words[1], name, "--approve", name],
            0,
        );
        assert_clean(&path);
        assert_eq!(content(&path), content(disk()));
    }
    expect(dir.path(), &["verify", &made_disk(), "b.img"], 0);
}

#[test]
fn an_exact_clone_is_equal_to_the_last_byte() {
    let dir = TempDir::new().unwrap();
    expect(
        dir.path(),
        &["clone", &made_disk(), "copy.img", "--exact"],
        0,
    );
    tool(
        "cmp",
        &[
            &made_disk(),
            &dir.path().join("copy.img").display().to_string(),
        ],
    );
}

#[test]
fn a_larger_disk_gets_its_table_at_the_new_end() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("large.img");
    full_of_ones(&path, 200);
    expect(
        dir.path(),
        &["clone", &made_disk(), "large.img", "--approve", "large.img"],
        0,
    );
    assert_clean(&path);
    let table = |p: &Path| shell(&format!("sfdisk -d {} | grep -o 'start=.*'", p.display()));
    assert_eq!(table(&path), table(disk()));
    assert_eq!(content(&path), content(disk()));
}

#[test]
fn what_was_fsynced_before_a_power_cut_is_in_the_image() {
    fsynced_files_come_back("mke2fs -q -t ext4", 200, "loop", "replayed in memory");
}

#[test]
fn what_was_fsynced_on_xfs_before_a_power_cut_is_in_the_image() {
    fsynced_files_come_back("mkfs.xfs -q", 320, "loop", "replayed in memory");
}

#[test]
fn what_was_fsynced_on_btrfs_before_a_power_cut_is_in_the_image() {
    fsynced_files_come_back("mkfs.btrfs -q", 320, "loop,commit=3600", "found by its log");
}

/// `said` of a filesystem that was not unmounted.
fn fsynced_files_come_back(mkfs: &str, mib: u64, options: &str, said: &str) {
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    // The file behind a mounted filesystem, copied while it is mounted, is what a power cut leaves.
    shell(&format!(
        "cd {at}; truncate -s {mib}M live.img; {mkfs} live.img; mkdir mnt; mount -o {options} live.img mnt; \
         trap 'umount mnt' EXIT; \
         for n in $(seq 1 40); do head -c 1M /dev/urandom >mnt/$n; sync mnt/$n; done; (cd mnt; sha256sum $(seq 1 40)) >sums; \
         cp --sparse=always live.img cut.img"
    ));
    expect(dir.path(), &["image", "cut.img", ".", "--name", "cut"], 0);
    let info = expect(dir.path(), &["info", "cut.img.zst"], 0);
    assert!(info.contains(said), "it is not dirty: {info}");
    full_of_ones(&dir.path().join("back.img"), mib);
    expect(
        dir.path(),
        &[
            "restore",
            "cut.img.zst",
            "back.img",
            "--approve",
            "back.img",
        ],
        0,
    );
    let found = shell(&format!(
        "cd {at}; mount -o loop back.img mnt; trap 'umount mnt' EXIT; (cd mnt; sha256sum -c ../sums 2>/dev/null | grep -c OK)"
    ));
    assert_eq!(found, "40");
}

#[test]
fn a_camera_card_comes_back_with_every_file() {
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    let mounted = |image: &str, before: &str, script: &str| {
        shell(&format!(
            "cd {at}; mkdir -p mnt; dev=$(losetup -f --show {image}); \
             {UNMOUNT}; trap '! mountpoint -q mnt || unmount mnt; losetup -d $dev' EXIT; {before}; \
             mount.exfat-fuse $dev mnt >/dev/null; {script}; unmount mnt; fsck.exfat -n $dev >&2"
        ))
    };
    full_of_ones(&dir.path().join("card.img"), 80);
    mounted(
        "card.img",
        "mkfs.exfat -c 32K -L CARD $dev >/dev/null",
        "mkdir mnt/DCIM; for n in $(seq 60); do head -c $((n * 9000)) /dev/urandom >mnt/DCIM/$n.jpg; done; \
         rm mnt/DCIM/*[258].jpg; head -c 9M /dev/urandom >mnt/clip.mp4; \
         (cd mnt; find . -type f -print0 | xargs -0 sha256sum) >sums",
    );
    let said = expect(dir.path(), &["image", "card.img", ".", "--name", "card"], 0);
    assert!(said.contains("(exfat): whole, 43 files"), "{said}");
    full_of_ones(&dir.path().join("back.img"), 80);
    expect(
        dir.path(),
        &[
            "restore",
            "card.img.zst",
            "back.img",
            "--approve",
            "back.img",
        ],
        0,
    );
    let found = mounted(
        "back.img",
        "true",
        "(cd mnt; sha256sum -c ../sums 2>/dev/null | grep -c OK)",
    );
    assert_eq!(found, "43");
}

/// A small filesystem in memory; unmounted when dropped.
struct Small {
    path: std::path::PathBuf,
}

impl Small {
    fn mounted(path: std::path::PathBuf, mib: u32) -> Small {
        shell(&format!(
            "mkdir {0}; mount -t tmpfs -o size={mib}M tmpfs {0}",
            path.display()
        ));
        Small { path }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        shell(&format!("umount {}", self.path.display()));
    }
}

#[test]
fn a_store_without_room_for_the_estimate_is_refused() {
    let dir = TempDir::new().unwrap();
    let small = Small::mounted(dir.path().join("small"), 24);
    let said = expect(
        dir.path(),
        &["image", &made_disk(), "small", "--name", "pc", "--exact"],
        3,
    );
    assert!(said.contains("small"), "{said}");
    assert_eq!(std::fs::read_dir(&small.path).unwrap().count(), 0);
}

#[test]
fn a_store_that_fills_up_keeps_what_it_has_and_the_job_goes_on_elsewhere() {
    let dir = TempDir::new().unwrap();
    let small = Small::mounted(dir.path().join("small"), 200);
    let unfinished = small.path.join("pc.img.zst.unfinished");
    let mut job = Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args([
            "image",
            &made_disk(),
            "small",
            "--name",
            "pc",
            "--exact",
            "--no-verify",
        ])
        .current_dir(dir.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !unfinished.exists() && job.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // Somebody else fills the store while the job runs.
    shell(&format!(
        "dd if=/dev/zero of={}/filler bs=1M status=none 2>/dev/null || true",
        small.path.display()
    ));
    let output = job.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no room") && said.contains("small"), "{said}");
    let kept = unfinished.metadata().unwrap().len();
    assert!(kept > 1 << 20, "only {kept} bytes were kept");
    // What is kept moves to another store, and the same command goes on there.
    std::fs::copy(&unfinished, dir.path().join("pc.img.zst.unfinished")).unwrap();
    expect(
        dir.path(),
        &["image", &made_disk(), ".", "--name", "pc", "--exact"],
        0,
    );
    shell(&format!(
        "cd {}; zstd -dc pc.img.zst | cmp - {}",
        dir.path().display(),
        made_disk()
    ));
}
