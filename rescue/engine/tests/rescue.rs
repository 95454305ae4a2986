//! A failing source: everything that can be read is brought, little is touched twice, and the job can be broken off
//! anywhere.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

mod scene;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use disk::extent::{Extent, ExtentMap};
use engine::event::{Cancel, Event, Monitor, Silent, Standing, Step};
use engine::fake::{FakeDisk, FakeStore};
use engine::host::Host;
use engine::job;
use engine::map::{Map, Status};
use engine::mapfile;
use engine::passes::Depth;
use engine::plan::{Refusal, prepare};
use engine::report::{Outcome, Report, Verified};
use scene::{
    Bench, CancelAt, Dice, Listening, MIB, clone, consented, differing, exact, image, map, refused,
    request, restore, run, run_watched, tuning, used,
};

const PHYSICAL: u64 = 4096;

/// Single sectors and scratches, in what is used and in what is free.
fn damage(dice: &mut Dice, mib: usize) -> ExtentMap {
    let sectors = (mib * MIB) as u64 / PHYSICAL;
    let mut bad = ExtentMap::new();
    for _ in 0..1 + dice.below(6) {
        let len = match dice.below(3) {
            0 => 1 + dice.below(40),
            _ => 1,
        };
        let start = dice.below(sectors - len);
        bad.insert(Extent::new(start * PHYSICAL, len * PHYSICAL).unwrap());
    }
    bad
}

fn failing(mib: usize, seed: u64) -> (Bench, ExtentMap) {
    let bench = Bench::new(mib, seed);
    bench.source.with_sectors(512, 4096);
    let bad = damage(&mut Dice::new(seed ^ 0xBAD), mib);
    bench.source.set_bad(bad.clone());
    bench.source.take_failed();
    (bench, bad)
}

/// The destination has every byte of `wanted` but the missing ones, which are zeros.
fn assert_brought(bench: &Bench, wanted: &ExtentMap, missing: &ExtentMap) {
    let mut expected = bench.bytes.clone();
    for extent in missing.iter() {
        let at = |offset: u64| usize::try_from(offset).unwrap();
        expected[at(extent.start())..at(extent.end())].fill(0);
    }
    let differs = differing(&expected, &bench.destination.bytes(), wanted);
    assert_eq!(differs, ExtentMap::new());
    bench.assert_source_untouched();
}

fn lost(report: &Report) -> ExtentMap {
    report.unreadable.union(&report.untried)
}

#[test]
fn everything_that_can_be_read_is_brought_and_no_bad_sector_is_touched_more_than_twice() {
    for seed in 0..20 {
        let (bench, bad) = failing(8, seed);
        let plan = prepare(&exact(clone("/dev/sda", "/dev/sdb")), &bench.host).unwrap();
        // Finding out what is on a disk touches what it needs for that.
        bench.source.take_failed();
        let report = job::run_tuned(
            &consented(plan),
            &bench.host,
            &Silent,
            &Cancel::default(),
            tuning(),
        );
        assert_eq!(report.outcome.exit_code(), 2, "{report}");
        assert_eq!(report.unreadable.difference(&bad), ExtentMap::new());
        assert_eq!(bad.difference(&lost(&report)), ExtentMap::new(), "{seed}");
        assert_brought(&bench, &ExtentMap::whole(8 << 20), &lost(&report));
        assert!(
            matches!(report.verified, Verified::Equal { .. }),
            "{report}"
        );
        let mut touches = BTreeMap::new();
        for place in bench.source.take_failed() {
            *touches.entry(place.start()).or_insert(0) += 1;
        }
        // Once in a large read, once alone.
        assert!(
            touches.values().all(|count| *count <= 2),
            "{seed}: {touches:?} {bad:?} {report}"
        );
    }
}

#[test]
fn bad_places_in_free_space_are_not_looked_for() {
    for seed in 0..20 {
        let (bench, bad) = failing(8, seed);
        let wanted = used(&bench.bytes);
        let report = run(&request(clone("/dev/sda", "/dev/sdb")), &bench.host);
        let wrong = lost(&report).difference(&bad);
        assert_eq!(wrong, ExtentMap::new(), "{bad:?} {report}");
        assert_eq!(
            bad.intersection(&wanted).difference(&lost(&report)),
            ExtentMap::new()
        );
        assert_brought(&bench, &wanted, &lost(&report));
    }
}

#[test]
fn a_rescue_that_is_broken_off_anywhere_goes_on_and_ends_the_same() {
    for seed in 0..12 {
        let (bench, bad) = failing(8, seed);
        bench.host.keep_states_below("/state");
        let request = exact(clone("/dev/sda", "/dev/sdb"));
        let mut dice = Dice::new(seed ^ 0xC0FFEE);
        for _ in 0..3 {
            let cancel = Cancel::default();
            let monitor = CancelAt {
                cancel: &cancel,
                left: std::sync::atomic::AtomicU64::new(1 + dice.below(150)),
            };
            let report = run_watched(&request, &bench.host, &monitor, &cancel);
            bench.destination.cut_power(|| dice.one_in(2));
            if let Outcome::Damage { .. } = report.outcome {
                break;
            }
            assert_eq!(report.outcome.exit_code(), 4, "{report}");
        }
        let report = run(&request, &bench.host);
        assert_eq!(report.outcome.exit_code(), 2, "{report}");
        assert_eq!(bad.difference(&lost(&report)), ExtentMap::new(), "{seed}");
        assert_eq!(report.unreadable.difference(&bad), ExtentMap::new());
        assert_brought(&bench, &ExtentMap::whole(8 << 20), &lost(&report));
    }
}

/// A rescue that GNU ddrescue began: what it has is not read again, what it found bad is not touched.
#[test]
fn a_map_of_ddrescue_is_gone_on_from() {
    let (bench, _) = failing(8, 3);
    let bad = map(&[(5 << 20, 4096)]);
    bench.source.set_bad(bad.clone());
    let mut done = Map::new(8 << 20);
    done.set(Extent::new(0, 5 << 20).unwrap(), Status::Finished);
    done.set(Extent::new(5 << 20, 4096).unwrap(), Status::Bad);
    let text = mapfile::write(&done, None, "ddrescue -d /dev/sda /dev/sdb job.map");
    let path = PathBuf::from("job.map");
    bench.host.write_state(&path, text.as_bytes()).unwrap();
    let mut there = bench.destination.bytes();
    there[..5 << 20].copy_from_slice(&bench.bytes[..5 << 20]);
    bench.destination.set_bytes(there);
    let mut request = exact(clone("/dev/sda", "/dev/sdb"));
    request.options.map = Some(path.clone());
    let report = run(&request, &bench.host);
    assert_eq!(report.outcome.exit_code(), 2, "{report}");
    assert_eq!(report.unreadable, bad);
    assert_brought(&bench, &ExtentMap::whole(8 << 20), &bad);
    assert!(bench.source.take_failed().is_empty());
    let text = bench.host.read_state(&path).unwrap().unwrap();
    let after = mapfile::read(&text, 8 << 20).unwrap();
    assert_eq!(after.map.bad, bad);
    assert_eq!(after.map.open(), ExtentMap::new());
}

#[test]
fn a_limit_ends_it_and_the_same_command_goes_on() {
    let (bench, _) = failing(8, 4);
    bench.host.keep_states_below("/state");
    let bad: ExtentMap = (0..200u64)
        .map(|n| Extent::new((2 << 20) + n * 16384, 4096).unwrap())
        .collect();
    bench.source.set_bad(bad.clone());
    let mut request = exact(clone("/dev/sda", "/dev/sdb"));
    request.options.limits.bad_reads = Some(10);
    let report = run(&request, &bench.host);
    assert_eq!(report.outcome.exit_code(), 2, "{report}");
    assert!(
        report
            .warnings
            .iter()
            .any(|w| w.starts_with("10 reads failed, as many as were allowed")),
        "{report}"
    );
    assert!(report.state.is_some());
    assert!(report.untried.total_bytes() > 1 << 20, "{report}");
    request.options.limits.bad_reads = None;
    request.options.limits.depth = Depth::Everything;
    let report = run(&request, &bench.host);
    assert_eq!(lost(&report), bad, "{report}");
    assert!(report.resumed_bytes > 2 << 20);
    assert_brought(&bench, &ExtentMap::whole(8 << 20), &bad);
}

#[test]
fn a_way_that_is_lost_does_not_make_a_dead_disk_of_a_good_one() {
    let (bench, bad) = failing(8, 9);
    bench.host.keep_states_below("/state");
    bench
        .source
        .show_manners(|manners| manners.lost_commands = 500);
    let request = exact(clone("/dev/sda", "/dev/sdb"));
    let report = run(&request, &bench.host);
    assert_eq!(report.outcome.exit_code(), 2, "{report}");
    let said = "8 reads in a row failed on the way to the disk";
    assert!(
        report.warnings.iter().any(|w| w.starts_with(said)),
        "{report}"
    );
    // A few lost commands in a row are none of the disk's business.
    bench
        .source
        .show_manners(|manners| manners.lost_commands = 5);
    let report = run(&request, &bench.host);
    assert_eq!(lost(&report), bad, "{report}");
    assert_brought(&bench, &ExtentMap::whole(8 << 20), &bad);
}

/// Skips at the first standing and pauses once.
struct Hands<'a> {
    cancel: &'a Cancel,
    standings: Mutex<Vec<Standing>>,
}

impl Monitor for Hands<'_> {
    fn event(&self, event: Event) {
        if let Event::Standing(standing) = event {
            self.cancel.skip();
            self.standings.lock().unwrap().push(standing);
        }
    }
}

#[test]
fn an_area_that_is_skipped_is_left_and_told_and_the_same_command_brings_it() {
    let (bench, bad) = failing(8, 6);
    bench.host.keep_states_below("/state");
    let request = exact(clone("/dev/sda", "/dev/sdb"));
    let cancel = Cancel::default();
    let hands = Hands {
        cancel: &cancel,
        standings: Mutex::default(),
    };
    let report = run_watched(&request, &bench.host, &hands, &cancel);
    assert!(!hands.standings.into_inner().unwrap().is_empty());
    let told = report.rescue.as_ref().unwrap();
    assert!(
        told.left
            .iter()
            .any(|area| area.ends_with("skipped by request")),
        "{report}"
    );
    assert!(report.untried.difference(&bad).total_bytes() > 0);
    let report = run(&request, &bench.host);
    assert_eq!(bad.difference(&lost(&report)), ExtentMap::new(), "{report}");
    assert_brought(&bench, &ExtentMap::whole(8 << 20), &lost(&report));
}

#[test]
fn what_a_rescue_does_is_told_while_it_goes_on() {
    let (bench, bad) = failing(8, 5);
    let heard = Listening::default();
    let report = run_watched(
        &exact(clone("/dev/sda", "/dev/sdb")),
        &bench.host,
        &heard,
        &Cancel::default(),
    );
    let events = heard.0.into_inner().unwrap();
    assert!(events.contains(&Event::Step { step: Step::Rescue }));
    let standing = events.iter().rev().find_map(|event| match event {
        Event::Standing(standing) => Some(standing.clone()),
        _ => None,
    });
    let standing = standing.expect("it stood somewhere");
    assert_eq!(standing.picture.len(), 1024);
    assert!(standing.picture.contains('+'));
    let rescued = report.rescue.expect("it was a rescue");
    assert!(rescued.bad_reads > 0 && rescued.reads > rescued.bad_reads);
    assert!(!bad.is_empty());
}

#[test]
fn a_disk_that_is_well_is_no_rescue() {
    let bench = Bench::new(8, 1);
    let report = run(&request(clone("/dev/sda", "/dev/sdb")), &bench.host);
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(report.rescue, None);
}

/// Restores what was imaged onto the other disk and compares.
fn assert_restores(bench: &Bench, wanted: &ExtentMap, missing: &ExtentMap) {
    let report = run(
        &request(restore("/mnt/backup/pc.img.zst", "/dev/sdb")),
        &bench.host,
    );
    // Of the image's granules: what could be read beside a bad sector is there all the same.
    assert_eq!(
        missing.difference(&lost(&report)),
        ExtentMap::new(),
        "{report}"
    );
    assert!(lost(&report).total_bytes() < missing.total_bytes() + (64 << 10));
    assert_brought(bench, wanted, missing);
}

#[test]
fn a_failing_disk_is_imaged_and_everything_that_could_be_read_restores() {
    for seed in 0..12 {
        let (bench, bad) = failing(8, seed);
        bench
            .host
            .add_store("/mnt/backup", &FakeStore::new("backup", 1 << 40));
        let wanted = used(&bench.bytes);
        let report = run(
            &request(image("/dev/sda", "/mnt/backup", "pc")),
            &bench.host,
        );
        assert!(
            report.outcome.exit_code() == if lost(&report).is_empty() { 0 } else { 2 },
            "{report}"
        );
        let missing = lost(&report);
        assert_eq!(missing.difference(&bad), ExtentMap::new(), "{report}");
        assert_eq!(
            bad.intersection(&wanted).difference(&missing),
            ExtentMap::new()
        );
        assert!(
            matches!(report.verified, Verified::Equal { .. }),
            "{report}"
        );
        assert_restores(&bench, &wanted, &missing);
    }
}

/// Into an image, broken off so many times at most.
fn broken_off(bench: &Bench, seed: u64, times: u32) -> Report {
    let store = FakeStore::new("backup", 1 << 40);
    bench.host.add_store("/mnt/backup", &store);
    let request = request(image("/dev/sda", "/mnt/backup", "pc"));
    let mut dice = Dice::new(seed ^ 0xFEED);
    for _ in 0..times {
        let cancel = Cancel::default();
        let monitor = CancelAt {
            cancel: &cancel,
            left: std::sync::atomic::AtomicU64::new(1 + dice.below(120)),
        };
        let report = run_watched(&request, &bench.host, &monitor, &cancel);
        if !matches!(report.outcome, Outcome::Cancelled { .. }) {
            return report;
        }
    }
    run(&request, &bench.host)
}

/// The image's states are of 4 KiB, the sectors of many disks are smaller.
#[test]
fn no_sector_beside_a_bad_one_is_lost_when_an_image_is_broken_off() {
    for seed in 0..12 {
        let (bench, _) = failing(8, seed);
        bench.source.with_sectors(512, 512);
        bench
            .source
            .show_manners(|manners| manners.names_sectors = seed % 2 == 0);
        let mut dice = Dice::new(seed ^ 0x512);
        let bad: ExtentMap = (0..12)
            .map(|_| Extent::new(dice.below((8 << 20) / 512) * 512, 512).unwrap())
            .collect();
        bench.source.set_bad(bad.clone());
        let wanted = used(&bench.bytes);
        let report = broken_off(&bench, seed, 5);
        assert_eq!(lost(&report), bad.intersection(&wanted), "{report}");
        assert_brought_by_image(&bench, &wanted, &bad);
    }
}

fn assert_brought_by_image(bench: &Bench, wanted: &ExtentMap, missing: &ExtentMap) {
    run(
        &request(restore("/mnt/backup/pc.img.zst", "/dev/sdb")),
        &bench.host,
    );
    assert_brought(bench, wanted, missing);
}

#[test]
fn an_image_of_a_failing_disk_that_is_broken_off_anywhere_goes_on() {
    for seed in 0..12 {
        let (bench, bad) = failing(8, seed);
        let wanted = used(&bench.bytes);
        let report = broken_off(&bench, seed, 200);
        assert!(report.outcome.exit_code() == if lost(&report).is_empty() { 0 } else { 2 });
        let missing = lost(&report);
        // A granule of which a sector is bad counts as bad when it is gone on with.
        let near = bad.aligned_out(PHYSICAL, 8 << 20);
        assert_eq!(missing.difference(&near), ExtentMap::new(), "{report}");
        assert_eq!(
            bad.intersection(&wanted).difference(&missing),
            ExtentMap::new()
        );
        assert_restores(&bench, &wanted, &missing);
    }
}

/// Sectors of both FATs that tell of the same clusters, in whole physical sectors.
fn both_fats() -> ExtentMap {
    let sector = |n: u64| (1 << 20) + n * 512;
    map(&[(sector(8), 4096), (sector(64), 8192)])
}

/// The image of a disk, broken off after some events; `false` when it was done before.
fn is_broken_off(bench: &Bench, events: u64) -> bool {
    let cancel = Cancel::default();
    let monitor = CancelAt {
        cancel: &cancel,
        left: events.into(),
    };
    let request = request(image("/dev/sda", "/mnt/backup", "pc"));
    let report = run_watched(&request, &bench.host, &monitor, &cancel);
    matches!(report.outcome, Outcome::Cancelled { .. })
}

#[test]
fn an_image_goes_on_when_less_is_known_of_the_disk_than_when_it_was_begun() {
    let mut went_on = 0;
    for seed in 0..12 {
        let (bench, bad) = failing(8, seed);
        let store = FakeStore::new("backup", 1 << 40);
        bench.host.add_store("/mnt/backup", &store);
        let wanted = used(&bench.bytes);
        if !is_broken_off(&bench, 20 + seed * 12) {
            continue;
        }
        let worse = bad.union(&both_fats());
        bench.source.set_bad(worse.clone());
        if seed % 2 == 0 {
            is_broken_off(&bench, 60);
        }
        let report = run(
            &request(image("/dev/sda", "/mnt/backup", "pc")),
            &bench.host,
        );
        assert!(
            matches!(report.outcome, Outcome::Damage { .. } | Outcome::Done),
            "{seed}: {report}"
        );
        went_on += u64::from(report.resumed_bytes > 0);
        let missing = lost(&report);
        let near = worse.aligned_out(PHYSICAL, 8 << 20);
        assert_eq!(missing.difference(&near), ExtentMap::new(), "{report}");
        assert_restores(&bench, &wanted, &missing);
    }
    assert!(went_on >= 6, "{went_on}");
}

/// Takes a cluster that was free, in both FATs.
fn take_a_cluster(bytes: &mut [u8]) {
    let fat = (1 << 20) + 512;
    let free = bytes[fat..fat + 57 * 512]
        .windows(48)
        .position(|window| window.iter().all(|byte| *byte == 0))
        .unwrap()
        .next_multiple_of(2);
    for start in [fat + free, fat + 57 * 512 + free] {
        bytes[start..start + 46].fill(0xFF);
    }
}

/// What a driver notes in a FAT's first sector while it has it mounted.
fn mark_as_mounted(bytes: &mut [u8]) {
    bytes[(1 << 20) + 37] ^= 1;
}

#[test]
fn an_image_does_not_go_on_when_somebody_wrote_to_the_disk() {
    for change in [take_a_cluster, mark_as_mounted] {
        for gets_worse in [false, true] {
            let (bench, mut bad) = failing(8, 3);
            let store = FakeStore::new("backup", 1 << 40);
            bench.host.add_store("/mnt/backup", &store);
            assert!(is_broken_off(&bench, 60));
            let mut bytes = bench.bytes.clone();
            change(&mut bytes);
            if gets_worse {
                bad.insert(Extent::new((5 << 20) + 8192, 4096).unwrap());
            }
            bench.host.remove("/dev/sda");
            let changed = FakeDisk::new("/dev/sda", "SOURCE01", bytes);
            changed.with_sectors(512, 4096);
            changed.set_bad(bad);
            bench.host.add(&changed);
            let request = request(image("/dev/sda", "/mnt/backup", "pc"));
            let refusals = refused(&request, &bench.host);
            assert!(
                matches!(refusals[..], [Refusal::UnfinishedOther { .. }]),
                "{refusals:?}"
            );
        }
    }
}
