//! A child: what its parent has, and the parent's parents, is not stored again.

use disk::extent::Extent;

use crate::chunk::Kind;
use crate::digest::{Digest, ImageId};
use crate::error::ImageError;
use crate::head::{Head, Lineage};
use crate::kin::{self, Kin};
use crate::manifest::Parent;
use crate::reader::Reader;
use crate::store::Store;
use crate::unfinished_name;
use crate::writer::Writer;

impl<'s> Writer<'s> {
    /// As [`Writer::create`]: an image of the same disk as `parent`, which is finished, and without which this one
    /// cannot be read. It has the parent's chunk size.
    pub fn create_child(
        store: &'s dyn Store,
        name: &str,
        head: Head,
        parent: &'s Reader,
    ) -> Result<Writer<'s>, ImageError> {
        let of = parent.head();
        let unfit = |what: &str| ImageError::NoParent {
            image: parent.name().to_owned(),
            what: what.to_owned(),
        };
        if parent.index().is_none() {
            return Err(unfit("it is not finished, or its end is damaged"));
        }
        if of.geometry.size_bytes != head.geometry.size_bytes {
            return Err(unfit("it is of a disk of another size"));
        }
        if parent.ancestors().len() >= kin::MOST {
            return Err(unfit("its chain is as long as one can be"));
        }
        let head = Head {
            chunk_size: of.chunk_size,
            lineage: Lineage::Child,
            ..head
        };
        Writer::create_in(store, name, head, Family::of(parent))
    }

    /// As [`Writer::resume`], for a child of this parent.
    pub fn resume_child(
        store: &'s dyn Store,
        name: &str,
        head: &Head,
        parent: &'s Reader,
    ) -> Result<Writer<'s>, ImageError> {
        let head = Head {
            lineage: Lineage::Child,
            ..*head
        };
        Writer::resume_in(store, name, &head, Family::of(parent))
    }

    /// As [`Writer::create`], or [`Writer::resume`] where it was begun: an image that takes the place of `of`, as a
    /// child of `parent` or a full one.
    pub fn heir(
        store: &'s dyn Store,
        name: &str,
        id: ImageId,
        of: &'s Reader,
        parent: Option<&'s Reader>,
    ) -> Result<Writer<'s>, ImageError> {
        let family = Family {
            parent,
            stands_for: Some(of),
        };
        let kin = family.kin();
        let index = |reader: &Reader| reader.index().unwrap_or_default().0;
        if kin.stands_for.len() > kin::MOST_STANDINGS || of.index().is_none() {
            return Err(ImageError::Settled {
                image: of.name().to_owned(),
            });
        }
        let sources = [index(of), parent.map_or([0; 32], index)];
        let head = Head {
            lineage: match parent {
                Some(_) => Lineage::Child,
                None => Lineage::Full,
            },
            ..Head::new(id, of.head().geometry, Digest::of(&sources.concat()))
        };
        let head = Head {
            chunk_size: of.head().chunk_size,
            ..head
        };
        match store.exists(&unfinished_name(name))? {
            true => Writer::resume_in(store, name, &head, family),
            false => Writer::create_in(store, name, head, family),
        }
    }

    pub(super) fn append_kin(&mut self) -> Result<(), ImageError> {
        let kin = self.family.kin();
        if kin.is_empty() {
            return Ok(());
        }
        let mut frame = Vec::new();
        kin.build(self.head.id, self.file.len(), &mut frame);
        self.kin_len = Some(self.append_frame(&frame)?.len);
        Ok(())
    }

    /// What cells are encoded over: [`crate::codec::Encoder::encode_over`].
    pub fn parent(&self) -> Option<&'s Reader> {
        self.family.parent
    }

    /// A cell that the parent has, with content, in the same states.
    pub(crate) fn inherit(&mut self, extent: Extent) -> Result<(), ImageError> {
        let parent = self.family.parent.map(Reader::id);
        self.has_parent(parent)?;
        self.admit(extent, extent.len() == self.head.cell_len(extent.start()))?;
        self.extend_run(Kind::Inherited, extent)
    }

    /// Whether what was encoded over an image may be appended.
    pub(super) fn has_parent(&self, over: Option<ImageId>) -> Result<(), ImageError> {
        if over.is_some() && over == self.family.parent.map(Reader::id) {
            return Ok(());
        }
        Err(ImageError::Codec(
            "a chunk was encoded over another image".to_owned(),
        ))
    }
}

/// Of whom an image is a child, and whose place it takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Family<'s> {
    pub parent: Option<&'s Reader>,
    pub stands_for: Option<&'s Reader>,
}

impl<'s> Family<'s> {
    fn of(parent: &'s Reader) -> Family<'s> {
        Family {
            parent: Some(parent),
            stands_for: None,
        }
    }

    pub fn kin(&self) -> Kin {
        Kin {
            ancestors: self.parent.map_or_else(Vec::new, |parent| {
                with(parent, parent.ancestors().iter().cloned())
            }),
            stands_for: self
                .stands_for
                .map_or_else(Vec::new, |of| with(of, of.stands_for().iter().cloned())),
        }
    }

    /// Whether an image that was begun with this kin is of this family: a parent may have been replaced since.
    pub fn fits(&self, begun: &Kin) -> bool {
        let kin = self.kin();
        let same =
            |(ours, theirs): (&Parent, &Parent)| ours.id == theirs.id && ours.index == theirs.index;
        let stands = kin.stands_for.len() == begun.stands_for.len()
            && kin.stands_for.iter().zip(&begun.stands_for).all(same);
        let parent = match (self.parent, begun.ancestors.first()) {
            (Some(parent), Some(nearest)) => parent.answers_to(nearest),
            (None, None) => true,
            _ => false,
        };
        stands && parent
    }
}

fn with(reader: &Reader, others: impl Iterator<Item = Parent>) -> Vec<Parent> {
    let one = Parent {
        id: reader.id(),
        index: reader.index().unwrap_or_default(),
        name: reader.plain_name().to_owned(),
    };
    std::iter::once(one).chain(others).collect()
}
