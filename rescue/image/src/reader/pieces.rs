//! An image from the first byte of its disk to the last.

use std::sync::Arc;

use disk::extent::Extent;

use crate::chunk::Entry;
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
}

impl<'r> Pieces<'r> {
    pub(super) fn new(reader: &'r Reader) -> Pieces<'r> {
        Pieces {
            reader,
            slot: 0,
            left: Vec::new().into_iter(),
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.left.next() {
                return Some(Ok(piece));
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
