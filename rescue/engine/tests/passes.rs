//! What the passes promise, on made-up drives that fail in every way: all that can be read is read, what is bad
//! is touched no more often than it must be, and there is an end.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use engine::map::{Map, Status};
use engine::passes::{Answer, Ask, Classes, Depth, Errors, Habits, Pass, Passes};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::Config;

const SIZE: u64 = 64 << 20;

fn extent(start: u64, len: u64) -> Extent {
    Extent::new(start, len).unwrap()
}

/// A drive that fails where `bad` is, and is slow where `slow` is.
#[derive(Clone, Debug)]
struct Drive {
    sector: u64,
    bad: ExtentMap,
    slow: ExtentMap,
    errors: Errors,
    /// Reads that contained this bad sector as their first.
    touches: BTreeMap<u64, u32>,
}

impl Drive {
    fn read(&mut self, ask: &Ask) -> Answer {
        let bad = self.bad.within(ask.extent).next();
        let slow = self.slow.within(ask.extent).next().is_some();
        let took = Duration::from_millis(if slow { 5000 } else { 5 });
        let Some(bad) = bad else {
            return Answer::whole(ask, took);
        };
        let place = bad.start() / self.sector * self.sector;
        *self.touches.entry(place).or_default() += 1;
        match self.errors {
            Errors::Exact => Answer {
                good: place - ask.extent.start(),
                bad: Some(extent(place, self.sector)),
                path_error: false,
                took,
            },
            Errors::Somewhere => Answer {
                good: 0,
                bad: None,
                path_error: false,
                took,
            },
        }
    }
}

fn tiles(map: &Map) -> bool {
    let mut at = 0;
    map.lines().all(|(extent, _)| {
        let fits = extent.start() == at;
        at = extent.end();
        fits
    }) && at == map.size_bytes
}

/// Until the end, which must come.
fn drive(passes: &mut Passes, drive: &mut Drive, wanted: &ExtentMap) {
    let most = 4 * SIZE / drive.sector;
    for _ in 0..most {
        let Some(ask) = passes.next() else { return };
        assert!(ask.extent.len() <= 1 << 20);
        assert_eq!(ask.extent.start() % drive.sector, 0);
        assert!(ask.extent.end() % drive.sector == 0 || ask.extent.end() == SIZE);
        assert!(
            ask.pass == Pass::Measure || wanted.covers(ask.extent),
            "{ask:?}"
        );
        let answer = drive.read(&ask);
        passes.tell(&ask, answer);
    }
    panic!("no end after {most} reads");
}

fn areas(most: usize, longest: u64) -> impl Strategy<Value = ExtentMap> {
    let one = (0..SIZE / 512, 1..longest / 512);
    proptest::collection::vec(one, 0..most).prop_map(|all| {
        let all = all
            .into_iter()
            .filter_map(|(at, len)| Extent::new(at * 512, len * 512));
        let all: Vec<Extent> = all
            .filter_map(|one| one.intersect(extent(0, SIZE)))
            .collect();
        ExtentMap::from(all)
    })
}

fn habits(errors: Errors, depth: Depth) -> Habits {
    Habits {
        errors,
        depth,
        ..Habits::default()
    }
}

fn geometry(sector: u64) -> Geometry {
    Geometry {
        size_bytes: SIZE,
        logical_sector: 512,
        physical_sector: u32::try_from(sector).unwrap(),
    }
}

fn cases() -> Config {
    let all = std::env::var("RESCUE_TEST_ALL").is_ok();
    Config::with_cases(if all { 1000 } else { 60 })
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn all_that_can_be_read_is_read_and_nothing_bad_is_touched_twice_without_need(
        (used, metadata, unknown) in (areas(40, 8 << 20), areas(6, 1 << 20), areas(3, 4 << 20)),
        (few, large, slow) in (areas(40, 4096), areas(3, 4 << 20), areas(2, 8 << 20)),
        exact in any::<bool>(),
        large_sectors in any::<bool>(),
        cut in 0usize..400,
    ) {
        let sector = if large_sectors { 4096 } else { 512 };
        let errors = if exact { Errors::Exact } else { Errors::Somewhere };
        let bad = few.union(&large).aligned_out(sector, SIZE);
        let wanted = used.union(&metadata).union(&unknown).aligned_out(sector, SIZE);
        let classes = Classes { metadata, used, unknown, free: ExtentMap::new() };
        let mut drive_ = Drive { sector, bad: bad.clone(), slow, errors, touches: BTreeMap::new() };
        let habits = habits(errors, Depth::Everything);
        let mut passes = Passes::new(geometry(sector), classes.clone(), Map::new(SIZE), habits);
        // Cut in the middle, and gone on from its map.
        for _ in 0..cut {
            let Some(ask) = passes.next() else { break };
            let answer = drive_.read(&ask);
            passes.tell(&ask, answer);
            prop_assert!(tiles(passes.map()));
        }
        let mut passes = Passes::new(geometry(sector), classes, passes.into_map(), habits);
        drive(&mut passes, &mut drive_, &wanted);
        prop_assert!(tiles(passes.map()));
        prop_assert_eq!(&passes.map().finished, &wanted.difference(&bad));
        prop_assert_eq!(&passes.map().bad.intersection(&wanted), &wanted.intersection(&bad));
        let account = passes.account();
        prop_assert_eq!(account.left, 0);
        prop_assert_eq!(account.finished + account.bad, account.wanted);
        let most = drive_.touches.values().copied().max().unwrap_or(0);
        prop_assert!(most <= 2, "a bad sector was touched {} times", most);
    }
}

fn whole(map: Map, errors: Errors, depth: Depth) -> Passes {
    let classes = Classes {
        used: ExtentMap::whole(SIZE),
        ..Classes::default()
    };
    Passes::new(geometry(4096), classes, map, habits(errors, depth))
}

fn drive_of(bad: &[Extent], errors: Errors) -> Drive {
    let bad = bad.iter().copied().collect();
    Drive {
        sector: 4096,
        bad,
        slow: ExtentMap::new(),
        errors,
        touches: BTreeMap::new(),
    }
}

#[test]
fn a_dead_area_is_left_after_a_few_touches_and_read_to_its_end_when_asked() {
    let mut passes = whole(Map::new(SIZE), Errors::Exact, Depth::Yield);
    let dead = extent(20 << 20, 16 << 20);
    let mut disk = drive_of(&[dead], Errors::Exact);
    let all = ExtentMap::whole(SIZE);
    drive(&mut passes, &mut disk, &all);
    assert!(passes.bad_reads() < 40, "{}", passes.bad_reads());
    let readable = all.difference(&[dead].into_iter().collect());
    assert_eq!(passes.map().finished, readable);
    assert!(!passes.held().is_empty());
    passes.everything();
    drive(&mut passes, &mut disk, &all);
    assert_eq!(passes.account().bad, dead.len());
    assert!(disk.touches.values().all(|touches| *touches == 1));
}

#[test]
fn the_same_is_asked_until_its_answer_was_told() {
    let mut passes = whole(Map::new(SIZE), Errors::Exact, Depth::Yield);
    let ask = passes.next().unwrap();
    assert_eq!(passes.next(), Some(ask));
    let other = Ask {
        extent: extent(4096, 4096),
        ..ask
    };
    passes.tell(&other, Answer::whole(&other, Duration::ZERO));
    assert_eq!(passes.next(), Some(ask));
    passes.tell(&ask, Answer::whole(&ask, Duration::ZERO));
    assert_ne!(passes.next(), Some(ask));
}

#[test]
fn what_is_skipped_is_left_alone() {
    let mut passes = whole(Map::new(SIZE), Errors::Exact, Depth::Everything);
    let mut disk = drive_of(&[extent(9 << 20, 4096)], Errors::Exact);
    let _ = passes.next();
    let skipped = extent(0, 10 << 20);
    passes.skip(skipped);
    let rest: ExtentMap = [extent(10 << 20, SIZE - (10 << 20))].into_iter().collect();
    drive(&mut passes, &mut disk, &rest);
    assert_eq!(passes.map().finished, rest);
    assert!(disk.touches.is_empty());
}

#[test]
fn bad_sectors_are_tried_again_only_when_asked_for() {
    let mut passes = whole(Map::new(SIZE), Errors::Exact, Depth::Yield);
    let places = [extent(5 << 20, 8192), extent(30 << 20, 4096)];
    let mut disk = drive_of(&places, Errors::Exact);
    let all = ExtentMap::whole(SIZE);
    drive(&mut passes, &mut disk, &all);
    assert_eq!(passes.account().bad, 12288);
    disk.bad = ExtentMap::new();
    passes.retry();
    drive(&mut passes, &mut disk, &all);
    assert_eq!(passes.map().finished, all);
}

#[test]
fn an_error_of_the_path_says_nothing_of_the_medium() {
    let mut passes = whole(Map::new(SIZE), Errors::Exact, Depth::Yield);
    let ask = passes.next().unwrap();
    let bad = Some(extent(0, 4096));
    let answer = Answer {
        good: 0,
        bad,
        path_error: true,
        took: Duration::from_secs(30),
    };
    passes.tell(&ask, answer);
    assert!(passes.map().bad.is_empty());
    assert_eq!(passes.map().non_trimmed.total_bytes(), ask.extent.len());
    let mut disk = drive_of(&[], Errors::Exact);
    let all = ExtentMap::whole(SIZE);
    drive(&mut passes, &mut disk, &all);
    assert_eq!(passes.map().finished, all);
}

#[test]
fn a_map_that_splits_sectors_is_gone_on_from() {
    let mut map = Map::new(SIZE);
    map.set(extent(0, (8 << 20) + 512), Status::Finished);
    map.set(extent((8 << 20) + 512, 512), Status::Bad);
    map.set(extent(20 << 20, 65536), Status::NonTrimmed);
    map.set(extent(30 << 20, 65536), Status::NonScraped);
    let mut passes = whole(map, Errors::Exact, Depth::Yield);
    let mut disk = drive_of(&[extent(8 << 20, 4096)], Errors::Exact);
    let all = ExtentMap::whole(SIZE);
    drive(&mut passes, &mut disk, &all);
    assert_eq!(passes.account().bad, 4096);
    assert_eq!(passes.account().left, 0);
}

/// Sizes of real disks are no round numbers, and the steps over what is slow or dead are parts of the size.
#[test]
fn on_a_disk_of_any_size_only_whole_sectors_are_asked_for() {
    let mut kinds = std::collections::BTreeSet::new();
    for (size_bytes, sector) in [
        (253_755_392, 512),
        (500_107_862_016, 4096),
        (31_914_983_424, 512),
    ] {
        let geometry = Geometry {
            size_bytes,
            logical_sector: 512,
            physical_sector: u32::try_from(sector).unwrap(),
        };
        let part =
            |from: u64, to: u64| extent(size_bytes / 100 * from, size_bytes / 100 * (to - from));
        let classes = Classes {
            used: ExtentMap::whole(size_bytes),
            ..Classes::default()
        };
        let (slow, bad) = (part(20, 45), part(60, 70));
        let mut passes = Passes::new(geometry, classes, Map::new(size_bytes), Habits::default());
        for _ in 0..200_000 {
            let Some(ask) = passes.next() else { break };
            let (start, end) = (ask.extent.start(), ask.extent.end());
            assert_eq!(start % sector, 0, "{ask:?}");
            assert!(end % sector == 0 || end == size_bytes, "{ask:?}");
            kinds.insert(format!("{:?}", ask.pass));
            // Long reads, so that the end is near.
            let slow = slow.intersect(ask.extent).is_some();
            let answer = match bad.intersect(ask.extent) {
                Some(bad) => Answer {
                    good: (bad.start() - start) / sector * sector,
                    bad: None,
                    path_error: false,
                    took: Duration::from_millis(50),
                },
                None => Answer::whole(&ask, Duration::from_millis(if slow { 9000 } else { 1 })),
            };
            passes.tell(&ask, answer);
        }
    }
    assert!(kinds.contains("Slow") && kinds.len() >= 4, "{kinds:?}");
}
