//! What is known of the disk: what is wanted, what was read, what is bad, what is left alone.

use std::time::Duration;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;

use super::{Account, Answer, Ask, Classes, Errors, Held, MOST, TOUCH, Why};
use crate::map::{Map, Status};

/// The classes, most wanted first; used and unknown stand between.
pub const METADATA: usize = 0;
pub const FREE: usize = 3;

/// Which of the bytes that are still to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Not left alone for any reason.
    Fresh,
    /// Held stripes too; not what is slow.
    Left,
    /// Slow areas and dead ones too.
    All,
}

/// How a read ended, as the passes need it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// What is wrong there; nothing of it may be asked again in one read.
    pub error: Option<Extent>,
    pub slow: bool,
    pub took: Duration,
}

#[derive(Debug)]
pub struct Ground {
    size: u64,
    sector: u64,
    /// As the last one that was of the medium.
    errors: Errors,
    /// Whole sectors, disjoint.
    classes: [ExtentMap; 4],
    map: Map,
    finished_bytes: u64,
    stripes: ExtentMap,
    slow: ExtentMap,
    dead: Vec<Held>,
    dead_set: ExtentMap,
    skipped: ExtentMap,
    /// Bad places outside of every class, which the map does not list.
    aside: ExtentMap,
    /// Single sectors at which the way failed once: once more, and they count as bad.
    doubted: ExtentMap,
    /// The read before failed on its way.
    lost: bool,
    /// Seconds a byte takes.
    pace: f64,
}

impl Ground {
    pub fn new(geometry: Geometry, classes: Classes, map: Map, errors: Errors) -> Ground {
        let size = geometry.size_bytes;
        let sector = u64::from(geometry.physical_sector.max(geometry.logical_sector)).max(512);
        let mut seen = ExtentMap::new();
        let ordered = [
            classes.metadata,
            classes.used,
            classes.unknown,
            classes.free,
        ];
        let classes = ordered.map(|class| {
            let class = class.aligned_out(sector, size);
            let class = class.intersection(&ExtentMap::whole(size));
            let own = class.difference(&seen);
            seen = seen.union(&own);
            own
        });
        let map = whole_sectors(map, sector, size);
        let finished = |class: &ExtentMap| class.intersection(&map.finished).total_bytes();
        Ground {
            size,
            sector,
            errors,
            finished_bytes: classes.iter().map(finished).sum(),
            classes,
            map,
            stripes: ExtentMap::new(),
            slow: ExtentMap::new(),
            dead: Vec::new(),
            dead_set: ExtentMap::new(),
            skipped: ExtentMap::new(),
            aside: ExtentMap::new(),
            doubted: ExtentMap::new(),
            lost: false,
            pace: 1.0 / 100e6,
        }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn sector(&self) -> u64 {
        self.sector
    }

    pub fn map(&self) -> &Map {
        &self.map
    }

    pub fn into_map(self) -> Map {
        self.map
    }

    pub fn finished_bytes(&self) -> u64 {
        self.finished_bytes
    }

    pub fn exact(&self) -> bool {
        self.errors == Errors::Exact
    }

    /// Longest read of a pass that goes ahead.
    pub fn stride(&self) -> u64 {
        match self.errors {
            Errors::Exact => MOST,
            Errors::Somewhere => TOUCH,
        }
        .max(self.sector)
    }

    /// The first bytes of `area` that are still to be read, at most `most` of them.
    pub fn next(&self, class: usize, area: Extent, most: u64, reach: Reach) -> Option<Extent> {
        let area = self.whole_sectors(area)?;
        let most = most.checked_next_multiple_of(self.sector).unwrap_or(most);
        let mut at = area.start();
        loop {
            let window = Extent::between(at, area.end())?;
            let piece = self.classes.get(class)?.within(window).next()?;
            at = piece.start();
            let mut end = piece.end().min(at.saturating_add(most));
            match self.in_the_way(at, &mut end, reach) {
                Some(behind) => at = behind,
                None => return Extent::between(at, end),
            }
        }
    }

    /// What steps and budgets come to need not end where a sector does.
    pub fn whole_sectors(&self, extent: Extent) -> Option<Extent> {
        extent.aligned_out(self.sector, self.size)
    }

    /// From here to the end of the disk.
    pub fn behind(&self, at: u64) -> Option<Extent> {
        Extent::between(at, self.size)
    }

    /// All of `area` that is still to be read, in disk order.
    pub fn open(
        &self,
        class: usize,
        area: Extent,
        reach: Reach,
    ) -> impl Iterator<Item = Extent> + '_ {
        let mut at = area.start();
        std::iter::from_fn(move || {
            let rest = Extent::between(at, area.end())?;
            let piece = self.next(class, rest, rest.len(), reach)?;
            at = piece.end();
            Some(piece)
        })
    }

    /// Where what covers `at` ends; otherwise `end` is brought down to where the next begins.
    fn in_the_way(&self, at: u64, end: &mut u64, reach: Reach) -> Option<u64> {
        let sets = [
            (&self.map.finished, true),
            (&self.map.bad, true),
            (&self.map.non_trimmed, true),
            (&self.skipped, true),
            (&self.map.non_scraped, reach == Reach::Fresh),
            (&self.stripes, reach == Reach::Fresh),
            (&self.slow, reach != Reach::All),
            (&self.dead_set, reach != Reach::All),
        ];
        for (set, counts) in sets {
            if !counts || set.is_empty() {
                continue;
            }
            if let Some(over) = set.find(at) {
                return Some(over.end());
            }
            let ahead = Extent::between(at, *end).and_then(|window| set.within(window).next());
            *end = ahead.map_or(*end, |ahead| ahead.start());
        }
        // Of what failed without a place only single sectors may be asked.
        if !self.exact() {
            if self.map.non_scraped.contains(at) {
                *end = (*end).min(at + self.sector);
            } else if let Some(window) = Extent::between(at, *end)
                && let Some(ahead) = self.map.non_scraped.within(window).next()
            {
                *end = ahead.start();
            }
        }
        None
    }

    /// The last bytes of `floor..top` that are still to be read, at most `most`.
    pub fn previous(&self, class: usize, area: Extent, most: u64, reach: Reach) -> Option<Extent> {
        let (mut top, mut wide) = (area.end(), most);
        while let Some(window) = Extent::between(area.start().max(top.saturating_sub(wide)), top) {
            if let Some(piece) = self.open(class, window, reach).last() {
                let low = piece
                    .end()
                    .saturating_sub(most)
                    .next_multiple_of(self.sector);
                return Extent::between(low.clamp(piece.start(), piece.end() - 1), piece.end());
            }
            (top, wide) = (window.start(), wide.saturating_mul(2));
        }
        None
    }

    /// Whether nothing of this may be touched again: where the last such place ends.
    pub fn last_known_bad(&self, extent: Extent) -> Option<u64> {
        let sets = [&self.map.bad, &self.map.non_trimmed, &self.aside];
        let last = |set: &ExtentMap| set.within(extent).last().map(Extent::end);
        sets.into_iter().filter_map(last).max()
    }

    pub fn is_bad(&self, at: u64) -> bool {
        let sets = [&self.map.bad, &self.map.non_trimmed, &self.aside];
        sets.into_iter().any(|set| set.contains(at))
    }

    pub fn is_skipped(&self, at: u64) -> bool {
        self.skipped.contains(at)
    }

    pub fn failed(&self) -> &ExtentMap {
        &self.map.non_trimmed
    }

    pub fn class(&self, class: usize) -> &ExtentMap {
        &self.classes[class]
    }

    /// Writes an answer into the map.
    pub fn mark(&mut self, ask: &Ask, answer: &Answer) -> End {
        let end = self.marked(ask, answer);
        self.lost = answer.path_error;
        end
    }

    fn marked(&mut self, ask: &Ask, answer: &Answer) -> End {
        let asked = ask.extent;
        let got = answer.good.min(asked.len());
        // Part of a sector is none.
        let got = if got < asked.len() {
            got / self.sector * self.sector
        } else {
            got
        };
        if let Some(good) = Extent::new(asked.start(), got) {
            self.set(good, Status::Finished);
        }
        let slow = self.is_slow(got, answer.took, got < asked.len());
        let took = answer.took;
        let Some(rest) = Extent::between(asked.start() + got, asked.end()) else {
            return End {
                error: None,
                slow,
                took,
            };
        };
        let named = self.named(rest, answer);
        self.errors = match named {
            Some(_) => Errors::Exact,
            None if answer.path_error || rest.len() <= self.sector => self.errors,
            None => Errors::Somewhere,
        };
        let error = match named {
            Some(bad) => {
                self.set(bad, Status::Bad);
                bad
            }
            None if rest.len() <= self.sector && !self.is_doubted(rest, answer) => {
                self.set(rest, Status::Bad);
                rest
            }
            None => {
                self.set(rest, Status::NonTrimmed);
                rest
            }
        };
        End {
            error: Some(error),
            slow: false,
            took,
        }
    }

    /// The bad place, where the error names it.
    fn named(&self, rest: Extent, answer: &Answer) -> Option<Extent> {
        let told = answer.bad.filter(|_| !answer.path_error)?;
        let told = told.aligned_out(self.sector, self.size);
        told.and_then(|bad| bad.intersect(rest))
    }

    /// An error that is not of the medium says nothing of a sector, unless it is the same sector each time.
    fn is_doubted(&mut self, sector: Extent, answer: &Answer) -> bool {
        let doubted = answer.path_error && (self.lost || !self.doubted.covers(sector));
        if doubted {
            self.doubted.insert(sector);
        }
        doubted
    }

    /// Only what somebody wants is listed in the map.
    fn set(&mut self, extent: Extent, status: Status) {
        let mut listed = 0;
        for class in METADATA..=FREE {
            let window = self.classes[class].within(extent);
            for piece in window.collect::<Vec<_>>() {
                listed += piece.len();
                let known: u64 = self.map.finished.within(piece).map(Extent::len).sum();
                match status {
                    Status::Finished => self.finished_bytes += piece.len() - known,
                    // What was read once stays read.
                    _ if known > 0 => continue,
                    _ => {}
                }
                self.map.set(piece, status);
            }
        }
        if status != Status::Finished && listed < extent.len() {
            self.aside.insert(extent);
        }
    }

    /// Many times slower than what was read before; the pace follows what becomes usual.
    fn is_slow(&mut self, bytes: u64, took: Duration, failed: bool) -> bool {
        if failed || bytes == 0 {
            return false;
        }
        let (bytes, took) = (bytes as f64, took.as_secs_f64());
        let slow = took > 8.0 * (bytes * self.pace + 0.02);
        if bytes >= 262_144.0 {
            let sample = (took / bytes).clamp(self.pace / 4.0, self.pace * 4.0);
            self.pace += (sample - self.pace) / 32.0;
        }
        slow
    }

    pub fn hold_stripe(&mut self, extent: Extent) {
        let whole = self.whole_sectors(extent);
        whole
            .into_iter()
            .for_each(|extent| self.stripes.insert(extent));
    }

    pub fn stripe_areas(&self) -> &ExtentMap {
        &self.stripes
    }

    pub fn hold_slow(&mut self, extent: Extent) {
        let whole = self.whole_sectors(extent);
        whole
            .into_iter()
            .for_each(|extent| self.slow.insert(extent));
    }

    pub fn slow_areas(&self) -> &ExtentMap {
        &self.slow
    }

    pub fn give_up(&mut self, extent: Extent, touches: u32) {
        let Some(extent) = self.whole_sectors(extent) else {
            return;
        };
        let why = Why::Dead { touches };
        self.dead.push(Held { extent, why });
        self.dead_set.insert(extent);
    }

    /// Dead areas are no longer left alone.
    pub fn wake_the_dead(&mut self) {
        self.dead.clear();
        self.dead_set = ExtentMap::new();
    }

    /// Both borders were tried: the rest is no part of a sweep any more, in this job and after a resume.
    pub fn enclose(&mut self, class: usize, extent: Extent) {
        if !self.exact() {
            return; // There `/` says "single sectors only".
        }
        let open: Vec<Extent> = self.open(class, extent, Reach::Left).collect();
        for piece in open {
            if !self.map.non_scraped.covers(piece) {
                self.map.set(piece, Status::NonScraped);
            }
        }
    }

    /// The rest of a block whose ends were tried.
    pub fn trimmed(&mut self, extent: Extent) {
        self.map.set(extent, Status::NonScraped);
    }

    pub fn skip(&mut self, extent: Extent) {
        let whole = self.whole_sectors(extent);
        whole
            .into_iter()
            .for_each(|extent| self.skipped.insert(extent));
    }

    /// Bad sectors become such as were never asked alone.
    pub fn retry(&mut self) {
        let bad = std::mem::take(&mut self.map.bad);
        for extent in bad.iter() {
            self.map.set(extent, Status::NonTrimmed);
        }
    }

    pub fn account(&self) -> Account {
        let wanted: u64 = self.classes.iter().map(ExtentMap::total_bytes).sum();
        let bad = self
            .classes
            .iter()
            .map(|class| class.intersection(&self.map.bad).total_bytes())
            .sum();
        let left = wanted
            .saturating_sub(self.finished_bytes)
            .saturating_sub(bad);
        Account {
            wanted,
            finished: self.finished_bytes,
            bad,
            left,
        }
    }

    pub fn held(&self) -> Vec<Held> {
        let all = |set: &ExtentMap, why| {
            set.iter()
                .map(|extent| Held { extent, why })
                .collect::<Vec<_>>()
        };
        let mut held = all(&self.stripes, Why::Stripe);
        held.extend(all(&self.slow, Why::Slow));
        held.extend(&self.dead);
        held.extend(all(&self.skipped, Why::Skipped));
        held.sort_unstable_by_key(|held| held.extent);
        held
    }
}

/// A map of another program may split sectors: what is only partly finished is read again, what is only partly
/// bad was never tried alone.
fn whole_sectors(map: Map, sector: u64, size: u64) -> Map {
    let inner = |set: &ExtentMap| {
        let outside = set.complement(size).aligned_out(sector, size);
        outside.complement(size)
    };
    let mut whole = Map::new(size);
    whole.finished = inner(&map.finished);
    whole.bad = inner(&map.bad);
    let open = whole.finished.union(&whole.bad);
    let partly = map.bad.union(&map.non_trimmed).aligned_out(sector, size);
    whole.non_trimmed = partly.difference(&open);
    let open = open.union(&whole.non_trimmed);
    whole.non_scraped = map.non_scraped.aligned_out(sector, size).difference(&open);
    whole
}
