//! Making a damaged image whole: beside it, byte for byte as it was written, and only then in its place.
//!
//! What was lost is found again from what is left of the same file: the index from the chunk frames, head, manifest
//! and tail from their copies. The new file takes the name only when it gives everything the old one gives.

mod index;
pub mod patched;
mod tail;

use std::sync::Arc;

use crate::check::{self, Findings};
use crate::error::ImageError;
use crate::file_name;
use crate::parity::{BLOCK, ParityHead};
use crate::reader::Reader;
use crate::scan;
use crate::store::{Append, ReadFile, Store, StoreError};
use patched::Patched;

/// Unit of copying.
const PIECE: usize = 1 << 20;

/// The new file is called so until it is proven.
pub fn interim_name(name: &str) -> String {
    format!("{}.mending", file_name(name))
}

/// The file that an interim one takes the place of.
pub(crate) fn base_of(file: &str) -> Option<String> {
    file.strip_suffix(".mending").map(str::to_owned)
}

/// An image that is to be made whole.
#[expect(missing_debug_implementations, reason = "a store has none")]
pub struct Mend<'a> {
    pub store: &'a dyn Store,
    pub name: &'a str,
    pub with: With,
}

/// With what an image is made whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum With {
    /// What is left of its index and its chunks.
    Index,
    /// That, and its parity.
    Parity,
}

/// What came of it.
#[derive(Debug)]
pub struct Mended {
    pub before: Findings,
    /// `None`: nothing was written, because nothing is damaged or nothing can be made better.
    pub after: Option<Findings>,
}

/// Told how many bytes of the file are copied. An error ends it, and the old image is as it was.
pub type Progress<'p> = dyn FnMut(u64) -> Result<(), ImageError> + 'p;

impl Mended {
    /// What is still wrong with the image.
    pub fn left(&self) -> &Findings {
        self.after.as_ref().unwrap_or(&self.before)
    }

    /// In sentences.
    pub fn made_good(&self) -> Vec<String> {
        let Some(after) = &self.after else {
            return vec![match self.before.is_clean() {
                true => "the image is whole; nothing was written".to_owned(),
                false => {
                    "nothing of the damage can be made good; the image is as it was".to_owned()
                }
            }];
        };
        let gone = self
            .before
            .notes
            .iter()
            .filter(|note| !after.notes.contains(note));
        gone.map(|note| format!("made good: {note}")).collect()
    }
}

impl Mend<'_> {
    /// Begins, or goes on where an earlier one was interrupted.
    pub fn run(&self, progress: &mut Progress<'_>) -> Result<Mended, ImageError> {
        let file: Arc<dyn ReadFile> = Arc::from(self.store.open(&file_name(self.name))?);
        let before = match self.over(file.clone()) {
            Ok(reader) => check::all(&reader, |_| {})?,
            // Not even a head and a page: parity may still bring them back.
            Err(ImageError::Foreign { .. }) if self.with == With::Parity => {
                Findings::nothing_left()
            }
            Err(error) => return Err(error),
        };
        if before.is_clean() {
            return Ok(Mended {
                before,
                after: None,
            });
        }
        let interim = interim_name(self.name);
        self.write(file, &interim, progress)?;
        let new: Arc<dyn ReadFile> = Arc::from(self.store.open(&interim)?);
        let after = check::all(&self.over(new)?, |_| {})?;
        if !is_better(&before, &after) {
            self.store.remove(&interim)?;
            return Ok(Mended {
                before,
                after: None,
            });
        }
        self.store.replace(&interim, &file_name(self.name))?;
        Ok(Mended {
            before,
            after: Some(after),
        })
    }

    fn over(&self, file: Arc<dyn ReadFile>) -> Result<Reader, ImageError> {
        Reader::over(self.store, Box::new(file), &file_name(self.name))
    }

    fn write(
        &self,
        file: Arc<dyn ReadFile>,
        interim: &str,
        progress: &mut Progress<'_>,
    ) -> Result<(), ImageError> {
        let mut view = Patched::new(file);
        let parity = self.parity(&view)?;
        let mut whole = false;
        if let Some(head) = parity.as_ref().filter(|_| self.with == With::Parity) {
            whole = heal(head, &mut view)?;
        }
        // What one repair brings back may be what the next one needs.
        for _ in 0..3 {
            let reader = self.over(Arc::new(view.clone()))?;
            let patches = index::patches(&reader)?;
            drop(reader);
            if !view.put(patches) {
                break;
            }
        }
        let reader = self.over(Arc::new(view.clone()))?;
        let percent = parity.map(|head| head.parity.percent);
        let tail = tail::Found::of(&reader, percent)?;
        drop(reader);
        let keep = match (&tail, &parity) {
            // Parity of what is still damaged stays as it is: it may know more one day.
            (Some(_), Some(head)) if !whole => head.parity.end(),
            (Some(tail), _) => tail.begin(),
            (None, _) => view.len(),
        };
        if let Some(tail) = &tail {
            view.put(tail.patches());
        }
        let mut out = self.begin(&view, keep, interim)?;
        copy(&view, keep, &mut *out, progress)?;
        if let Some(tail) = &tail {
            out.sync()?;
            tail.append(&*self.store.open(interim)?, &mut *out)?;
        }
        out.sync()?;
        Ok(())
    }

    /// Of an image that says that it may have it, or that says nothing any more.
    fn parity(&self, view: &Patched) -> Result<Option<ParityHead>, ImageError> {
        match self.over(Arc::new(view.clone())) {
            Ok(reader) => ParityHead::of(&reader),
            Err(ImageError::Foreign { .. }) => ParityHead::find(view, &file_name(self.name)),
            Err(error) => Err(error),
        }
    }

    /// A new file, or what an earlier run has left, as far as it is what is written now.
    fn begin(
        &self,
        view: &Patched,
        keep: u64,
        interim: &str,
    ) -> Result<Box<dyn Append>, ImageError> {
        if !self.store.exists(interim)? {
            return Ok(self.store.create(interim)?);
        }
        let found = self.store.open(interim)?;
        let (mut at, end) = (0, found.len().min(keep));
        let (mut is, mut should) = (Vec::new(), Vec::new());
        while at < end {
            let len = piece(end - at);
            is.resize(len, 0);
            should.resize(len, 0);
            view.read_at(at, &mut should)?;
            if found.read_at(at, &mut is).is_err() || is != should {
                break;
            }
            at += len as u64;
        }
        drop(found);
        Ok(self.store.resume(interim, at)?)
    }
}

/// Puts right what parity can; whether that is all.
fn heal(head: &ParityHead, view: &mut Patched) -> Result<bool, ImageError> {
    let mut whole = true;
    for window in head.parity.windows() {
        let healed = head.heal(view, &window)?;
        whole &= healed.lost.is_empty();
        let mut patches = Vec::new();
        for (nth, mut block) in healed.blocks {
            let from = nth * BLOCK as u64;
            block.truncate(piece(window.len - from).min(BLOCK));
            patches.push((window.start + from, block));
        }
        let room = view.room();
        whole &= patches.iter().map(|(_, block)| block.len()).sum::<usize>() <= room;
        view.put(patches);
    }
    Ok(whole)
}

fn copy(
    view: &Patched,
    keep: u64,
    out: &mut dyn Append,
    progress: &mut Progress<'_>,
) -> Result<(), ImageError> {
    let mut buffer = Vec::new();
    while out.len() < keep {
        buffer.resize(piece(keep - out.len()), 0);
        view.read_at(out.len(), &mut buffer)?;
        out.append(&buffer)?;
        progress(out.len())?;
    }
    Ok(())
}

fn piece(left: u64) -> usize {
    usize::try_from(left).map_or(PIECE, |left| left.min(PIECE))
}

/// It gives all that the old one gives, and something more.
fn is_better(before: &Findings, after: &Findings) -> bool {
    let lost = after.damage.difference(&before.damage);
    let notes = |of: &Findings| of.notes.len() as u64 + of.more_notes;
    let less = after.damage.total_bytes() < before.damage.total_bytes();
    lost.is_empty() && (less || notes(after) < notes(before))
}

impl ReadFile for Arc<dyn ReadFile> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        (**self).read_at(offset, buf)
    }
}

/// What a store cannot give is as damaged as what is wrong: zeros in both cases.
pub(crate) fn read(file: &dyn ReadFile, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
    let there = file.len().saturating_sub(offset);
    let there = usize::try_from(there).map_or(buf.len(), |there| there.min(buf.len()));
    let (inside, behind) = buf.split_at_mut(there);
    behind.fill(0);
    scan::read_what_is_readable(file, offset, inside)
}
