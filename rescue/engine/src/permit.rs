//! The right to write to one destination. Only an approved plan issues it.

use serde::{Deserialize, Serialize};

use crate::identity::Identity;

/// Names what may be written. It cannot be made outside the engine.
///
/// ```compile_fail
/// let permit = engine::permit::WritePermit { target: todo!() };
/// ```
///
/// ```compile_fail
/// let permit = engine::permit::WritePermit::issue(todo!());
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WritePermit {
    target: Target,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Disk(Identity),
    /// A regular file that does not exist yet, with the size it will have.
    NewFile {
        path: std::path::PathBuf,
        size_bytes: u64,
    },
    /// A store directory, and the disk it is on where that is known.
    Store {
        disk: Option<Identity>,
    },
}

impl WritePermit {
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The disk that may be written; `None` for a file, and for a store whose disk is not known.
    pub fn disk(&self) -> Option<&Identity> {
        match &self.target {
            Target::Disk(identity) => Some(identity).filter(|i| i.file.is_none()),
            Target::Store { disk } => disk.as_ref(),
            Target::NewFile { .. } => None,
        }
    }

    /// For `plan::Plan::approve` alone; a test looks for other callers.
    pub(crate) fn issue(target: Target) -> WritePermit {
        WritePermit { target }
    }
}
