//! Jobs between regular files, through the real host: what comes out is what went in.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use engine::event::{Cancel, Silent};
use engine::job;
use engine::linux::Linux;
use engine::plan::{Consent, Plan, prepare};
use engine::report::{Outcome, Report, Verified};
use engine::request::{
    Action, AtDamage, Coverage, DiskName, Growth, Options, Origin, Place, Request, Verification,
};

const MIB: usize = 1 << 20;

/// A directory with a disk in it: GPT, an ext4 and a FAT partition with files in them.
struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    fn empty() -> Desk {
        Desk {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn with_disk() -> Desk {
        let desk = Desk::empty();
        let script = r#"
            set -e
            truncate -s 96M disk.img
            sgdisk -Z disk.img >/dev/null 2>&1 || true
            sgdisk -o -n 1:2048:+16M -t 1:ef00 -n 2:0:+64M -t 2:8300 -c 2:root disk.img >/dev/null
            mkdir tree
            head -c 3000000 /dev/urandom > tree/noise
            head -c 9000000 /dev/zero > tree/zeros
            yes "the quick brown fox" | head -c 5000000 > tree/text
            for n in $(seq 200); do echo "file $n" > tree/small$n; done
            mkfs.vfat -n ESP -C esp.img 16384 >/dev/null
            mcopy -i esp.img tree/text ::TEXT.BIN
            mkfs.ext4 -q -L root -d tree root.img 64M
            dd if=esp.img of=disk.img bs=1M seek=1 conv=notrunc status=none
            dd if=root.img of=disk.img bs=1M seek=17 conv=notrunc status=none
            rm -r esp.img root.img tree
        "#;
        let output = Command::new("bash")
            .args(["-c", script])
            .current_dir(desk.directory.path())
            .output()
            .expect("bash runs");
        assert!(
            output.status.success(),
            "the packages gdisk, dosfstools, mtools and e2fsprogs make the disk: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // Free space is not empty on a disk that was in use.
        let mut bytes = fs::read(desk.path("disk.img")).unwrap();
        let used = used(&desk.path("disk.img"));
        let noise = noise(bytes.len(), 3);
        for gap in used.complement(bytes.len() as u64).iter() {
            let range = usize::try_from(gap.start()).unwrap()..usize::try_from(gap.end()).unwrap();
            bytes[range.clone()].copy_from_slice(&noise[range]);
        }
        fs::write(desk.path("disk.img"), bytes).unwrap();
        desk
    }

    fn clone(&self, source: &str, destination: &str) -> Action {
        Action::Clone {
            source: self.disk(source),
            destination: self.disk(destination),
        }
    }

    fn image(&self, source: &str, name: &str) -> Action {
        Action::Image {
            source: self.disk(source),
            store: Place::Path(self.directory.path().into()),
            name: name.into(),
        }
    }

    fn restore(&self, image: &str, destination: &str) -> Action {
        Action::Restore {
            image: Place::Path(self.path(image)),
            destination: self.disk(destination),
        }
    }

    fn disk(&self, name: &str) -> DiskName {
        DiskName::Path(self.path(name))
    }
}

fn used(disk: &Path) -> disk::extent::ExtentMap {
    let source = disk::memory::MemorySource::new(fs::read(disk).unwrap());
    let layout = disk::layout::Layout::read(&source).unwrap();
    layout.used().aligned_out(4096, layout.geometry.size_bytes)
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len / 8).flat_map(|_| next().to_le_bytes()).collect()
}

fn planned(action: Action, options: Options) -> Plan {
    let request = Request { action, options };
    prepare(&request, &Linux::default()).unwrap()
}

/// Plans it, consents, runs it.
fn done(action: Action, options: Options) -> Report {
    let plan = planned(action, options);
    let consent = match plan.word() {
        Some(word) => Consent::Word(word.into()),
        None => Consent::NothingOverwritten,
    };
    let approved = plan.approve(&consent).unwrap();
    job::run(&approved, &Linux::default(), &Silent, &Cancel::default())
}

fn exact() -> Options {
    Options {
        coverage: Coverage::Exact,
        ..Options::default()
    }
}

fn says(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed for this test: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text
}

fn assert_same_where_used(source: &Path, copy: &Path) {
    let (a, b) = (fs::read(source).unwrap(), fs::read(copy).unwrap());
    for extent in used(source).iter() {
        let range =
            usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap();
        assert!(a[range.clone()] == b[range], "{extent:?} differs");
    }
}

#[test]
fn a_file_is_cloned_to_a_new_file_byte_for_byte() {
    let desk = Desk::empty();
    let mut bytes = noise(9 * MIB, 7);
    bytes[3 * MIB..5 * MIB].fill(0);
    bytes.truncate(9 * MIB - 512);
    fs::write(desk.path("a.img"), &bytes).unwrap();
    let report = done(desk.clone("a.img", "b.img"), exact());
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    let whole = bytes.len() as u64;
    assert_eq!(report.verified, Verified::Equal { bytes: whole });
    assert!(fs::read(desk.path("b.img")).unwrap() == bytes);
    assert_eq!(fs::read_dir(desk.directory.path()).unwrap().count(), 2);
}

#[test]
fn a_disk_comes_back_from_its_image_and_zstd_says_the_same() {
    let desk = Desk::with_disk();
    let report = done(desk.image("disk.img", "pc"), Options::default());
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert!(matches!(report.verified, Verified::Equal { .. }));
    let report = done(desk.restore("pc.img.zst", "new.img"), Options::default());
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert!(matches!(report.verified, Verified::Equal { .. }));
    assert_same_where_used(&desk.path("disk.img"), &desk.path("new.img"));
    let plain = desk.path("plain.img").display().to_string();
    let image = desk.path("pc.img.zst").display().to_string();
    says("zstd", &["-q", "-dc", &image, "-o", &plain]);
    assert!(fs::read(&plain).unwrap() == fs::read(desk.path("new.img")).unwrap());
    says("zstd", &["-q", "-t", &image]);
    let report = done(
        Action::Verify {
            against: Origin::Image(Place::Path(image.clone().into())),
            disk: desk.disk("disk.img"),
        },
        Options::default(),
    );
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    let report = done(
        Action::Check {
            image: Place::Path(image.into()),
        },
        Options::default(),
    );
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
}

/// Files of the second partition are written to as a running system does.
fn use_the_disk(desk: &Desk, round: u32, bytes: usize) {
    let script = format!(
        r"
        set -e
        dd if=disk.img of=root.img bs=1M skip=17 count=64 status=none
        head -c {bytes} /dev/urandom > new
        debugfs -w -R 'write new new{round}' root.img 2>/dev/null
        debugfs -w -R 'rm small{round}' root.img 2>/dev/null
        dd if=root.img of=disk.img bs=1M seek=17 conv=notrunc status=none
        cp disk.img then{round}.img
        rm root.img new
        "
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(desk.directory.path())
        .output()
        .expect("bash runs");
    assert!(output.status.success(), "{output:?} (packages: e2fsprogs)");
}

#[test]
fn every_point_of_a_chain_of_images_is_restored_and_checked() {
    let desk = Desk::with_disk();
    let child = |of: &str| Options {
        parent: engine::request::Ancestor::Named(of.into()),
        ..Options::default()
    };
    use_the_disk(&desk, 9, 20 * MIB);
    let report = done(desk.image("disk.img", "p0"), Options::default());
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    for (round, parent) in [(1, "p0"), (2, "p1"), (3, "p0")] {
        use_the_disk(&desk, round, 100_000);
        let report = done(desk.image("disk.img", &format!("p{round}")), child(parent));
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
        assert!(matches!(report.verified, Verified::Equal { .. }));
    }
    let len = |name: &str| fs::metadata(desk.path(name)).unwrap().len();
    for round in 1..=3 {
        let image = format!("p{round}.img.zst");
        assert!(
            len(&image) < len("p0.img.zst") / 2,
            "{image} is as large as all of it"
        );
        let report = done(desk.restore(&image, "back.img"), Options::default());
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
        assert_same_where_used(
            &desk.path(&format!("then{round}.img")),
            &desk.path("back.img"),
        );
        let image = Place::Path(desk.path(&image));
        let report = done(Action::Check { image }, Options::default());
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    }
    fs::remove_file(desk.path("p0.img.zst")).unwrap();
    let why = refused(desk.restore("p2.img.zst", "back.img"), Options::default());
    assert!(why.contains("needs its parent p0"), "{why}");
    let why = refused(desk.image("disk.img", "p4"), child("p0"));
    assert!(why.contains("p0"), "{why}");
}

fn refused(action: Action, options: Options) -> String {
    let refusals = prepare(&Request { action, options }, &Linux::default()).unwrap_err();
    refusals
        .iter()
        .map(|refusal| format!("{refusal}\n"))
        .collect()
}

#[test]
fn an_exact_image_gives_back_every_sector() {
    let desk = Desk::with_disk();
    assert_eq!(
        done(desk.image("disk.img", "pc"), exact()).outcome,
        Outcome::Done
    );
    let report = done(desk.restore("pc.img.zst", "new.img"), Options::default());
    assert_eq!(report.outcome, Outcome::Done);
    assert!(fs::read(desk.path("disk.img")).unwrap() == fs::read(desk.path("new.img")).unwrap());
}

#[test]
fn what_is_free_on_an_existing_destination_is_left_alone() {
    let desk = Desk::with_disk();
    assert_eq!(
        done(desk.image("disk.img", "pc"), Options::default()).outcome,
        Outcome::Done
    );
    let before = noise(96 * MIB, 99);
    for action in [
        desk.restore("pc.img.zst", "old.img"),
        desk.clone("disk.img", "old.img"),
    ] {
        fs::write(desk.path("old.img"), &before).unwrap();
        let report = done(action, Options::default());
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
        assert!(matches!(report.verified, Verified::Equal { .. }));
        assert_same_where_used(&desk.path("disk.img"), &desk.path("old.img"));
        let after = fs::read(desk.path("old.img")).unwrap();
        let kept = (0..96).filter(|mib| after[mib * MIB..][..MIB] == before[mib * MIB..][..MIB]);
        assert!(kept.count() > 20, "free space was written");
    }
}

#[test]
fn a_larger_destination_has_its_table_at_the_new_end() {
    let desk = Desk::with_disk();
    assert_eq!(
        done(desk.image("disk.img", "pc"), Options::default()).outcome,
        Outcome::Done
    );
    for action in [
        desk.restore("pc.img.zst", "big.img"),
        desk.clone("disk.img", "big.img"),
    ] {
        fs::write(desk.path("big.img"), noise(160 * MIB, 5)).unwrap();
        let report = done(action, Options::default());
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
        assert!(
            matches!(report.verified, Verified::Equal { .. }),
            "{report:?}"
        );
        let big = desk.path("big.img").display().to_string();
        let said = says("sgdisk", &["-v", &big]);
        assert!(said.contains("No problems found"), "{said}");
        let report = done(
            Action::Verify {
                against: Origin::Image(Place::Path(desk.path("pc.img.zst"))),
                disk: desk.disk("big.img"),
            },
            Options::default(),
        );
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    }
}

#[test]
fn a_comparison_tells_which_bytes_differ() {
    let desk = Desk::with_disk();
    assert_eq!(
        done(desk.image("disk.img", "pc"), Options::default()).outcome,
        Outcome::Done
    );
    let mut bytes = fs::read(desk.path("disk.img")).unwrap();
    let extent = used(&desk.path("disk.img")).iter().last().unwrap();
    let at = extent.start() / 4096 * 4096;
    bytes[usize::try_from(at).unwrap()] ^= 1;
    fs::write(desk.path("other.img"), bytes).unwrap();
    for against in [
        Origin::Image(Place::Path(desk.path("pc.img.zst"))),
        Origin::Disk(desk.disk("disk.img")),
    ] {
        let action = Action::Verify {
            against,
            disk: desk.disk("other.img"),
        };
        let report = done(action, Options::default());
        assert_eq!(report.outcome.exit_code(), 2);
        let Verified::Different { extents } = report.verified else {
            panic!("{:?}", report.verified);
        };
        assert_eq!(extents.count(), 1);
        assert!(extents.contains(at) && extents.total_bytes() <= 4096);
    }
}

#[test]
fn a_damaged_image_gives_back_everything_else_and_says_what_is_missing() {
    let desk = Desk::with_disk();
    assert_eq!(
        done(desk.image("disk.img", "pc"), Options::default()).outcome,
        Outcome::Done
    );
    let mut image = fs::read(desk.path("pc.img.zst")).unwrap();
    let middle = image.len() / 2;
    image[middle] ^= 0x55;
    fs::write(desk.path("pc.img.zst"), image).unwrap();
    let check = Action::Check {
        image: Place::Path(desk.path("pc.img.zst")),
    };
    let checked = done(check, Options::default());
    assert_eq!(checked.outcome.exit_code(), 2, "{checked:?}");
    // Without the word it ends there, and with it the same command goes on.
    let report = done(desk.restore("pc.img.zst", "new.img"), Options::default());
    let Outcome::Stopped { text } = &report.outcome else {
        panic!("{report:?}");
    };
    assert_eq!(report.outcome.exit_code(), 2);
    for part in [
        "pc.img.zst is damaged",
        "it has no parity",
        "--keep-going",
        "new.img",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let first = report.unreadable.iter().next().unwrap();
    assert!(
        text.contains(&format!("at {} of its disk", first.start())),
        "{text}"
    );
    assert_eq!(
        report
            .unreadable
            .difference(&checked.unreadable)
            .total_bytes(),
        0
    );
    let options = Options {
        at_damage: AtDamage::KeepGoing,
        ..Options::default()
    };
    let report = done(desk.restore("pc.img.zst", "new.img"), options);
    assert_eq!(report.outcome.exit_code(), 2, "{report:?}");
    assert!(report.resumed_bytes > 0, "{report:?}");
    assert!(matches!(report.outcome, Outcome::Damage { .. }));
    assert!(!report.unreadable.is_empty());
    assert_eq!(
        report
            .unreadable
            .difference(&checked.unreadable)
            .total_bytes(),
        0
    );
    let (a, b) = (
        fs::read(desk.path("disk.img")).unwrap(),
        fs::read(desk.path("new.img")).unwrap(),
    );
    for extent in used(&desk.path("disk.img"))
        .difference(&report.unreadable)
        .iter()
    {
        let range =
            usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap();
        assert!(a[range.clone()] == b[range], "{extent:?} differs");
    }
}

#[test]
fn a_job_without_reading_back_says_so() {
    let desk = Desk::empty();
    fs::write(desk.path("a.img"), noise(3 * MIB, 1)).unwrap();
    let options = Options {
        verification: Verification::Skip,
        growth: Growth::Keep,
        ..exact()
    };
    let report = done(desk.clone("a.img", "b.img"), options);
    assert_eq!(report.outcome, Outcome::Done);
    assert!(matches!(report.verified, Verified::NotDone { .. }));
}
