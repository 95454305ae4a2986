//! The allocation bitmap: a bit a block, the most significant first, read piece by piece.

use super::fork::Stream;
use super::{Trouble, refused};
use crate::source::BlockSource;

const PIECE: usize = 64 << 10;

/// A bitmap in its fork, and the bytes around it.
pub(super) struct Bitmap<'a> {
    pub source: &'a dyn BlockSource,
    pub stream: Stream,
}

impl Bitmap<'_> {
    fn read(&self, at: u64, buf: &mut [u8]) -> Result<(), Trouble> {
        self.stream.read_at(self.source, at, buf)
    }
}

/// Shows the runs of used blocks, ascending, of the first `blocks`. Where there is an older bitmap too, what is used
/// there is used. Returns how many blocks the newer one calls free.
pub(super) fn used(
    now: &Bitmap<'_>,
    before: Option<&Bitmap<'_>>,
    blocks: u64,
    visit: &mut dyn FnMut(u64, u64),
) -> Result<u64, Trouble> {
    let len = blocks.div_ceil(8);
    if now.stream.end() < len {
        return refused("its bitmap is too short");
    }
    let mut runs = Runs { from: None, visit };
    let mut counted = 0;
    let mut at = 0;
    let (mut piece, mut older) = (vec![0; PIECE], vec![0; PIECE]);
    while at < len {
        let share = usize::try_from(len - at).map_or(PIECE, |left| left.min(PIECE));
        let piece = &mut piece[..share];
        now.read(at, piece)?;
        if at + share as u64 == len && !blocks.is_multiple_of(8) {
            // What is behind the last block is nobody's.
            piece[share - 1] |= 0xFF >> (blocks % 8);
        }
        counted += piece
            .iter()
            .map(|b| u64::from(b.count_zeros()))
            .sum::<u64>();
        if let Some(before) = before {
            let older = &mut older[..share];
            before.read(at, older)?;
            piece
                .iter_mut()
                .zip(older)
                .for_each(|(new, old)| *new |= *old);
        }
        for (index, byte) in piece.iter().enumerate() {
            runs.push((at + index as u64) * 8, *byte, blocks);
        }
        at += share as u64;
    }
    runs.end(blocks);
    Ok(counted)
}

/// Runs of ones over bytes that come one after the other.
struct Runs<'a> {
    from: Option<u64>,
    visit: &'a mut dyn FnMut(u64, u64),
}

impl Runs<'_> {
    fn push(&mut self, at: u64, byte: u8, blocks: u64) {
        match byte {
            0xFF => self.begin(at),
            0 => self.end(at),
            _ => {
                for bit in 0..8 {
                    if byte & (0x80 >> bit) != 0 {
                        self.begin((at + bit).min(blocks));
                    } else {
                        self.end((at + bit).min(blocks));
                    }
                }
            }
        }
    }

    fn begin(&mut self, at: u64) {
        self.from.get_or_insert(at);
    }

    fn end(&mut self, at: u64) {
        if let Some(from) = self.from.take().filter(|from| *from < at) {
            (self.visit)(from, at);
        }
    }
}
