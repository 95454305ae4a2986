//! The passes reach their figures on drives that are made up, and do nothing that a real disk would not forgive.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

use disk::extent::Extent;
use engine::map::{Map, Status};
use engine::passes::{Depth, Habits};
use engine::simulate::acceptance::{self, Check};
use engine::simulate::{Drive, Known, SCENARIOS, Scenario, run};

/// The first two; all ten with `RESCUE_TEST_ALL=1`.
fn seeds() -> impl Iterator<Item = u64> {
    let all = std::env::var("RESCUE_TEST_ALL").is_ok();
    acceptance::SEEDS.take(if all { 10 } else { 2 })
}

#[test]
fn every_figure_is_reached() {
    for seed in seeds() {
        let checks = acceptance::check(seed);
        assert_eq!(checks.len(), 22);
        let missed: Vec<&Check> = checks.iter().filter(|check| !check.is_met()).collect();
        assert!(missed.is_empty(), "{missed:#?}");
    }
}

#[test]
fn the_same_seed_is_the_same_drive_and_another_is_another() {
    let rescue = |seed| {
        let scratches = Scenario::find("scratches").unwrap();
        run(
            &mut Drive::of(scratches, seed),
            Known::Used,
            Habits::default(),
        )
        .0
    };
    let first = rescue(1);
    assert_eq!(first, rescue(1));
    assert_ne!(first.reads, rescue(2).reads);
}

#[test]
fn a_drive_that_vanishes_is_gone_on_with() {
    let vanishing = Scenario::find("vanishing").unwrap();
    let (figures, passes) = run(&mut Drive::of(vanishing, 1), Known::Used, Habits::default());
    let sound = Scenario::find("scattered").unwrap();
    let (of_sound, _) = run(&mut Drive::of(sound, 1), Known::Used, Habits::default());
    assert!(figures.end_s > of_sound.end_s + 300.0);
    assert!((figures.used_recovered - 1.0).abs() < 1e-9, "{figures:?}");
    assert_eq!(passes.account().left, 0);
}

#[test]
fn a_bridge_that_invents_zeros_is_counted() {
    let zeros = Scenario::find("zeros").unwrap();
    let (figures, _) = run(&mut Drive::of(zeros, 1), Known::Used, Habits::default());
    assert_eq!(figures.bad_reads, 0);
    assert_eq!(figures.false_good_sectors, figures.bad_used_sectors);
}

#[test]
fn a_map_makes_a_drive_and_a_rescue_of_it_makes_the_map_again() {
    let mut map = Map::new(1 << 30);
    map.set(Extent::new(0, 1 << 30).unwrap(), Status::Finished);
    map.set(Extent::new(300 << 20, 40960).unwrap(), Status::Bad);
    map.set(Extent::new(700 << 20, 4096).unwrap(), Status::Bad);
    let habits = Habits {
        depth: Depth::Everything,
        ..Habits::default()
    };
    let (figures, passes) = run(&mut Drive::of_map(&map, 1), Known::Used, habits);
    assert_eq!(passes.map(), &map);
    assert_eq!(figures.bad_reads, 11);
    assert_eq!(figures.bad_used_sectors, 11);
}

#[test]
fn scenarios_have_names_of_their_own() {
    for one in SCENARIOS {
        assert_eq!(Scenario::find(one.name), Some(*one));
    }
}
