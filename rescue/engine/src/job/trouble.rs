//! The sign that a disk is failing.

use std::sync::atomic::{AtomicBool, Ordering};

/// Raised once, by whichever thread meets the first bad or slow place; from then on nothing is read at full speed.
#[derive(Debug, Default)]
pub struct Trouble(AtomicBool);

impl Trouble {
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
