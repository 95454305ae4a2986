//! Making a chain shorter: an image anew, over a farther ancestor or over none, in the place of the one before.
//!
//! The new one is written beside the old, proven, and only then takes its name. It stands for the old one, so the
//! children of that one are its children. At every moment each name gives what it gave before.

use disk::extent::Extent;

use crate::chunk::{Entry, Kind};
use crate::codec::{Blemish, Decoder, Encoded, Encoder};
use crate::digest::ImageId;
use crate::error::ImageError;
use crate::file_name;
use crate::head::Order;
use crate::manifest::Manifest;
use crate::reader::{Piece, Reader};
use crate::store::{Store, StoreError};
use crate::unfinished_name;
use crate::writer::Writer;

/// What is written between two checkpoints.
const CHECKPOINT: u64 = 256 << 20;

/// What is new stands under this name until it is proven.
pub fn interim_name(name: &str) -> String {
    format!("{name}.merging")
}

/// The name of the image that a file of this kind is to replace.
pub fn merged_name(interim: &str) -> Option<&str> {
    interim.strip_suffix(".merging")
}

/// The file that an interim one, finished or not, takes the place of.
pub(crate) fn base_of(file: &str) -> Option<String> {
    let file = file.strip_suffix(".unfinished").unwrap_or(file);
    let name = file.strip_suffix(".img.zst")?;
    merged_name(name).map(file_name)
}

/// One image that is to be made anew.
#[expect(missing_debug_implementations, reason = "a store has none")]
pub struct Merge<'a> {
    pub store: &'a dyn Store,
    pub name: &'a str,
    /// The ancestor that stays its parent; `None` makes a full image.
    pub onto: Option<&'a str>,
    /// Random, never used before.
    pub id: ImageId,
}

/// Told how many bytes of the disk are done, of twice its size: written, then compared. An error ends the merge,
/// which goes on from there when it is begun again.
pub type Progress<'p> = dyn FnMut(u64) -> Result<(), ImageError> + 'p;

impl Merge<'_> {
    /// Begins, or goes on where an earlier one was interrupted. Afterwards the image has its name again.
    pub fn run(&self, progress: &mut Progress<'_>) -> Result<(), ImageError> {
        let old = Reader::open(self.store, &file_name(self.name))?;
        let onto = self
            .onto
            .map(|name| Reader::open(self.store, &file_name(name)))
            .transpose()?;
        let interim = interim_name(self.name);
        if !self.is_made(&old)? {
            self.write(&old, onto.as_ref(), &interim, progress)?;
        }
        let new = Reader::open(self.store, &file_name(&interim))?;
        compare(&old, &new, progress)?;
        drop(new);
        self.store
            .replace(&file_name(&interim), &file_name(self.name))?;
        Ok(())
    }

    /// Whether an earlier run has finished it; what stands there for another image is removed.
    fn is_made(&self, old: &Reader) -> Result<bool, ImageError> {
        let file = file_name(&interim_name(self.name));
        if !self.store.exists(&file)? {
            return Ok(false);
        }
        let made = Reader::open(self.store, &file);
        let parent = |reader: &Reader| reader.ancestors().first().map(|of| of.name.clone());
        let fits = made.is_ok_and(|made| {
            made.stands_for().iter().any(|of| old.answers_to(of))
                && parent(&made).as_deref() == self.onto
        });
        if !fits {
            self.store.remove(&file)?;
        }
        Ok(fits)
    }

    fn write(
        &self,
        old: &Reader,
        onto: Option<&Reader>,
        interim: &str,
        progress: &mut Progress<'_>,
    ) -> Result<(), ImageError> {
        let begun = Writer::heir(self.store, interim, self.id, old, onto);
        let mut writer = match begun {
            // Begun for another parent, or before the old one changed.
            Err(ImageError::OtherSource { .. } | ImageError::Foreign { .. }) => {
                self.store.remove(&unfinished_name(interim))?;
                Writer::heir(self.store, interim, self.id, old, onto)?
            }
            begun => begun?,
        };
        let mut copy = Copy::new(old, onto)?;
        let mut saved = writer.stored_bytes();
        for piece in old.pieces() {
            let piece = piece?;
            // A run may have been written in part.
            let Some(rest) = Extent::between(
                writer.at().max(piece.extent().start()),
                piece.extent().end(),
            ) else {
                continue;
            };
            copy.piece(&mut writer, &piece, rest)?;
            if writer.stored_bytes() - saved >= CHECKPOINT {
                writer.checkpoint()?;
                saved = writer.stored_bytes();
            }
            let told = progress(rest.end());
            if told.is_err() {
                writer.checkpoint()?;
            }
            told?;
        }
        let story = Manifest {
            id: writer.head().id,
            in_disk_order: onto.is_none() && writer.order() == Order::Disk,
            parent: None,
            stands_for: Vec::new(),
            ..old.manifest().cloned().unwrap_or_default()
        };
        writer.finish(&story)?;
        Ok(())
    }
}

/// Brings what an image reads as into another one.
struct Copy<'r> {
    old: &'r Reader,
    onto: Option<&'r Reader>,
    /// What is found in this generation of the old one's chain, or an older one, `onto` has too.
    generation: Option<u8>,
    encoder: Encoder,
    decoder: Decoder,
    encoded: Encoded,
    stored: Vec<u8>,
    content: Vec<u8>,
}

impl<'r> Copy<'r> {
    fn new(old: &'r Reader, onto: Option<&'r Reader>) -> Result<Copy<'r>, ImageError> {
        let level = old.manifest().map_or(0, |story| story.level);
        let generation = match onto {
            Some(onto) => Some(generation(old, onto)?),
            None => None,
        };
        Ok(Copy {
            old,
            onto,
            generation,
            encoder: Encoder::new(level.clamp(1, 19))?,
            decoder: Decoder::new()?,
            encoded: Encoded::default(),
            stored: Vec::new(),
            content: Vec::new(),
        })
    }

    /// `rest` is what of the piece is not written yet.
    fn piece(
        &mut self,
        writer: &mut Writer<'_>,
        piece: &Piece,
        rest: Extent,
    ) -> Result<(), ImageError> {
        let Piece::Entry(entry) = piece else {
            return Err(self.damaged(piece.extent()));
        };
        if !entry.kind.has_content() && !entry.has_states() {
            return writer.zeros(rest, entry.kind);
        }
        if entry.kind.has_content() && self.generation.is_some_and(|of| entry.generation >= of) {
            return writer.inherit(entry.extent);
        }
        let states = self.old.states(entry)?;
        let states = states.ok_or_else(|| self.damaged(entry.extent))?;
        self.old.read_stored(entry, &mut self.stored)?;
        // What is damaged stays where it is: nothing is made of it, and the old image is kept.
        let decoded = self
            .decoder
            .decode(self.old, entry, &self.stored, &mut self.content)
            .map_err(|_| self.damaged(entry.extent))?;
        let whole = decoded.blemish != Some(Blemish::DataFrame);
        if !entry.kind.has_content() {
            self.content.clear();
            self.content.resize(len(entry), 0);
        }
        let values = self.old.leaf_values(entry);
        match values.filter(|_| whole && entry.kind == Kind::Data) {
            Some(values) => self.encoded.repeat(entry, &self.stored, states, values),
            None => self.encoder.encode_over(
                self.onto,
                entry.extent.start(),
                &self.content,
                &states,
                &mut self.encoded,
            )?,
        }
        writer.append(&mut self.encoded)
    }

    fn damaged(&self, place: Extent) -> ImageError {
        ImageError::Damaged {
            image: self.old.name().to_owned(),
            place,
        }
    }
}

fn len(entry: &Entry) -> usize {
    usize::try_from(entry.extent.len()).expect("a cell with states is at most 16 MiB")
}

/// Which of the old one's ancestors `onto` is.
fn generation(old: &Reader, onto: &Reader) -> Result<u8, ImageError> {
    let found = old.ancestors().iter().position(|of| onto.answers_to(of));
    let nth = found.ok_or_else(|| ImageError::NoParent {
        image: onto.name().to_owned(),
        what: format!("{} does not come from it", old.name()),
    })?;
    Ok(u8::try_from(nth + 1).expect("there are at most 16"))
}

/// Whether the new one reads as the old: everything it holds itself is decoded, all else compared by digest.
fn compare(old: &Reader, new: &Reader, progress: &mut Progress<'_>) -> Result<(), ImageError> {
    let size = old.head().geometry.size_bytes;
    let mut decoder = Decoder::new()?;
    let (mut stored, mut content) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < size {
        let (was, is) = (old.piece_at(at)?, new.piece_at(at)?);
        let (Some(Piece::Entry(was)), Some(Piece::Entry(is))) = (was, is) else {
            return Err(differs(new, at));
        };
        let end = was.extent.end().min(is.extent.end());
        let same = was.kind.has_content() == is.kind.has_content() && was.digest == is.digest;
        if !same || !same_states(old, &was, new, &is, Extent::between(at, end))? {
            return Err(differs(new, at));
        }
        if is.generation == 0 && is.kind.has_content() {
            new.read_stored(&is, &mut stored)?;
            let decoded = decoder.decode(new, &is, &stored, &mut content);
            if decoded.is_err() {
                return Err(differs(new, at));
            }
        }
        at = end;
        progress(size + at)?;
    }
    Ok(())
}

fn same_states(
    old: &Reader,
    was: &Entry,
    new: &Reader,
    is: &Entry,
    part: Option<Extent>,
) -> Result<bool, ImageError> {
    if !was.has_states() && !is.has_states() {
        return Ok(was.kind.state() == is.kind.state());
    }
    // With a map each is one cell.
    let same_cell = part == Some(was.extent) && part == Some(is.extent);
    let states = old.states(was)?;
    Ok(same_cell && states.is_some() && states == new.states(is)?)
}

fn differs(new: &Reader, at: u64) -> ImageError {
    StoreError::Fault(format!(
        "{} does not read at byte {at} of the disk as what it was made of; the old image is kept; check it and the \
         store",
        new.name()
    ))
    .into()
}
