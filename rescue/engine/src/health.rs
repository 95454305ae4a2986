//! What a drive says of its own health. It need not be true: drives die that called themselves well.

use std::fmt;

use serde::{Deserialize, Serialize};

mod ata;
mod nvme;
mod smartctl;

pub use nvme::BYTES as NVME_BYTES;

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    pub verdict: Verdict,
    pub celsius: Option<i32>,
    /// Hours under power.
    pub hours: Option<u64>,
    pub starts: Option<u64>,
    /// Sectors that were replaced by spare ones.
    pub reallocated: Option<u64>,
    /// Sectors that could not be read and wait to be replaced.
    pub pending: Option<u64>,
    /// Reads that failed in the drive, or sectors that failed in its own scan.
    pub uncorrectable: Option<u64>,
    /// Between drive and host: a cable or a plug.
    pub transfer_errors: Option<u64>,
    /// Of the life that the maker expects; may be more than 100.
    pub worn_percent: Option<u8>,
    /// Whole sentences without a full stop.
    pub warnings: Vec<String>,
}

/// The drive's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Good,
    Failing,
    #[default]
    Unknown,
}

impl Health {
    /// The drive itself or its counters say that what is on it should be saved now.
    pub fn is_suspect(&self) -> bool {
        let counts = |n: Option<u64>| n.is_some_and(|n| n > 0);
        self.verdict == Verdict::Failing
            || !self.warnings.is_empty()
            || [self.reallocated, self.pending, self.uncorrectable]
                .into_iter()
                .any(counts)
    }

    /// Nothing of it was told.
    fn is_empty(&self) -> bool {
        *self == Health::default()
    }
}

/// `good, 34 degrees, 12345 hours`; counters only where they count something.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.verdict, self.is_suspect()) {
            (Verdict::Failing, _) => "FAILING by its own word",
            (Verdict::Good, false) => "good",
            (Verdict::Good, true) => "good by its own word",
            (Verdict::Unknown, _) => "no verdict",
        })?;
        let counters = [
            (self.pending, "sectors that could not be read"),
            (self.reallocated, "sectors replaced"),
            (self.uncorrectable, "uncorrectable errors"),
            (self.transfer_errors, "errors on the cable"),
        ];
        for (count, what) in counters {
            if let Some(count) = count.filter(|n| *n > 0) {
                write!(f, ", {count} {what}")?;
            }
        }
        if let Some(percent) = self.worn_percent.filter(|percent| *percent > 0) {
            write!(f, ", {percent} % worn")?;
        }
        if let Some(celsius) = self.celsius {
            write!(f, ", {celsius} degrees")?;
        }
        if let Some(hours) = self.hours {
            write!(f, ", {hours} hours")?;
        }
        self.warnings
            .iter()
            .try_for_each(|warning| write!(f, "; {warning}"))
    }
}

/// What a sensor of a disk can mean.
fn plausible(celsius: i32) -> Option<i32> {
    (-40..=125)
        .contains(&celsius)
        .then_some(celsius)
        // What has no sensor says 0.
        .filter(|celsius| *celsius != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_counts() {
        let mut health = Health {
            verdict: Verdict::Good,
            celsius: Some(34),
            hours: Some(12_345),
            reallocated: Some(0),
            ..Health::default()
        };
        assert!(!health.is_suspect());
        assert_eq!(health.to_string(), "good, 34 degrees, 12345 hours");
        health.pending = Some(8);
        assert!(health.is_suspect());
        assert_eq!(
            health.to_string(),
            "good by its own word, 8 sectors that could not be read, 34 degrees, 12345 hours"
        );
        health.verdict = Verdict::Failing;
        health.warnings.push("its spare sectors run out".into());
        assert_eq!(
            health.to_string(),
            "FAILING by its own word, 8 sectors that could not be read, 34 degrees, 12345 hours; its spare sectors run out"
        );
    }

    #[test]
    fn a_sensor_that_is_none_is_not_believed() {
        assert_eq!(plausible(31), Some(31));
        assert_eq!(plausible(-5), Some(-5));
        for celsius in [0, 255, -273, i32::MIN] {
            assert_eq!(plausible(celsius), None);
        }
    }
}
