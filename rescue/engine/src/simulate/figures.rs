//! What a rescue came to.

use serde::Serialize;

/// Bytes are of the used data that could be read at the begin; times are of the simulated clock.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figures {
    pub scenario: String,
    pub seed: u64,
    /// The area under the used data recovered over the first four hours: 1 when all of it came at once.
    pub auc4h: f64,
    /// When so much of it had come; `None` when it never did.
    pub t50_s: Option<f64>,
    pub t90_s: Option<f64>,
    pub t99_s: Option<f64>,
    pub t999_s: Option<f64>,
    pub end_s: f64,
    pub reads: u64,
    pub bad_reads: u64,
    pub bad_reads_at_t99: Option<u64>,
    /// Used sectors that were bad at the begin.
    pub bad_used_sectors: u64,
    /// A part of 1.
    pub used_recovered: f64,
    /// Whether the drive still answered in the end.
    pub alive: bool,
    /// Bad sectors that a bridge gave out as zeros.
    pub false_good_sectors: u64,
}

/// Follows a rescue.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    readable: u64,
    got: u64,
    area: f64,
    marks: [Option<(f64, u64)>; 4],
}

const WINDOW: f64 = 4.0 * 3600.0;
const PARTS: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

impl Curve {
    pub fn new(readable: u64) -> Curve {
        Curve {
            readable,
            ..Curve::default()
        }
    }

    pub fn gain(&mut self, bytes: u64, time: f64, bad_reads: u64) {
        self.got += bytes;
        self.area += bytes as f64 * (1.0 - time / WINDOW).max(0.0);
        for (part, mark) in PARTS.into_iter().zip(&mut self.marks) {
            if mark.is_none() && self.got as f64 >= part * self.readable as f64 {
                *mark = Some((time, bad_reads));
            }
        }
    }

    pub fn auc4h(&self) -> f64 {
        self.area / self.readable.max(1) as f64
    }

    pub fn recovered(&self) -> f64 {
        self.got as f64 / self.readable.max(1) as f64
    }

    /// 0 for half of it, 1 for 90 %, 2 for 99 %, 3 for 99.9 %.
    pub fn time(&self, part: usize) -> Option<f64> {
        self.marks
            .get(part)
            .copied()
            .flatten()
            .map(|(time, _)| time)
    }

    pub fn bad_reads_at_t99(&self) -> Option<u64> {
        self.marks[2].map(|(_, reads)| reads)
    }
}
