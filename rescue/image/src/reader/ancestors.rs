//! A child's ancestors: what it leaves to them is read from them.

use disk::extent::Extent;

use crate::chunk::{self, Entry, Kind};
use crate::digest::{ImageId, LeafValue};
use crate::error::ImageError;
use crate::file_name;
use crate::frame;
use crate::head::{HEAD_AT, Lineage};
use crate::index::PAGES_LIMIT;
use crate::kin::{self, Kin};
use crate::leafmap::LeafMap;
use crate::manifest::Parent;
use crate::reader::{Piece, Reader, open};
use crate::store::{Store, StoreError};

impl Reader {
    /// Learns whose place the image has taken, and gives its nearest ancestor.
    pub(crate) fn read_kin(&mut self) -> Result<Option<Parent>, ImageError> {
        let known = match self.head_len {
            Some(head_len) => Kin::read(&*self.file, HEAD_AT + u64::from(head_len))?,
            None => None,
        };
        self.kin_len = known.as_ref().map(|(_, len)| *len);
        let told = self.manifest.as_ref().map(|story| Kin {
            ancestors: Vec::from_iter(story.parent.clone()),
            stands_for: story.stands_for.clone(),
        });
        let kin = match known {
            Some((kin, _)) => kin,
            None => {
                let kin = told.unwrap_or_default();
                if !kin.stands_for.is_empty() || self.head.lineage == Lineage::Child {
                    let name = &self.name;
                    self.notes.push(format!(
                        "{name}: what names its kin is damaged; the manifest's copy was used"
                    ));
                }
                kin
            }
        };
        self.stands_for = kin.stands_for;
        Ok(kin.ancestors.into_iter().next())
    }

    /// Opens the parent of a child, its parent, and so on.
    pub(super) fn find_parent(
        &mut self,
        store: &dyn Store,
        nearest: Option<Parent>,
    ) -> Result<(), ImageError> {
        if self.head.lineage == Lineage::Full {
            return Ok(());
        }
        let Some(nearest) = nearest else {
            let unknown = "nothing names it any more".to_owned();
            return Err(self.orphan("which is not known", unknown));
        };
        let parent = self.open_parent(store, &nearest)?;
        self.ancestors = lineage(&nearest, &parent);
        self.parent = Some(Box::new(parent));
        Ok(())
    }

    /// Whether it is this image, or has taken its place.
    pub fn answers_to(&self, wanted: &Parent) -> bool {
        let same = |id: ImageId, index| id == wanted.id && index == Some(wanted.index);
        same(self.id(), self.index())
            || self
                .stands_for
                .iter()
                .any(|other| same(other.id, Some(other.index)))
    }

    /// The images whose place it has taken.
    pub fn stands_for(&self) -> &[Parent] {
        &self.stands_for
    }

    fn orphan(&self, parent: &str, what: String) -> ImageError {
        ImageError::Orphan {
            image: self.name.clone(),
            parent: parent.to_owned(),
            what,
        }
    }

    fn open_parent(&self, store: &dyn Store, wanted: &Parent) -> Result<Reader, ImageError> {
        let shown = format!("{} ({})", wanted.name, wanted.id);
        let file = file_name(&wanted.name);
        let opened = match store.open(&file) {
            Ok(opened) => opened,
            Err(StoreError::Missing(_)) => {
                return Err(self.orphan(&shown, "it is not in the store".to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        let mut parent = open::open(opened, format!("{}/{file}", store.describe()))?;
        parent.file_name = file;
        let nearest = parent.read_kin()?;
        if !parent.answers_to(wanted) {
            let what = match parent.id() == wanted.id {
                true => "that image has changed since, or its end is damaged",
                false => "the image of that name is another one",
            };
            return Err(self.orphan(&shown, what.to_owned()));
        }
        let same_cells = parent.head.chunk_size == self.head.chunk_size
            && parent.head.geometry.size_bytes == self.head.geometry.size_bytes;
        parent.generation = self.generation + 1;
        let pages = self.pages_of_chain + parent.slots().len() + parent.log_slots().len();
        parent.pages_of_chain = pages;
        if !same_cells || usize::from(parent.generation) > kin::MOST || pages > 2 * PAGES_LIMIT {
            let unfit = "that image cannot be its parent".to_owned();
            return Err(self.orphan(&shown, unfit));
        }
        parent.find_parent(store, nearest)?;
        Ok(parent)
    }

    /// The nearest first; none for a full image.
    pub fn ancestors(&self) -> &[Parent] {
        &self.ancestors
    }

    /// What it is called in its store.
    pub fn plain_name(&self) -> &str {
        let file = self.file_name.as_str();
        file.strip_suffix(".img.zst").unwrap_or(file)
    }

    /// Whether the chunk frame of an inherited run is whole.
    pub(crate) fn is_named(&self, entry: &Entry) -> Result<bool, ImageError> {
        let mut frame = Vec::new();
        self.read_stored(entry, &mut frame)?;
        Ok(frame::open(&frame, entry.offset).is_some_and(|frame| chunk::describes(&frame, entry)))
    }

    /// The parent of the image in whose file an entry is.
    pub(crate) fn parent_of(&self, entry: &Entry) -> Option<&Reader> {
        self.owner(entry).parent.as_deref()
    }

    /// Of a chunk of this image or of an ancestor: one for each of its leaves, if they are readable.
    pub(crate) fn leaf_values(&self, entry: &Entry) -> Option<Vec<LeafValue>> {
        let known = self.owner(entry).leaves(entry).ok().flatten()?;
        Some(known.values)
    }

    /// Likewise: which leaves of a patched chunk are its own.
    pub(crate) fn leaf_map(&self, entry: &Entry) -> Option<LeafMap> {
        self.owner(entry).leaves(entry).ok().flatten()?.map
    }

    /// In whose file an entry is.
    pub(super) fn owner(&self, entry: &Entry) -> &Reader {
        let mut owner = self;
        while owner.generation < entry.generation
            && let Some(parent) = &owner.parent
        {
            owner = parent;
        }
        owner
    }

    /// What an ancestor has instead, of the inherited cells `run`, at `at`.
    pub(super) fn inherited(&self, run: Extent, at: u64) -> Result<Option<Piece>, ImageError> {
        let rest = Extent::between(at, run.end());
        let Some(parent) = &self.parent else {
            return Ok(rest.map(Piece::Lost));
        };
        let found = parent.piece_at(at)?;
        let inside = found.and_then(|found| found.extent().intersect(run));
        Ok(match (found, inside) {
            (Some(Piece::Entry(entry)), Some(inside)) => {
                let part = entry
                    .part(inside)
                    .filter(|entry| entry.kind != Kind::Inherited);
                Some(part.map_or(Piece::Lost(inside), Piece::Entry))
            }
            (_, Some(inside)) => Some(Piece::Lost(inside)),
            (_, None) => rest.map(Piece::Lost),
        })
    }
}

fn lineage(nearest: &Parent, parent: &Reader) -> Vec<Parent> {
    let mut all = vec![nearest.clone()];
    all.extend(parent.ancestors.iter().cloned());
    all
}
