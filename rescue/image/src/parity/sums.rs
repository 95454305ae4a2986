//! Checksums of blocks, and the blocks they stand in, which have one of their own.

use super::{BLOCK, Window};
use crate::digest::ImageId;
use crate::error::ImageError;
use crate::mend::read;
use crate::store::ReadFile;

pub type Sum = [u8; 8];

/// In a block of them; behind them stands the block's own.
pub const IN_BLOCK: u64 = 511;

/// Of 4 KiB.
pub fn sum(block: &[u8]) -> Sum {
    shortened(blake3::hash(block))
}

fn shortened(hash: blake3::Hash) -> Sum {
    let mut sum = Sum::default();
    sum.copy_from_slice(&hash.as_bytes()[..8]);
    sum
}

/// Of a block of checksums: it vouches for its place too.
fn own(id: ImageId, window: u64, nth: u64, sums: &[u8]) -> Sum {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&id.0);
    hasher.update(&window.to_le_bytes());
    hasher.update(&nth.to_le_bytes());
    hasher.update(sums);
    shortened(hasher.finalize())
}

/// The checksums of a window.
#[derive(Default)]
pub struct Sums {
    all: Vec<Sum>,
    /// Of each block of them, whether any copy was whole.
    known: Vec<bool>,
}

impl Sums {
    pub fn push(&mut self, sum: Sum) {
        self.all.push(sum);
    }

    /// `None` where no copy of it is whole.
    pub fn get(&self, nth: u64) -> Option<Sum> {
        let known = usize::try_from(nth / IN_BLOCK).ok()?;
        let nth = usize::try_from(nth).ok()?;
        let known = self.known.get(known).copied()?;
        self.all.get(nth).copied().filter(|_| known)
    }

    /// One copy of all of them, as it stands in the file.
    pub fn put(&self, id: ImageId, window: u64, out: &mut Vec<u8>) {
        for (nth, sums) in (0..).zip(self.all.chunks(511)) {
            let start = out.len();
            sums.iter().for_each(|sum| out.extend_from_slice(sum));
            out.resize(start + BLOCK - 8, 0);
            let own = own(id, window, nth, &out[start..]);
            out.extend_from_slice(&own);
        }
    }

    pub fn read(file: &dyn ReadFile, id: ImageId, window: &Window) -> Result<Sums, ImageError> {
        let mut sums = Sums::default();
        let mut block = vec![0; BLOCK];
        for nth in 0..window.sum_blocks() {
            let mut whole = false;
            for copy in 0..window.copies() {
                read(file, window.sums_at(copy, nth), &mut block)?;
                if own(id, window.number, nth, &block[..BLOCK - 8]) == block[BLOCK - 8..] {
                    whole = true;
                    break;
                }
            }
            sums.known.push(whole);
            let (all, _) = block[..BLOCK - 8].as_chunks::<8>();
            sums.all.extend_from_slice(all);
        }
        Ok(sums)
    }
}
