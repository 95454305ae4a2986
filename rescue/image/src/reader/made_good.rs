//! What parity makes good while an image is read; of a child, each ancestor's own parity.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use disk::extent::ExtentMap;

use crate::chunk::Entry;
use crate::codec::{Decoded, Decoder};
use crate::error::ImageError;
use crate::parity::ParityHead;
use crate::parity::supply::Supply;
use crate::reader::Reader;

/// One reader's parity, looked for when it is needed first. One thread computes at a time, so that memory is for one.
#[derive(Default)]
pub struct Healing {
    supply: Mutex<Option<Found>>,
    pub(super) met: Arc<Met>,
}

/// `None` for an image that has no parity.
type Found = Option<Box<Supply>>;

/// What became of the damage that a reader has met.
#[derive(Default, Debug)]
pub struct Met {
    /// Chunks that came out whole because of parity, as extents of the disk.
    made_good: Mutex<ExtentMap>,
    lost: AtomicBool,
}

impl Met {
    pub fn made_good(&self) -> ExtentMap {
        lock(&self.made_good).clone()
    }

    /// Whether something was asked for that the image does not give any more.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn note_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }
}

impl Reader {
    /// As [`Decoder::decode_into`]; what does not come out whole is tried again with what parity gives, and `stored`
    /// becomes that. `None`: it is lost all the same, and [`Reader::salvage`] tells how much of it.
    pub fn decode(
        &self,
        decoder: &mut Decoder,
        entry: &Entry,
        stored: &mut Vec<u8>,
        content: &mut [u8],
    ) -> Result<Option<Decoded>, ImageError> {
        let first = decoder.decode_into(self, entry, stored, content).ok();
        if first.as_ref().is_some_and(|first| first.states.is_some()) {
            return Ok(first);
        }
        if !self.may_be_made_good(entry) {
            if first.is_none() {
                self.healing.met.note_lost();
            }
            return Ok(first);
        }
        let as_it_stands = std::mem::take(stored);
        let again = self.decode_made_good(decoder, entry, stored, content)?;
        if again.is_some() {
            lock(&self.healing.met.made_good).insert(entry.extent);
            return Ok(again);
        }
        // Nothing is believed because of parity alone.
        *stored = as_it_stands;
        let decoded = decoder.decode_into(self, entry, stored, content).ok();
        if decoded.is_none() {
            self.healing.met.note_lost();
        }
        Ok(decoded)
    }

    fn decode_made_good(
        &self,
        decoder: &mut Decoder,
        entry: &Entry,
        stored: &mut Vec<u8>,
        content: &mut [u8],
    ) -> Result<Option<Decoded>, ImageError> {
        self.read_made_good(entry, stored)?;
        let again = decoder.decode_with_parity(self, entry, stored, content);
        Ok(again.ok().filter(|again| again.states.is_some()))
    }

    /// Whether this image or an ancestor from whose chunks the entry may be put together has parity.
    fn may_be_made_good(&self, entry: &Entry) -> bool {
        let mut next = Some(self.owner(entry));
        while let Some(reader) = next {
            if reader.head.has_parity() {
                return true;
            }
            next = reader.parent.as_deref();
        }
        false
    }

    /// As [`Reader::read_stored`], with what parity gives in the place of what is damaged.
    pub(crate) fn read_made_good(
        &self,
        entry: &Entry,
        stored: &mut Vec<u8>,
    ) -> Result<(), ImageError> {
        self.read_stored(entry, stored)?;
        let owner = self.owner(entry);
        let mut found = lock(&owner.healing.supply);
        let supply = match &mut *found {
            Some(found) => found,
            none => none.insert(ParityHead::of(owner)?.map(|head| Box::new(Supply::new(head)))),
        };
        if let Some(supply) = supply {
            supply.put_right(owner.file(), entry.offset, stored)?;
        }
        Ok(())
    }

    /// Lives longer than the reader.
    pub fn met(&self) -> Arc<Met> {
        self.healing.met.clone()
    }
}

/// Nothing behind these locks is left half changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
