//! What may be looked at of a plan, and a plan for nothing but looking.

use disk::extent::ExtentMap;
use disk::layout::Layout;

use super::{ImageFacts, NewFile, Plan, StoreFacts};
use crate::host::Disk;
use crate::request::{Action, Request};

impl Plan {
    pub fn request(&self) -> &Request {
        &self.request
    }

    pub fn source(&self) -> Option<&Disk> {
        self.source.as_ref()
    }

    /// A disk or regular file that exists now and will be written or compared.
    pub fn destination(&self) -> Option<&Disk> {
        self.destination.as_ref()
    }

    /// A regular file that the job will make.
    pub fn new_file(&self) -> Option<&NewFile> {
        self.new_file.as_ref()
    }

    pub fn store(&self) -> Option<&StoreFacts> {
        self.store.as_ref()
    }

    pub fn image(&self) -> Option<&ImageFacts> {
        self.image.as_ref()
    }

    /// Bytes to be read from the source, as offsets of the disk.
    pub fn used(&self) -> &ExtentMap {
        &self.used
    }

    /// How many encrypted volumes of the source a passphrase would open.
    pub fn locked(&self) -> usize {
        let layout = self.source().and_then(|disk| disk.layout.as_ref().ok());
        let encrypted = layout.into_iter().flat_map(Layout::encrypted);
        encrypted.filter(|layer| layer.wants_key()).count()
    }

    /// What a person reads before consenting, line by line.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The word that consents; `None` where nothing existing is overwritten.
    pub fn word(&self) -> Option<&str> {
        self.word.as_deref()
    }

    /// A plan to be shown and consented to, by which nothing can be done: it names nothing that may be written, so
    /// that its approval holds no permit, and no job runs without the permits it needs. For the tests of those who
    /// show plans.
    pub fn shown(request: &Request, shown: Shown) -> Plan {
        let overwrites = matches!(
            request.action,
            Action::Clone { .. } | Action::Restore { .. }
        );
        let overwritten = shown.destination.as_ref().filter(|_| overwrites);
        let mut plan = Plan {
            word: overwritten.map(|disk| disk.identity.word()),
            source: shown.source,
            destination: shown.destination,
            lines: shown.lines,
            warnings: shown.warnings,
            ..Plan::of(request)
        };
        plan.wanting(shown.used);
        plan
    }
}

/// What a plan shows, without anything that it could do.
#[derive(Debug, Default)]
pub struct Shown {
    pub source: Option<Disk>,
    pub destination: Option<Disk>,
    pub used: ExtentMap,
    pub lines: Vec<String>,
    pub warnings: Vec<String>,
}
