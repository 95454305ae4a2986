//! What stands behind the root: a second manifest, the end and the seek table. The same bytes come out of the same
//! image, so a lost tail is written again as it was.

use crate::end::{END_LEN, End, FrameRef};
use crate::error::ImageError;
use crate::frame::{self, FRONT, FrameKind};
use crate::head::{Head, LEAD, Order};
use crate::index::{self, PageRef, Pages};
use crate::parity::{Parity, ParityHead};
use crate::scan;
use crate::seek;
use crate::store::{Append, ReadFile, StoreError};

/// Seek table entries are written in pieces of about this size.
const PIECE: usize = 1 << 20;

/// All that the tail is made of; everything in it is in the file already.
pub struct Tail<'a> {
    pub head: Head,
    pub head_len: u32,
    pub kin_len: Option<u32>,
    pub manifest: FrameRef,
    pub root: FrameRef,
    pub pages: &'a Pages,
    /// Instead of the manifest, where that is lost.
    pub story: Option<Vec<u8>>,
    /// In percent.
    pub parity: Option<u8>,
}

impl Tail<'_> {
    /// `file` is what was appended to `out` before, which ends with the root or, where that is kept, with parity.
    pub fn append(&self, file: &dyn ReadFile, out: &mut dyn Append) -> Result<(), ImageError> {
        let mut more = Vec::new();
        if let Some(head) = self.parity_head() {
            if out.len() < head.parity.end() {
                head.append(file, out)?;
            }
            let frames = head
                .parity
                .windows()
                .flat_map(|window| window.frames().collect::<Vec<_>>());
            more.extend(frames.map(|len| u32::try_from(len).expect("they are below 4 GiB")));
        }
        let mut manifest = self.manifest;
        if let Some(copy) = self.second_manifest(file, out.len())? {
            if self.story.is_some() {
                manifest = reference(out.len(), &copy);
            }
            out.append(&copy)?;
            more.push(reference(0, &copy).len);
        }
        let mut frames = 0;
        self.entries(file, &more, &mut |_, _| {
            frames += 1;
            Ok(())
        })?;
        let seek_table_len = seek::table_len(frames);
        let end = End {
            head: self.head,
            root: self.root,
            manifest,
            seek_table_len,
            file_len: out.len() + END_LEN as u64 + seek_table_len,
        };
        let mut buffer = Vec::new();
        end.build(out.len(), &mut buffer);
        out.append(&buffer)?;
        buffer.clear();
        seek::put_start(frames, &mut buffer);
        self.entries(file, &more, &mut |stored, content| {
            seek::put_entry(stored, content, &mut buffer);
            if buffer.len() >= PIECE {
                out.append(&buffer)?;
                buffer.clear();
            }
            Ok(())
        })?;
        seek::put_footer(frames, &mut buffer);
        out.append(&buffer)?;
        Ok(())
    }

    pub fn parity_head(&self) -> Option<ParityHead> {
        Some(ParityHead {
            head: self.head,
            manifest: self.manifest,
            root: self.root,
            parity: Parity {
                protected: self.root.end(),
                percent: self.parity?,
            },
        })
    }

    /// Its own place stands in every frame, so a copy is the same body in another frame.
    fn second_manifest(&self, file: &dyn ReadFile, at: u64) -> Result<Option<Vec<u8>>, ImageError> {
        if !self.head.has_second_manifest() && self.story.is_none() {
            return Ok(None);
        }
        let mut first = Vec::new();
        let body = match &self.story {
            Some(body) => body,
            None => {
                let place = self.manifest.offset;
                if !scan::read_frame(file, place, FrameKind::Manifest, &mut first)? {
                    return Err(lost("the manifest"));
                }
                first.truncate(first.len() - 32);
                first.drain(..FRONT);
                &first
            }
        };
        let mut copy = Vec::new();
        frame::build(FrameKind::Manifest, self.head.id, at, &mut copy, |out| {
            out.extend_from_slice(body);
        });
        Ok(Some(copy))
    }

    /// Every frame of the file but the seek table; the pages are read back, one at a time.
    fn entries(
        &self,
        file: &dyn ReadFile,
        more: &[u32],
        put: &mut dyn FnMut(u32, u32) -> Result<(), StoreError>,
    ) -> Result<(), ImageError> {
        let (beside, sorted) = match self.head.order {
            Order::Disk => (&self.pages.by_address, [].as_slice()),
            Order::Any => (&self.pages.by_offset, self.pages.by_address.as_slice()),
        };
        put(u32::try_from(LEAD.len()).expect("it is 13"), 0)?;
        put(self.head_len, 0)?;
        self.kin_len.iter().try_for_each(|len| put(*len, 0))?;
        for place in beside {
            page_entries(file, place, put)?;
        }
        put(self.manifest.len, 0)?;
        sorted.iter().try_for_each(|page| put(page.len, 0))?;
        put(self.root.len, 0)?;
        more.iter().try_for_each(|len| put(*len, 0))?;
        put(u32::try_from(END_LEN).expect("it is small"), 0)?;
        Ok(())
    }
}

fn page_entries(
    file: &dyn ReadFile,
    place: &PageRef,
    put: &mut dyn FnMut(u32, u32) -> Result<(), StoreError>,
) -> Result<(), ImageError> {
    let found = scan::read_page(file, place.offset)?;
    let Some((page, _)) = found.filter(|(_, found)| found == place) else {
        return Err(lost("a page of the index"));
    };
    let mut all = Ok(());
    index::seek_entries(
        &page.entries,
        page.leaves.as_ref(),
        place.len,
        |stored, content| {
            if all.is_ok() {
                all = put(stored, content);
            }
        },
    );
    Ok(all?)
}

pub fn reference(offset: u64, frame: &[u8]) -> FrameRef {
    FrameRef {
        offset,
        len: u32::try_from(frame.len()).expect("a frame of ours is far below 4 GiB"),
        digest: frame::digest(frame),
    }
}

fn lost(what: &str) -> ImageError {
    StoreError::Fault(format!(
        "{what} cannot be read as it was written; check the store and its disk, and repeat the command"
    ))
    .into()
}
