//! A made-up disk of real parts: GPT with FAT32, ext4, NTFS and swap, every filesystem by its own mkfs, filled with
//! real files, some deleted, free space full of stale bytes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// Partition number, start in MiB, length in MiB.
pub const ESP: (u32, u64, u64) = (1, 1, 40);
pub const EXT4: (u32, u64, u64) = (2, 41, 60);
pub const NTFS: (u32, u64, u64) = (3, 101, 40);
pub const SWAP: (u32, u64, u64) = (4, 141, 8);
pub const SIZE_MIB: u64 = 150;

/// `unmount DIRECTORY`, in a shell. What a program of its own serves is busy until that has heard of the last close:
/// waited for, a minute at most.
pub const UNMOUNT: &str = "unmount() { local n; for n in $(seq 600); do umount $1 2>/dev/null && return; sleep 0.1; done; umount $1; }";

/// Runs a tool that must succeed; a tool that is absent is a failure that names it.
pub fn tool(name: &str, args: &[&str]) -> Output {
    let output = attempt(name, args);
    assert!(
        output.status.success(),
        "{name} {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub fn attempt(name: &str, args: &[&str]) -> Output {
    let run = Command::new(name)
        .args(args)
        .env("LC_ALL", "C")
        .env("MTOOLS_SKIP_CHECK", "1")
        .output();
    run.unwrap_or_else(|error| {
        panic!("{name} is needed by this test: {error}; ./qemu-tests/run installs it")
    })
}

pub fn shell(script: &str) -> String {
    let output = tool("bash", &["-euo", "pipefail", "-c", script]);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The program, with these words, in a directory; whatever passphrase this environment has is not for it.
pub fn rescue(directory: &Path, words: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args(words)
        .env_remove("RESCUE_PASSPHRASE")
        .current_dir(directory)
        .output();
    output.unwrap()
}

/// Made once for all tests of a program.
pub fn disk() -> &'static Path {
    static DISK: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = DISK.get_or_init(|| {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("disk.img");
        make(directory.path(), &path);
        (directory, path)
    });
    path
}

fn make(directory: &Path, path: &Path) {
    let (dir, out) = (directory.display(), path.display());
    let part = |(_, start, len): (u32, u64, u64), file: &str| {
        format!(
            "dd if={dir}/{file} of={out} bs=1M seek={start} count={len} conv=notrunc status=none\n"
        )
    };
    // Stale bytes: not zero, not compressible to nothing, and none of them used by anything.
    let mut script = format!(
        "head -c {}M /dev/urandom >{out}\n\
         sgdisk --zap-all {out} >/dev/null 2>&1 || true\n\
         sgdisk --clear --new=1:1M:+40M --typecode=1:EF00 --new=2:0:+60M --new=3:0:+40M --typecode=3:0700 \
           --new=4:0:+8M --typecode=4:8200 {out} >/dev/null\n",
        SIZE_MIB
    );
    for ((_, start, len), file) in [(ESP, "esp"), (EXT4, "ext4"), (NTFS, "ntfs"), (SWAP, "swap")] {
        script.push_str(&format!(
            "dd if={out} of={dir}/{file} bs=1M skip={start} count={len} status=none\n"
        ));
    }
    script.push_str(&format!(
        "mkfs.fat -F 32 -s 1 -n ESP {dir}/esp >/dev/null\n\
         mkdir -p {dir}/tree/docs\n\
         for n in $(seq 1 120); do head -c $((n * 700)) /dev/urandom | base64 >{dir}/tree/docs/$n.txt; done\n\
         head -c 6M /dev/urandom >{dir}/tree/media.bin\n\
         head -c 8M /dev/zero >{dir}/tree/zeros.bin\n\
         mcopy -i {dir}/esp -s {dir}/tree/docs ::/ \n\
         mke2fs -q -F -t ext4 -L root -E nodiscard -d {dir}/tree {dir}/ext4\n\
         for n in $(seq 3 3 120); do echo rm docs/$n.txt; done | debugfs -w -f - {dir}/ext4 >/dev/null 2>&1\n\
         e2fsck -fy {dir}/ext4 >/dev/null 2>&1 || [ $? -le 1 ]\n\
         mkntfs -Q -F -L data {dir}/ntfs >/dev/null 2>&1\n\
         for n in 20 40 60 80 100; do ntfscp -q {dir}/ntfs {dir}/tree/docs/$n.txt $n.txt; done\n\
         ntfscp -q {dir}/ntfs {dir}/tree/media.bin media.bin\n\
         mkswap -L swap {dir}/swap >/dev/null 2>&1\n"
    ));
    for (place, file) in [(ESP, "esp"), (EXT4, "ext4"), (NTFS, "ntfs"), (SWAP, "swap")] {
        script.push_str(&part(place, file));
    }
    shell(&script);
}

/// A partition of a disk file, cut out into a folder of the caller's.
fn partition(disk: &Path, folder: &TempDir, (number, start, len): (u32, u64, u64)) -> String {
    let out = folder.path().join(format!("p{number}"));
    shell(&format!(
        "dd if={} of={} bs=1M skip={start} count={len} status=none",
        disk.display(),
        out.display()
    ));
    out.display().to_string()
}

/// Every checker of the disk's own filesystems finds nothing.
pub fn assert_clean(disk: &Path) {
    let folder = TempDir::new().unwrap();
    let path = |place| partition(disk, &folder, place);
    let table = tool("sgdisk", &["-v", &disk.display().to_string()]);
    let words = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(words.contains("No problems found"), "{words}");
    tool("e2fsck", &["-fn", &path(EXT4)]);
    tool("fsck.fat", &["-n", &path(ESP)]);
    tool("ntfsfix", &["-n", &path(NTFS)]);
}

/// One digest over every file of the three filesystems, by tools that are not ours.
pub fn content(disk: &Path) -> String {
    let folder = TempDir::new().unwrap();
    let [esp, ext4, ntfs] = [ESP, EXT4, NTFS].map(|place| partition(disk, &folder, place));
    shell(&format!(
        "t=$(mktemp -d); mkdir $t/a $t/b $t/c; debugfs -R \"rdump / $t/a\" {} >/dev/null 2>&1; mcopy -i {} -s ::/docs $t/b/; \
         for n in 20.txt 40.txt 60.txt 80.txt 100.txt media.bin; do ntfscat {} $n >$t/c/$n; done; \
         cd $t; [ $(find . -type f | wc -l) -gt 200 ]; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum; rm -rf $t",
        ext4, esp, ntfs
    ))
}

pub fn digest(path: &Path) -> String {
    shell(&format!("sha256sum <{}", path.display()))
}

/// A file full of 0xFF: whatever is not written shows.
pub fn full_of_ones(path: &Path, mib: u64) {
    let row = vec![0xff; usize::try_from(MIB).unwrap()];
    let mut file = std::fs::File::create(path).unwrap();
    for _ in 0..mib {
        std::io::Write::write_all(&mut file, &row).unwrap();
    }
}
