//! How many threads and buffers a job takes.

use std::thread;
use std::time::Duration;

use super::pipeline::Threads;
use crate::host::{Disk, Host, Transport};
use crate::plan::Plan;
use crate::request::{Action, Origin};

/// Below this much free memory, buffers are a quarter as large.
const LITTLE_MEMORY: u64 = 256 << 20;
/// Above this much to copy, pieces are four times as large: a digest is kept for each.
const MUCH_TO_COPY: u64 = 4 << 40;

/// Sizes of a job's parts; memory is about `slots` times `piece_bytes`, twice that where two sides are compared
/// or an image is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// A multiple of 64 KiB.
    pub piece_bytes: u64,
    /// Unit of an image that is written.
    pub chunk_bytes: u32,
    pub slots: usize,
    pub threads: Threads,
    /// How much work a crash may cost.
    pub checkpoint: Duration,
    pub checkpoint_bytes: u64,
    /// Between two events of progress.
    pub progress: Duration,
}

impl Tuning {
    /// For this plan on this machine.
    pub fn of(plan: &Plan, host: &dyn Host) -> Tuning {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let little = host.free_memory().is_some_and(|free| free < LITTLE_MEMORY);
        let chunk_bytes: u32 = if little { 1 << 20 } else { 4 << 20 };
        let whole_chunks = match &plan.request.action {
            Action::Image { .. } | Action::Restore { .. } | Action::Check { .. } => true,
            Action::Export { from, .. } => matches!(from, Origin::Image(_)),
            Action::Verify { against, .. } => matches!(against, Origin::Image(_)),
            Action::Extract { .. }
            | Action::Serve { .. }
            | Action::Mount { .. }
            | Action::Merge { .. }
            | Action::Mend { .. }
            | Action::Prune { .. } => false,
            Action::Clone { .. } => plan.used_bytes > MUCH_TO_COPY,
        };
        let threads = match (&plan.request.action, &plan.source) {
            (Action::Image { .. }, Some(disk)) => Threads {
                readers: at_once(disk),
                workers: cores.min(16),
            },
            (_, Some(disk)) => Threads {
                readers: at_once(disk),
                workers: plan.destination.as_ref().map_or(1, at_once),
            },
            // Whoever reads an image decodes it, and does the rest while the bytes are still near the processor.
            (_, None) => Threads {
                readers: cores.min(8),
                workers: 0,
            },
        };
        Tuning {
            piece_bytes: if whole_chunks { 4 << 20 } else { 1 << 20 },
            chunk_bytes,
            slots: match (little, threads.workers) {
                (true, _) => 3,
                (false, 0) => threads.readers + 1,
                (false, workers) => threads.readers + workers + 2,
            },
            threads,
            checkpoint: Duration::from_secs(30),
            checkpoint_bytes: 1 << 30,
            progress: Duration::from_millis(200),
        }
    }
}

/// How many reads or writes are in flight at once.
fn at_once(disk: &Disk) -> usize {
    match (disk.rotational, disk.transport) {
        // A second one would make the heads jump.
        (Some(true), _) => 1,
        (_, Transport::Nvme) => 4,
        _ => 2,
    }
}
