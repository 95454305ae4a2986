//! What a disk is chosen for.

use engine::identity::Identity;
use engine::request::Place;

use crate::draft::{Pick, Task};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Purpose {
    Look,
    Image,
    CloneFrom,
    CloneTo {
        source: Box<Pick>,
    },
    RestoreTo {
        image: Place,
    },
    Verify,
    VerifyAgainst {
        disk: Box<Pick>,
    },
    /// To take files out of it.
    Files,
}

impl Purpose {
    pub fn task(&self) -> Option<Task> {
        match self {
            Purpose::Look => None,
            Purpose::Image => Some(Task::Image),
            Purpose::CloneFrom | Purpose::CloneTo { .. } => Some(Task::Clone),
            Purpose::RestoreTo { .. } => Some(Task::Restore),
            Purpose::Verify | Purpose::VerifyAgainst { .. } => Some(Task::Verify),
            Purpose::Files => Some(Task::Extract),
        }
    }

    pub fn question(&self) -> &'static str {
        match self {
            Purpose::Look => "disks",
            Purpose::Image => "which disk?",
            Purpose::CloneFrom => "from which disk?",
            Purpose::CloneTo { .. } => "onto which disk?",
            Purpose::RestoreTo { .. } => "onto which disk?",
            Purpose::Verify => "which disk?",
            Purpose::VerifyAgainst { .. } => "compared with which disk?",
            Purpose::Files => "of which disk?",
        }
    }

    pub fn advice(&self) -> &'static str {
        match self {
            Purpose::Look => "Disks",
            Purpose::Image | Purpose::CloneFrom => "Disk to copy from - it is only read",
            Purpose::CloneTo { .. } | Purpose::RestoreTo { .. } => {
                "Disk to write to - all that is on it will be lost"
            }
            Purpose::Verify => "Disk to look over - it is only read",
            Purpose::VerifyAgainst { .. } => "Disk to compare with - it is only read",
            Purpose::Files => "Disk to look into - it is only read",
        }
    }

    /// The disk that is already part of the job.
    pub fn other(&self) -> Option<&Identity> {
        match self {
            Purpose::CloneTo { source: pick } | Purpose::VerifyAgainst { disk: pick } => {
                pick.identity.as_ref()
            }
            _ => None,
        }
    }
}
