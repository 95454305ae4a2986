//! The order in which a failing disk is read: as much of what is used as soon as possible, with as few touches of
//! what is bad as possible.
//!
//! A state machine without a clock, a thread or a disk: [`Passes::next`] says what to read, [`Passes::tell`] hears
//! how it went. A drive gives what it still has only once, and every bad read may cost more than the sector:
//! the neighbourhood of an error is left at once and approached later from its far side, a dead head is seen as
//! the regular stripes it leaves, and what promises least is read last.

mod approach;
mod edges;
mod gain;
mod ground;
mod holes;
mod probes;
mod slow;
mod stages;
mod stripes;
mod sweep;
mod trim;
mod walk;

use std::time::Duration;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;

use crate::map::Map;
pub use gain::Gain;
use ground::Ground;
use stages::Stages;

/// Longest read.
const MOST: u64 = 1 << 20;
/// A first touch of what may be bad, and the longest read of a disk that does not say where an error was.
const TOUCH: u64 = 64 << 10;

/// What is worth reading, in the order of its worth. Where they overlap, the first counts.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Classes {
    /// What everything else is found by: tables, superblocks, allocation maps, directories.
    pub metadata: ExtentMap,
    pub used: ExtentMap,
    /// Where no map could be read: never to be taken for free.
    pub unknown: ExtentMap,
    /// Only for an exact copy; otherwise empty.
    pub free: ExtentMap,
}

/// What is known of the disk before the first read, and how far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Habits {
    pub errors: Errors,
    pub depth: Depth,
    /// For one slow area before the next one's turn.
    pub slow_budget: Duration,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits {
            errors: Errors::Exact,
            depth: Depth::Yield,
            slow_budget: Duration::from_secs(30 * 60),
        }
    }
}

/// What an error of this disk tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errors {
    /// The first bad sector (sense data, or the log of an NVMe drive); what was before it was read.
    Exact,
    /// That somewhere in the read there is one.
    Somewhere,
}

/// When to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// Areas that look dead are left: they are [`Held`] in the account.
    Yield,
    /// Until every byte was read or is known to be bad.
    Everything,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// Everything once, forwards, around whatever fails.
    Sweep,
    /// Finds the borders of a dead stripe. May lie outside of every class: such bytes may be dropped, and the
    /// map does not list them.
    Measure,
    /// What was left around errors, from its far side first.
    Approach,
    /// What failed without saying where, sector by sector from both ends.
    Trim,
    /// What is read slowly.
    Slow,
    /// Single touches inside of large holes.
    Probe,
    /// What is left between bad sectors.
    Scrape,
    /// Bad sectors once more, only when asked for.
    Retry,
}

/// How long the drive is to try on its own (its error recovery time).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    Sweep,
    Scrape,
}

/// One read: at most 1 MiB, in whole physical sectors (the disk's last one may be cut).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    pub extent: Extent,
    pub pass: Pass,
    pub patience: Patience,
}

/// How a read went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Bytes from the start of the read that arrived; all of them when it did not fail.
    pub good: u64,
    /// The bad place, if the drive said it.
    pub bad: Option<Extent>,
    /// The way to the disk failed, not the medium: nothing is known of the place.
    pub path_error: bool,
    pub took: Duration,
}

impl Answer {
    pub fn whole(ask: &Ask, took: Duration) -> Answer {
        Answer {
            good: ask.extent.len(),
            bad: None,
            path_error: false,
            took,
        }
    }
}

/// An area that is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    pub extent: Extent,
    pub why: Why,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// A dead head leaves its stripe here.
    Stripe,
    /// Reads take many times as long as elsewhere.
    Slow,
    /// None of the touches inside of it was good.
    Dead { touches: u32 },
    /// Somebody asked for it.
    Skipped,
}

/// Bytes of what is worth reading, by their state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    pub wanted: u64,
    pub finished: u64,
    pub bad: u64,
    /// Not read and not known to be bad.
    pub left: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Passes {
    ground: Ground,
    stages: Stages,
    gain: Gain,
    pending: Option<Ask>,
    last: Option<Pass>,
    reads: u64,
    bad_reads: u64,
}

impl Passes {
    /// `map` is what was done before; a new one for a new job.
    pub fn new(geometry: Geometry, classes: Classes, map: Map, habits: Habits) -> Passes {
        Passes {
            ground: Ground::new(geometry, classes, map, habits.errors),
            stages: Stages::new(habits),
            gain: Gain::default(),
            pending: None,
            last: None,
            reads: 0,
            bad_reads: 0,
        }
    }

    /// What to read now; the same again until its answer was told. `None`: nothing is left that should be read.
    #[expect(
        clippy::should_implement_trait,
        reason = "an answer stands between two asks"
    )]
    pub fn next(&mut self) -> Option<Ask> {
        if self.pending.is_none() {
            let ask = self.stages.ask(&mut self.ground);
            self.pending = ask.and_then(|ask| {
                let extent = self.ground.whole_sectors(ask.extent)?;
                Some(Ask { extent, ..ask })
            });
        }
        self.pending
    }

    /// An answer to anything but the last ask is not heard.
    pub fn tell(&mut self, ask: &Ask, answer: Answer) {
        if self.pending != Some(*ask) {
            return;
        }
        self.pending = None;
        self.last = Some(ask.pass);
        self.reads += 1;
        let before = self.ground.finished_bytes();
        let end = self.ground.mark(ask, &answer);
        self.bad_reads += u64::from(end.error.is_some());
        let gained = self.ground.finished_bytes() - before;
        self.gain.note(ask.pass, gained, answer.took);
        self.stages.tell(ask, &end, &mut self.ground);
    }

    /// The state of every byte, always up to date.
    pub fn map(&self) -> &Map {
        self.ground.map()
    }

    pub fn into_map(self) -> Map {
        self.ground.into_map()
    }

    /// Leaves an area alone from now on.
    pub fn skip(&mut self, extent: Extent) {
        self.ground.skip(extent);
        self.forget_pending();
    }

    /// Goes on where yield ended: every byte is read or known to be bad in the end.
    pub fn everything(&mut self) {
        self.stages.everything();
        self.forget_pending();
    }

    /// Bad sectors are read once more, each alone.
    pub fn retry(&mut self) {
        self.ground.retry();
        self.stages.retry();
        self.forget_pending();
    }

    /// That of the read which is awaited, or of the last one.
    pub fn pass(&self) -> Option<Pass> {
        self.pending.map(|ask| ask.pass).or(self.last)
    }

    pub fn account(&self) -> Account {
        self.ground.account()
    }

    pub fn reads(&self) -> u64 {
        self.reads
    }

    pub fn bad_reads(&self) -> u64 {
        self.bad_reads
    }

    /// What was left alone, and why.
    pub fn held(&self) -> Vec<Held> {
        self.ground.held()
    }

    /// The next stripe that a dead head is expected to leave, while it is predicted.
    pub fn predicted(&self) -> Option<Extent> {
        self.stages.predicted()
    }

    /// Bytes that another hour would bring, from what the last minutes brought.
    pub fn next_hour(&self) -> u64 {
        self.gain.next_hour().min(self.ground.account().left)
    }

    /// What each pass has brought.
    pub fn gain(&self) -> &Gain {
        &self.gain
    }

    fn forget_pending(&mut self) {
        self.pending = None;
        self.stages.forget_ask();
    }
}
