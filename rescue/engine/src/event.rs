//! What a running job tells, and how it is told to stop.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use disk::extent::Extent;
use disk::size::Size;
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
    /// How a failing disk stands, now and then. May be dropped like `Progress`.
    Standing(Standing),
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
    /// Around the bad places of a failing disk.
    Rescue,
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
            Step::Rescue => "getting the rest of a failing disk",
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

/// What the passes have of a failing disk, in bytes of what is wanted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// What is being done, in words.
    pub pass: String,
    pub good_bytes: u64,
    pub bad_bytes: u64,
    pub untried_bytes: u64,
    pub bad_reads: u64,
    /// Over the last minute.
    pub bytes_per_minute: f64,
    /// What another hour would bring, by what the last reads brought.
    pub next_hour_bytes: u64,
    pub celsius: Option<i32>,
    /// Times that the disk or its bus was reset.
    pub resets: u32,
    pub paused: bool,
    /// The disk from start to end in so many equal parts, each by its worst status as in a map file; `.` where
    /// nothing is wanted.
    pub picture: String,
}

/// In one line.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paused = if self.paused { ", paused" } else { "" };
        write!(
            f,
            "{}{paused}: {} good, {} bad, {} not tried, {} bad reads",
            self.pass,
            Size(self.good_bytes),
            Size(self.bad_bytes),
            Size(self.untried_bytes),
            self.bad_reads
        )?;
        if let Some(celsius) = self.celsius {
            write!(f, ", {celsius} degrees")?;
        }
        match self.resets {
            0 => Ok(()),
            1 => f.write_str(", 1 reset"),
            n => write!(f, ", {n} resets"),
        }
    }
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

/// What its user asks of a running job.
#[derive(Debug, Default)]
pub struct Cancel {
    cancelled: AtomicBool,
    paused: AtomicBool,
    skipping: AtomicBool,
}

impl Cancel {
    /// To stop at its next chunk; it stays resumable.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// To leave a failing disk alone for a while, or to go on with it.
    pub fn pause(&self, paused: Paused) {
        self.paused.store(paused == Paused::Yes, Ordering::Relaxed);
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed) && !self.is_cancelled()
    }

    /// To leave the area of a failing disk that it is in, and to come back to it last.
    pub fn skip(&self) {
        self.skipping.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked since the last time.
    pub fn take_skip(&self) -> bool {
        self.skipping.swap(false, Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paused {
    Yes,
    No,
}
