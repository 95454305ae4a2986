//! What reading brought, and what an hour more would bring.

use std::collections::VecDeque;
use std::time::Duration;

use super::Pass;

/// Reads that the expectation is made from, bundled to this many seconds.
const WINDOW: Duration = Duration::from_secs(600);
const BUNDLE: Duration = Duration::from_secs(5);

/// Bytes and time of the whole job by pass, and of its last ten minutes.
#[derive(Debug, Default)]
pub struct Gain {
    passes: Vec<(Pass, u64, Duration)>,
    recent: VecDeque<(u64, Duration)>,
    recent_bytes: u64,
    recent_time: Duration,
}

impl Gain {
    pub(super) fn note(&mut self, pass: Pass, bytes: u64, took: Duration) {
        match self.passes.iter_mut().find(|(one, ..)| *one == pass) {
            Some((_, all, time)) => {
                *all += bytes;
                *time = time.saturating_add(took);
            }
            None => self.passes.push((pass, bytes, took)),
        }
        match self.recent.back_mut() {
            Some((all, time)) if *time < BUNDLE => {
                *all += bytes;
                *time = time.saturating_add(took);
            }
            _ => self.recent.push_back((bytes, took)),
        }
        self.recent_bytes += bytes;
        self.recent_time = self.recent_time.saturating_add(took);
        while self.recent_time > WINDOW && self.recent.len() > 1 {
            if let Some((bytes, time)) = self.recent.pop_front() {
                self.recent_bytes -= bytes;
                self.recent_time = self.recent_time.saturating_sub(time);
            }
        }
    }

    /// Bytes an hour at the rate of the last minutes.
    pub fn next_hour(&self) -> u64 {
        let millis = self.recent_time.as_millis().max(1);
        u64::try_from(u128::from(self.recent_bytes) * 3_600_000 / millis).unwrap_or(u64::MAX)
    }

    /// Bytes gained and time taken, pass by pass, in the order of their first read.
    pub fn passes(&self) -> impl Iterator<Item = (Pass, u64, Duration)> + '_ {
        self.passes.iter().copied()
    }
}
