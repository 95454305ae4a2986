//! An image in any order: what stands beside its chunks, and which of them are the newest.

use std::sync::{Arc, Mutex, PoisonError};

use disk::extent::Extent;

use crate::chunk::Entry;
use crate::error::ImageError;
use crate::newest::{Newest, Place};
use crate::reader::page::{Loaded, Slot};
use crate::reader::{Piece, Reader};

/// The pages in the order of the file, and what has lost its page.
pub struct Log {
    slots: Vec<Slot>,
    /// Made when it is needed: the sorted pages of a finished image say the same.
    newest: Mutex<Option<Arc<Newest>>>,
}

impl Log {
    pub fn new(slots: Vec<Slot>) -> Log {
        Log {
            slots,
            newest: Mutex::new(None),
        }
    }

    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }
}

impl Reader {
    /// What stands beside the chunks, in the order of the file.
    pub(crate) fn log_slots(&self) -> &[Slot] {
        self.log.as_ref().map_or(&[], |log| &log.slots)
    }

    pub(crate) fn log_page(&self, nth: usize) -> Result<Arc<Loaded>, ImageError> {
        if let Some(page) = self.lock().log.get(&nth) {
            return Ok(page);
        }
        let page = Arc::new(self.load(&self.log_slots()[nth])?);
        self.lock().log.put(nth, page.clone());
        Ok(page)
    }

    /// The page whose chunks lie around this offset of the file.
    pub(super) fn log_page_of(&self, offset: u64) -> Result<Option<Arc<Loaded>>, ImageError> {
        let nth = self.log_slots().partition_point(|slot| slot.end <= offset);
        match nth < self.log_slots().len() {
            true => self.log_page(nth).map(Some),
            false => Ok(None),
        }
    }

    /// Whether some of this chunk is not in a newer one.
    pub(crate) fn is_newest(&self, entry: &Entry) -> Result<bool, ImageError> {
        let mut at = entry.extent.start();
        while at < entry.extent.end() {
            let Some(piece) = self.own_piece_at(at)? else {
                break;
            };
            if matches!(piece, Piece::Entry(found) if found.offset == entry.offset) {
                return Ok(true);
            }
            at = piece.extent().end();
        }
        Ok(false)
    }

    /// The newest chunks of a part of the disk, ascending; between them are gaps where none is known.
    pub(super) fn newest_in(&self, log: &Log, part: Extent) -> Result<Vec<Entry>, ImageError> {
        let newest = self.newest(log)?;
        let mut entries = Vec::new();
        let mut at = part.start();
        while at < part.end()
            && let Some((group, place)) = newest.group(at)
        {
            at = group.end();
            let (Some(inside), Some(place)) = (group.intersect(part), place) else {
                continue;
            };
            let entry = self.log_page(place.page)?.entry(place.entry);
            entries.extend(entry.and_then(|entry| entry.part(inside)));
        }
        Ok(entries)
    }

    fn newest(&self, log: &Log) -> Result<Arc<Newest>, ImageError> {
        let mut made = log.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = &*made {
            return Ok(newest.clone());
        }
        let newest = Newest::new(&self.head);
        let mut newest = newest.ok_or_else(|| ImageError::TooMany {
            image: self.name.clone(),
        })?;
        for page in 0..log.slots.len() {
            for (entry, of) in self.log_page(page)?.entries().iter().enumerate() {
                newest.set(of.extent, Place { page, entry });
            }
        }
        let newest = Arc::new(newest);
        *made = Some(newest.clone());
        Ok(newest)
    }
}
