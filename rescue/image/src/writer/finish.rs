//! What makes a file an image: manifest, root, end and seek table, written last.

use crate::digest::Digest;
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::index::{self, Pages};
use crate::manifest::Manifest;
use crate::tail::Tail;
use crate::writer::Writer;
use crate::writer::any_order::Course;
use crate::{file_name, unfinished_name};

/// What a finished image is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// The file's name in the store.
    pub name: String,
    pub stored_bytes: u64,
    /// Digest of its index: with the image's id it names this very image.
    pub index: Digest,
}

impl Writer<'_> {
    /// Writes what makes it an image, and gives it its name: `NAME.img.zst`. After [`Writer::any_order`] cells that
    /// nobody gave are written as not tried.
    pub fn finish(mut self, manifest: &Manifest) -> Result<Finished, ImageError> {
        let course = self.complete()?;
        let (expected, given) = (self.head.geometry.size_bytes, self.written);
        if expected != given {
            return Err(ImageError::Incomplete { expected, given });
        }
        let mut buffer = Vec::new();
        let packed = self.story(manifest, &course)?.pack()?;
        frame::build(
            FrameKind::Manifest,
            self.head.id,
            self.file.len(),
            &mut buffer,
            |out| {
                out.extend_from_slice(&packed);
            },
        );
        let manifest = self.append_frame(&buffer)?;
        let pages = match &course {
            Course::Left(newest) => self.sort(newest)?,
            _ => Pages {
                by_address: std::mem::take(&mut self.pages),
                by_offset: Vec::new(),
            },
        };
        index::build_root(self.head.id, &pages, self.file.len(), &mut buffer);
        let root = self.append_frame(&buffer)?;
        // It is read back from the store.
        self.sync()?;
        let written = self.store.open(&unfinished_name(&self.name))?;
        let tail = Tail {
            head: self.head,
            head_len: self.head_len,
            kin_len: self.kin_len,
            manifest,
            root,
            pages: &pages,
            story: None,
            parity: self.parity,
        };
        tail.append(&*written, &mut *self.file)?;
        drop(written);
        self.sync()?;
        let stored_bytes = self.file.len();
        drop(self.file);
        let name = file_name(&self.name);
        self.store.publish(&unfinished_name(&self.name), &name)?;
        Ok(Finished {
            name,
            stored_bytes,
            index: root.digest,
        })
    }
}
