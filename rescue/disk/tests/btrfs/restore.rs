//! What the reader finds is kept, and nothing else: it must be the same filesystem.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use disk::extent::ExtentMap;
use disk::fs::{Filesystem, Used, recognise};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{blank, open, run_any};
use crate::mkfs::{MIB, PACKAGE, SUMS, attached, mounted, shell};

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
pub fn assert_whole(disks: &[NamedTempFile], sums: &str, what: &str) {
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
    if let [disk] = disks {
        assert_eq!(checked(disk), "", "{what}");
    }
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

/// The errors that `btrfs check` finds, data included. Of several disks it computes behind parity by the order in
/// which it finds them, and it finds them among all that the machine has at that moment: they are judged by the
/// kernel, which is told which disks to take.
fn checked(disk: &NamedTempFile) -> String {
    let path = disk.path().to_str().unwrap();
    let (_, said) = run_any("btrfs", PACKAGE, &["check", "--check-data-csum", path], "");
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
