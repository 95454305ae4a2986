//! A failing disk that is only made up, with a clock that is only counted: what the passes do to it, in figures.
//!
//! The model stands in [`drive`]: a rotating disk of 128 GiB, its seeks, its rates, what a bad sector costs, and how
//! a bad read may make more of them. Nothing of it is measured on real hardware; it is there to compare strategies
//! on the same disk.

pub mod acceptance;
mod baseline;
mod drive;
mod figures;
mod random;
mod scenario;

use std::time::Duration;

use disk::extent::ExtentMap;
use serde::Serialize;

pub use drive::Drive;
pub use figures::Figures;
pub use scenario::{SCENARIOS, Scenario};

use crate::map::Map;
use crate::passes::{Ask, Classes, Habits, Passes};

/// Longer no simulated rescue goes on.
const LIMIT: Duration = Duration::from_secs(72 * 3600);
/// How long a job waits for a disk that is gone before it asks again.
const WAIT: Duration = Duration::from_secs(60);

/// Whether the passes know what is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    Used,
    Nothing,
}

/// What the passes are told of a drive.
pub fn classes(drive: &Drive, known: Known) -> Classes {
    let mut classes = Classes::default();
    match known {
        Known::Used => classes.used = drive.used(),
        Known::Nothing => classes.unknown = ExtentMap::whole(drive.geometry().size_bytes),
    }
    classes
}

/// A whole rescue.
pub fn run(drive: &mut Drive, known: Known, habits: Habits) -> (Figures, Passes) {
    let geometry = drive.geometry();
    let map = Map::new(geometry.size_bytes);
    let mut passes = Passes::new(geometry, classes(drive, known), map, habits);
    while drive.clock() < LIMIT && drive.is_alive() {
        let Some(ask) = passes.next() else { break };
        step(drive, &mut passes, &ask);
    }
    (drive.figures(), passes)
}

/// One read, as the job that drives the passes makes it.
fn step(drive: &mut Drive, passes: &mut Passes, ask: &Ask) {
    if drive.is_gone() {
        // A disk that is gone is waited for: nothing is told of it.
        drive.wait(WAIT);
        return;
    }
    let answer = drive.read(ask.extent);
    if !drive.is_gone() {
        passes.tell(ask, answer);
    }
}
