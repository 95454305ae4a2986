//! btrfs against btrfs-progs and the kernel.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;

use std::os::unix::fs::FileExt;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{Basis, Filesystem, State, Used, recognise};
use made::{blank, cases, open, read_at, run, run_any, write_at};
use proptest::prelude::{ProptestConfig, any, prop, proptest};
use tempfile::{NamedTempFile, TempDir};

const MIB: u64 = 1 << 20;
const PACKAGE: &str = "btrfs-progs";

fn read(file: &NamedTempFile) -> Filesystem {
    recognise(&open(file)).unwrap().expect("it is btrfs").1
}

fn map(filesystem: &Filesystem) -> &ExtentMap {
    match &filesystem.used {
        Used::Map { basis, extents } => {
            assert_eq!(*basis, Basis::Records);
            extents
        }
        Used::Whole(why) => panic!("it was taken whole: {why}"),
    }
}

fn made(size: u64, options: &[&str]) -> NamedTempFile {
    let file = blank(size);
    let path = file.path().to_str().unwrap();
    run(
        "mkfs.btrfs",
        PACKAGE,
        &[&["-q", "-f"], options, &[path]].concat(),
        "",
    );
    file
}

/// Everything between the device extents that btrfs-progs lists, but the superblocks.
fn taken(file: &NamedTempFile) -> ExtentMap {
    let path = file.path().to_str().unwrap();
    let args = ["inspect-internal", "dump-tree", "-t", "dev", path];
    let text = run("btrfs", PACKAGE, &args, "");
    let mut taken = Vec::new();
    let mut start = 0;
    for line in text.lines() {
        if let Some((_, key)) = line.split_once("DEV_EXTENT ") {
            start = key.split(')').next().unwrap().parse().unwrap();
        } else if let Some((_, rest)) = line.split_once("chunk_offset ") {
            let (_, len) = rest.split_once("length ").unwrap();
            let len = len.split_whitespace().next().unwrap().parse().unwrap();
            taken.extend(Extent::new(start, len));
        }
    }
    assert!(taken.len() >= 2);
    taken.extend(
        [Extent::new(0, MIB), Extent::new(64 * MIB, 64 << 10)]
            .into_iter()
            .flatten(),
    );
    ExtentMap::from(taken)
}

const LAYOUTS: &[&[&str]] = &[
    &["-L", "a label"],
    &["-m", "single", "-d", "single", "-n", "4096"],
    &["-m", "dup", "-d", "dup", "-n", "65536"],
    &["--mixed"],
    &["-R", "^free-space-tree", "-O", "^no-holes"],
];

#[test]
fn every_layout_is_mapped_as_its_device_extents_are() {
    for options in LAYOUTS {
        let file = made(1024 * MIB, options);
        let found = read(&file);
        assert_eq!(found.state, State::Clean, "{options:?}");
        assert_eq!(*map(&found), taken(&file), "{options:?}");
        let path = file.path().to_str().unwrap();
        for (tag, ours) in [("UUID", found.uuid), ("LABEL", found.label)] {
            let args = ["-p", "-o", "value", "-s", tag, path];
            let theirs = run_any("blkid", "util-linux", &args, "").1;
            assert_eq!(ours.unwrap_or_default(), theirs.trim(), "{options:?}");
        }
    }
}

fn shell(script: &str) -> String {
    let (code, text) = run_any("bash", "bash", &["-euc", script], "");
    assert_eq!(
        code, 0,
        "a kernel with btrfs, loop devices and root are needed: {text}"
    );
    text
}

#[test]
fn what_was_fsynced_before_a_power_cut_is_kept() {
    for options in LAYOUTS {
        let (file, dir) = (made(1024 * MIB, options), TempDir::new().unwrap());
        let (at, path) = (dir.path().display(), file.path().display());
        // The file behind it, copied while it is mounted, is what a power cut leaves.
        shell(&format!(
            "cd {at}; mkdir mnt; mount -t btrfs -o loop {path} mnt; trap 'umount mnt' EXIT; \
             head -c 20M /dev/urandom > mnt/first; sync -f mnt; \
             for n in {{1..40}}; do head -c 100K /dev/urandom > mnt/$n; sync mnt/$n; done; \
             (cd mnt; sha256sum *) > sums; cp --sparse=always {path} cut"
        ));
        let cut = NamedTempFile::new().unwrap();
        std::fs::rename(dir.path().join("cut"), cut.path()).unwrap();
        let cut = NamedTempFile::from_parts(
            std::fs::File::open(cut.path()).unwrap(),
            cut.into_temp_path(),
        );
        let found = read(&cut);
        assert!(
            matches!(&found.state, State::Dirty(why) if why.contains("fsynced")),
            "{options:?}"
        );
        let back = blank(1024 * MIB);
        for extent in map(&found).iter() {
            for piece in extent.split_at_multiples(MIB) {
                let mut bytes = vec![0; usize::try_from(piece.len()).unwrap()];
                cut.as_file()
                    .read_exact_at(&mut bytes, piece.start())
                    .unwrap();
                if bytes.iter().any(|byte| *byte != 0) {
                    write_at(&back, piece.start(), &bytes);
                }
            }
        }
        let path = back.path().display();
        let found = shell(&format!(
            "cd {at}; mount -t btrfs -o loop {path} mnt; trap 'umount mnt' EXIT; \
             (cd mnt; sha256sum -c ../sums | grep -c OK); btrfs scrub start -B mnt | grep -i 'no errors found'"
        ));
        assert!(found.starts_with("41\n"), "{options:?}: {found}");
        run(
            "btrfs",
            PACKAGE,
            &["check", back.path().to_str().unwrap()],
            "",
        );
    }
}

#[test]
fn what_is_damaged_or_cut_off_is_whole() {
    let file = made(512 * MIB, &["-m", "single"]);
    let wrong = |at: u64| {
        let bent = blank(0);
        std::fs::copy(file.path(), bent.path()).unwrap();
        write_at(&bent, at, &[0xA5; 7]);
        read(&bent).used
    };
    for at in [0x58, 0x60, 0xC4, 0xD9, 0x32B + 30].map(|at| (64 << 10) + at) {
        assert!(matches!(wrong(at), Used::Whole(_)), "{at}");
    }
    file.as_file().set_len(300 * MIB).unwrap();
    assert!(matches!(read(&file).used, Used::Whole(_)));
}

/// What a disk's own record counts is held against the stripes by the reader itself.
#[test]
fn each_disk_of_an_array_is_mapped_by_its_own_stripes() {
    for profile in [
        "raid0", "raid1", "raid10", "raid5", "raid6", "raid1c3", "raid1c4",
    ] {
        let disks: Vec<_> = (0..4).map(|_| blank(512 * MIB)).collect();
        let mut args = vec!["-q", "-f", "-m", "raid1c4", "-d", profile];
        args.extend(disks.iter().map(|disk| disk.path().to_str().unwrap()));
        run("mkfs.btrfs", PACKAGE, &args, "");
        for disk in &disks {
            let found = read(disk);
            let (used, free) = (map(&found).total_bytes(), 512 * MIB);
            assert!((2 * MIB..free).contains(&used), "{profile}: {used}");
        }
    }
}

/// Puts the sums of the superblock and of the leaf of chunks right, so that the numbers behind them are reached.
fn summed(file: &NamedTempFile, at: u64, len: usize) {
    let bytes = read_at(file, at, len);
    write_at(file, at, &crc32c::crc32c(&bytes[32..]).to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_numbers_are_endured(
        bends in prop::collection::vec((0usize..3, 32usize..0x3C0, prop::collection::vec(any::<u8>(), 1..5)), 1..5)
    ) {
        // With one copy of it the tree of chunks lies where its address says: the first chunk stands there.
        let file = made(256 * MIB, &["-m", "single"]);
        let root = read_at(&file, (64 << 10) + 0x58, 8);
        let leaf = u64::from_le_bytes(root.try_into().unwrap());
        assert_eq!(read_at(&file, leaf + 48, 8), leaf.to_le_bytes());
        for (place, at, bytes) in bends {
            // The leaf has its keys at its front and its chunks at its end.
            let base = [64 << 10, leaf, leaf + 16384 - 0x3C8][place];
            write_at(&file, base + at as u64, &bytes);
        }
        summed(&file, 64 << 10, 4096);
        summed(&file, leaf, 16384);
        if let Some((_, found)) = recognise(&open(&file)).unwrap() {
            let used = found.used.extents(256 * MIB);
            assert!(used.end() <= 256 * MIB && used.contains(0));
        }
    }
}
