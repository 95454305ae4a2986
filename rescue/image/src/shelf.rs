//! What is in a store: its images, and which is whose child.

mod order;

use crate::digest::{Digest, ImageId};
use crate::error::ImageError;
use crate::head::Lineage;
use crate::manifest::{DiskStory, Manifest, Parent};
use crate::merge;
use crate::reader::Reader;
use crate::retain;
use crate::store::{Store, StoreError};

pub use order::{Placed, ordered};

/// How far an image has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Finished,
    /// Cut off, damaged at its end, or still being written.
    Unfinished,
    /// What an interrupted merge has left; the image it is made from is there.
    Interim,
}

/// An image without its chunks, and without its ancestors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    pub id: ImageId,
    pub index: Option<Digest>,
    /// Of a child.
    pub nearest: Option<Parent>,
    pub lineage: Lineage,
    pub stands_for: Vec<Parent>,
    pub disk: DiskStory,
    /// Of the partition table.
    pub table_id: Option<String>,
    /// RFC 3339, UTC.
    pub started: Option<String>,
    pub ended: Option<String>,
    pub note: Option<String>,
    pub used_bytes: u64,
    /// What was found damaged on opening.
    pub notes: Vec<String>,
}

/// A file of the store that is called as an image is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shelved {
    /// Without `.img.zst` and `.unfinished`.
    pub name: String,
    pub stage: Stage,
    pub file_bytes: u64,
    pub label: Result<Label, ImageError>,
    /// Where in the list its parent is.
    pub parent: Option<usize>,
    /// A child whose parent is not in the store.
    pub orphan: bool,
}

impl Label {
    fn of(reader: &mut Reader) -> Result<Label, ImageError> {
        let nearest = reader.read_kin()?;
        let story = reader.manifest().cloned().unwrap_or_default();
        let Manifest {
            disk,
            table,
            started,
            ended,
            note,
            used_bytes,
            ..
        } = story;
        Ok(Label {
            id: reader.id(),
            index: reader.index(),
            nearest,
            lineage: reader.head().lineage,
            stands_for: reader.stands_for().to_vec(),
            disk,
            table_id: table.map(|table| table.id),
            started,
            ended,
            note,
            used_bytes,
            notes: reader.notes().to_vec(),
        })
    }

    /// Whether it is this image, or has taken its place.
    pub fn answers_to(&self, wanted: &Parent) -> bool {
        let same =
            |id: ImageId, index: Option<Digest>| id == wanted.id && index == Some(wanted.index);
        same(self.id, self.index)
            || self
                .stands_for
                .iter()
                .any(|other| same(other.id, Some(other.index)))
    }
}

impl Shelved {
    /// A finished image that can be read, all of whose ancestors are there.
    pub fn is_whole(&self) -> bool {
        self.stage == Stage::Finished && self.label.is_ok() && !self.orphan
    }

    /// Nobody has given what opens it.
    pub fn is_locked(&self) -> bool {
        matches!(self.label, Err(ImageError::Store(StoreError::Locked(_))))
    }

    /// When, in RFC 3339.
    pub fn made(&self) -> Option<&str> {
        self.label.as_ref().ok().and_then(retain::made)
    }

    /// What is wrong with it, or that it is not finished.
    pub fn trouble(&self) -> Option<String> {
        let label = match &self.label {
            Ok(label) => label,
            Err(ImageError::Store(StoreError::Locked(_))) => {
                return Some("sealed; its passphrase opens it".to_owned());
            }
            Err(error) => return Some(error.to_string()),
        };
        match self.stage {
            Stage::Unfinished => Some("unfinished".to_owned()),
            Stage::Interim => {
                Some("left by an interrupted merge; the same command goes on".to_owned())
            }
            Stage::Finished if self.orphan => {
                let parent = label.nearest.as_ref().map(|parent| parent.name.as_str());
                let parent = parent.unwrap_or("its parent");
                Some(format!(
                    "cannot be read: {parent}, which it needs, is not there"
                ))
            }
            Stage::Finished => label.notes.first().cloned(),
        }
    }
}

/// Every file of the store that is called as an image is, by name.
pub fn list(store: &dyn Store) -> Result<Vec<Shelved>, ImageError> {
    let mut all = Vec::new();
    for file in store.list()? {
        let (rest, unfinished) = match file.strip_suffix(".unfinished") {
            Some(rest) => (rest, true),
            None => (file.as_str(), false),
        };
        let Some(name) = rest.strip_suffix(".img.zst") else {
            continue;
        };
        let mut file_bytes = 0;
        let label = Reader::open_alone(store, &file).and_then(|mut reader| {
            file_bytes = reader.stored_bytes();
            Label::of(&mut reader)
        });
        let index = label.as_ref().ok().and_then(|label| label.index);
        let interim = label.as_ref().map_or(unfinished, |label| {
            !label.stands_for.is_empty() || unfinished
        });
        let base = merge::merged_name(name).filter(|_| interim);
        let base_is_there =
            base.is_some_and(|base| store.exists(&crate::file_name(base)).unwrap_or(false));
        all.push(Shelved {
            stage: match unfinished || index.is_none() {
                _ if base_is_there => Stage::Interim,
                true => Stage::Unfinished,
                false => Stage::Finished,
            },
            name: name.to_owned(),
            file_bytes,
            label,
            parent: None,
            orphan: false,
        });
    }
    find_parents(&mut all);
    Ok(all)
}

/// As opening does: the finished image that has the name and answers to it.
fn find_parents(all: &mut [Shelved]) {
    let found: Vec<Option<usize>> = all.iter().map(|one| parent_of(one, all)).collect();
    for (one, parent) in all.iter_mut().zip(&found) {
        one.parent = *parent;
    }
    let is_child = |one: &Shelved| {
        let lineage = one.label.as_ref().map(|label| label.lineage);
        lineage == Ok(Lineage::Child)
    };
    let orphans: Vec<bool> = (0..all.len())
        .map(|nth| {
            let last = lineage_of(all, nth).last().copied().unwrap_or(nth);
            is_child(&all[last]) || all[last].label.is_err() && last != nth
        })
        .collect();
    for (one, orphan) in all.iter_mut().zip(orphans) {
        one.orphan = orphan;
    }
}

fn parent_of(one: &Shelved, all: &[Shelved]) -> Option<usize> {
    let nearest = one.label.as_ref().ok()?.nearest.as_ref()?;
    all.iter().position(|other| {
        other.stage == Stage::Finished
            && other.name == nearest.name
            && other
                .label
                .as_ref()
                .is_ok_and(|label| label.answers_to(nearest))
    })
}

/// The ancestors of one, the nearest first.
pub fn lineage_of(all: &[Shelved], nth: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = nth;
    while let Some(parent) = all.get(at).and_then(|one| one.parent) {
        // A crafted store may go in a circle.
        if parent == nth || found.contains(&parent) {
            break;
        }
        found.push(parent);
        at = parent;
    }
    found
}
