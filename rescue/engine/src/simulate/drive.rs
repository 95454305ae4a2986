//! The model of a drive: 4 KiB sectors, one read at a time, a clock that only reads move.

use std::time::Duration;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;

use super::figures::{Curve, Figures};
use super::random::Random;
use super::scenario::{Bus, Damage, Scenario, part};
use crate::map::Map;
use crate::passes::Answer;

const SECTOR: u64 = 4096;
const SIZE: u64 = 128 << 30;
/// Bytes a second at the first and at the last sector; in between the rate falls evenly.
const OUTER: f64 = 180e6;
const INNER: f64 = 90e6;
/// Seconds: of any command, of the shortest and the longest move of the heads, of half a turn.
const COMMAND: f64 = 60e-6;
const SEEK: (f64, f64) = (1e-3, 16e-3);
const HALF_TURN: f64 = 4.17e-3;
const BAD: f64 = 3.0;
const WEAK: f64 = 0.05;
/// A dead drive's bus gives up after this long.
const DEAD: f64 = 30.0;
/// New bad sectors of a worsening drive for each bad read, and how far from it.
const BORN: usize = 2;
const BORN_WITHIN: u64 = (1 << 20) / SECTOR;
const DIES_AFTER: u64 = 3000;
const VANISHES_AFTER: u64 = 500;
const GONE: f64 = 300.0;

// What is known of a sector.
const IS_BAD: u8 = 1;
const IS_WEAK: u8 = 2;
const IS_USED: u8 = 4;
const IS_GOT: u8 = 8;

/// Starts with the heads at sector 0 at time 0.
#[derive(Clone, Debug)]
pub struct Drive {
    scenario: Option<Scenario>,
    seed: u64,
    sectors: Vec<u8>,
    size: u64,
    clock: f64,
    heads: u64,
    alive: bool,
    gone_until: f64,
    returns: u64,
    random: Random,
    curve: Curve,
    reads: u64,
    bad_reads: u64,
    bad_used: u64,
    false_good: u64,
}

impl Drive {
    pub fn of(scenario: Scenario, seed: u64) -> Drive {
        let mut drive = Drive::sound(SIZE, seed);
        drive.scenario = Some(scenario);
        drive.use_some(seed);
        let mark = if scenario.damage == Damage::SlowZone {
            IS_WEAK
        } else {
            IS_BAD
        };
        for (first, count) in scenario.damage.places(SIZE / SECTOR, seed) {
            for sector in first..first + count {
                *drive.sector(sector) |= mark;
            }
        }
        drive.begin();
        drive
    }

    /// What a map file calls bad is bad, and so is what it did not finish; all is used.
    pub fn of_map(map: &Map, seed: u64) -> Drive {
        let mut drive = Drive::sound(map.size_bytes, seed);
        for bad in [&map.bad, &map.non_scraped, &map.non_trimmed] {
            for extent in bad.iter() {
                for sector in extent.start() / SECTOR..extent.end().div_ceil(SECTOR) {
                    *drive.sector(sector) |= IS_BAD;
                }
            }
        }
        drive
            .sectors
            .iter_mut()
            .for_each(|sector| *sector |= IS_USED);
        drive.begin();
        drive
    }

    fn sound(size: u64, seed: u64) -> Drive {
        let count =
            usize::try_from(size.div_ceil(SECTOR)).expect("a simulated disk fits in memory");
        Drive {
            scenario: None,
            seed,
            sectors: vec![0; count],
            size,
            clock: 0.0,
            heads: 0,
            alive: true,
            gone_until: 0.0,
            returns: 0,
            random: Random(seed.wrapping_mul(7777).wrapping_add(5)),
            curve: Curve::default(),
            reads: 0,
            bad_reads: 0,
            bad_used: 0,
            false_good: 0,
        }
    }

    /// 45 % in extents of log-normal length, median 1 MiB, denser at the front.
    fn use_some(&mut self, seed: u64) {
        let mut random = Random(seed.wrapping_mul(31).wrapping_add(11));
        let (count, mut at) = (self.size / SECTOR, 0);
        while at < count {
            let (length, gap) = (random.normal(), random.normal());
            let used = part(1, (256.0_f64.ln() + 1.6 * length).exp()) + 1;
            let density = (0.45 * (1.6 - 1.2 * at as f64 / count as f64)).clamp(0.03, 0.97);
            let median = 256.0 * (1.0 - density) / density;
            for sector in at..(at + used).min(count) {
                *self.sector(sector) |= IS_USED;
            }
            at = at + used + part(1, (median.ln() + 1.6 * gap).exp()) + 1;
        }
    }

    /// Damage and use are settled.
    fn begin(&mut self) {
        let count = |bits: u8| {
            self.sectors
                .iter()
                .filter(|s| **s & (IS_USED | IS_BAD) == bits)
                .count() as u64
        };
        let readable = count(IS_USED);
        self.bad_used = count(IS_USED | IS_BAD);
        self.curve = Curve::new(readable * SECTOR);
    }

    fn sector(&mut self, at: u64) -> &mut u8 {
        let last = self.sectors.len() - 1;
        &mut self.sectors[usize::try_from(at).map_or(last, |at| at.min(last))]
    }

    pub fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size,
            logical_sector: 512,
            physical_sector: 4096,
        }
    }

    pub fn used(&self) -> ExtentMap {
        self.having(IS_USED, IS_USED)
    }

    /// Used, not bad, and not read so far.
    pub fn missing(&self) -> ExtentMap {
        self.having(IS_USED | IS_BAD | IS_GOT, IS_USED)
    }

    fn having(&self, mask: u8, bits: u8) -> ExtentMap {
        let mut map = ExtentMap::new();
        let mut first = 0;
        for run in self
            .sectors
            .chunk_by(|a, b| (a & mask == bits) == (b & mask == bits))
        {
            let behind = first + run.len() as u64;
            if run[0] & mask == bits {
                let extent = Extent::between(first * SECTOR, (behind * SECTOR).min(self.size));
                extent.into_iter().for_each(|extent| map.insert(extent));
            }
            first = behind;
        }
        map
    }

    pub fn clock(&self) -> Duration {
        Duration::from_secs_f64(self.clock)
    }

    pub fn is_alive(&self) -> bool {
        self.alive
    }

    /// Not on its bus at this moment.
    pub fn is_gone(&self) -> bool {
        self.clock < self.gone_until
    }

    pub fn wait(&mut self, time: Duration) {
        self.clock += time.as_secs_f64();
    }

    /// One command.
    pub fn read(&mut self, extent: Extent) -> Answer {
        let began = self.clock;
        self.reads += 1;
        self.clock += COMMAND + self.seek(extent.start());
        let worsening = self.scenario.is_some_and(|one| one.worsening);
        if worsening && self.bad_reads >= DIES_AFTER {
            self.alive = false;
            self.clock += DEAD;
            self.bad_reads += 1;
            return self.answer(0, None, began);
        }
        let (first, behind) = (extent.start() / SECTOR, extent.end().div_ceil(SECTOR));
        let zeros = self.scenario.is_some_and(|one| one.bus == Bus::Zeros);
        let mut got = behind;
        for at in first..behind {
            let sector = *self.sector(at);
            if sector & IS_BAD != 0 && !zeros {
                got = at;
                break;
            }
            self.false_good += u64::from(sector & IS_BAD != 0);
            self.clock += if sector & IS_WEAK != 0 { WEAK } else { 0.0 };
        }
        let good = (got * SECTOR)
            .min(extent.end())
            .saturating_sub(extent.start());
        self.clock += good as f64 / self.rate(extent.start());
        self.heads = extent.start() + good;
        let bad = (got < behind).then(|| self.fail(got));
        self.keep(first, got);
        self.answer(good, bad, began)
    }

    fn answer(&self, good: u64, bad: Option<Extent>, began: f64) -> Answer {
        let took = Duration::from_secs_f64(self.clock - began);
        Answer {
            good,
            bad,
            path_error: !self.alive,
            took,
        }
    }

    fn seek(&self, to: u64) -> f64 {
        if to == self.heads {
            return 0.0;
        }
        let distance = to.abs_diff(self.heads) as f64;
        let seek = SEEK.0 + (SEEK.1 - SEEK.0) * (distance / self.size as f64).sqrt() + HALF_TURN;
        // What lies ahead may as well pass by.
        if to > self.heads {
            seek.min(distance / self.rate(to))
        } else {
            seek
        }
    }

    fn rate(&self, at: u64) -> f64 {
        OUTER - (OUTER - INNER) * (at as f64 / self.size as f64)
    }

    fn fail(&mut self, at: u64) -> Extent {
        self.clock += BAD;
        self.bad_reads += 1;
        if self.scenario.is_some_and(|one| one.worsening) {
            // Drawn, though the mean is a whole number: so the numbers behind are those of other means too.
            self.random.part();
            for _ in 0..BORN {
                let away = part(1, self.random.part() * 2.0 * BORN_WITHIN as f64);
                let place = (at + away).checked_sub(BORN_WITHIN);
                let place = place.filter(|place| *place < self.size / SECTOR);
                if let Some(place) = place
                    && *self.sector(place) & IS_GOT == 0
                {
                    *self.sector(place) |= IS_BAD;
                }
            }
        }
        let vanishing = self.scenario.is_some_and(|one| one.bus == Bus::Vanishing);
        if vanishing && self.bad_reads / VANISHES_AFTER > self.returns {
            self.returns += 1;
            self.gone_until = self.clock + GONE;
        }
        Extent::new(at * SECTOR, SECTOR).expect("the place of a sector of a disk is far below 2^64")
    }

    fn keep(&mut self, first: u64, behind: u64) {
        let mut gained = 0;
        for at in first..behind {
            let sector = self.sector(at);
            gained += u64::from(*sector & (IS_USED | IS_GOT | IS_BAD) == IS_USED);
            *sector |= IS_GOT;
        }
        if gained > 0 {
            self.curve.gain(gained * SECTOR, self.clock, self.bad_reads);
        }
    }

    pub fn figures(&self) -> Figures {
        Figures {
            scenario: self.scenario.map_or("map", |one| one.name).to_owned(),
            seed: self.seed,
            auc4h: self.curve.auc4h(),
            t50_s: self.curve.time(0),
            t90_s: self.curve.time(1),
            t99_s: self.curve.time(2),
            t999_s: self.curve.time(3),
            end_s: self.clock,
            reads: self.reads,
            bad_reads: self.bad_reads,
            bad_reads_at_t99: self.curve.bad_reads_at_t99(),
            bad_used_sectors: self.bad_used,
            used_recovered: self.curve.recovered(),
            alive: self.alive,
            false_good_sectors: self.false_good,
        }
    }
}
