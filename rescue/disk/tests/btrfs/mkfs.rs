//! btrfs filesystems made by mkfs.btrfs and filled through the kernel.

use tempfile::{NamedTempFile, TempDir};

use crate::made::{blank, run, run_any};

pub const MIB: u64 = 1 << 20;
pub const PACKAGE: &str = "btrfs-progs";

/// One filesystem on as many disks.
pub fn array(disks: usize, size: u64, options: &[&str]) -> Vec<NamedTempFile> {
    let disks: Vec<_> = (0..disks).map(|_| blank(size)).collect();
    let mut args = vec!["-q", "-f"];
    args.extend(options);
    args.extend(disks.iter().map(|disk| disk.path().to_str().unwrap()));
    run("mkfs.btrfs", PACKAGE, &args, "");
    disks
}

pub fn made(size: u64, options: &[&str]) -> NamedTempFile {
    array(1, size, options).remove(0)
}

pub fn shell(script: &str) -> String {
    let (code, text) = run_any("bash", "bash", &["-euo", "pipefail", "-c", script], "");
    assert_eq!(
        code, 0,
        "a kernel with btrfs, loop devices and root are needed: {text}"
    );
    text
}

/// What a script prints that runs in the mounted filesystem, which commits only when told to. `$dir` is a folder
/// beside it.
pub fn mounted(disks: &[NamedTempFile], script: &str) -> (String, TempDir) {
    let dir = TempDir::new().unwrap();
    let text = shell(&format!(
        "dir={}; mkdir $dir/mnt; {}; \
         mount -t btrfs -o commit=3600$options $loop $dir/mnt; cd $dir/mnt; {script}",
        dir.path().display(),
        attached(disks)
    ));
    (text, dir)
}

/// Loop devices, until the script ends. The kernel forgets them, for copies of a filesystem are told apart by nothing.
pub fn attached(disks: &[NamedTempFile]) -> String {
    let paths: Vec<_> = disks.iter().map(|d| d.path().to_str().unwrap()).collect();
    format!(
        "loops=(); ended() {{ cd /; [ -z \"${{dir-}}\" ] || ! mountpoint -q $dir/mnt || umount $dir/mnt; \
         for loop in ${{loops[@]}}; do btrfs device scan -u $loop || true; losetup -d $loop; done; }}; trap ended EXIT; \
         options=; for disk in {}; do loop=$(losetup -f --show $disk); loops+=($loop); options+=,device=$loop; done",
        paths.join(" ")
    )
}

/// Files small enough to lie in a node, small, and large; deleted in part; snapshots, reflinks, holes, links.
pub const FILL: &str = "\
    mkdir a a/b; echo >' a name  ';  btrfs -q subvolume create sub; btrfs -q subvolume create sub/inner; echo within >sub/inner/file; \
    for n in {1..300}; do head -c $((n * 14)) /dev/urandom >a/inline-$n; done; \
    for n in {1..150}; do head -c $((n * 977)) /dev/urandom >a/b/some-$n; done; \
    head -c 14M /dev/urandom >large; sync -f .; \
    rm a/inline-*[147] a/b/some-*[258]; sync -f .; \
    for n in {1..60}; do head -c 60K /dev/urandom >sub/again-$n; done; \
    cp --reflink=always large sub/shared; btrfs -q subvolume snapshot sub snap; rm sub/again-*5; \
    printf middle | dd of=snap/shared bs=1 seek=9000000 conv=notrunc status=none; \
    truncate -s 3M hole; printf end >>hole; fallocate -l 2M reserved; ln -s where/it/leads link; mkfifo pipe; sync -f .";

pub const SUMS: &str = "find . -type f -print0 | sort -z | xargs -0 sha256sum";

/// A subvolume's name in a snapshot is an empty directory without a time of its own.
pub const LIST: &str = "find . -mindepth 1 -printf '%y|%s|%Ts|%P|%l\\n' | sed '/|snap.inner|/s/|[0-9]*|snap/|none|snap/'";

/// The files' kinds, sizes and times, and their sums.
pub fn filled(disks: &[NamedTempFile], more: &str) -> (String, String) {
    let fill = format!("({FILL}; {more}; sync -f .) >/dev/null");
    let (text, _) = mounted(disks, &format!("{fill}; {LIST}; echo; {SUMS}"));
    let (list, sums) = text.rsplit_once("\n\n").unwrap();
    // What the tools say is behind them.
    let sums = sums.lines().filter(|line| line.contains("  ./"));
    (
        list.to_owned(),
        sums.map(|sum| format!("{sum}\n")).collect(),
    )
}
