//! What will be done, decided and shown before anything is.

use std::fmt;

use disk::extent::ExtentMap;
use serde::Serialize;

use crate::host::{Disk, Host};
use crate::permit::WritePermit;
use crate::request::Request;

/// A job that may run once somebody consents to it. Nothing was changed to make it.
#[derive(Debug)]
pub struct Plan {
    pub request: Request,
    pub source: Option<Disk>,
    pub destination: Option<Disk>,
    /// Bytes to be read from the source, as offsets of the disk.
    pub used: ExtentMap,
    /// What a person reads before consenting, line by line.
    pub lines: Vec<String>,
    pub warnings: Vec<String>,
    /// The word that consents; `None` where nothing existing is overwritten.
    pub word: Option<String>,
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
            Ok(Approved {
                plan: self,
                permits: Vec::new(),
            })
        } else {
            Err(Box::new(self))
        }
    }
}

/// Why a request is not carried out; nothing was written. `Display` says device, fact and remedy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "refusal")]
pub enum Refusal {
    Other { text: String },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Other { text } => f.write_str(text),
        }
    }
}

/// Looks at everything and writes nothing. Every reason against the request at once.
pub fn prepare(request: &Request, host: &dyn Host) -> Result<Plan, Vec<Refusal>> {
    let _ = host;
    Err(vec![Refusal::Other {
        text: format!("'{request}' is not planned yet"),
    }])
}
