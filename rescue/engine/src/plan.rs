//! What will be done, decided and shown before anything is.

mod absent;
mod ancestor;
mod clone;
mod export;
mod extract;
mod find;
mod imaging;
mod leave_out;
mod look;
mod mend;
mod onto;
mod opened;
mod prepare;
mod refusal;
mod restore;
mod sealed;
mod serve;
mod shorten;
mod show;
mod state;
pub(crate) mod unfinished;
mod verify;

use std::path::PathBuf;

use disk::extent::ExtentMap;
use disk::table::edit::Patch;
use image::manifest::LeftOut;
use image::prune::Step;
use serde::Serialize;

pub use absent::Absent;
pub use look::Shown;
pub use prepare::prepare;
pub use refusal::{Passphrase, Refusal};
pub(crate) use verify::with_patches;

use crate::host::Disk;
use crate::identity::Identity;
use crate::map::Map;
use crate::mapfile::Ends;
use crate::permit::{Target, WritePermit};
use crate::request::Request;

/// A job that may run once somebody consents to it. Nothing was changed to make it.
///
/// Only [`prepare`] decides what a plan may write. Nobody else can put a destination into one, or change the word:
///
/// ```compile_fail,E0616
/// # fn f(plan: &mut engine::plan::Plan, other: engine::permit::Target) {
/// plan.targets.push(other);
/// # }
/// ```
///
/// ```compile_fail,E0616
/// # fn f(plan: &mut engine::plan::Plan) {
/// plan.word = None;
/// # }
/// ```
///
/// ```compile_fail,E0616
/// # fn f(plan: &mut engine::plan::Plan, other: engine::request::Request) {
/// plan.request = other;
/// # }
/// ```
///
/// ```compile_fail,E0451
/// # fn f(plan: engine::plan::Plan) -> engine::plan::Plan {
/// engine::plan::Plan { done: Default::default(), ..plan }
/// # }
/// ```
#[derive(Debug, Serialize)]
pub struct Plan {
    /// In JSON the command line that asks for it.
    pub(crate) request: Request,
    pub(crate) source: Option<Disk>,
    /// A disk or regular file that exists now and will be written or compared.
    pub(crate) destination: Option<Disk>,
    /// A regular file that the job will make.
    pub(crate) new_file: Option<NewFile>,
    pub(crate) store: Option<StoreFacts>,
    pub(crate) image: Option<ImageFacts>,
    /// What of the source is taken, as offsets of the disk.
    #[serde(skip)]
    pub(crate) used: ExtentMap,
    pub(crate) used_bytes: u64,
    /// Of `used`, what the image keeps as zeros and nobody reads.
    #[serde(skip)]
    pub(crate) left_out: ExtentMap,
    /// Of `used`, what an earlier rescue never had.
    #[serde(skip)]
    pub(crate) absent: Absent,
    /// The rules that left it out.
    #[serde(rename = "left_out", skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules_applied: Vec<LeftOut>,
    /// What a person reads before consenting, line by line.
    pub(crate) lines: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// The word that consents; `None` where nothing existing is overwritten.
    word: Option<String>,
    /// What the job may write, and nothing else.
    targets: Vec<Target>,
    /// Where the job keeps its state.
    pub(crate) state: Option<StateFile>,
    /// Between what the job is, for its state file.
    #[serde(skip)]
    pub(crate) ends: Option<Ends>,
    /// The image to which a new one leaves what is the same, by its name in the store.
    pub(crate) parent: Option<String>,
    /// What makes chains shorter.
    #[serde(skip)]
    pub(crate) steps: Vec<Step>,
    /// What an earlier, interrupted run did.
    #[serde(skip)]
    pub(crate) done: Map,
    /// What stands elsewhere on the destination than on the source: the table of a larger disk.
    #[serde(skip)]
    pub(crate) patches: Vec<Patch>,
    /// The partition that grows into the room of a larger disk.
    pub(crate) grows: Option<u32>,
    /// The other disks of the machine: protected, and their counters reported.
    pub(crate) bystanders: Vec<Identity>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NewFile {
    pub path: PathBuf,
    pub size_bytes: u64,
}

/// The store an image is written to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StoreFacts {
    /// As a person calls it.
    pub title: String,
    pub disk: Option<Identity>,
    pub free_bytes: Option<u64>,
    /// What the image is expected to need, from samples of the source.
    pub needed_bytes: u64,
}

/// The image that a disk is restored from or compared with, or that is checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ImageFacts {
    /// As the request names it.
    pub title: String,
    pub id: String,
    pub file_bytes: u64,
    /// Of the disk that was imaged.
    pub size_bytes: u64,
    /// The disk that was imaged, in words.
    pub disk: String,
    /// When it was finished, in UTC.
    pub made: Option<String>,
    pub note: Option<String>,
}

/// A map file, and what becomes of it when the job is done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StateFile {
    pub path: PathBuf,
    pub afterwards: Afterwards,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Afterwards {
    /// The user named it.
    Kept,
    Removed,
}

/// A consent to exactly one plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Consent {
    /// The word that the user typed.
    Word(String),
    /// For a plan that overwrites nothing.
    NothingOverwritten,
}

/// A plan that was consented to: the only thing a job runs on.
#[derive(Debug)]
pub struct Approved {
    plan: Plan,
    permits: Vec<WritePermit>,
}

impl Approved {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn permits(&self) -> &[WritePermit] {
        &self.permits
    }
}

impl Plan {
    /// Gives the plan back when the consent does not fit.
    pub fn approve(self, consent: &Consent) -> Result<Approved, Box<Plan>> {
        let fits = match (&self.word, consent) {
            (None, _) => true,
            (Some(word), Consent::Word(typed)) => word == typed.trim(),
            (Some(_), Consent::NothingOverwritten) => false,
        };
        if fits {
            let permits = self.targets.iter().cloned().map(WritePermit::issue);
            Ok(Approved {
                permits: permits.collect(),
                plan: self,
            })
        } else {
            Err(Box::new(self))
        }
    }
}
