//! An image from the first byte of its disk to the last.

use std::sync::Arc;

use disk::extent::Extent;

use crate::chunk::{Entry, Kind};
use crate::error::ImageError;
use crate::reader::Reader;
use crate::reader::page::Loaded;

/// A part of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    Entry(Entry),
    /// Nothing readable describes it.
    Lost(Extent),
}

impl Piece {
    pub fn extent(&self) -> Extent {
        match self {
            Piece::Entry(entry) => entry.extent,
            Piece::Lost(extent) => *extent,
        }
    }
}

/// Ascending and without gap; ends after an error.
#[derive(Debug)]
pub struct Pieces<'r> {
    reader: &'r Reader,
    slot: usize,
    left: std::vec::IntoIter<Piece>,
    /// What of a run the ancestors have, from its next byte.
    inherited: Option<Extent>,
}

impl<'r> Pieces<'r> {
    pub(super) fn new(reader: &'r Reader) -> Pieces<'r> {
        Pieces {
            reader,
            slot: 0,
            left: Vec::new().into_iter(),
            inherited: None,
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(run) = self.inherited.take() {
                let piece = self.reader.inherited(run, run.start()).transpose()?;
                match &piece {
                    Ok(found) => {
                        self.inherited = Extent::between(found.extent().end(), run.end());
                    }
                    Err(_) => {
                        self.left = Vec::new().into_iter();
                        self.slot = self.reader.slots.len();
                    }
                }
                return Some(piece);
            }
            match self.left.next() {
                Some(Piece::Entry(entry)) if entry.kind == Kind::Inherited => {
                    self.inherited = Some(entry.extent);
                    continue;
                }
                Some(piece) => return Some(Ok(piece)),
                None => {}
            }
            if self.slot == self.reader.slots.len() {
                return None;
            }
            match self.reader.page(self.slot) {
                Ok(page) => {
                    self.left = Loaded::pieces(&Arc::clone(&page))
                        .collect::<Vec<_>>()
                        .into_iter();
                    self.slot += 1;
                }
                Err(error) => {
                    self.slot = self.reader.slots.len();
                    return Some(Err(error));
                }
            }
        }
    }
}
