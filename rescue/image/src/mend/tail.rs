//! What stands behind the last page, found or made again.

use crate::end::FrameRef;
use crate::error::ImageError;
use crate::frame::{self, FRONT, FrameKind};
use crate::head::{Head, Order};
use crate::index::{self, PageRef, Pages};
use crate::manifest::Manifest;
use crate::reader::Reader;
use crate::scan::{self, Search};
use crate::store::{Append, ReadFile};
use crate::tail::{Tail, reference};

/// A skippable frame that says nothing (RFC 8878, 3.1.2): in the place of a manifest that is lost.
const NOTHING: u32 = 0x184D_2A50;

/// Manifest and root, and what of them must be put right for that.
pub struct Found {
    head: Head,
    head_len: u32,
    kin_len: Option<u32>,
    manifest: FrameRef,
    root: FrameRef,
    pages: Pages,
    story: Option<Vec<u8>>,
    parity: Option<u8>,
    patches: Vec<(u64, Vec<u8>)>,
}

impl Found {
    /// `None`: too much is lost to say what the tail was.
    pub fn of(reader: &Reader, parity: Option<u8>) -> Result<Option<Found>, ImageError> {
        let (Some(head_len), Some(last)) = (reader.head_len(), last_page(reader)) else {
            return Ok(None);
        };
        let mut found = Found {
            head: *reader.head(),
            head_len,
            kin_len: reader.kin_len(),
            manifest: missing(),
            root: missing(),
            pages: Pages::default(),
            story: None,
            parity,
            patches: Vec::new(),
        };
        let file = reader.file();
        let from = reader.end().map_or(last, |end| end.manifest.offset);
        let place = match reader.end() {
            Some(end) => Some(end.root),
            None => root_behind(file, &found.head, last)?,
        };
        if let Some(root) = place
            && let Some(pages) = root_at(file, &found.head, &root)?
        {
            if !are_whole(file, found.head.order, &pages)? {
                return Ok(None);
            }
            found.root = root;
            found.pages = pages;
            found.find_manifest(reader, from)?;
            return Ok(Some(found));
        }
        let pages: Option<Vec<PageRef>> = reader.slots().iter().map(|slot| slot.page).collect();
        let (Some(by_address), Order::Disk) = (pages, found.head.order) else {
            return Ok(None);
        };
        if by_address.last().map(|page| page.extent.end()) != Some(found.head.geometry.size_bytes) {
            return Ok(None);
        }
        found.pages = Pages {
            by_address,
            by_offset: Vec::new(),
        };
        if let Some(root) = place {
            found.root = root;
        }
        found.find_manifest(reader, from)?;
        Ok(found.make_root(place.as_ref()).then_some(found))
    }

    /// Where the tail begins.
    pub fn begin(&self) -> u64 {
        self.root.offset + u64::from(self.root.len)
    }

    pub fn patches(&self) -> Vec<(u64, Vec<u8>)> {
        self.patches.clone()
    }

    /// `file` is what was written to `out`.
    pub fn append(&self, file: &dyn ReadFile, out: &mut dyn Append) -> Result<(), ImageError> {
        let tail = Tail {
            head: self.head,
            head_len: self.head_len,
            kin_len: self.kin_len,
            manifest: self.manifest,
            root: self.root,
            pages: &self.pages,
            story: self.story.clone(),
            parity: self.parity,
        };
        tail.append(file, out)
    }

    /// The manifest that stands at `at`, or its copy, or one that says no more than whose it is.
    fn find_manifest(&mut self, reader: &Reader, at: u64) -> Result<(), ImageError> {
        let mut frame = Vec::new();
        let known = reader.end().map(|end| end.manifest);
        if scan::read_frame(reader.file(), at, FrameKind::Manifest, &mut frame)? {
            self.manifest = reference(at, &frame);
            return Ok(());
        }
        let second = self.second(reader, at)?;
        let body = match &second {
            Some(body) => body.clone(),
            None => self.poor_story().pack()?,
        };
        frame::build(FrameKind::Manifest, self.head.id, at, &mut frame, |out| {
            out.extend_from_slice(&body);
        });
        // Behind it stands what is known to be whole: it must fit.
        let first_sorted = match self.head.order {
            Order::Disk => None,
            Order::Any => self.pages.by_address.first().map(|page| page.offset),
        };
        let next = first_sorted.or((self.root.len > 0).then_some(self.root.offset));
        let room = known.map(|known| u64::from(known.len));
        let room = room.or(next.and_then(|next| next.checked_sub(at)));
        let place = reference(at, &frame);
        let right = room.is_none_or(|room| room == u64::from(place.len));
        if right && known.is_none_or(|known| known.digest == place.digest) || room.is_none() {
            self.manifest = place;
        } else {
            let room = room.unwrap_or_default();
            self.story = Some(body);
            self.manifest = FrameRef {
                offset: at,
                len: u32::try_from(room).unwrap_or(u32::MAX),
                digest: place.digest,
            };
            frame = NOTHING.to_le_bytes().to_vec();
            let behind = u32::try_from(room.saturating_sub(8)).unwrap_or(u32::MAX);
            frame.extend_from_slice(&behind.to_le_bytes());
        }
        self.patches.push((at, frame));
        Ok(())
    }

    /// The body of the manifest that stands behind the root.
    fn second(&self, reader: &Reader, behind: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let file = reader.file();
        let mut frame = Vec::new();
        let found = scan::find_back(file, file.len(), &[FrameKind::Manifest], |offset| {
            let whole = offset > behind
                && scan::read_frame(file, offset, FrameKind::Manifest, &mut frame)?
                && frame::open(&frame, offset).is_some_and(|frame| frame.id == self.head.id);
            Ok((whole || offset <= behind).then_some(whole))
        })?;
        Ok((found == Some(true)).then(|| frame[FRONT..frame.len() - 32].to_vec()))
    }

    fn poor_story(&self) -> Manifest {
        let mut story = Manifest {
            id: self.head.id,
            in_disk_order: self.head.order == Order::Disk,
            chunk_size: self.head.chunk_size,
            ..Manifest::default()
        };
        story.disk.size_bytes = self.head.geometry.size_bytes;
        story.disk.logical_sector = self.head.geometry.logical_sector;
        story.disk.physical_sector = self.head.geometry.physical_sector;
        story
            .warnings
            .push("the manifest was lost; what it told is not known any more".to_owned());
        story
    }

    /// From the pages. Where a digest of it is known, it must be that.
    fn make_root(&mut self, known: Option<&FrameRef>) -> bool {
        let at = match known {
            Some(known) => known.offset,
            None => self.manifest.offset + u64::from(self.manifest.len),
        };
        let mut frame = Vec::new();
        index::build_root(self.head.id, &self.pages, at, &mut frame);
        let place = reference(at, &frame);
        if known.is_some_and(|known| *known != place) {
            return false;
        }
        self.root = place;
        self.patches.push((at, frame));
        true
    }
}

/// The seek table is made of what the pages beside the chunks say.
fn are_whole(file: &dyn ReadFile, order: Order, pages: &Pages) -> Result<bool, ImageError> {
    let beside = match order {
        Order::Disk => &pages.by_address,
        Order::Any => &pages.by_offset,
    };
    for place in beside {
        let found = scan::read_page(file, place.offset)?;
        if found.is_none_or(|(_, found)| found != *place) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn missing() -> FrameRef {
    FrameRef {
        offset: 0,
        len: 0,
        digest: Default::default(),
    }
}

/// The end of the last page beside the chunks.
fn last_page(reader: &Reader) -> Option<u64> {
    let beside = match reader.head().order {
        Order::Disk => reader.slots(),
        Order::Any => reader.log_slots(),
    };
    beside.last()?.page.map(|page| page.end())
}

/// Of an image whose end is lost: manifest, sorted pages and root follow the last page.
fn root_behind(
    file: &dyn ReadFile,
    head: &Head,
    last: u64,
) -> Result<Option<FrameRef>, ImageError> {
    let mut search = Search::default();
    let mut frame = Vec::new();
    let mut at = last;
    while let Some(offset) = search.find(file, at, file.len(), &[FrameKind::Root])? {
        if scan::read_frame(file, offset, FrameKind::Root, &mut frame)?
            && frame::open(&frame, offset).is_some_and(|frame| frame.id == head.id)
        {
            return Ok(Some(reference(offset, &frame)));
        }
        at = offset + 1;
    }
    Ok(None)
}

fn root_at(
    file: &dyn ReadFile,
    head: &Head,
    place: &FrameRef,
) -> Result<Option<Pages>, ImageError> {
    let mut frame = Vec::new();
    if !scan::read_frame(file, place.offset, FrameKind::Root, &mut frame)?
        || frame::digest(&frame) != place.digest
    {
        return Ok(None);
    }
    Ok(index::parse_root(&frame[FRONT..frame.len() - 32], head))
}
