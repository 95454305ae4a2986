//! The rest of a failing disk, by passes: one read at a time, what is worth most first.
//!
//! One thread reads, so that the disk is never asked for two things at once; another takes what was read to its
//! place, so that a slow destination costs no time where the disk is well.

mod lane;
mod watch;

use std::thread;
use std::time::Duration;

use disk::extent::{Extent, ExtentMap};
use disk::size::Size;

use super::Job;
use super::meter::Meter;
use super::pipeline::{Stop, guarded};
use super::record::Record;
use crate::careful::CarefulSource;
use crate::event::{Cancel, Step};
use crate::journal::{Entry, Error};
use crate::limits::Limits;
use crate::map::{Map, Status};
use crate::passes::{Answer, Ask, Classes, Habits, Held, Passes, Why};
use crate::report::{Report, Rescued};
use crate::request::Coverage;
use lane::Lane;
use watch::Watch;

/// Reads in a row that fail for another reason than the medium, before the way to the disk is given up.
const LOST: u32 = 8;
/// Between two looks whether a paused job goes on.
const NAP: Duration = Duration::from_millis(100);
/// Areas that are told one by one in a report.
const LEFT: usize = 100;
/// Around the last read, when its area is to be left.
const AREA: u64 = 64 << 20;

/// Why bytes are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    Bad,
    NotTried,
}

/// Where the bytes go.
pub trait Taker: Send {
    /// What was read at this place.
    fn take(&mut self, extent: Extent, bytes: &[u8]) -> Result<(), Stop>;
    /// What cannot be had, or is not to be.
    fn missing(&mut self, extent: Extent, why: Missing) -> Result<(), Stop>;
    /// What was taken so far survives a power cut after this.
    fn sync(&mut self, urgency: Urgency) -> Result<(), Stop>;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// As often as is worth the effort.
    Sometimes,
    /// Nothing follows.
    Now,
}

impl Job<'_> {
    /// Brings what is open in the record, or says why it was left.
    pub fn rescue(
        &self,
        taker: &mut dyn Taker,
        record: &mut Record<'_>,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let disk = self.plan.source.as_ref().expect("a disk is rescued");
        let limits = *self.plan.request.options.limits;
        let source = self
            .host
            .open_careful(&disk.identity, limits.absence)
            .map_err(|error| Stop::Fault(error.0))?;
        let geometry = source.geometry();
        let habits = Habits {
            errors: source.errors(),
            depth: limits.depth,
            ..Habits::default()
        };
        meter.begin(Step::Rescue, 0, 0);
        for setting in source.settings() {
            meter.note(&setting);
        }
        record.begin_journal(meter);
        let map = std::mem::take(&mut record.map);
        let size_bytes = map.size_bytes;
        let mut passes = Passes::new(geometry, self.classes(), map, habits);
        let rescue = Rescue {
            source: &*source,
            limits,
            every: self.tuning.progress,
            wanted: &self.plan.used,
            cancel: self.cancel,
        };
        let ended = rescue.run(&mut passes, taker, record, meter);
        report.rescue = Some(told(&passes));
        record.map = passes.into_map();
        record.map.size_bytes = size_bytes;
        if let Some(why) = ended? {
            meter.warn(&why);
        }
        Ok(())
    }

    /// What is read, in the order of its worth.
    fn classes(&self) -> Classes {
        let wanted = &self.plan.used;
        let layout = self
            .plan
            .source
            .as_ref()
            .and_then(|d| d.layout.as_ref().ok());
        let Some(layout) = layout else {
            return Classes {
                unknown: wanted.clone(),
                ..Classes::default()
            };
        };
        let told = layout.classes();
        let free = match self.plan.request.options.coverage {
            Coverage::Exact => told.free.intersection(wanted),
            // The map was made anew since, or grown to whole sectors.
            Coverage::Used => ExtentMap::new(),
        };
        let known = told.metadata.union(&told.used).union(&free);
        Classes {
            metadata: told.metadata.intersection(wanted),
            used: told.used.intersection(wanted),
            // What was wanted for a reason that the layout does not know is not free.
            unknown: wanted
                .difference(&known)
                .union(&told.unknown.intersection(wanted)),
            free,
        }
    }
}

/// Reads what the passes ask for.
struct Rescue<'a> {
    source: &'a dyn CarefulSource,
    limits: Limits,
    /// Between two standings.
    every: Duration,
    wanted: &'a ExtentMap,
    cancel: &'a Cancel,
}

impl Rescue<'_> {
    /// Until nothing is left that is worth a read, or a limit is met: that is said.
    fn run(
        &self,
        passes: &mut Passes,
        taker: &mut dyn Taker,
        record: &mut Record<'_>,
        meter: &mut Meter<'_>,
    ) -> Result<Option<String>, Stop> {
        let (lane, unloading) = lane::lane();
        thread::scope(|scope| {
            let taking = scope.spawn(|| guarded(|| unloading.serve(taker)));
            let read = guarded(|| {
                let why = self.read(passes, &lane, record, meter);
                // Whatever was read is kept, however it ended.
                if lane.sync(Urgency::Now).is_ok() {
                    record.tell(meter);
                }
                why
            });
            drop(lane);
            let took = taking.join().unwrap_or_else(|_| {
                Err(Stop::Bug(
                    "the thread that writes ended without a word".into(),
                ))
            });
            // The reader stops when the other has ended: whose stop it is stands there.
            took.and(read)
        })
    }

    fn read(
        &self,
        passes: &mut Passes,
        lane: &Lane,
        record: &mut Record<'_>,
        meter: &mut Meter<'_>,
    ) -> Result<Option<String>, Stop> {
        let mut watch = Watch::new(self.limits, self.every, passes);
        let mut rounds = self.limits.retries;
        let (mut last, mut lost) = (None, 0);
        let why = loop {
            self.nap(passes, &mut watch, meter);
            if self.cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            if self.cancel.take_skip()
                && let Some(area) = last
            {
                passes.skip(around(area));
            }
            let Some(ask) = passes.next() else {
                if rounds == 0 || passes.map().bad.is_empty() {
                    break None;
                }
                rounds -= 1;
                passes.retry();
                continue;
            };
            last = Some(ask.extent);
            let Some(answer) = self.one(&ask, passes, lane, record, meter)? else {
                return Ok(None);
            };
            lost = if answer.path_error { lost + 1 } else { 0 };
            if lost >= LOST {
                break Some(format!(
                    "{lost} reads in a row failed on the way to the disk, not on its medium; look at cable, plug and power, the same command goes on"
                ));
            }
            if record.story_is_due() {
                if lane.sync(Urgency::Sometimes).is_err() {
                    return Ok(None);
                }
                record.tell(meter);
            }
            if let Some(standing) = watch.standing(passes, self.wanted, false) {
                meter.standing(standing);
            }
            let limit = watch.look(passes, || self.source.vitals());
            if limit.is_some() {
                break limit;
            }
        };
        self.rest_is_missing(passes.map(), lane);
        Ok(why)
    }

    /// One read and all that follows from it; `None` when the writer has ended.
    fn one(
        &self,
        ask: &Ask,
        passes: &mut Passes,
        lane: &Lane,
        record: &mut Record<'_>,
        meter: &mut Meter<'_>,
    ) -> Result<Option<Answer>, Stop> {
        let Ok(mut buffer) = lane.buffer() else {
            return Ok(None);
        };
        let len = usize::try_from(ask.extent.len()).expect("a read fits in memory");
        let read = self
            .source
            .read(ask.extent, &mut buffer[..len], ask.patience);
        let answer = read.map_err(|error| Stop::Fault(error.0))?;
        passes.tell(ask, answer);
        meter.read_bytes += answer.good;
        note(ask, &answer, passes.map(), record);
        match Extent::new(ask.extent.start(), answer.good.min(ask.extent.len())) {
            Some(good) => {
                if lane.bytes(good, buffer).is_err() {
                    return Ok(None);
                }
                if good == ask.extent {
                    return Ok(Some(answer));
                }
            }
            None => lane.unused(buffer),
        }
        for bad in passes.map().bad.within(ask.extent) {
            meter.unreadable(bad);
            if lane.missing(bad, Missing::Bad).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(answer))
    }

    /// As long as the job is paused.
    fn nap(&self, passes: &Passes, watch: &mut Watch, meter: &mut Meter<'_>) {
        if !self.cancel.is_paused() {
            return;
        }
        self.source.rest();
        while self.cancel.is_paused() {
            if let Some(standing) = watch.standing(passes, self.wanted, true) {
                meter.standing(standing);
            }
            thread::sleep(NAP);
        }
    }

    /// What nobody will read any more in this run.
    fn rest_is_missing(&self, map: &Map, lane: &Lane) {
        for extent in map.open().intersection(self.wanted).iter() {
            if lane.missing(extent, Missing::NotTried).is_err() {
                return;
            }
        }
    }
}

/// Tells the journal what became of a read.
fn note(ask: &Ask, answer: &Answer, map: &Map, record: &mut Record<'_>) {
    let millis = u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX);
    let error = match (answer.good >= ask.extent.len(), answer.path_error) {
        (true, _) => Error::None,
        (false, true) => Error::Path,
        (false, false) => Error::Medium,
    };
    let sets = [
        (&map.finished, Status::Finished),
        (&map.bad, Status::Bad),
        (&map.non_trimmed, Status::NonTrimmed),
        (&map.non_scraped, Status::NonScraped),
    ];
    for (set, status) in sets {
        for extent in set.within(ask.extent) {
            let error = match status {
                Status::Finished => Error::None,
                _ => error,
            };
            record.note(&Entry {
                extent,
                status,
                millis,
                error,
            });
        }
    }
}

fn around(extent: Extent) -> Extent {
    extent
        .aligned_out(AREA, u64::MAX)
        .expect("a disk ends before the last number")
}

/// For the report.
fn told(passes: &Passes) -> Rescued {
    let gain = passes.held().into_iter();
    Rescued {
        reads: passes.reads(),
        bad_reads: passes.bad_reads(),
        next_hour_bytes: passes.next_hour(),
        left: gain.map(|held| left(&held)).take(LEFT).collect(),
    }
}

/// `64 MiB at 1000: dead, 8 touches`
fn left(held: &Held) -> String {
    let (bytes, at) = (Size(held.extent.len()), held.extent.start());
    match held.why {
        Why::Stripe => format!("{bytes} at {at}: where a dead head is expected"),
        Why::Slow => format!("{bytes} at {at}: read many times slower than the rest"),
        Why::Dead { touches } => {
            format!("{bytes} at {at}: dead, none of {touches} touches was good")
        }
        Why::Skipped => format!("{bytes} at {at}: skipped by request"),
    }
}
