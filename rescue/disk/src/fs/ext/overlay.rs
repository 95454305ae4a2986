//! The disk as it would be after its journal was replayed.

use std::fmt;

use crate::geometry::Geometry;
use crate::source::{BlockSource, ReadError};

/// The newest copy of one block of the filesystem that the journal holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct JournalCopy {
    pub block: u64,
    /// Where on the disk the copy lies, in bytes.
    pub at: u64,
    /// The copy began with the journal's own magic number, which was blanked out in the journal.
    pub escaped: bool,
}

/// Reads blocks from the journal where it has a newer copy. Holds places, not bytes: a journal of any size costs
/// 24 bytes a block.
pub(super) struct Overlay<'a> {
    source: &'a dyn BlockSource,
    block_size: u64,
    /// Sorted, one for each block.
    copies: Vec<JournalCopy>,
}

impl fmt::Debug for Overlay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Overlay({} blocks)", self.copies.len())
    }
}

impl<'a> Overlay<'a> {
    /// `copies` are sorted and each block is named once.
    pub fn new(
        source: &'a dyn BlockSource,
        block_size: u64,
        copies: Vec<JournalCopy>,
    ) -> Overlay<'a> {
        debug_assert!(copies.windows(2).all(|w| w[0].block < w[1].block));
        Overlay {
            source,
            block_size,
            copies,
        }
    }

    /// Nothing but the disk.
    pub fn none(source: &'a dyn BlockSource) -> Overlay<'a> {
        Overlay::new(source, 1, Vec::new())
    }

    /// The copies of these blocks, ascending.
    pub fn copies_within(&self, blocks: std::ops::Range<u64>) -> &[JournalCopy] {
        let from = self
            .copies
            .partition_point(|copy| copy.block < blocks.start);
        let to = self.copies.partition_point(|copy| copy.block < blocks.end);
        &self.copies[from..to]
    }

    fn copy_of(&self, block: u64) -> Option<JournalCopy> {
        let at = self
            .copies
            .binary_search_by_key(&block, |copy| copy.block)
            .ok()?;
        Some(self.copies[at])
    }

    /// Bytes inside one block.
    fn read_piece(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let inside = offset % self.block_size;
        let Some(copy) = self.copy_of(offset / self.block_size) else {
            return self.source.read_at(offset, buf);
        };
        self.source.read_at(copy.at + inside, buf)?;
        if copy.escaped {
            let magic = super::journal::MAGIC.to_be_bytes();
            let from = usize::try_from(inside.min(4)).expect("at most 4");
            for (byte, real) in buf.iter_mut().zip(&magic[from..]) {
                *byte = *real;
            }
        }
        Ok(())
    }
}

impl BlockSource for Overlay<'_> {
    fn geometry(&self) -> Geometry {
        self.source.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let end = offset.saturating_add(buf.len() as u64);
        let next = self
            .copies
            .partition_point(|copy| copy.block < offset / self.block_size);
        let touched = self
            .copies
            .get(next)
            .is_some_and(|copy| copy.block <= end / self.block_size);
        if !touched {
            return self.source.read_at(offset, buf);
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let room =
                usize::try_from(self.block_size - at % self.block_size).expect("64 KiB at most");
            let (piece, after) = rest.split_at_mut(room.min(rest.len()));
            self.read_piece(at, piece)?;
            at += piece.len() as u64;
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemorySource;

    #[test]
    fn copies_take_the_place_of_blocks_and_escaped_ones_get_their_magic_back() {
        let disk = MemorySource::new((0..=255u8).cycle().take(16 * 64).collect());
        let copies = [(2, 640, false), (3, 703, true)];
        let copies = copies.map(|(block, at, escaped)| JournalCopy { block, at, escaped });
        let overlay = Overlay::new(&disk, 64, copies.to_vec());
        let mut bytes = vec![0; 160];
        overlay.read_at(100, &mut bytes).unwrap();
        assert_eq!(bytes[..28], (100..128).collect::<Vec<u8>>());
        assert_eq!(bytes[28..92], (128..192).collect::<Vec<u8>>());
        assert_eq!(bytes[92..96], [0xC0, 0x3B, 0x39, 0x98]);
        assert_eq!(bytes[96..100], [195, 196, 197, 198]);
        let mut inside = [0; 3];
        overlay.read_at(3 * 64 + 2, &mut inside).unwrap();
        assert_eq!(inside, [0x39, 0x98, 195]);
    }
}
