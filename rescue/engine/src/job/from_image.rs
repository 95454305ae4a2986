//! Reading pieces of an image: decoding, and what the image says of each granule.

use std::sync::{Mutex, PoisonError};

use disk::extent::{Extent, ExtentMap};
use image::chunk::{Entry, Kind};
use image::codec::Decoder;
use image::error::ImageError;
use image::reader::{Piece as Part, Reader};
use image::states::{State, States};

use super::fetch::{Fetch, Fetched};
use super::piece::Piece;
use super::pipeline::Stop;
use crate::event::Cancel;
use crate::request::AtDamage;

/// Decodes on the thread that asks; pieces are whole chunks.
pub struct FromImage<'a> {
    reader: &'a Reader,
    at_damage: AtDamage,
    cancel: &'a Cancel,
    /// One for each thread that is decoding.
    tools: Mutex<Vec<Tools>>,
}

struct Tools {
    decoder: Decoder,
    stored: Vec<u8>,
}

impl<'a> FromImage<'a> {
    /// What is damaged becomes zeros.
    pub fn new(reader: &'a Reader, cancel: &'a Cancel) -> FromImage<'a> {
        FromImage {
            reader,
            at_damage: AtDamage::KeepGoing,
            cancel,
            tools: Mutex::default(),
        }
    }

    pub fn until(at_damage: AtDamage, reader: &'a Reader, cancel: &'a Cancel) -> FromImage<'a> {
        FromImage {
            at_damage,
            ..FromImage::new(reader, cancel)
        }
    }

    fn tools(&self) -> Result<Tools, ImageError> {
        let kept = self
            .tools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match kept {
            Some(tools) => Ok(tools),
            None => Ok(Tools {
                decoder: Decoder::for_content()?,
                stored: Vec::new(),
            }),
        }
    }

    /// The second is what of it the image no longer gives.
    fn parts(
        &self,
        piece: &Piece,
        buffer: &mut [u8],
        tools: &mut Tools,
    ) -> Result<(Fetched, ExtentMap), ImageError> {
        let mut fetched = Fetched::default();
        let mut damaged = ExtentMap::new();
        let end = piece
            .window
            .end()
            .min(self.reader.head().geometry.size_bytes);
        let mut at = piece.window.start();
        while at < end {
            let part = self.reader.piece_at(at)?;
            let extent = part.map_or(Extent::between(at, end), |part| {
                part.extent().intersect(piece.window)
            });
            let Some(extent) = extent else { break };
            match part {
                Some(Part::Entry(entry)) => {
                    let content = &mut buffer[piece.place(extent)];
                    let lost = self.entry(&entry, extent, content, tools, &mut fetched)?;
                    damaged = damaged.union(&lost);
                }
                Some(Part::Lost(_)) | None => {
                    buffer[piece.place(extent)].fill(0);
                    damaged.insert(extent);
                }
            }
            at = extent.end();
        }
        fetched.bad = fetched.bad.union(&damaged);
        Ok((fetched, damaged))
    }

    /// `content` is for `extent`, the part of the entry that lies in the window. What of it is damaged.
    fn entry(
        &self,
        entry: &Entry,
        extent: Extent,
        content: &mut [u8],
        tools: &mut Tools,
        fetched: &mut Fetched,
    ) -> Result<ExtentMap, ImageError> {
        if !entry.kind.has_content() {
            content.fill(0);
            // A run of zeros may be longer than the window and then is all of one state.
            let states = match entry.has_states() {
                true => self.reader.states(entry)?,
                false => None,
            };
            match states {
                Some(states) => note(&states, entry.extent, extent, fetched),
                None => whole(entry.kind, extent, fetched),
            }
            return Ok(ExtentMap::new());
        }
        assert!(
            extent == entry.extent,
            "a piece of an image is whole chunks"
        );
        let Tools { decoder, stored } = tools;
        self.reader.read_stored(entry, stored)?;
        let decoded = self.reader.decode(decoder, entry, stored, content)?;
        if let Some(decoded) = decoded {
            if let Some(states) = decoded.states {
                note(&states, entry.extent, extent, fetched);
            }
            return Ok(ExtentMap::new());
        }
        let damaged = self.reader.salvage(entry, content)?;
        if let Some(states) = self.reader.states(entry)? {
            note(&states, entry.extent, extent, fetched);
        }
        // What is free is no loss.
        Ok(damaged.difference(&fetched.free))
    }
}

impl Fetch for FromImage<'_> {
    fn piece(&self, piece: &Piece, buffer: &mut [u8]) -> Result<Fetched, Stop> {
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let fault = |error: ImageError| Stop::Fault(error.to_string());
        let mut tools = self.tools().map_err(fault)?;
        let fetched = self.parts(piece, buffer, &mut tools).map_err(fault);
        self.tools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(tools);
        // Behind the end of the imaged disk a larger one has zeros.
        if let Some(behind) =
            Extent::between(self.reader.head().geometry.size_bytes, piece.window.end())
                .and_then(|behind| behind.intersect(piece.window))
        {
            buffer[piece.place(behind)].fill(0);
        }
        let (fetched, damaged) = fetched?;
        let wanted: ExtentMap = piece.wanted.iter().copied().collect();
        let lost = damaged.intersection(&wanted);
        if self.at_damage == AtDamage::Stop && !lost.is_empty() {
            return Err(Stop::Damaged(lost));
        }
        Ok(Fetched {
            bad: fetched.bad.intersection(&wanted),
            free: fetched.free.intersection(&wanted),
            ..Fetched::default()
        })
    }
}

fn note(states: &States, chunk: Extent, inside: Extent, fetched: &mut Fetched) {
    let clip = |extent: Extent| extent.intersect(inside);
    for extent in states.extents(chunk, State::Free).filter_map(clip) {
        fetched.free.insert(extent);
    }
    for state in [State::Unreadable, State::NotTried] {
        for extent in states.extents(chunk, state).filter_map(clip) {
            fetched.bad.insert(extent);
        }
    }
}

fn whole(kind: Kind, extent: Extent, fetched: &mut Fetched) {
    match kind {
        Kind::Data | Kind::Patched | Kind::Zero => {}
        Kind::Free => fetched.free.insert(extent),
        Kind::Unreadable | Kind::NotTried | Kind::Inherited => fetched.bad.insert(extent),
    }
}
