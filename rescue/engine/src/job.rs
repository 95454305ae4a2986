//! Runs an approved plan.

use crate::event::{Cancel, Monitor};
use crate::host::Host;
use crate::map::Map;
use crate::plan::Approved;
use crate::report::Report;

/// A report always comes back. `map` is the state of an earlier, interrupted run, or empty.
pub fn run(
    plan: &Approved,
    map: Map,
    host: &dyn Host,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Report {
    let _ = (map, host, monitor, cancel);
    unreachable!("{} cannot have been approved", plan.plan().request)
}
