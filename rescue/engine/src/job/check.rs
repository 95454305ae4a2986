//! An image against itself: every chunk decoded and its digest compared.

use std::sync::{Mutex, PoisonError};

use disk::extent::ExtentMap;
use image::chunk::Kind;
use image::codec::{Blemish, Decoder};
use image::error::ImageError;
use image::reader::{Piece, Reader};

use super::meter::Meter;
use super::pipeline::{Stages, Stop, run};
use super::tuning::Tuning;
use crate::event::{Cancel, Step};

pub struct Check<'a> {
    pub reader: &'a Reader,
    pub tuning: Tuning,
    pub cancel: &'a Cancel,
}

#[derive(Default, Debug)]
pub struct Found {
    /// Bytes of the disk whose content is proven.
    pub good_bytes: u64,
    pub damaged: ExtentMap,
    /// Chunks with damage that costs no content.
    pub blemishes: u64,
}

#[derive(Default)]
struct Slot {
    stored: Vec<u8>,
    content: Vec<u8>,
    damaged: ExtentMap,
    blemish: Option<Blemish>,
}

impl Check<'_> {
    pub fn run(&self, step: Step, meter: &mut Meter<'_>) -> Result<Found, Stop> {
        let size_bytes = self.reader.head().geometry.size_bytes;
        meter.begin(step, size_bytes, 0);
        let mut found = Found::default();
        let decoders = Mutex::new(Vec::new());
        let stages = Stages {
            fetch: |piece: &Result<Piece, ImageError>, slot: &mut Slot| {
                slot.damaged = ExtentMap::new();
                slot.blemish = None;
                match piece {
                    Ok(Piece::Entry(entry)) => self
                        .reader
                        .read_stored(entry, &mut slot.stored)
                        .map_err(fault),
                    Ok(Piece::Lost(extent)) => {
                        slot.damaged.insert(*extent);
                        Ok(())
                    }
                    Err(error) => Err(fault(error.clone())),
                }
            },
            work: |piece: &Result<Piece, ImageError>, slot: &mut Slot| match piece {
                Ok(Piece::Entry(entry)) => self.decode(&decoders, entry, slot).map_err(fault),
                _ => Ok(()),
            },
        };
        let mut commit = |piece: &Result<Piece, ImageError>, slot: &mut Slot| {
            let Ok(piece) = piece else { return Ok(()) };
            let extent = piece.extent();
            meter.read_bytes += slot.stored.len() as u64;
            found.good_bytes += extent.len() - slot.damaged.total_bytes();
            found.blemishes += u64::from(slot.blemish.is_some());
            for damaged in slot.damaged.iter() {
                found.damaged.insert(damaged);
                meter.unreadable(damaged);
            }
            meter.advance(extent.len(), extent.end());
            Ok(())
        };
        let slots = std::iter::repeat_with(Slot::default)
            .take(self.tuning.slots)
            .collect();
        run(
            self.reader.pieces(),
            slots,
            self.tuning.threads,
            &stages,
            self.cancel,
            &mut commit,
        )?;
        if found.blemishes > 0 {
            meter.warn(&format!(
                "{}: {} chunks are damaged beside their content; nothing is lost, but make another copy",
                self.reader.name(),
                found.blemishes
            ));
        }
        Ok(found)
    }

    fn decode(
        &self,
        decoders: &Mutex<Vec<Decoder>>,
        entry: &image::chunk::Entry,
        slot: &mut Slot,
    ) -> Result<(), ImageError> {
        let kept = decoders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut decoder = match kept {
            Some(decoder) => decoder,
            None => Decoder::new()?,
        };
        match decoder.decode(entry, &slot.stored, &mut slot.content) {
            Ok(decoded) => slot.blemish = decoded.blemish,
            Err(_) => slot.damaged = self.reader.salvage(entry, &mut slot.content)?,
        }
        if entry.kind != Kind::Data {
            // Zeros need no content to be what they are.
            slot.content.clear();
        }
        decoders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(decoder);
        Ok(())
    }
}

fn fault(error: ImageError) -> Stop {
    Stop::Fault(error.to_string())
}
