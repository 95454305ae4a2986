//! An image against itself: every chunk decoded and its digest compared.

use std::sync::{Mutex, PoisonError};

use image::check::{self, Findings};
use image::chunk::Entry;
use image::codec::Decoder;
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
    /// What is wrong, also where it costs no content.
    pub findings: Findings,
}

#[derive(Default)]
struct Slot {
    stored: Vec<u8>,
    content: Vec<u8>,
    findings: Findings,
}

type Part = Result<Piece, ImageError>;

impl Check<'_> {
    pub fn run(&self, step: Step, meter: &mut Meter<'_>) -> Result<Found, Stop> {
        meter.begin(step, self.reader.head().geometry.size_bytes, 0);
        let mut found = Found {
            good_bytes: 0,
            findings: check::index(self.reader).map_err(fault)?,
        };
        let decoders = Mutex::new(Vec::new());
        let stages = Stages {
            fetch: |part: &Part, slot: &mut Slot| self.read(part, slot).map_err(fault),
            work: |part: &Part, slot: &mut Slot| match part {
                Ok(Piece::Entry(entry)) => self.decode(&decoders, entry, slot).map_err(fault),
                _ => Ok(()),
            },
        };
        let mut commit = |part: &Part, slot: &mut Slot| {
            let Ok(piece) = part else { return Ok(()) };
            let extent = piece.extent();
            if let Piece::Entry(entry) = piece {
                meter.read_bytes += entry.end() - entry.offset;
            }
            found.good_bytes += extent.len() - slot.findings.damage.total_bytes();
            slot.findings
                .damage
                .iter()
                .for_each(|extent| meter.unreadable(extent));
            found.findings.merge(std::mem::take(&mut slot.findings));
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
        found
            .findings
            .notes
            .iter()
            .for_each(|note| meter.warn(note));
        Ok(found)
    }

    fn read(&self, part: &Part, slot: &mut Slot) -> Result<(), ImageError> {
        slot.findings = Findings::default();
        match part {
            Ok(Piece::Entry(entry)) => self.reader.read_stored(entry, &mut slot.stored),
            Ok(Piece::Lost(extent)) => {
                slot.findings.damage.insert(*extent);
                Ok(())
            }
            Err(error) => Err(error.clone()),
        }
    }

    fn decode(
        &self,
        decoders: &Mutex<Vec<Decoder>>,
        entry: &Entry,
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
        let found = check::chunk(
            self.reader,
            &mut decoder,
            entry,
            &slot.stored,
            &mut slot.content,
        );
        decoders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(decoder);
        slot.findings = found?;
        Ok(())
    }
}

fn fault(error: ImageError) -> Stop {
    Stop::Fault(error.to_string())
}
