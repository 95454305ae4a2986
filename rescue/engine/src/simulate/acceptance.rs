//! The figures that the passes must reach, beside those of GNU ddrescue on the same drives.

use serde::Serialize;

use super::baseline::{self, Baseline, Way};
use super::{Drive, Figures, Known, Scenario, run};
use crate::passes::Habits;

/// Seeds for which ddrescue is recorded.
pub const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;

/// One figure of one simulated rescue and what it must be.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Check {
    pub scenario: &'static str,
    pub used_map: Known,
    pub seed: u64,
    pub figure: &'static str,
    /// `None`: it was never reached.
    pub value: Option<f64>,
    pub must: Must,
    /// The same figure of ddrescue.
    pub ddrescue: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Must {
    AtLeast(f64),
    AtMost(f64),
    /// It hangs on a figure of ddrescue that is not recorded: never met.
    Unknown,
}

impl Check {
    /// How far inside of its limit, as a part of the limit; negative when it is missed.
    pub fn slack(&self) -> f64 {
        match (self.value, self.must) {
            (Some(value), Must::AtLeast(limit)) => (value - limit) / limit,
            (Some(value), Must::AtMost(limit)) => (limit - value) / limit,
            _ => f64::NEG_INFINITY,
        }
    }

    pub fn is_met(&self) -> bool {
        self.slack() >= 0.0
    }
}

/// All checks of one seed.
pub fn check(seed: u64) -> Vec<Check> {
    let mut all = Vec::new();
    let known = [
        "scattered",
        "scratches",
        "dead-zone",
        "dead-head",
        "dead-head-2mib",
        "slow-zone",
        "worsening-scattered",
        "worsening-scratches",
        "worsening-dead-head",
    ];
    for scenario in known.into_iter().filter_map(Scenario::find) {
        let figures = simulated(scenario, seed, Known::Used);
        let baseline = baseline::find(scenario.name, Way::UsedMap, seed);
        all.extend(
            Rescue {
                scenario,
                known: Known::Used,
                seed,
                figures,
                baseline,
            }
            .with_used_map(),
        );
    }
    let plain = [
        "scattered",
        "scratches",
        "dead-zone",
        "dead-head",
        "slow-zone",
    ];
    for scenario in plain.into_iter().filter_map(Scenario::find) {
        let figures = simulated(scenario, seed, Known::Nothing);
        let baseline = baseline::find(scenario.name, Way::Plain, seed);
        all.push(
            Rescue {
                scenario,
                known: Known::Nothing,
                seed,
                figures,
                baseline,
            }
            .auc_near(0.01),
        );
    }
    all
}

fn simulated(scenario: Scenario, seed: u64, known: Known) -> Figures {
    run(&mut Drive::of(scenario, seed), known, Habits::default()).0
}

struct Rescue {
    scenario: Scenario,
    known: Known,
    seed: u64,
    figures: Figures,
    baseline: Option<Baseline>,
}

impl Rescue {
    fn with_used_map(&self) -> Vec<Check> {
        let of = &self.figures;
        let ddrescue = self.baseline;
        let part = |figure: Option<f64>, part: f64| {
            figure.map_or(Must::Unknown, |figure| Must::AtMost(part * figure))
        };
        let end = ddrescue.map(|one| one.end_s);
        let bad = ddrescue.map(|one| one.bad_reads);
        let t99 = ddrescue.and_then(|one| one.t99_s);
        let bad_reads = Some(of.bad_reads as f64);
        match self.scenario.name {
            "scattered" => vec![
                self.one(
                    "bad_reads",
                    bad_reads,
                    Must::AtMost(1.05 * of.bad_used_sectors as f64),
                    bad,
                ),
                self.one("end_s", Some(of.end_s), part(end, 0.6), end),
                self.one("t99_s", of.t99_s, part(t99, 1.0), t99),
            ],
            "scratches" | "dead-zone" => vec![
                self.auc_near(0.005),
                self.one("bad_reads", bad_reads, part(bad, 0.6), bad),
            ],
            "dead-head" => vec![
                self.auc(0.85),
                self.one("t90_s", of.t90_s, Must::AtMost(65.0 * 60.0), None),
                self.one(
                    "bad_reads_at_t99",
                    of.bad_reads_at_t99.map(|reads| reads as f64),
                    Must::AtMost(4000.0),
                    None,
                ),
            ],
            "dead-head-2mib" => vec![self.auc(0.60)],
            "slow-zone" => vec![self.auc(0.93)],
            "worsening-dead-head" => vec![self.recovered(0.98)],
            _ => vec![
                self.recovered(0.9995),
                self.one(
                    "alive",
                    Some(f64::from(u8::from(of.alive))),
                    Must::AtLeast(1.0),
                    None,
                ),
            ],
        }
    }

    fn one(
        &self,
        figure: &'static str,
        value: Option<f64>,
        must: Must,
        ddrescue: Option<f64>,
    ) -> Check {
        Check {
            scenario: self.scenario.name,
            used_map: self.known,
            seed: self.seed,
            figure,
            value,
            must,
            ddrescue,
        }
    }

    fn auc(&self, least: f64) -> Check {
        let ddrescue = self.baseline.map(|one| one.auc4h);
        self.one(
            "auc4h",
            Some(self.figures.auc4h),
            Must::AtLeast(least),
            ddrescue,
        )
    }

    /// At most so much below ddrescue's.
    fn auc_near(&self, below: f64) -> Check {
        let ddrescue = self.baseline.map(|one| one.auc4h);
        let must = ddrescue.map_or(Must::Unknown, |auc| Must::AtLeast(auc - below));
        self.one("auc4h", Some(self.figures.auc4h), must, ddrescue)
    }

    fn recovered(&self, least: f64) -> Check {
        self.one(
            "used_recovered",
            Some(self.figures.used_recovered),
            Must::AtLeast(least),
            None,
        )
    }
}
