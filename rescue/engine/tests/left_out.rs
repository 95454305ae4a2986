//! What an image leaves out: never read, zeros after every way back, and nothing where not everything is known.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

mod scene;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use disk::extent::{Extent, ExtentMap};
use engine::event::{Cancel, Silent};
use engine::fake::{FakeDisk, FakeHost, FakeStore};
use engine::host::{MountMode, Use};
use engine::job;
use engine::plan::prepare;
use engine::report::Outcome;
use engine::request::{Ancestor, Coverage, Request};

use scene::{
    CancelAt, consented, extent, image, refused, request, restore, run, run_watched, tuning,
};

const BLOCK: usize = 1024;
/// Filled with one letter each, so that their places are known without asking anybody.
const JUNK: u8 = b'J';
const LETTER: u8 = b'L';
const LINKED: u8 = b'H';

/// ext4 with 300 KiB of junk below tmp, a letter, and a file that has one name in tmp and one elsewhere.
fn made() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        shell(&format!(
            "cd {}; mkdir -p tree/tmp/deep tree/home; fill() {{ head -c $1K /dev/zero | tr '\\0' $2 >$3; }}; \
             fill 301 J tree/tmp/deep/junk; fill 200 L tree/home/letter; fill 50 H tree/tmp/linked; \
             ln tree/tmp/linked tree/home/linked; truncate -s 8M disk; \
             mke2fs -q -F -t ext4 -O ^metadata_csum -b {BLOCK} -U 01234567-89ab-cdef-0123-456789abcdef -d tree disk; e2fsck -fn disk",
            directory.path().display()
        ));
        std::fs::read(directory.path().join("disk")).unwrap()
    })
}

fn shell(script: &str) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .env("LC_ALL", "C")
        .output()
        .expect("bash runs");
    assert!(
        output.status.success(),
        "e2fsprogs is needed: {script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Where the file is that is full of this letter.
fn places(bytes: &[u8], letter: u8) -> ExtentMap {
    let blocks = bytes.chunks(BLOCK).enumerate();
    let found = blocks.filter(|(_, block)| block.iter().all(|byte| *byte == letter));
    found
        .map(|(n, _)| extent((n * BLOCK) as u64, BLOCK as u64))
        .collect()
}

fn count(bytes: &[u8], letter: u8) -> u64 {
    places(bytes, letter).total_bytes() / BLOCK as u64
}

struct Scene {
    host: FakeHost,
    source: FakeDisk,
    back: FakeDisk,
    store: FakeStore,
}

impl Scene {
    fn new(bytes: &[u8]) -> Scene {
        let host = FakeHost::new();
        let source = FakeDisk::new("/dev/sda", "SOURCE01", bytes.to_vec());
        let back = FakeDisk::new("/dev/sdb", "DEST0002", vec![0xff; bytes.len()]);
        let store = FakeStore::new("/mnt", 1 << 30);
        host.add(&source);
        host.add(&back);
        host.add_store("/mnt", &store);
        Scene {
            host,
            source,
            back,
            store,
        }
    }

    /// What a restore of this image writes over 0xFF.
    fn back(&self, name: &str) -> Vec<u8> {
        self.back.set_bytes(vec![0xff; made().len()]);
        let image = format!("/mnt/{name}.img.zst");
        let report = run(&request(restore(&image, "/dev/sdb")), &self.host);
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
        self.back.bytes()
    }
}

fn leaving(name: &str, words: &[&str]) -> Request {
    let mut request = request(image("/dev/sda", "/mnt", name));
    request.options.leave_out = words.iter().map(|word| word.parse().unwrap()).collect();
    request
}

/// Zeros where the junk was, everything else that is used as it was.
fn assert_left_out(before: &[u8], after: &[u8]) {
    let junk = places(before, JUNK);
    assert_eq!(junk.total_bytes(), 301 * BLOCK as u64);
    for block in junk.iter() {
        let range = usize::try_from(block.start()).unwrap()..usize::try_from(block.end()).unwrap();
        assert!(after[range].iter().all(|byte| *byte == 0), "{block:?}");
    }
    assert_eq!(count(after, LETTER), 200);
    // It has a name that no rule means.
    assert_eq!(count(after, LINKED), 50);
    let kept = scene::used(before).difference(&junk);
    assert!(scene::differing(before, after, &kept).is_empty());
}

#[test]
fn what_is_left_out_is_told_never_read_and_zeros_after_a_restore_over_ones() {
    let scene = Scene::new(made());
    let request = leaving("pc", &["temp"]);
    let plan = prepare(&request, &scene.host).unwrap();
    let lines = plan.lines().join("\n");
    assert!(
        lines.contains("  temp: tmp/**: 308 kB of 1 files: temporary files"),
        "{lines}"
    );
    assert!(lines.contains("--leave-out temp"), "{lines}");
    // Any read of it would fail from here on.
    scene.source.set_bad(places(made(), JUNK));
    let (silent, cancel) = (Silent, Cancel::default());
    let report = job::run_tuned(&consented(plan), &scene.host, &silent, &cancel, tuning());
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert!(report.unreadable.is_empty() && report.rescue.is_none());
    assert_eq!(scene.source.take_failed(), []);
    assert_left_out(made(), &scene.back("pc"));
    assert_eq!(scene.source.sectors_written(), 0);
}

#[test]
fn a_failing_disk_is_not_asked_for_what_is_left_out() {
    let scene = Scene::new(made());
    let bad = places(made(), LETTER).iter().next().unwrap();
    let bad = extent(bad.start() / 4096 * 4096 + 4096, 4096);
    scene.source.set_bad([bad].into_iter().collect());
    let report = run(&leaving("pc", &["tmp/deep/*"]), &scene.host);
    assert!(report.rescue.is_some(), "{report:?}");
    assert_eq!(report.unreadable, [bad].into_iter().collect(), "{report:?}");
    let paths: Vec<&str> = report.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["home/letter"]);
    scene.back.set_bytes(vec![0xff; made().len()]);
    let back = request(restore("/mnt/pc.img.zst", "/dev/sdb"));
    assert_eq!(run(&back, &scene.host).outcome.exit_code(), 2);
    let mut before = made().to_vec();
    before[usize::try_from(bad.start()).unwrap()..usize::try_from(bad.end()).unwrap()].fill(0);
    let after = scene.back.bytes();
    for block in places(&before, JUNK).iter() {
        let range = usize::try_from(block.start()).unwrap()..usize::try_from(block.end()).unwrap();
        assert!(after[range].iter().all(|byte| *byte == 0), "{block:?}");
    }
    assert_eq!(count(&after, LETTER), 196);
    assert_eq!(count(&after, LINKED), 50);
}

#[test]
fn a_killed_image_goes_on_under_the_same_rules_and_under_no_others() {
    let mut went_on = 0;
    for piece in [2, 5, 8] {
        let scene = Scene::new(made());
        let request = leaving("pc", &["temp"]);
        let cancel = Cancel::default();
        let monitor = CancelAt {
            cancel: &cancel,
            left: AtomicU64::new(piece),
        };
        let first = run_watched(&request, &scene.host, &monitor, &cancel);
        if first.outcome.exit_code() != 4 {
            continue;
        }
        for other in [leaving("pc", &[]), leaving("pc", &["temp", "home/letter"])] {
            let said = format!("{:?}", refused(&other, &scene.host));
            assert!(said.contains("UnfinishedOther"), "{said}");
        }
        let second = run(&request, &scene.host);
        assert_eq!(second.outcome, Outcome::Done, "{second:?}");
        assert_left_out(made(), &scene.back("pc"));
        went_on += 1;
    }
    assert!(went_on > 0, "no image was cancelled in time");
}

#[test]
fn a_child_may_have_other_rules_than_its_parent() {
    let scene = Scene::new(made());
    let over = |parent: &str, mut request: Request| {
        request.options.parent = Ancestor::Named(parent.into());
        request
    };
    let done = |request: &Request| {
        let report = run(request, &scene.host);
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    };
    done(&leaving("some", &["temp"]));
    done(&over("some", leaving("all", &[])));
    done(&over("all", leaving("again", &["temp"])));
    done(&over("again", leaving("letter", &["home/letter"])));
    let all = scene.back("all");
    assert!(scene::differing(made(), &all, &scene::used(made())).is_empty());
    assert_left_out(made(), &scene.back("some"));
    assert_left_out(made(), &scene.back("again"));
    let letter = scene.back("letter");
    assert_eq!((count(&letter, JUNK), count(&letter, LETTER)), (301, 0));
    let size = |name: &str| scene.store.get(&format!("{name}.img.zst")).unwrap().len();
    assert!(size("again") < size("some"), "the child stored everything");
}

#[test]
fn options_that_contradict_it_are_refused_in_a_sentence() {
    let scene = Scene::new(made());
    let mut exact = leaving("pc", &["temp"]);
    exact.options.coverage = Coverage::Exact;
    let said = refused(&exact, &scene.host);
    assert!(said[0].to_string().contains("--exact"), "{said:?}");
    scene.source.use_by(Use::Mounted {
        device: PathBuf::from("/dev/sda"),
        at: PathBuf::from("/home"),
        mode: MountMode::ReadWrite,
    });
    let mut live = leaving("pc", &["temp"]);
    live.options.liveness = engine::request::Liveness::Live;
    let said = refused(&live, &scene.host);
    assert!(said[0].to_string().contains("--leave-out"), "{said:?}");
}

#[test]
fn nothing_is_left_out_where_not_everything_is_known_and_the_plan_says_why() {
    let state = 1024 + 58;
    let dirty = |bytes: &mut Vec<u8>| bytes[state] &= !1;
    // A name that leads to a file that was deleted.
    let lost = |bytes: &mut Vec<u8>| {
        let name = b"letter";
        let at = bytes.windows(6).position(|window| window == name).unwrap();
        bytes[at - 8..at - 4].copy_from_slice(&1999u32.to_le_bytes());
    };
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(Damage<'_>, &str); 2] = [(&dirty, "it is dirty"), (&lost, "followed")];
    for (damage, why) in cases {
        let mut bytes = made().to_vec();
        damage(&mut bytes);
        let scene = Scene::new(&bytes);
        let plan = prepare(&leaving("pc", &["all"]), &scene.host).unwrap();
        let lines = plan.lines().join("\n");
        assert!(
            lines.contains("left out: nothing") && lines.contains(why),
            "{lines}"
        );
    }
}

/// A file that lies where another one lies too, as a damaged filesystem has it.
#[test]
fn what_two_files_have_a_part_in_is_kept() {
    let mut bytes = made().to_vec();
    let [junk, letter] = [JUNK, LETTER].map(|of| places(&bytes, of).iter().next().unwrap());
    // The extent of the junk, in the body of its inode, leads to the letter by now.
    let block = |extent: Extent| u32::try_from(extent.start() / BLOCK as u64).unwrap();
    let inode = bytes
        .windows(4)
        .position(|four| four == block(junk).to_le_bytes());
    let at = inode.unwrap();
    bytes[at..at + 4].copy_from_slice(&block(letter).to_le_bytes());
    let scene = Scene::new(&bytes);
    let plan = prepare(&leaving("pc", &["tmp/deep/*"]), &scene.host).unwrap();
    let lines = plan.lines().join("\n");
    let report = run(&leaving("pc", &["tmp/deep/*"]), &scene.host);
    assert_eq!(report.outcome.exit_code(), 0, "{lines} {report:?}");
    assert_eq!(count(&scene.back("pc"), LETTER), 200, "{lines}");
}

#[test]
fn a_swap_file_keeps_its_header_and_one_in_which_a_system_sleeps_is_kept_whole() {
    let cases = [
        ("SWAPSPACE2", 96, "swap: **/swapfile: 98.3 kB of 1 files"),
        ("S1SUSPEND", 0, "a system sleeps in swapfile, which is kept"),
        ("something", 0, "left out: nothing"),
    ];
    for (signature, left_out, said) in cases {
        let directory = tempfile::tempdir().unwrap();
        shell(&format!(
            "cd {}; mkdir tree; head -c 100K /dev/zero | tr '\\0' M >tree/swapfile; \
             printf {signature} | dd of=tree/swapfile bs=1 seek=4086 conv=notrunc status=none; \
             truncate -s 4M disk; mke2fs -q -F -t ext4 -b {BLOCK} -d tree disk",
            directory.path().display()
        ));
        let bytes = std::fs::read(directory.path().join("disk")).unwrap();
        let scene = Scene::new(&bytes);
        // Whoever names it himself gets the same.
        for word in ["swap", "swapfi*"] {
            let name = format!("{signature}-{}", word.len());
            let plan = prepare(&leaving(&name, &[word]), &scene.host).unwrap();
            let lines = plan.lines().join("\n");
            assert!(word != "swap" || lines.contains(said), "{lines}");
            let report = run(&leaving(&name, &[word]), &scene.host);
            assert_eq!(report.outcome, Outcome::Done, "{report:?}");
            scene.back.set_bytes(vec![0xff; bytes.len()]);
            run(
                &request(restore(&format!("/mnt/{name}.img.zst"), "/dev/sdb")),
                &scene.host,
            );
            let after = scene.back.bytes();
            assert_eq!(
                count(&bytes, b'M') - count(&after, b'M'),
                left_out,
                "{lines}"
            );
            let header = places(&bytes, b'M').iter().next().unwrap();
            let at = usize::try_from(header.start()).unwrap();
            assert_eq!(after[at..at + 4096], bytes[at..at + 4096]);
        }
    }
}
