//! What a job does when everything goes well, and when a disk, a cable or a store does not.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

mod scene;

use disk::extent::ExtentMap;
use engine::event::{Cancel, Event, Step};
use engine::fake::{Call, FakeStore};
use engine::host::Host;
use engine::job::run_tuned;
use engine::plan::prepare;
use engine::report::{DiskRole, Outcome, Verified};
use engine::request::{Options, Request, Verification};
use image::reader::Reader;

use scene::{
    Bench, CancelAt, Listening, MIB, clone, consented, differing, exact, extent, image, map,
    request, restore, run, run_watched, tuning, used,
};

#[test]
fn a_clone_writes_what_is_used_and_the_source_stays_untouched() {
    let bench = Bench::new(8, 1);
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &bench.host);
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    let used = used(&bench.bytes);
    assert!(used.total_bytes() < 6 << 20, "the scene has free space");
    assert!(differing(&bench.bytes, &bench.destination.bytes(), &used).is_empty());
    assert!(matches!(report.verified, Verified::Equal { bytes } if bytes >= used.total_bytes()));
    bench.assert_source_untouched();
    let disk = |role| report.disks.iter().find(|disk| disk.role == role).unwrap();
    assert_eq!(disk(DiskRole::Source).sectors_written, Some(0));
    assert_eq!(disk(DiskRole::Source).kernel_read_only, Some(true));
    assert_eq!(
        disk(DiskRole::Destination).sectors_written,
        Some(bench.destination.sectors_written())
    );
}

#[test]
fn everything_else_is_protected_before_the_destination_is_opened() {
    let bench = Bench::new(8, 2);
    run(&request(clone("/dev/sda", "/dev/sdb")), &bench.host);
    let calls = bench.host.calls();
    let place = |wanted: &Call| calls.iter().position(|call| call == wanted).unwrap();
    let protect = place(&Call::Protect(vec!["/dev/sdb".into()]));
    assert!(protect < place(&Call::OpenDestination("/dev/sdb".into())));
}

#[test]
fn the_events_of_a_job_begin_and_end_and_count_up() {
    let bench = Bench::new(8, 3);
    bench.source.set_bad(map(&[(0x10_0000, 512)]));
    let listening = Listening::default();
    run_watched(
        &request(clone("/dev/sda", "/dev/sdb")),
        &bench.host,
        &listening,
        &Cancel::default(),
    );
    let events = listening.0.into_inner().unwrap();
    assert!(
        matches!(events.first(), Some(Event::Started { steps }) if steps.contains(&Step::Verify))
    );
    assert_eq!(events.last(), Some(&Event::Finished));
    let steps: Vec<Step> = events
        .iter()
        .filter_map(|event| match event {
            Event::Step { step } => Some(*step),
            _ => None,
        })
        .collect();
    let expected = [
        Step::Copy,
        Step::Rescue,
        Step::Table,
        Step::Flush,
        Step::Verify,
        Step::Filesystems,
        Step::Names,
    ];
    assert_eq!(steps, expected);
    let mut before = 0;
    for event in &events {
        match event {
            Event::Step { .. } => before = 0,
            Event::Progress(progress) => {
                assert!(
                    progress.done_bytes >= before && progress.done_bytes <= progress.total_bytes
                );
                before = progress.done_bytes;
            }
            _ => {}
        }
    }
    let unreadable = events
        .iter()
        .filter(|event| matches!(event, Event::Unreadable { .. }));
    assert_eq!(unreadable.count(), 1);
}

#[test]
fn bad_sectors_are_told_and_zero_and_do_not_stop_the_job() {
    let mut bench = Bench::new(8, 4);
    bench.source.with_sectors(512, 4096);
    let used = used(&bench.bytes);
    // One in what is used, one in what is free.
    let bad = used
        .iter()
        .find(|e| e.start() > 3 << 20 && e.len() > 8192)
        .unwrap();
    let free = used
        .complement(8 << 20)
        .iter()
        .find(|e| e.len() > 8192)
        .unwrap();
    bench.source.set_bad(map(&[
        (bad.start() + 4096, 512),
        (free.start() + 4096, 512),
    ]));
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &bench.host);
    assert_eq!(report.outcome.exit_code(), 2, "{report:?}");
    let lost = map(&[(bad.start() + 4096, 4096)]);
    assert_eq!(report.unreadable, lost);
    assert!(matches!(report.verified, Verified::Equal { .. }));
    let start = usize::try_from(bad.start() + 4096).unwrap();
    bench.bytes[start..start + 4096].fill(0);
    assert!(differing(&bench.bytes, &bench.destination.bytes(), &used).is_empty());
}

#[test]
fn a_bad_sector_in_the_first_mib_is_told_like_any_other() {
    let bench = Bench::new(8, 13);
    bench.source.set_bad(map(&[(0x8_0000, 512)]));
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &bench.host);
    assert_eq!(report.outcome.exit_code(), 2, "{report:?}");
    assert_eq!(report.unreadable, map(&[(0x8_0000, 512)]));
}

#[test]
fn the_table_is_the_last_thing_that_is_written() {
    let bench = Bench::new(8, 5);
    let request = request(clone("/dev/sda", "/dev/sdb"));
    let cancel = Cancel::default();
    let monitor = CancelAt {
        cancel: &cancel,
        left: 20.into(),
    };
    let report = run_watched(&request, &bench.host, &monitor, &cancel);
    assert_eq!(report.outcome.exit_code(), 4);
    assert!(
        bench.destination.bytes()[..MIB]
            .iter()
            .all(|byte| *byte == 0)
    );
    assert!(bench.destination.sectors_written() > 2048);
}

#[test]
fn a_disk_that_changed_since_the_plan_is_not_written() {
    let bench = Bench::new(8, 6);
    for changed in ["/dev/sda", "/dev/sdb"] {
        let plan = prepare(&request(clone("/dev/sda", "/dev/sdb")), &bench.host).unwrap();
        let approved = consented(plan);
        let other = Bench::new(8, 60);
        let swapped = if changed == "/dev/sda" {
            other.source
        } else {
            other.destination
        };
        let before = bench.host.disk(changed).unwrap();
        bench.host.remove(changed);
        bench.host.add(&swapped);
        let writes = bench.destination.sectors_written();
        let report = run_tuned(
            &approved,
            &bench.host,
            &engine::event::Silent,
            &Cancel::default(),
            tuning(),
        );
        let Outcome::Failed { text } = &report.outcome else {
            panic!("{report:?}");
        };
        assert!(
            text.contains(changed) && text.contains("nothing was written"),
            "{text}"
        );
        assert_eq!(bench.destination.sectors_written(), writes);
        assert_eq!(swapped.sectors_written(), 0);
        bench.host.remove(changed);
        bench.host.add(&before);
    }
}

#[test]
fn a_destination_that_refuses_a_sector_is_named() {
    let bench = Bench::new(8, 7);
    let used = used(&bench.bytes);
    let place = used.iter().last().unwrap();
    bench.destination.set_refusing(map(&[(place.start(), 512)]));
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &bench.host);
    let Outcome::Failed { text } = &report.outcome else {
        panic!("{report:?}");
    };
    assert!(
        text.contains("/dev/sdb") && text.contains("another destination"),
        "{text}"
    );
}

#[test]
fn a_destination_that_lies_about_what_it_wrote_is_found_out() {
    let bench = Bench::new(8, 8);
    bench.destination.forget_writes(extent(5 << 20, 4096));
    let report = run(&exact(clone("/dev/sda", "/dev/sdb")), &bench.host);
    assert_eq!(report.outcome.exit_code(), 2);
    let Verified::Different { extents } = report.verified else {
        panic!("{:?}", report.verified);
    };
    assert_eq!(extents, map(&[(5 << 20, 4096)]));
}

#[test]
fn an_image_tells_of_bad_sectors_and_so_does_its_restore() {
    let bench = Bench::new(8, 9);
    let store = FakeStore::new("/mnt/backup", 1 << 30);
    bench.host.add_store("/mnt/backup", &store);
    let used = used(&bench.bytes);
    let bad = used
        .iter()
        .find(|e| e.start() > 3 << 20 && e.len() > 8192)
        .unwrap();
    bench.source.set_bad(map(&[(bad.start(), 4096)]));
    let report = run(
        &request(image("/dev/sda", "/mnt/backup", "pc")),
        &bench.host,
    );
    assert_eq!(report.outcome.exit_code(), 2, "{report:?}");
    assert_eq!(report.unreadable, map(&[(bad.start(), 4096)]));
    let report = run(
        &request(restore("/mnt/backup/pc.img.zst", "/dev/sdb")),
        &bench.host,
    );
    assert_eq!(report.outcome.exit_code(), 2, "{report:?}");
    assert_eq!(report.unreadable, map(&[(bad.start(), 4096)]));
    let differ = differing(&bench.bytes, &bench.destination.bytes(), &used);
    assert!(differ.difference(&map(&[(bad.start(), 4096)])).is_empty());
    bench.assert_source_untouched();
}

#[test]
fn a_job_without_reading_back_reads_nothing_back() {
    let bench = Bench::new(8, 10);
    let mut request = request(clone("/dev/sda", "/dev/sdb"));
    request.options = Options {
        verification: Verification::Skip,
        ..Options::default()
    };
    bench.destination.pull_after_reads(0);
    let report = run(&request, &bench.host);
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert!(matches!(report.verified, Verified::NotDone { .. }));
}

#[test]
fn little_memory_is_enough() {
    let bench = Bench::new(8, 11);
    bench.host.set_free_memory(100 << 20);
    let plan = prepare(&request(clone("/dev/sda", "/dev/sdb")), &bench.host).unwrap();
    let report = engine::job::run(
        &consented(plan),
        &bench.host,
        &engine::event::Silent,
        &Cancel::default(),
    );
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
}

#[test]
fn the_request_of_a_report_is_the_command_that_repeats_it() {
    let bench = Bench::new(8, 12);
    let wanted: Request = exact(clone("/dev/sda", "/dev/sdb"));
    let report = run(&wanted, &bench.host);
    assert_eq!(report.command, "rescue clone /dev/sda /dev/sdb --exact");
    assert_eq!(report.unreadable, ExtentMap::new());
}

#[test]
fn the_report_says_of_the_store_what_was_true_while_it_was_written() {
    let bench = Bench::new(8, 14);
    let store = FakeStore::new("/mnt", 1 << 30);
    store.on(&bench.destination);
    bench.host.add_store("/mnt", &store);
    let report = run(&request(image("/dev/sda", "/mnt", "pc")), &bench.host);
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    let flag = |role| {
        let disk = report.disks.iter().find(|disk| disk.role == role).unwrap();
        disk.kernel_read_only
    };
    assert_eq!(flag(DiskRole::Store), Some(false));
    assert_eq!(flag(DiskRole::Source), Some(true));
    // By now it is protected again.
    assert!(bench.destination.is_kernel_read_only());
}

#[test]
fn an_image_writes_its_map_and_its_disk_s_table_where_they_are_asked_for() {
    let bench = Bench::new(8, 15);
    let store = FakeStore::new("/mnt", 1 << 30);
    bench.host.add_store("/mnt", &store);
    let used = used(&bench.bytes);
    let bad = used
        .iter()
        .find(|e| e.start() > 3 << 20 && e.len() > 8192)
        .unwrap();
    bench.source.set_bad(map(&[(bad.start(), 4096)]));
    let mut wanted = request(image("/dev/sda", "/mnt", "pc"));
    wanted.options.map = Some("/state/pc.map".into());
    let report = run(&wanted, &bench.host);
    assert_eq!(report.outcome.exit_code(), 2, "{report:?}");
    let path = std::path::Path::new("/state/pc.map");
    let bytes = bench.host.read_state(path).unwrap().unwrap();
    let file = engine::mapfile::read(&bytes, 8 << 20).unwrap();
    assert_eq!(file.map.bad, map(&[(bad.start(), 4096)]));
    assert_eq!(file.map.finished, used.difference(&file.map.bad));
    assert!(report.to_string().contains("/state/pc.map"), "{report}");
    let reader = Reader::open(&store, "pc.img.zst").unwrap();
    let table = reader.manifest().unwrap().table.clone().unwrap();
    assert_eq!(table.raw.len(), 1);
    assert_eq!(table.raw[0].offset, 0);
    let hex: String = bench.bytes[..512]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert!(table.raw[0].hex.starts_with(&hex));
}
