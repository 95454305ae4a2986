//! How a rescue stands, and when the disk has had enough.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use disk::extent::{Extent, ExtentMap};

use crate::careful::Vitals;
use crate::event::Standing;
use crate::limits::Limits;
use crate::map::{Map, Status};
use crate::passes::{Pass, Passes};

/// Asking a drive for its temperature is a command of its own.
const VITALS_EVERY: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);
/// Letters of the picture.
const PARTS: u64 = 1024;

pub struct Watch {
    limits: Limits,
    /// Between two standings.
    every: Duration,
    told: Option<Instant>,
    felt: Option<Instant>,
    vitals: Vitals,
    /// What the drive counted before the first read.
    reallocated: Option<u64>,
    /// When something was gained last.
    gained: Instant,
    finished: u64,
    /// What was finished at times of the last minute.
    minute: VecDeque<(Instant, u64)>,
}

impl Watch {
    pub fn new(limits: Limits, every: Duration, passes: &Passes) -> Watch {
        let finished = passes.account().finished;
        Watch {
            limits,
            every,
            told: None,
            felt: None,
            vitals: Vitals::default(),
            reallocated: None,
            gained: Instant::now(),
            finished,
            minute: VecDeque::from([(Instant::now(), finished)]),
        }
    }

    /// After a read. A sentence when a limit is met.
    pub fn look(&mut self, passes: &Passes, feel: impl FnOnce() -> Vitals) -> Option<String> {
        let now = Instant::now();
        if self.felt.is_none_or(|felt| now - felt >= VITALS_EVERY) {
            self.felt = Some(now);
            self.vitals = feel();
            self.reallocated = self.reallocated.or(self.vitals.reallocated);
        }
        let finished = passes.account().finished;
        if finished > self.finished {
            (self.gained, self.finished) = (now, finished);
        }
        let limits = &self.limits;
        if limits
            .bad_reads
            .is_some_and(|most| passes.bad_reads() >= most)
        {
            return Some(format!(
                "{} reads failed, as many as were allowed; what was left is not tried, the same command with a larger --max-bad-reads goes on",
                passes.bad_reads()
            ));
        }
        if let Some(idle) = limits.idle.filter(|idle| now - self.gained >= *idle) {
            return Some(format!(
                "nothing was gained for {} minutes; what was left is not tried, the same command goes on",
                idle.as_secs().div_ceil(60)
            ));
        }
        if let (Some(most), Some(celsius)) = (limits.celsius, self.vitals.celsius)
            && celsius > most
        {
            return Some(format!(
                "the disk has {celsius} degrees, more than {most}; let it cool down, the same command goes on"
            ));
        }
        if let (Some(most), Some(since @ 1..)) = (limits.reallocated, self.worn())
            && since >= most
        {
            return Some(format!(
                "the drive has replaced {since} sectors since the job began, {most} were allowed; the same command goes on"
            ));
        }
        let resets = limits.resets.filter(|most| self.vitals.resets >= *most);
        resets.map(|_| {
            format!(
                "the disk was reset {} times, as often as was allowed; turn it off for a minute, the same command goes on",
                self.vitals.resets
            )
        })
    }

    /// Sectors that the drive replaced since the job began.
    fn worn(&self) -> Option<u64> {
        self.vitals.reallocated?.checked_sub(self.reallocated?)
    }

    /// Now and then, and whenever the job is paused or goes on.
    pub fn standing(
        &mut self,
        passes: &Passes,
        wanted: &ExtentMap,
        paused: bool,
    ) -> Option<Standing> {
        let now = Instant::now();
        if self.told.is_some_and(|told| now - told < self.every) {
            return None;
        }
        self.told = Some(now);
        let account = passes.account();
        self.minute.push_back((now, account.finished));
        while self.minute.len() > 2
            && self
                .minute
                .front()
                .is_some_and(|(at, _)| now - *at > MINUTE)
        {
            self.minute.pop_front();
        }
        Some(Standing {
            pass: passes.pass().map_or("thinking", words).into(),
            good_bytes: account.finished,
            bad_bytes: account.bad,
            untried_bytes: account.left,
            bad_reads: passes.bad_reads(),
            bytes_per_minute: self.per_minute(now, account.finished),
            next_hour_bytes: passes.next_hour(),
            celsius: self.vitals.celsius,
            resets: self.vitals.resets,
            paused,
            picture: picture(passes.map(), wanted),
        })
    }

    fn per_minute(&self, now: Instant, finished: u64) -> f64 {
        match self.minute.front() {
            Some((since, before)) if now > *since => {
                finished.saturating_sub(*before) as f64 * 60.0 / (now - *since).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

pub fn words(pass: Pass) -> &'static str {
    match pass {
        Pass::Sweep => "sweeping",
        Pass::Measure => "measuring a stripe",
        Pass::Approach => "approaching damage",
        Pass::Trim => "trimming",
        Pass::Slow => "slow areas",
        Pass::Probe => "probing holes",
        Pass::Scrape => "scraping",
        Pass::Retry => "trying again",
    }
}

/// See [`Standing::picture`].
fn picture(map: &Map, wanted: &ExtentMap) -> String {
    let step = map.size_bytes.div_ceil(PARTS).max(1);
    let parts = usize::try_from(map.size_bytes.div_ceil(step)).unwrap_or(0);
    let mut letters = vec![b'.'; parts];
    let rank = |letter: u8| b".+?/*-".iter().position(|l| *l == letter);
    let mut paint = |extent: Extent, letter: u8| {
        let at = |offset: u64| usize::try_from(offset / step).unwrap_or(usize::MAX);
        for part in letters
            .iter_mut()
            .take(at(extent.end() - 1).saturating_add(1))
            .skip(at(extent.start()))
        {
            if rank(letter) > rank(*part) {
                *part = letter;
            }
        }
    };
    for (extent, status) in map.lines() {
        let letter = match status {
            Status::NonTried => b'?',
            Status::NonTrimmed => b'*',
            Status::NonScraped => b'/',
            Status::Bad => b'-',
            Status::Finished => b'+',
        };
        for part in wanted.within(extent) {
            paint(part, letter);
        }
    }
    String::from_utf8(letters).expect("they are letters")
}

#[cfg(test)]
mod tests {
    use disk::geometry::Geometry;

    use super::*;
    use crate::passes::{Classes, Habits};

    #[test]
    fn sectors_that_a_drive_replaces_while_it_is_read_are_counted_from_its_first_word_on() {
        let size = 1 << 20;
        let classes = Classes {
            used: ExtentMap::whole(size),
            ..Classes::default()
        };
        let passes = Passes::new(
            Geometry::of_file(size),
            classes,
            Map::new(size),
            Habits::default(),
        );
        let limits = Limits {
            reallocated: Some(3),
            ..Limits::default()
        };
        let mut watch = Watch::new(limits, Duration::ZERO, &passes);
        let mut look = |reallocated| {
            watch.felt = None;
            watch.look(&passes, || Vitals {
                reallocated,
                ..Vitals::default()
            })
        };
        // What was replaced before is no reason to stop.
        assert_eq!(look(Some(40)), None);
        assert_eq!(look(Some(42)), None);
        assert_eq!(look(None), None);
        let stopped = look(Some(43)).unwrap();
        assert!(
            stopped.starts_with("the drive has replaced 3 sectors"),
            "{stopped}"
        );
    }
}
