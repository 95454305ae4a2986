//! What the reader finds is kept, and nothing else: it must be the same filesystem.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use disk::extent::ExtentMap;
use disk::fs::{Filesystem, Used, recognise};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{blank, open};
use crate::mkfs::{LOCK, MIB, SUMS, attached, mounted, shell};

pub fn read(file: &NamedTempFile) -> Filesystem {
    recognise(&open(file)).unwrap().expect("it is btrfs").1
}

pub fn map(filesystem: &Filesystem) -> &ExtentMap {
    match &filesystem.used {
        Used::Map { extents, .. } => extents,
        Used::Whole(why) => panic!("it was taken whole: {why}"),
    }
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

/// The files are the same, a scrub has nothing to correct, and `btrfs check` finds nothing.
pub fn assert_whole(disks: &[NamedTempFile], sums: &str, check: &str, what: &str) {
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
    assert_eq!(checked(disks, check), "", "{what}");
}

/// The files are read without the first disk, by what the others hold of parity. A scrub puts a stale parity right
/// without a word.
pub fn assert_parity(disks: &[NamedTempFile], sums: &str, what: &str) {
    let dir = TempDir::new().unwrap();
    let found = shell(&format!(
        "dir={}; mkdir $dir/mnt; {}; mount -t btrfs -o ro,degraded$options $loop $dir/mnt; cd $dir/mnt; {SUMS}",
        dir.path().display(),
        attached(&disks[1..])
    ));
    let (theirs, ours) = (by_name(sums), by_name(&found));
    assert!(
        theirs.iter().all(|(k, v)| ours.get(k) == Some(v)),
        "{what}: {found}"
    );
}

/// Has `btrfs check` read data too. Not behind parity: there btrfs-progs 6.2 computes wrong blocks or right ones by
/// the order in which it finds the disks.
pub const DATA: &str = "--check-data-csum";

/// The errors that `btrfs check` finds. It looks for the other disks among all that it sees, so it sees
/// only these; and once more where the machine's list of disks changed while it looked.
pub fn checked(disks: &[NamedTempFile], sums: &str) -> String {
    let said = shell(&format!(
        "{}; {LOCK}; unshare -m --propagation slave bash -c '\
         umount $(grep ^/dev/loop /proc/mounts | cut -d\" \" -f2) 2>/dev/null; flock -u 9; mount -t tmpfs none /dev; mknod /dev/null c 1 3; \
         for loop in $@; do mknod $loop b 7 ${{loop#/dev/loop}}; done; \
         for try in {{1..20}}; do rm -f $BLKID_FILE; said=$(btrfs check {sums} $1 2>&1 || true); \
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
