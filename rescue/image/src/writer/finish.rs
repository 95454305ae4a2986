//! What makes a file an image: manifest, root, end and seek table, written last.

use crate::digest::Digest;
use crate::end::{END_LEN, End};
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::index;
use crate::manifest::Manifest;
use crate::scan;
use crate::seek;
use crate::store::StoreError;
use crate::writer::Writer;
use crate::{file_name, unfinished_name};

/// Seek table entries are read and written in pieces of about this size.
const PIECE: usize = 1 << 20;

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
    /// Writes what makes it an image, and gives it its name: `NAME.img.zst`.
    pub fn finish(mut self, manifest: &Manifest) -> Result<Finished, ImageError> {
        self.end_run()?;
        self.end_page()?;
        let (expected, given) = (self.head.geometry.size_bytes, self.written);
        if expected != given {
            return Err(ImageError::Incomplete { expected, given });
        }
        let mut buffer = Vec::new();
        let packed = manifest.pack()?;
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
        index::build_root(self.head.id, &self.pages, self.file.len(), &mut buffer);
        let root = self.append_frame(&buffer)?;
        let frames = self.frames + 1; // and the end
        let seek_table_len = seek::table_len(frames);
        let end = End {
            head: self.head,
            root,
            manifest,
            seek_table_len,
            file_len: self.file.len() + END_LEN as u64 + seek_table_len,
        };
        end.build(self.file.len(), &mut buffer);
        let end = self.append_frame(&buffer)?;
        self.append_seek_table(frames, &[manifest.len, root.len, end.len])?;
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

    /// The pages hold what is needed, so they are read back, one at a time.
    fn append_seek_table(&mut self, frames: u64, behind: &[u32]) -> Result<(), ImageError> {
        let name = unfinished_name(&self.name);
        let file = self.store.open(&name)?;
        let pages = std::mem::take(&mut self.pages);
        let mut out = Vec::new();
        seek::put_start(frames, &mut out);
        seek::put_lead(&mut out);
        seek::put_entry(self.head_len, 0, &mut out);
        for place in &pages {
            let found = scan::read_page(&*file, place.offset)?;
            let Some((page, _)) = found.filter(|(_, found)| found == place) else {
                let place = self.store.describe();
                return Err(StoreError::Fault(format!(
                    "{place}/{name} does not give back what was written; choose another store"
                ))
                .into());
            };
            index::seek_entries(
                &page.entries,
                page.leaves.as_ref(),
                place.len,
                |stored, content| seek::put_entry(stored, content, &mut out),
            );
            if out.len() >= PIECE {
                self.put(&out)?;
                out.clear();
            }
        }
        behind
            .iter()
            .for_each(|len| seek::put_entry(*len, 0, &mut out));
        seek::put_footer(frames, &mut out);
        self.put(&out)
    }
}
