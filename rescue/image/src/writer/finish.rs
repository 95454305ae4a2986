//! What makes a file an image: manifest, root, end and seek table, written last.

use crate::digest::Digest;
use crate::end::{END_LEN, End};
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::Order;
use crate::index::{self, Pages};
use crate::manifest::Manifest;
use crate::scan;
use crate::seek;
use crate::writer::Writer;
use crate::writer::any_order::Course;
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
        self.append_seek_table(frames, &pages, &[manifest.len, root.len, end.len])?;
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
    fn append_seek_table(
        &mut self,
        frames: u64,
        pages: &Pages,
        [manifest, root, end]: &[u32; 3],
    ) -> Result<(), ImageError> {
        let file = self.store.open(&unfinished_name(&self.name))?;
        let (beside, sorted) = match self.head.order {
            Order::Disk => (&pages.by_address, [].as_slice()),
            Order::Any => (&pages.by_offset, pages.by_address.as_slice()),
        };
        let mut out = Vec::new();
        seek::put_start(frames, &mut out);
        seek::put_lead(&mut out);
        seek::put_entry(self.head_len, 0, &mut out);
        let kin = self.kin_len.iter();
        kin.for_each(|len| seek::put_entry(*len, 0, &mut out));
        for place in beside {
            let found = scan::read_page(&*file, place.offset)?;
            let Some((page, _)) = found.filter(|(_, found)| found == place) else {
                return Err(self.not_what_was_written());
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
        seek::put_entry(*manifest, 0, &mut out);
        let rest = sorted.iter().map(|page| page.len).chain([*root, *end]);
        rest.for_each(|len| seek::put_entry(len, 0, &mut out));
        seek::put_footer(frames, &mut out);
        self.put(&out)
    }
}
