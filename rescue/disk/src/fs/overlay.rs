//! The disk as it would be after its log was replayed.

use std::collections::BTreeMap;
use std::fmt;

use crate::geometry::Geometry;
use crate::source::{BlockSource, ReadError};

/// XFS logs buffers in pieces of this size (`XFS_BLF_CHUNK`); what HFS+ logs is a multiple of it.
pub(super) const PIECE: u64 = 128;
const PIECE_BYTES: usize = 128;
/// Most pieces kept: 12 MiB of them.
const LIMIT: usize = 96 << 10;

/// The newest bytes of each piece that the log holds, by the piece's number on the disk.
#[derive(Default)]
pub(super) struct Pieces(BTreeMap<u64, [u8; PIECE_BYTES]>);

impl Pieces {
    /// Takes bytes that begin and end at multiples of [`PIECE`]; false when they do not fit in memory.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let (pieces, rest) = bytes.as_chunks();
        debug_assert!(offset.is_multiple_of(PIECE) && rest.is_empty());
        for (number, piece) in (offset / PIECE..).zip(pieces) {
            self.0.insert(number, *piece);
        }
        self.0.len() <= LIMIT
    }

    /// Replaces in bytes of the disk what is newer here. Their end does not overflow.
    pub fn patch(&self, offset: u64, buf: &mut [u8]) {
        let end = offset + buf.len() as u64;
        for (number, piece) in self.0.range(offset / PIECE..end.div_ceil(PIECE)) {
            let from = (number * PIECE).max(offset);
            let to = ((number + 1) * PIECE).min(end);
            let index = |at: u64, base: u64| {
                usize::try_from(at - base).expect("it lies in a buffer in memory")
            };
            buf[index(from, offset)..index(to, offset)]
                .copy_from_slice(&piece[index(from, number * PIECE)..index(to, number * PIECE)]);
        }
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces({})", self.0.len())
    }
}

/// Reads what the log has newer from there, the rest from the disk.
pub(super) struct Overlay<'a> {
    source: &'a dyn BlockSource,
    pieces: Pieces,
}

impl<'a> Overlay<'a> {
    pub fn new(source: &'a dyn BlockSource, pieces: Pieces) -> Overlay<'a> {
        Overlay { source, pieces }
    }

    /// Nothing but the disk.
    pub fn none(source: &'a dyn BlockSource) -> Overlay<'a> {
        Overlay::new(source, Pieces::default())
    }

    /// True when the log changed these bytes, so that a checksum among them is that of older ones.
    pub fn changed(&self, offset: u64, len: u64) -> bool {
        let numbers = offset / PIECE..(offset + len).div_ceil(PIECE);
        self.pieces.0.range(numbers).next().is_some()
    }
}

impl BlockSource for Overlay<'_> {
    fn geometry(&self) -> Geometry {
        self.source.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_at(offset, buf)?;
        self.pieces.patch(offset, buf);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemorySource;

    #[test]
    fn a_read_across_pieces_takes_each_byte_from_its_newest_place() {
        let source = MemorySource::new(vec![1; 1024]);
        let mut pieces = Pieces::default();
        assert!(pieces.put(256, &[2; 256]));
        let overlay = Overlay::new(&source, pieces);
        for (from, to) in [(0, 1024), (255, 513), (300, 301), (250, 260), (500, 520)] {
            let mut bytes = vec![0; to - from];
            overlay.read_at(from as u64, &mut bytes).unwrap();
            let real: Vec<u8> = (from..to)
                .map(|at| if (256..512).contains(&at) { 2 } else { 1 })
                .collect();
            assert_eq!(bytes, real);
        }
        assert!(overlay.changed(200, 100) && !overlay.changed(0, 256) && !overlay.changed(512, 9));
    }
}
