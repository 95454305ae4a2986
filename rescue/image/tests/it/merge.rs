//! Chains made shorter: whatever happens while they are, every image that stays reads as it did.

use std::collections::BTreeSet;

use image::check;
use image::digest::ImageId;
use image::error::ImageError;
use image::memory::MemoryStore;
use image::merge::Merge;
use image::prune::{self, Step};
use image::reader::Reader;
use image::shelf::{self, Stage};
use image::store::Store;

use crate::chain::{Chain, file, name};
use crate::making::{Disk, manifest, restore};
use crate::power::{cuts, dice};
use crate::tape::{Tape, store_of};

fn expect_point(store: &dyn Store, nth: usize, disk: &Disk) {
    let reader = Reader::open(store, &file(nth)).unwrap_or_else(|error| panic!("{error}"));
    let (content, lost) = restore(&reader);
    assert!(lost.is_empty(), "point {nth}");
    assert!(content == disk.expected(), "point {nth}");
}

fn expect_points(store: &dyn Store, chain: &Chain, points: &[usize]) {
    for nth in points {
        expect_point(store, *nth, &chain.states[*nth]);
    }
}

fn merge(store: &dyn Store, nth: usize, onto: Option<usize>, id: u8) -> Result<(), ImageError> {
    Merge {
        store,
        name: &name(nth),
        onto: onto.map(name).as_deref(),
        id: ImageId([id; 16]),
    }
    .run(&mut |_| Ok(()))
}

/// The places in the list of these points.
fn places(store: &dyn Store, points: &[usize]) -> (Vec<shelf::Shelved>, BTreeSet<usize>) {
    let all = shelf::list(store).unwrap();
    let names: Vec<String> = points.iter().map(|nth| name(*nth)).collect();
    let of = |(nth, one): (usize, &shelf::Shelved)| {
        (one.stage == Stage::Finished && names.contains(&one.name)).then_some(nth)
    };
    let going = all.iter().enumerate().filter_map(of).collect();
    (all, going)
}

fn prune(store: &dyn Store, going: &[usize]) -> Result<(), ImageError> {
    let (all, going) = places(store, going);
    let steps = prune::steps(&all, &going).unwrap();
    let mut id = 100 + u8::try_from(store.list().unwrap().len()).unwrap();
    let ids = || {
        id += 1;
        Ok(ImageId([id; 16]))
    };
    prune::carry_out(store, &steps, ids, |_| {}, &mut |_| Ok(()))
}

#[test]
fn a_merged_image_reads_as_before_and_its_children_find_it() {
    let chain = Chain::new(6, false);
    let store = &chain.store;
    merge(store, 3, Some(1), 50).unwrap();
    expect_points(store, &chain, &[0, 1, 2, 3, 4, 5]);
    store.remove(&file(2)).unwrap();
    expect_points(store, &chain, &[0, 1, 3, 4, 5]);
    let reader = Reader::open(store, &file(3)).unwrap();
    assert_eq!(reader.ancestors().len(), 2);
    assert_eq!(
        reader.manifest().unwrap().parent.as_ref().unwrap().name,
        "point1"
    );
    // A full one out of the middle, and again one in whose place one stands already.
    merge(store, 3, None, 51).unwrap();
    merge(store, 5, Some(3), 52).unwrap();
    for nth in [0, 1] {
        store.remove(&file(nth)).unwrap();
    }
    chain_is_clean(store, &chain, &[3, 4, 5]);
    let full = Reader::open(store, &file(3)).unwrap();
    assert_eq!(full.stands_for().len(), 2);
    assert!(full.ancestors().is_empty());
    let story = full.manifest().unwrap();
    assert!(story.in_disk_order && story.parent.is_none());
    assert_eq!(story.stands_for.len(), 2);
    assert_eq!(story.program, manifest().program);
    // It is whole again for the stock tool.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("full.zst");
    std::fs::write(&path, store.get(&file(3)).unwrap()).unwrap();
    let output = std::process::Command::new("zstd")
        .args(["-dcq"])
        .arg(&path)
        .output();
    let output = output.expect("the program zstd runs (Debian package: zstd)");
    assert!(output.status.success() && output.stdout == chain.states[3].expected());
}

fn chain_is_clean(store: &MemoryStore, chain: &Chain, points: &[usize]) {
    expect_points(store, chain, points);
    for nth in points {
        let reader = Reader::open(store, &file(*nth)).unwrap();
        let findings = check::all(&reader, |_| {}).unwrap();
        assert!(findings.is_clean(), "{findings:?}");
    }
    let names = store.list().unwrap();
    assert_eq!(names.len(), points.len(), "{names:?}");
}

#[test]
fn steps_make_anew_who_stays_before_anybody_goes() {
    let chain = Chain::new(6, false);
    let (all, going) = places(&chain.store, &[0, 2, 3, 5]);
    let steps = prune::steps(&all, &going).unwrap();
    let merge = |nth, onto: Option<usize>| Step::Merge {
        name: name(nth),
        onto: onto.map(name),
    };
    let remove = |nth| Step::Remove { name: name(nth) };
    let expected = [
        merge(1, None),
        merge(4, Some(1)),
        remove(5),
        remove(3),
        remove(2),
        remove(0),
    ];
    assert_eq!(steps, expected);
    prune(&chain.store, &[0, 2, 3, 5]).unwrap();
    chain_is_clean(&chain.store, &chain, &[1, 4]);
}

#[test]
fn an_unfinished_child_and_what_nobody_can_read_keep_all_that_they_may_need() {
    let chain = Chain::new(3, false);
    let bytes = chain.store.get(&file(2)).unwrap();
    chain
        .store
        .put("new.img.zst.unfinished", bytes[..bytes.len() / 2].to_vec());
    let (all, going) = places(&chain.store, &[1]);
    let reasons = prune::steps(&all, &going).unwrap_err();
    assert!(
        reasons[0].contains("new is unfinished and needs what would go"),
        "{reasons:?}"
    );
    chain.store.remove("new.img.zst.unfinished").unwrap();
    chain.store.put("strange.img.zst", vec![7; 5000]);
    let (all, going) = places(&chain.store, &[1]);
    let reasons = prune::steps(&all, &going).unwrap_err();
    assert!(
        reasons[0].contains("nobody knows what strange needs"),
        "{reasons:?}"
    );
}

#[test]
fn what_is_damaged_is_not_made_into_another_image() {
    let chain = Chain::new(3, false);
    let mut bytes = chain.store.get(&file(1)).unwrap();
    let at = (8..bytes.len())
        .find(|at| bytes[*at..].starts_with(b"rescCHNK") && bytes[at + 32 + 16] == 1)
        .map_or(2000, |at| at + 300);
    bytes[at..at + 2000].fill(0);
    chain.store.put(&file(1), bytes.clone());
    let damaged = Reader::open(&chain.store, &file(2)).unwrap();
    assert!(
        !restore(&damaged).1.is_empty(),
        "the child needs what was damaged"
    );
    let error = merge(&chain.store, 2, None, 60).unwrap_err();
    assert!(matches!(error, ImageError::Damaged { .. }), "{error}");
    assert_eq!(chain.store.get(&file(1)), Some(bytes));
    assert!(Reader::open(&chain.store, &file(2)).is_ok());
}

/// A short chain, so that every step can be tried.
pub fn short() -> Chain {
    Chain::over(Disk::new(5, 4), 4, false)
}

#[test]
fn interrupted_at_any_step_no_image_is_lost_or_wrong_and_the_same_goes_on() {
    let chain = short();
    let tape = Tape::of(&chain.store);
    prune(&tape, &[0, 2]).unwrap();
    let all = tape.changes().len();
    assert!(all > 40, "{all} steps");
    for left in 0..all {
        let cut = Tape::of(&chain.store).gone_after(left);
        assert!(prune(&cut, &[0, 2]).is_err(), "after {left} of {all} steps");
        // Killed: everything that was written is there.
        let store = store_of(cut.after_power_cut(cut.changes().len(), &mut |_| 0));
        expect_points(&store, &chain, &[1, 3]);
        prune(&store, &[0, 2]).unwrap();
        chain_is_clean(&store, &chain, &[1, 3]);
    }
}

/// Cuts the power at random moments of `change`; `stay` read as before, `go` may be gone and is never wrong.
fn survives(
    chain: &Chain,
    change: impl Fn(&dyn Store) -> Result<(), ImageError>,
    [stay, go]: [&[usize]; 2],
    cuts: usize,
) {
    let tape = Tape::of(&chain.store);
    change(&tape).unwrap();
    let all = tape.changes().len();
    let mut dice = dice(11);
    let (mut begun, mut done) = (0, 0);
    for state in 0..cuts {
        let store = store_of(tape.after_power_cut(dice(all + 1), &mut dice));
        expect_points(&store, chain, stay);
        for nth in go {
            if store.exists(&file(*nth)).unwrap() && Reader::open(&store, &file(*nth)).is_ok() {
                expect_point(&store, *nth, &chain.states[*nth]);
                begun += 1;
            } else {
                done += 1;
            }
        }
        if state % 10 == 0 {
            change(&store).unwrap();
            expect_points(&store, chain, stay);
        }
    }
    println!(
        "{stay:?} stay, {go:?} go: {cuts} states after power cuts; what goes was there {begun} times, gone {done}"
    );
}

#[test]
fn after_a_power_cut_in_a_prune_every_image_that_stays_is_whole() {
    let away = |store: &dyn Store| prune(store, &[0, 2]);
    survives(&short(), away, [&[1, 3], &[0, 2]], cuts(120, 4_000));
}

#[test]
fn after_a_power_cut_in_a_merge_every_image_is_whole() {
    let merged = |store: &dyn Store| match merge(store, 3, Some(0), 70) {
        // It had its new name before the power went.
        Err(ImageError::NoParent { .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    };
    survives(&short(), merged, [&[0, 1, 2, 3], &[]], cuts(60, 2_000));
}
