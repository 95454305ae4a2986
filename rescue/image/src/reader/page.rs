//! One page of the index in memory: as it stands in the file, or rebuilt from the chunk frames.

use std::sync::{Arc, MutexGuard, PoisonError};

use disk::extent::Extent;

use crate::chunk::Entry;
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::Head;
use crate::index::{self, LeafRecord, LeavesRef, PAGE_ENTRIES, Page, PageRef};
use crate::reader::cache::Cache;
use crate::reader::log::Log;
use crate::reader::{Piece, Reader};
use crate::scan::{self, Search};
use crate::store::ReadFile;

/// Where the index of a part of the disk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    /// The part of the disk.
    pub extent: Extent,
    /// Its chunks lie in this part of the file, in front of the page.
    pub begin: u64,
    pub end: u64,
    /// `None`: the page itself is lost.
    pub page: Option<PageRef>,
}

/// The entries of a slot.
#[derive(Debug)]
pub(crate) struct Loaded {
    extent: Extent,
    /// Ascending; between them are gaps only where damage is.
    entries: Vec<Entry>,
    pub leaves: Option<LeavesRef>,
    /// The page could not be read; the chunk frames stand in for it.
    pub rebuilt: bool,
}

impl Loaded {
    pub fn extent(&self) -> Extent {
        self.extent
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn entry(&self, nth: usize) -> Option<Entry> {
        self.entries.get(nth).copied()
    }

    /// As [`index::seek_entries`].
    pub fn seek_entries(&self, page_len: u32, put: impl FnMut(u32, u32)) {
        index::seek_entries(&self.entries, self.leaves.as_ref(), page_len, put);
    }

    /// All of the slot's extent: entries, and what no entry describes.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let mut at = self.extent.start();
        let mut entries = self.entries.iter().copied().peekable();
        std::iter::from_fn(move || {
            let next = entries
                .peek()
                .map_or(self.extent.end(), |entry| entry.extent.start());
            if let Some(lost) = Extent::between(at, next) {
                at = next;
                return Some(Piece::Lost(lost));
            }
            let entry = entries.next()?;
            at = entry.extent.end();
            Some(Piece::Entry(entry))
        })
    }
}

impl Reader {
    pub(super) fn lock(&self) -> MutexGuard<'_, Cache> {
        // The cache is only a cache: whatever a panicking thread left in it is whole.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn page(&self, nth: usize) -> Result<Arc<Loaded>, ImageError> {
        if let Some(page) = self.lock().pages.get(&nth) {
            return Ok(page);
        }
        let slot = &self.slots[nth];
        let page = Arc::new(match &self.log {
            Some(log) => self.load_sorted(log, slot)?,
            None => self.load(slot)?,
        });
        self.lock().pages.put(nth, page.clone());
        Ok(page)
    }

    /// Says of entries whose they are.
    fn own(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let generation = self.generation;
        entries
            .iter_mut()
            .for_each(|entry| entry.generation = generation);
        entries
    }

    /// Of an image in any order: the sorted page, or what the newest chunks are.
    fn load_sorted(&self, log: &Log, slot: &Slot) -> Result<Loaded, ImageError> {
        let found = match &slot.page {
            Some(place) => self.page_at(FrameKind::Sorted, place)?,
            None => None,
        };
        let rebuilt = found.is_none() && slot.page.is_some();
        let entries = match found {
            Some(page) => self.own(page.entries),
            None => self.newest_in(log, slot.extent)?,
        };
        Ok(Loaded {
            extent: slot.extent,
            entries,
            leaves: None,
            rebuilt,
        })
    }

    /// The number a page has of itself, if it is whole.
    pub(crate) fn number_of_page(&self, nth: usize) -> Result<Option<u32>, ImageError> {
        let Some(place) = self.slots.get(nth).and_then(|slot| slot.page) else {
            return Ok(None);
        };
        let page = self.page_at(FrameKind::Page, &place)?;
        Ok(page.map(|page| page.number))
    }

    /// If it is as it was described.
    fn page_at(&self, kind: FrameKind, place: &PageRef) -> Result<Option<Page>, ImageError> {
        let found = scan::read_page_of(kind, &*self.file, place.offset)?;
        Ok(found
            .filter(|(_, found)| found == place)
            .map(|(page, _)| page))
    }

    /// What stands beside its chunks, in the order of the file.
    pub(super) fn load(&self, slot: &Slot) -> Result<Loaded, ImageError> {
        if let Some(place) = &slot.page
            && let Some(page) = self.page_at(FrameKind::Page, place)?
        {
            return Ok(Loaded {
                extent: slot.extent,
                entries: self.own(page.entries),
                leaves: page.leaves,
                rebuilt: false,
            });
        }
        let in_disk_order = self.log.is_none();
        let mut walk = Walk::new(&*self.file, self.head, slot.begin, slot.end);
        let mut entries: Vec<Entry> = Vec::new();
        while entries.len() < PAGE_ENTRIES {
            let Some(entry) = walk.next_entry()? else {
                break;
            };
            let after = entries
                .last()
                .map_or(slot.extent.start(), |last| last.extent.end());
            let in_row = !entry.in_any_order()
                && entry.extent.start() >= after
                && entry.extent.end() <= slot.extent.end();
            if in_row || !in_disk_order {
                entries.push(entry);
            }
        }
        // The leaves stand behind the last chunk.
        while walk.leaves.is_none() && walk.next_entry()?.is_some() {}
        Ok(Loaded {
            extent: slot.extent,
            entries: self.own(entries),
            leaves: walk.leaves,
            rebuilt: true,
        })
    }

    /// The leaf values of a chunk of this very image that has several leaves, as far as they are readable.
    pub(super) fn leaves(&self, entry: &Entry) -> Result<Option<LeafRecord>, ImageError> {
        let page = match &self.log {
            Some(_) => self.log_page_of(entry.offset)?,
            None => {
                let nth = self
                    .slots
                    .partition_point(|slot| slot.extent.end() <= entry.extent.start());
                (nth < self.slots.len())
                    .then(|| self.page(nth))
                    .transpose()?
            }
        };
        let Some(place) = page.and_then(|page| page.leaves) else {
            return Ok(None);
        };
        let frame = self.leaves_frame(&place)?;
        Ok(frame.and_then(|frame| index::leaves_of(&frame[frame::FRONT..frame.len() - 32], entry)))
    }

    /// The whole frame, if it is as the page says.
    pub(crate) fn leaves_frame(
        &self,
        place: &LeavesRef,
    ) -> Result<Option<Arc<Vec<u8>>>, ImageError> {
        if let Some(frame) = self.lock().leaves.get(&place.offset) {
            return Ok(Some(frame));
        }
        let mut frame = Vec::new();
        if !scan::read_frame(&*self.file, place.offset, FrameKind::Leaves, &mut frame)?
            || frame::digest(&frame) != place.digest
        {
            return Ok(None);
        }
        let frame = Arc::new(frame);
        self.lock().leaves.put(place.offset, frame.clone());
        Ok(Some(frame))
    }
}

/// Goes through a part of the file from chunk frame to chunk frame; looks for the next where one is damaged.
pub struct Walk<'a> {
    file: &'a dyn ReadFile,
    head: Head,
    /// Where the next frame should be.
    pub at: u64,
    end: u64,
    /// The last leaves frame that was passed.
    pub leaves: Option<LeavesRef>,
    buffer: Vec<u8>,
    patience: u32,
    search: Search,
}

impl<'a> Walk<'a> {
    pub fn new(file: &'a dyn ReadFile, head: Head, begin: u64, end: u64) -> Walk<'a> {
        Walk {
            file,
            head,
            at: begin,
            end: end.min(file.len()),
            leaves: None,
            buffer: Vec::new(),
            patience: scan::PATIENCE,
            search: Search::default(),
        }
    }

    /// The next entry whose chunk frame is whole.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ImageError> {
        const KINDS: &[FrameKind] = &[FrameKind::Chunk, FrameKind::Leaves];
        while self.at < self.end {
            if let Some(entry) = self.chunk()? {
                self.at = entry.end();
                return Ok(Some(entry));
            }
            if self.leaves_frame()? {
                continue;
            }
            let from = self.at + self.step();
            let next = self.search.find(self.file, from, self.end, KINDS)?;
            self.at = next.unwrap_or(self.end);
        }
        Ok(None)
    }

    /// How far to go on after something that is no good frame: one byte, until patience is at its end.
    fn step(&mut self) -> u64 {
        self.patience = self.patience.saturating_sub(1);
        let claimed = frame::peek(&self.buffer, self.at).map_or(1, |(_, len)| len as u64);
        if self.patience == 0 { claimed } else { 1 }
    }

    fn chunk(&mut self) -> Result<Option<Entry>, ImageError> {
        if !scan::read_frame(self.file, self.at, FrameKind::Chunk, &mut self.buffer)? {
            return Ok(None);
        }
        let frame = frame::open(&self.buffer, self.at).filter(|frame| frame.id == self.head.id);
        Ok(frame.and_then(|frame| Entry::from_header(&frame, self.at, &self.head)))
    }

    fn leaves_frame(&mut self) -> Result<bool, ImageError> {
        if !scan::read_frame(self.file, self.at, FrameKind::Leaves, &mut self.buffer)? {
            return Ok(false);
        }
        let len = u32::try_from(self.buffer.len()).expect("a leaves frame is below 2 MiB");
        self.leaves = Some(LeavesRef {
            offset: self.at,
            len,
            digest: frame::digest(&self.buffer),
        });
        self.at += u64::from(len);
        Ok(true)
    }
}
