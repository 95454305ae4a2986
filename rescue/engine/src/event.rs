//! What a running job tells, and how it is told to stop.

use std::sync::atomic::{AtomicBool, Ordering};

use disk::extent::Extent;
use serde::{Deserialize, Serialize};

/// First `Started`, last `Finished`; only `Progress` may be dropped.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    Started {
        steps: Vec<Step>,
    },
    Step {
        step: Step,
    },
    Progress(Progress),
    Unreadable {
        extent: Extent,
    },
    Warning {
        text: String,
    },
    /// What a user needs to know while the job runs: where a server waits.
    Note {
        text: String,
    },
    Finished,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Copy,
    Table,
    Flush,
    Verify,
    /// The filesystems of the copy.
    Filesystems,
    Grow,
    Check,
    /// Only where something is damaged.
    Names,
    Serve,
}

impl Step {
    pub fn words(self) -> &'static str {
        match self {
            Step::Copy => "copying",
            Step::Table => "writing the partition table",
            Step::Flush => "making it durable",
            Step::Verify => "reading back and comparing",
            Step::Filesystems => "reading the filesystems of the copy",
            Step::Grow => "growing the last partition",
            Step::Check => "checking the image",
            Step::Names => "looking for the names of damaged files",
            Step::Serve => "serving",
        }
    }
}

/// Bytes of this step; `total` counts what has to be read, not the size of the disk.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Progress {
    pub step: Step,
    pub done_bytes: u64,
    pub total_bytes: u64,
    /// Over the last few seconds.
    pub bytes_per_second: f64,
    pub seconds_left: Option<f64>,
    /// Where on the disk the job is.
    pub position: u64,
    pub unreadable_bytes: u64,
    /// What was written to the store or the destination.
    pub written_bytes: u64,
}

/// Listens to a job. Called from the job's own threads; must not block for long.
pub trait Monitor: Sync {
    fn event(&self, event: Event);
}

/// Hears nothing.
#[derive(Debug)]
pub struct Silent;

impl Monitor for Silent {
    fn event(&self, _event: Event) {}
}

/// Asks a job to stop at its next chunk; it stays resumable.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
