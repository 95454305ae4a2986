//! When a job gives a failing disk a rest, and how far it goes for the last sectors.

use std::fmt;
use std::time::Duration;

use crate::passes::Depth;

/// What a user asks for beside the usual.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    pub depth: Depth,
    /// Rounds in which what failed alone is asked for again.
    pub retries: u32,
    /// Reads that may fail.
    pub bad_reads: Option<u64>,
    /// Time without a single byte gained.
    pub idle: Option<Duration>,
    pub celsius: Option<i32>,
    /// Times that the disk or its bus may be reset.
    pub resets: Option<u32>,
    /// Sectors that the drive may replace by spare ones while the job runs.
    pub reallocated: Option<u64>,
    /// How long a disk that has gone is waited for.
    pub absence: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            depth: Depth::Yield,
            retries: 0,
            bad_reads: None,
            idle: None,
            celsius: None,
            resets: None,
            reallocated: None,
            absence: Duration::from_secs(60),
        }
    }
}

/// Those that are not as usual, each after a space.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Limits::default();
        if self.depth == Depth::Everything {
            f.write_str(" --scrape-all")?;
        }
        if self.retries != usual.retries {
            write!(f, " --retries {}", self.retries)?;
        }
        if let Some(reads) = self.bad_reads {
            write!(f, " --max-bad-reads {reads}")?;
        }
        if let Some(idle) = self.idle {
            write!(f, " --max-idle {}", idle.as_secs().div_ceil(60))?;
        }
        if let Some(celsius) = self.celsius {
            write!(f, " --max-celsius {celsius}")?;
        }
        if let Some(resets) = self.resets {
            write!(f, " --max-resets {resets}")?;
        }
        if let Some(sectors) = self.reallocated {
            write!(f, " --max-reallocated {sectors}")?;
        }
        if self.absence != usual.absence {
            write!(f, " --wait {}", self.absence.as_secs())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_not_said() {
        assert_eq!(Limits::default().to_string(), "");
        let limits = Limits {
            depth: Depth::Everything,
            retries: 2,
            bad_reads: Some(9),
            idle: Some(Duration::from_secs(600)),
            celsius: Some(60),
            resets: Some(3),
            reallocated: Some(4),
            absence: Duration::from_secs(5),
        };
        assert_eq!(
            limits.to_string(),
            " --scrape-all --retries 2 --max-bad-reads 9 --max-idle 10 --max-celsius 60 --max-resets 3 --max-reallocated 4 --wait 5"
        );
    }
}
