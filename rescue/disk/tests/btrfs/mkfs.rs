//! btrfs filesystems made by mkfs.btrfs and filled through the kernel.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use disk::extent::ExtentMap;
use disk::fs::{Filesystem, Used, recognise};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{blank, open, run, run_any};

pub const MIB: u64 = 1 << 20;
pub const PACKAGE: &str = "btrfs-progs";

pub fn read(file: &NamedTempFile) -> Filesystem {
    recognise(&open(file)).unwrap().expect("it is btrfs").1
}

pub fn map(filesystem: &Filesystem) -> &ExtentMap {
    match &filesystem.used {
        Used::Map { extents, .. } => extents,
        Used::Whole(why) => panic!("it was taken whole: {why}"),
    }
}

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

/// Loop devices, until the script ends. The kernel forgets them, for copies of a filesystem are told apart by nothing;
/// btrfs-progs finds them through libblkid, which would remember what stood on them before.
fn attached(disks: &[NamedTempFile]) -> String {
    let paths: Vec<_> = disks.iter().map(|d| d.path().to_str().unwrap()).collect();
    format!(
        "loops=(); export BLKID_FILE=$(mktemp -u); ended() {{ cd /; rm -f $BLKID_FILE; [ -z \"${{dir-}}\" ] || ! mountpoint -q $dir/mnt || umount $dir/mnt; \
         for loop in ${{loops[@]}}; do btrfs device scan -u $loop || true; losetup -d $loop; done; }}; trap ended EXIT; \
         options=; for disk in {}; do loop=$(losetup -f --show $disk); loops+=($loop); options+=,device=$loop; done",
        paths.join(" ")
    )
}

/// Files small enough to lie in a node, small, and large; deleted in part; snapshots, reflinks, holes, links.
pub const FILL: &str = "\
    mkdir a a/b; btrfs -q subvolume create sub; btrfs -q subvolume create sub/inner; echo within >sub/inner/file; \
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

/// Only what the map holds, on a disk full of ones.
pub fn restored(from: &NamedTempFile) -> NamedTempFile {
    let found = read(from);
    let size = open_size(from);
    let back = blank(size);
    let ones = vec![0xFF; 1 << 20];
    for at in (0..size).step_by(1 << 20) {
        let len = usize::try_from(MIB.min(size - at)).unwrap();
        back.as_file().write_all_at(&ones[..len], at).unwrap();
    }
    for extent in found.used.extents(size).iter() {
        for piece in extent.split_at_multiples(MIB) {
            let mut bytes = vec![0; usize::try_from(piece.len()).unwrap()];
            from.as_file()
                .read_exact_at(&mut bytes, piece.start())
                .unwrap();
            back.as_file().write_all_at(&bytes, piece.start()).unwrap();
        }
    }
    back
}

pub fn open_size(file: &NamedTempFile) -> u64 {
    file.as_file().metadata().unwrap().len()
}

/// The files are the same, a scrub has nothing to correct, and `btrfs check` finds what it found before: nothing,
/// except that btrfs-progs 6.2 cannot compute some blocks of RAID5 that the kernel can.
pub fn assert_whole(disks: &[NamedTempFile], sums: &str, before: &str, what: &str) {
    let (found, _) = mounted(
        disks,
        &format!(
            "{SUMS}; btrfs scrub start -B . >$dir/said 2>&1 && grep -q 'no errors found' $dir/said || \
             {{ cat $dir/said; exit 1; }}"
        ),
    );
    let (theirs, ours) = (by_name(sums), by_name(&found));
    let wrong: Vec<_> = theirs
        .iter()
        .filter(|(k, v)| ours.get(*k) != Some(v))
        .collect();
    assert!(
        theirs.len() > 20 && wrong.is_empty() && ours.len() == theirs.len(),
        "{what}: {wrong:?} {found}"
    );
    assert_eq!(checked(disks), before, "{what}");
}

/// The errors that `btrfs check` finds, of data too. It looks for the other disks among all that it sees, so it sees
/// only these; and once more where the machine's list of disks changed while it looked.
pub fn checked(disks: &[NamedTempFile]) -> String {
    let said = shell(&format!(
        "{}; unshare -m --propagation slave bash -c 'mount -t tmpfs none /dev; mknod /dev/null c 1 3; \
         for loop in $@; do mknod $loop b 7 ${{loop#/dev/loop}}; done; \
         for try in {{1..20}}; do rm -f $BLKID_FILE; said=$(btrfs check --check-data-csum $1 2>&1 || true); \
         [[ $said == *missing* ]] || break; sleep 0.2; done; echo \"$said\"' check ${{loops[@]}}",
        attached(disks)
    ));
    assert!(said.contains("bytes used, "), "{said}");
    let errors = said
        .lines()
        .filter(|line| line.contains("mirror") || line.contains("ERROR"));
    errors.collect::<Vec<_>>().join("\n")
}

fn by_name(sums: &str) -> BTreeMap<&str, &str> {
    sums.lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name, sum))
        .collect()
}
