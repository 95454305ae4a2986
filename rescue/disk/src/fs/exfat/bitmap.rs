//! The allocation bitmap: a bit a cluster, the lowest bit of the first byte for cluster 2.

use std::ops::ControlFlow;

use crate::extent::Extent;
use crate::fs::bits::Bits;
use crate::fs::exfat::boot::Boot;
use crate::fs::exfat::chain::{Chains, Work};
use crate::fs::exfat::directory;
use crate::fs::exfat::entry::{self, BITMAP};
use crate::fs::tree::{Piece, TreeError};
use crate::source::{BlockSource, ReadError, read_vec};

/// A bitmap has up to 512 MiB and is read in pieces of this size.
const PIECE_BYTES: u64 = 64 << 10;

/// Where the bitmap lies, from its first byte to that of the last cluster.
pub fn find(source: &dyn BlockSource, boot: &Boot) -> Result<Vec<Piece>, TreeError> {
    let mut found = Vec::new();
    let root = directory::root_pieces(source, boot)?;
    directory::scan(source, &root, &mut |_, slot| {
        if slot[0] == BITMAP {
            found.push(entry::claimed(slot));
        }
        match found.len() {
            0 | 1 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    })?;
    let [found] = found[..] else {
        return Err(TreeError::Damaged(match found.len() {
            0 => "it has no allocation bitmap",
            _ => "it has more than one allocation bitmap",
        }));
    };
    let needed = u64::from(boot.cluster_count).div_ceil(8);
    let too_short = TreeError::Damaged("its allocation bitmap is too short");
    let mut bitmap = found
        .filter(|bitmap| bitmap.size_bytes >= needed)
        .ok_or(too_short.clone())?;
    bitmap.size_bytes = needed;
    let mut pieces = Chains::new(source, boot).pieces(bitmap, &mut Work::default())?;
    let Some(last) = pieces
        .last_mut()
        .filter(|p| p.at + p.extent.len() >= needed)
    else {
        return Err(too_short);
    };
    last.extent = Extent::new(last.extent.start(), needed - last.at)
        .expect("the last cluster holds at least a byte of it");
    Ok(pieces)
}

/// Shows the used clusters as runs of bytes of the volume, in ascending order. Where the bitmap cannot be read they
/// are used; false when there was such a place.
pub fn runs(
    source: &dyn BlockSource,
    boot: &Boot,
    bitmap: &[Piece],
    used: &mut dyn FnMut(u64, u64),
) -> Result<bool, TreeError> {
    let mut complete = true;
    for piece in bitmap {
        let start = piece.extent.start();
        for part in piece.extent.split_at_multiples(PIECE_BYTES) {
            let first = (piece.at + part.start() - start) * 8;
            let bits = (u64::from(boot.cluster_count) - first).min(part.len() * 8);
            let bits = match read_vec(source, part.start(), part.len()) {
                Ok(bytes) => Bits::from_bytes(&bytes, bits),
                Err(ReadError::Unreadable(_)) => {
                    complete = false;
                    Bits::new(bits, true)
                }
                Err(error) => return Err(error.into()),
            };
            let place = |bit: u64| boot.heap_start + (first + bit) * boot.cluster_bytes;
            for (from, to) in bits.used_runs() {
                used(place(from), place(to));
            }
        }
    }
    Ok(complete)
}
