//! Waits until the disks that are there have been found: no bus says when it is done.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::plug::PLUGGED;

/// A USB stick is asked one second after it was found, a slow host adapter answers later.
const DEFAULT_QUIET: Duration = Duration::from_secs(3);
/// For devices that come and go, once every driver had its turn.
const AT_MOST: Duration = Duration::from_secs(60);
/// For the drivers: a slow computer is not one without disks.
const DRIVERS_AT_MOST: Duration = Duration::from_secs(300);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Decides, look by look, whether the block devices have come to rest.
#[derive(Debug)]
struct Rest {
    quiet: Duration,
    devices: BTreeSet<String>,
    changed: Duration,
    /// When the drivers had not all had their turn yet.
    unplugged: Duration,
}

impl Rest {
    fn new(quiet: Duration) -> Self {
        Self {
            quiet,
            devices: BTreeSet::new(),
            changed: Duration::ZERO,
            unplugged: Duration::ZERO,
        }
    }

    /// `now` counts from the first look; `plugged` once every driver had its turn.
    fn look(&mut self, now: Duration, devices: BTreeSet<String>, plugged: Option<()>) -> bool {
        if devices != self.devices || plugged.is_none() {
            self.devices = devices;
            self.changed = now;
        }
        if plugged.is_none() {
            self.unplugged = now;
            return now >= DRIVERS_AT_MOST;
        }
        now.saturating_sub(self.unplugged) >= AT_MOST
            || now.saturating_sub(self.changed) >= self.quiet
    }
}

pub fn wait(quiet_seconds: Option<u64>) {
    let mut rest = Rest::new(quiet_seconds.map_or(DEFAULT_QUIET, Duration::from_secs));
    let start = Instant::now();
    while !rest.look(start.elapsed(), block_devices(), plugged()) {
        sleep(BETWEEN_LOOKS);
    }
}

fn block_devices() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/block").into_iter().flatten();
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn plugged() -> Option<()> {
    Path::new(PLUGGED).exists().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn disks_are_at_rest_some_time_after_the_last_one_came() {
        let mut rest = Rest::new(seconds(3));
        assert!(!rest.look(seconds(0), set(&[]), None));
        assert!(!rest.look(seconds(5), set(&["sda"]), None));
        assert!(!rest.look(seconds(6), set(&["sda"]), Some(())));
        assert!(!rest.look(seconds(7), set(&["sda", "sdb"]), Some(())));
        assert!(!rest.look(seconds(9), set(&["sda", "sdb"]), Some(())));
        assert!(rest.look(seconds(10), set(&["sda", "sdb"]), Some(())));
    }

    #[test]
    fn a_bus_that_never_rests_is_waited_for_one_minute_only() {
        let mut rest = Rest::new(seconds(3));
        assert!(!rest.look(seconds(40), set(&[]), None));
        for second in 41..100 {
            let other = format!("sd{second}");
            assert!(!rest.look(seconds(second), set(&[&other]), Some(())));
        }
        assert!(rest.look(seconds(100), set(&["sdx"]), Some(())));
    }

    #[test]
    fn slow_drivers_are_waited_for_five_minutes() {
        let mut rest = Rest::new(seconds(3));
        for second in 0..300 {
            assert!(!rest.look(seconds(second), set(&["sda"]), None));
        }
        assert!(rest.look(seconds(300), set(&["sda"]), None));
    }
}
