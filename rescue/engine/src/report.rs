//! What a job did: always made, whatever happened.

mod text;

use std::path::PathBuf;

use disk::extent::ExtentMap;
use serde::{Deserialize, Serialize};

use crate::identity::Identity;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The command line that asks for the same job.
    pub command: String,
    pub outcome: Outcome,
    pub seconds: f64,
    /// Bytes read from the source, and written to the destination or the store.
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// What the image or the plan calls used.
    pub used_bytes: u64,
    /// Of the job's bytes, those that an earlier, interrupted run had already done.
    pub resumed_bytes: u64,
    /// Places of the source (a disk, or an image that is restored or checked) that could not be read.
    pub unreadable: ExtentMap,
    /// Places of the source that are missing because nobody tried to read them: the disk was given a rest before.
    #[serde(default)]
    pub untried: ExtentMap,
    /// How a failing source was read; `None` for one that was well.
    #[serde(default)]
    pub rescue: Option<Rescued>,
    /// Files that have a part in what is unreadable or different, where their filesystem could say: the worst
    /// first, at most 1000.
    pub files: Vec<DamagedFile>,
    /// Such files beside the ones that are named.
    #[serde(default)]
    pub more_files: u64,
    pub verified: Verified,
    /// Filesystems of the finished copy, read from the copy alone.
    #[serde(default)]
    pub filesystems: Vec<FilesystemRead>,
    pub disks: Vec<DiskReport>,
    /// What else was done, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
    /// The image that was made or read.
    pub image: Option<String>,
    /// Where the state of the job is kept, for the same command to go on from.
    pub state: Option<PathBuf>,
}

impl Report {
    /// Of a job that did nothing yet.
    pub fn of(command: &str) -> Report {
        Report {
            command: command.into(),
            outcome: Outcome::Done,
            seconds: 0.0,
            read_bytes: 0,
            written_bytes: 0,
            used_bytes: 0,
            resumed_bytes: 0,
            unreadable: ExtentMap::new(),
            untried: ExtentMap::new(),
            rescue: None,
            files: Vec::new(),
            more_files: 0,
            verified: Verified::NotDone {
                why: "the job did not come to it".into(),
            },
            filesystems: Vec::new(),
            disks: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            image: None,
            state: None,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Outcome {
    Done,
    /// Finished, and some of the source could not be read, or a comparison found differences.
    Damage {
        text: String,
    },
    /// Not finished: a restore stopped where its image is damaged, as nobody had said that it should keep going.
    Stopped {
        text: String,
    },
    /// Stopped by the user; the same command goes on.
    Cancelled {
        text: String,
    },
    /// Stopped by a fault; the text says device, fact and remedy.
    Failed {
        text: String,
    },
}

impl Outcome {
    /// As ARCHITECTURE fixes it: 0 done, 1 fault, 2 damage (finished, or stopped there), 4 cancelled and resumable. (3 is
    /// a refusal, before any report.)
    pub fn exit_code(&self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Failed { .. } => 1,
            Outcome::Damage { .. } | Outcome::Stopped { .. } => 2,
            Outcome::Cancelled { .. } => 4,
        }
    }
}

/// What the passes over a failing disk cost and left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rescued {
    pub reads: u64,
    pub bad_reads: u64,
    /// What another hour would have brought, by what the last reads brought.
    pub next_hour_bytes: u64,
    /// Areas that were left alone, and why, in words.
    pub left: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verified")]
pub enum Verified {
    /// Every byte that was written was read back and is equal.
    Equal {
        bytes: u64,
    },
    Different {
        extents: ExtentMap,
    },
    NotDone {
        why: String,
    },
}

/// What reading a filesystem from a finished copy showed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilesystemRead {
    /// `None` for a filesystem on the whole disk.
    pub partition: Option<u32>,
    /// Of the layers it stands on: the names of the volumes that lead to it.
    #[serde(default)]
    pub volumes: Vec<String>,
    pub kind: String,
    pub directories: u64,
    /// Of everything else that has a name, what was met.
    pub files: u64,
    /// What the filesystem needs and the copy does not have, at least.
    pub missing_bytes: u64,
    /// What it says of itself in the copy that it did not say on the source.
    pub different: Option<String>,
    /// What speaks against the source, or could not be looked at; no fault of the copy.
    pub notes: Vec<String>,
}

impl FilesystemRead {
    pub fn of(partition: Option<u32>, volumes: &[&str], kind: &str) -> FilesystemRead {
        FilesystemRead {
            partition,
            volumes: volumes.iter().map(|name| (*name).to_owned()).collect(),
            kind: kind.into(),
            directories: 0,
            files: 0,
            missing_bytes: 0,
            different: None,
            notes: Vec::new(),
        }
    }

    pub fn is_good(&self) -> bool {
        self.missing_bytes == 0 && self.different.is_none()
    }

    /// `partition 2 (ext4)`, `volume root on partition 3 (xfs)`.
    pub fn title(&self) -> String {
        let place = match self.partition {
            Some(number) => format!("partition {number}"),
            None => "the disk".into(),
        };
        match self.volumes.join("/") {
            names if names.is_empty() => format!("{place} ({})", self.kind),
            names => format!("volume {names} on {place} ({})", self.kind),
        }
    }
}

/// A file of the source that is not whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DamagedFile {
    /// `None` for a filesystem on the whole disk.
    pub partition: Option<u32>,
    /// From the root of its filesystem, without control characters.
    pub path: String,
    /// `None` where the filesystem's record of it cannot be read: then all of it is lost.
    pub size_bytes: Option<u64>,
    /// Of its content, or of a directory's entries.
    pub lost_bytes: u64,
}

/// One disk of the machine and the kernel's own count of what was written to it during the job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskReport {
    pub role: DiskRole,
    pub identity: Identity,
    /// In 512-byte sectors, from the kernel's counters; `None` for a regular file.
    pub sectors_written: Option<u64>,
    /// Whether the kernel refused writes to it during the job; `None` for a regular file.
    pub kernel_read_only: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskRole {
    Source,
    Destination,
    Store,
    Bystander,
}
