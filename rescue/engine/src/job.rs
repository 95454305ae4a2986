//! Runs an approved plan.

use crate::event::{Cancel, Monitor};
use crate::host::Host;
use crate::plan::Approved;
use crate::report::Report;

/// A report always comes back. What an earlier, interrupted run did stands in the plan.
pub fn run(plan: &Approved, host: &dyn Host, monitor: &dyn Monitor, cancel: &Cancel) -> Report {
    let _ = (host, monitor, cancel);
    unreachable!("{} cannot have been approved", plan.plan().request)
}
