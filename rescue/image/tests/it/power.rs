//! Power cuts while an image is written: it says that it is unfinished and goes on from its last commit, or it is whole.

use std::collections::BTreeMap;

use image::check;
use image::head::Head;
use image::reader::{Piece, Reader};
use image::store::Store;
use image::writer::Writer;

use crate::chain::{file, head, name};
use crate::making::{Disk, manifest, noise, restore};
use crate::merge::short;
use crate::tape::{Tape, files, store_of};

/// Numbers below what is asked for, always the same.
pub fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut numbers = noise(1 << 20, seed)
        .chunks(4)
        .map(|four| u32::from_le_bytes(four.try_into().unwrap()) as usize)
        .collect::<Vec<_>>()
        .into_iter()
        .cycle();
    move |below| numbers.next().unwrap() % below
}

/// So many power cuts: all jobs together more than ten thousand when everything is asked for.
pub fn cuts(default: usize, all: usize) -> usize {
    match std::env::var_os("RESCUE_TEST_ALL") {
        Some(_) => all,
        None => default,
    }
}

/// An image of `disk` that is written, and over what.
struct Job<'d> {
    before: BTreeMap<String, Vec<u8>>,
    disk: &'d Disk,
    nth: usize,
    parent: Option<usize>,
    parity: Option<u8>,
}

impl Job<'_> {
    fn head(&self) -> Head {
        let head = head(self.disk, self.nth);
        match self.parity {
            Some(_) => head.with_parity(),
            None => head,
        }
    }

    /// Begins, or goes on with what is there; the address of each commit is told.
    fn run(&self, store: &dyn Store, at_least: u64, told: &mut dyn FnMut(u64)) {
        let name = name(self.nth);
        let begun = store.exists(&self.unfinished()).unwrap();
        let parent = self
            .parent
            .map(|of| Reader::open(store, &file(of)).unwrap());
        let mut writer = match (begun, &parent) {
            (true, None) => Writer::resume(store, &name, &self.head()),
            (true, Some(parent)) => Writer::resume_child(store, &name, &self.head(), parent),
            (false, None) => Writer::create(store, &name, self.head()),
            (false, Some(parent)) => Writer::create_child(store, &name, self.head(), parent),
        }
        .unwrap();
        assert!(writer.at() >= at_least, "{} of {at_least}", writer.at());
        if let Some(percent) = self.parity {
            writer.protect(percent);
        }
        self.disk.write_telling(&mut writer, 1, 2, told);
        writer.finish(&manifest()).unwrap();
    }

    fn unfinished(&self) -> String {
        format!("{}.unfinished", file(self.nth))
    }

    /// It gives all of the disk, or says what it does not give.
    fn is_never_wrong(&self, store: &dyn Store, name: &str) {
        let Ok(reader) = Reader::open(store, name) else {
            return;
        };
        let given: Vec<_> = reader.pieces().map(Result::unwrap).collect();
        let (content, lost) = restore(&reader);
        let expected = self.disk.expected();
        for piece in given {
            let Piece::Entry(entry) = piece else { continue };
            for at in (entry.extent.start()..entry.extent.end()).step_by(512) {
                let here = usize::try_from(at).unwrap();
                let end = (here + 512).min(content.len());
                assert!(
                    lost.contains(at) || content[here..end] == expected[here..end],
                    "{name}: wrong bytes at {at}"
                );
            }
        }
    }

    fn survives(&self, cuts: usize, what: &str) {
        let tape = Tape::over(self.before.clone());
        let mut commits = vec![(0, 0)];
        self.run(&tape, 0, &mut |at| commits.push((tape.changes().len(), at)));
        let all = tape.changes().len();
        let mut dice = dice(self.nth as u64 + 20);
        let (mut whole, mut unfinished, mut absent) = (0, 0, 0);
        for state in 0..cuts {
            // The renames at the end are few, and each counts.
            let cut = match state % 4 {
                0 => all - state / 4 % 8,
                _ => dice(all + 1),
            };
            let store = store_of(tape.after_power_cut(cut, &mut dice));
            if store.exists(&file(self.nth)).unwrap() {
                let reader = Reader::open(&store, &file(self.nth)).unwrap();
                let (content, lost) = restore(&reader);
                assert!(lost.is_empty() && content == self.disk.expected());
                assert!(state % 10 != 0 || check::all(&reader, |_| {}).unwrap().is_clean());
                whole += 1;
                continue;
            }
            match store.exists(&self.unfinished()).unwrap() {
                true => unfinished += 1,
                false => absent += 1,
            }
            self.is_never_wrong(&store, &self.unfinished());
            let commit = commits.iter().rev().find(|(changes, _)| *changes <= cut);
            self.run(&store, commit.unwrap().1, &mut |_| {});
            let (content, lost) = restore(&Reader::open(&store, &file(self.nth)).unwrap());
            assert!(lost.is_empty() && content == self.disk.expected());
        }
        println!(
            "{what}: {cuts} states after power cuts: {whole} whole, {unfinished} unfinished, {absent} not begun"
        );
        assert!(commits.len() > 2 && whole > 0 && unfinished > cuts / 4);
    }
}

#[test]
fn after_a_power_cut_an_image_goes_on_from_its_last_commit_or_is_whole() {
    for (parity, cuts) in [(None, cuts(60, 2_500)), (Some(3), cuts(20, 1_000))] {
        let job = Job {
            before: BTreeMap::new(),
            disk: &Disk::new(9, 4),
            nth: 0,
            parent: None,
            parity,
        };
        job.survives(cuts, &format!("image, parity {parity:?}"));
    }
}

#[test]
fn after_a_power_cut_a_child_goes_on_from_its_last_commit_or_is_whole() {
    let chain = short();
    let mut before = files(&chain.store);
    before.remove(&file(3));
    let job = Job {
        before,
        disk: &chain.states[3],
        nth: 3,
        parent: Some(2),
        parity: None,
    };
    job.survives(cuts(60, 3_000), "incremental");
}
