//! The allocation bitmap: a bit a cluster, the lowest bit of the first byte for cluster 2.

use std::ops::ControlFlow;

use crate::extent::{Extent, ExtentMap};
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
    let scanned = directory::scan(source, &root, &mut |_, slot| {
        if slot[0] == BITMAP {
            found.push(entry::claimed(slot));
        }
        match found.len() {
            0 | 1 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    match scanned {
        // There is a second one only beside a second table.
        Err(TreeError::Read(ReadError::Unreadable(_))) if found.len() == 1 => {}
        scanned => scanned?,
    }
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
/// are used, and returned.
pub fn runs(
    source: &dyn BlockSource,
    boot: &Boot,
    bitmap: &[Piece],
    used: &mut dyn FnMut(u64, u64),
) -> Result<ExtentMap, TreeError> {
    let mut unknown = ExtentMap::new();
    for piece in bitmap {
        let start = piece.extent.start();
        for part in piece.extent.split_at_multiples(PIECE_BYTES) {
            let first = (piece.at + part.start() - start) * 8;
            let bits = (u64::from(boot.cluster_count) - first).min(part.len() * 8);
            let (bytes, lost) = read_or_used(source, part)?;
            let place = |bit: u64| boot.heap_start + (first + bit) * boot.cluster_bytes;
            for (from, to) in Bits::from_bytes(&bytes, bits).used_runs() {
                used(place(from), place(to));
            }
            for lost in lost.iter() {
                let clusters = Extent::between(
                    place((lost.start() * 8).min(bits)),
                    place((lost.end() * 8).min(bits)),
                );
                clusters.into_iter().for_each(|lost| unknown.insert(lost));
            }
        }
    }
    Ok(unknown)
}

/// A part of the bitmap, with ones where it cannot be read, and which bytes of it those are.
fn read_or_used(source: &dyn BlockSource, part: Extent) -> Result<(Vec<u8>, ExtentMap), ReadError> {
    let mut lost = ExtentMap::new();
    match read_vec(source, part.start(), part.len()) {
        Ok(bytes) => return Ok((bytes, lost)),
        Err(ReadError::Unreadable(_)) => {}
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    for shard in part.split_at_multiples(source.geometry().shard()) {
        match read_vec(source, shard.start(), shard.len()) {
            Ok(read) => bytes.extend(read),
            Err(ReadError::Unreadable(_)) => {
                let at = shard.start() - part.start();
                let inside = Extent::new(at, shard.len());
                inside.into_iter().for_each(|inside| lost.insert(inside));
                bytes.resize(
                    bytes.len() + usize::try_from(shard.len()).expect("it is small"),
                    0xFF,
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok((bytes, lost))
}
