//! A child: what its parent has, and the parent's parents, is not stored again.

use crate::digest::ImageId;
use crate::error::ImageError;
use crate::head::{Head, Lineage};
use crate::kin;
use crate::manifest::Parent;
use crate::reader::Reader;
use crate::store::Store;
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
        Writer::create_under(store, name, head, Some(parent))
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
        let mut writer = Writer::resume_under(store, name, &head, Some(parent))?;
        writer.parent = Some(parent);
        Ok(writer)
    }

    pub(super) fn append_kin(&mut self, parent: &'s Reader) -> Result<(), ImageError> {
        let mut frame = Vec::new();
        kin::build(self.head.id, self.file.len(), &lineage(parent), &mut frame);
        self.kin_len = Some(self.append_frame(&frame)?.len);
        self.parent = Some(parent);
        Ok(())
    }

    /// What cells are encoded over: [`crate::codec::Encoder::encode_over`].
    pub fn parent(&self) -> Option<&'s Reader> {
        self.parent
    }

    /// Whether what was encoded over an image may be appended.
    pub(super) fn has_parent(&self, over: Option<ImageId>) -> Result<(), ImageError> {
        if over.is_some() && over == self.parent.map(Reader::id) {
            return Ok(());
        }
        Err(ImageError::Codec(
            "a chunk was encoded over another image".to_owned(),
        ))
    }
}

/// The parent and its ancestors, as its child names them.
pub(super) fn lineage(parent: &Reader) -> Vec<Parent> {
    let nearest = Parent {
        id: parent.id(),
        index: parent.index().unwrap_or_default(),
        name: parent.plain_name().to_owned(),
    };
    let mut all = vec![nearest];
    all.extend(parent.ancestors().iter().cloned());
    all
}
