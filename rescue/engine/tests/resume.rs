//! Interruptions of every kind: the same command goes on, and never ends in "done" with wrong bytes.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

mod scene;

use std::sync::atomic::AtomicU64;

use engine::event::{Cancel, Silent};
use engine::fake::{FakeDisk, FakeHost, FakeStore};
use engine::plan::prepare;
use engine::report::{Outcome, Report, Verified};
use engine::request::{Options, Request};

use scene::{
    Bench, CancelAt, Dice, clone, consented, differing, image, map, refused, request, restore, run,
    run_watched, used,
};

fn cases(few: u64, many: u64) -> u64 {
    if std::env::var_os("RESCUE_TEST_ALL").is_some() {
        many
    } else {
        few
    }
}

fn with_map(mut request: Request) -> Request {
    request.options = Options {
        map: Some("/state/job.map".into()),
        ..request.options
    };
    request
}

fn cancelled_at(request: &Request, host: &FakeHost, piece: u64) -> Report {
    let cancel = Cancel::default();
    let monitor = CancelAt {
        cancel: &cancel,
        left: AtomicU64::new(piece),
    };
    run_watched(request, host, &monitor, &cancel)
}

#[test]
fn a_clone_that_is_cancelled_at_any_piece_goes_on() {
    let request = with_map(request(clone("/dev/sda", "/dev/sdb")));
    for piece in (1..130).step_by(if cases(0, 1) == 1 { 1 } else { 13 }) {
        let bench = Bench::new(8, piece);
        let first = cancelled_at(&request, &bench.host, piece);
        if first.outcome.exit_code() == 4 {
            assert!(first.state.is_some());
            let second = run(&request, &bench.host);
            assert_eq!(second.outcome, Outcome::Done, "{second:?}");
            if piece > 20 {
                assert!(
                    second.resumed_bytes > 0 && second.read_bytes < first.used_bytes,
                    "{second:?}"
                );
            }
        }
        let used = used(&bench.bytes);
        assert!(differing(&bench.bytes, &bench.destination.bytes(), &used).is_empty());
        bench.assert_source_untouched();
    }
}

#[test]
fn an_image_that_is_cancelled_goes_on_where_it_was() {
    for piece in [3, 30, 60] {
        let bench = Bench::new(8, piece);
        let store = FakeStore::new("/mnt", 1 << 30);
        bench.host.add_store("/mnt", &store);
        let request = request(image("/dev/sda", "/mnt", "pc"));
        let first = cancelled_at(&request, &bench.host, piece);
        assert_eq!(first.outcome.exit_code(), 4, "{first:?}");
        assert!(store.get("pc.img.zst").is_none());
        let second = run(&request, &bench.host);
        assert_eq!(second.outcome, Outcome::Done, "{second:?}");
        let report = run(
            &scene::request(restore("/mnt/pc.img.zst", "/dev/sdb")),
            &bench.host,
        );
        assert_eq!(report.outcome, Outcome::Done);
        let used = used(&bench.bytes);
        assert!(differing(&bench.bytes, &bench.destination.bytes(), &used).is_empty());
    }
}

#[test]
fn a_new_file_that_was_begun_is_gone_on_with_by_the_same_words_and_no_other_consent() {
    let bench = Bench::new(8, 5);
    bench
        .host
        .add_store("/mnt", &FakeStore::new("/mnt", 1 << 30));
    let request = request(clone("/dev/sda", "/mnt/copy.img"));
    assert_eq!(
        cancelled_at(&request, &bench.host, 40).outcome.exit_code(),
        4
    );
    assert_eq!(
        bench.host.states(),
        [std::path::PathBuf::from("/mnt/copy.img.map")]
    );
    assert_eq!(prepare(&request, &bench.host).unwrap().word(), None);
    let report = run(&request, &bench.host);
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert!(report.resumed_bytes > 0);
    assert!(bench.host.states().is_empty());
    // By now it is a file like any other.
    assert_eq!(
        prepare(&request, &bench.host).unwrap().word(),
        Some("copy.img")
    );
}

#[test]
fn a_full_store_is_told_and_the_image_goes_on_when_there_is_room() {
    let bench = Bench::new(8, 6);
    let store = FakeStore::new("/mnt", 1 << 30);
    bench.host.add_store("/mnt", &store);
    let request = request(image("/dev/sda", "/mnt", "pc"));
    let approved = consented(prepare(&request, &bench.host).unwrap());
    // Somebody else fills it between the plan and the job.
    store.set_free(700_000);
    let report = engine::job::run_tuned(
        &approved,
        &bench.host,
        &Silent,
        &Cancel::default(),
        scene::tuning(),
    );
    let Outcome::Failed { text } = &report.outcome else {
        panic!("{report:?}");
    };
    assert!(text.contains("/mnt is full"), "{text}");
    store.set_free(1 << 30);
    assert_eq!(run(&request, &bench.host).outcome, Outcome::Done);
}

#[test]
fn a_pulled_cable_keeps_what_was_done() {
    let request = with_map(request(clone("/dev/sda", "/dev/sdb")));
    for pulled in ["source", "destination"] {
        let bench = Bench::new(8, 7);
        let (disk, serial) = match pulled {
            "source" => (&bench.source, "SOURCE01"),
            _ => (&bench.destination, "DEST0002"),
        };
        let approved = consented(prepare(&request, &bench.host).unwrap());
        if pulled == "source" {
            disk.pull_after_reads(40);
        } else {
            disk.pull_after_writes(40);
        }
        let report = engine::job::run_tuned(
            &approved,
            &bench.host,
            &Silent,
            &Cancel::default(),
            scene::tuning(),
        );
        let Outcome::Failed { text } = &report.outcome else {
            panic!("{report:?}");
        };
        assert!(
            text.contains(serial) && text.contains("no longer there"),
            "{text}"
        );
        disk.mend();
        let report = run(&request, &bench.host);
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
        assert!(report.resumed_bytes > 0, "{pulled}");
        let used = used(&bench.bytes);
        assert!(differing(&bench.bytes, &bench.destination.bytes(), &used).is_empty());
    }
}

#[test]
fn a_map_of_another_disk_is_refused() {
    let bench = Bench::new(8, 8);
    let ours = with_map(request(clone("/dev/sda", "/dev/sdb")));
    assert_eq!(cancelled_at(&ours, &bench.host, 30).outcome.exit_code(), 4);
    let other = Bench::new(8, 80);
    bench.host.remove("/dev/sda");
    bench.host.add(&other.source);
    let texts: Vec<String> = refused(&ours, &bench.host)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("/state/job.map") && text.contains("changed since")),
        "{texts:?}"
    );
}

/// Anything may happen, and again: at the end the copy is right, or the report says what is wrong.
#[test]
fn no_row_of_faults_ends_in_done_with_wrong_bytes() {
    for seed in 0..cases(12, 400) {
        let mut dice = Dice::new(seed);
        let bench = Bench::new(6, seed);
        bench
            .source
            .with_sectors(512, if dice.one_in(2) { 512 } else { 4096 });
        let used = used(&bench.bytes);
        let bad = map(&[(dice.below(12_000) * 512, 512 * (1 + dice.below(20)))]);
        if dice.one_in(2) {
            bench.source.set_bad(bad.clone());
        }
        let store = FakeStore::new("/mnt", 1 << 30);
        bench.host.add_store("/mnt", &store);
        let jobs = match dice.below(2) {
            0 => vec![with_map(request(clone("/dev/sda", "/dev/sdb")))],
            _ => vec![
                request(image("/dev/sda", "/mnt", "pc")),
                with_map(request(restore("/mnt/pc.img.zst", "/dev/sdb"))),
            ],
        };
        let mut last = None;
        for job in &jobs {
            last = Some(ended(job, &bench, &store, &mut dice));
        }
        let report = last.unwrap();
        let differ = differing(&bench.bytes, &bench.destination.bytes(), &used);
        let told = match &report.verified {
            Verified::Different { extents } => report.unreadable.union(extents),
            _ => report.unreadable.clone(),
        };
        assert!(
            differ.difference(&told).is_empty(),
            "seed {seed}: {differ:?} {report:?}"
        );
        if report.outcome == Outcome::Done {
            assert!(differ.is_empty(), "seed {seed}: {report:?}");
        }
        bench.assert_source_untouched();
    }
}

/// Runs a job through up to five interruptions and then to its end.
fn ended(request: &Request, bench: &Bench, store: &FakeStore, dice: &mut Dice) -> Report {
    for _ in 0..5 {
        let approved = consented(prepare(request, &bench.host).unwrap());
        let cancel = Cancel::default();
        let mut left = u64::MAX;
        match dice.below(5) {
            0 => bench.source.pull_after_reads(dice.below(150)),
            1 => bench.destination.pull_after_writes(dice.below(150)),
            2 => left = 1 + dice.below(150),
            3 => store.gone_after(Some(dice.below(60))),
            _ => {}
        }
        let monitor = CancelAt {
            cancel: &cancel,
            left: AtomicU64::new(left),
        };
        let report =
            engine::job::run_tuned(&approved, &bench.host, &monitor, &cancel, scene::tuning());
        if matches!(report.outcome, Outcome::Done | Outcome::Damage { .. }) {
            mend(bench, store);
            return report;
        }
        if dice.one_in(2) {
            bench.destination.cut_power(|| dice.one_in(2));
            store.cut_power(usize::try_from(dice.below(5000)).unwrap());
        }
        mend(bench, store);
    }
    run(request, &bench.host)
}

fn mend(bench: &Bench, store: &FakeStore) {
    bench.source.mend();
    bench.destination.mend();
    store.gone_after(None);
}

#[test]
fn a_clone_onto_a_disk_keeps_its_state_in_a_place_of_ours_and_goes_on() {
    let bench = Bench::new(8, 40);
    bench.host.keep_states_below("/state");
    let request = request(clone("/dev/sda", "/dev/sdb"));
    let first = cancelled_at(&request, &bench.host, 60);
    assert_eq!(first.outcome.exit_code(), 4, "{first:?}");
    assert!(first.to_string().contains("/state/"), "{first}");
    assert!(first.to_string().contains("goes on from here"), "{first}");
    assert_eq!(bench.host.states().len(), 1);
    // Another job has another state.
    let third = FakeDisk::new("/dev/sdc", "THIRD003", vec![9; 10 << 20]);
    bench.host.add(&third);
    let other = run(&scene::request(clone("/dev/sda", "/dev/sdc")), &bench.host);
    assert_eq!((other.outcome, other.resumed_bytes), (Outcome::Done, 0));
    // The word is asked for again: it is a disk of somebody.
    let plan = prepare(&request, &bench.host).unwrap();
    assert_eq!(plan.word(), Some("0002"));
    let second = run(&request, &bench.host);
    assert_eq!(second.outcome, Outcome::Done, "{second:?}");
    assert!(second.resumed_bytes > 0 && second.read_bytes < first.used_bytes);
    assert!(bench.host.states().is_empty());
    let used = used(&bench.bytes);
    assert!(differing(&bench.bytes, &bench.destination.bytes(), &used).is_empty());
    bench.assert_source_untouched();
}

/// What happens to the destination between two runs.
fn begins_anew(change: impl FnOnce(&mut Vec<u8>)) {
    let bench = Bench::new(8, 41);
    bench.host.keep_states_below("/state");
    let request = request(clone("/dev/sda", "/dev/sdb"));
    assert_eq!(
        cancelled_at(&request, &bench.host, 60).outcome.exit_code(),
        4
    );
    let mut bytes = bench.destination.bytes();
    change(&mut bytes);
    bench.host.remove("/dev/sdb");
    let changed = FakeDisk::new("/dev/sdb", "DEST0002", bytes);
    bench.host.add(&changed);
    let plan = prepare(&request, &bench.host).unwrap();
    assert!(
        plan.warnings()
            .iter()
            .any(|w| w.contains("not gone on from")),
        "{:?}",
        plan.warnings()
    );
    let report = run(&request, &bench.host);
    assert_eq!((report.resumed_bytes, &report.outcome), (0, &Outcome::Done));
    let used = used(&bench.bytes);
    assert!(differing(&bench.bytes, &changed.bytes(), &used).is_empty());
}

#[test]
fn a_disk_that_got_a_table_since_is_begun_anew() {
    begins_anew(|bytes| bytes[510..512].copy_from_slice(&[0x55, 0xAA]));
}

#[test]
fn a_disk_that_was_wiped_since_is_begun_anew() {
    begins_anew(|bytes| bytes.fill(0));
}

#[test]
fn a_state_that_cannot_be_kept_is_on_no_account_on_the_source() {
    let bench = Bench::new(8, 42);
    bench.host.keep_states_below("/home");
    let home = FakeStore::new("/home", 1 << 30);
    home.on(&bench.source);
    bench.host.add_store("/home", &home);
    let request = request(clone("/dev/sda", "/dev/sdb"));
    let plan = prepare(&request, &bench.host).unwrap();
    assert!(
        plan.warnings().iter().any(|w| w.contains("--map")),
        "{:?}",
        plan.warnings()
    );
    let report = cancelled_at(&request, &bench.host, 60);
    assert!(report.to_string().contains("begins anew"), "{report}");
    assert!(bench.host.states().is_empty());
}
