//! What the directories of a FAT filesystem point to, for one whose table may lag behind them.

use std::collections::HashSet;

use crate::extent::{Extent, ExtentMap};
use crate::fs::fat::boot::Boot;
use crate::fs::fat::chain::Chains;
use crate::fs::fat::name::{Short, Slot};
use crate::fs::fat::tree::{self, DIRECTORY_LIMIT};
use crate::fs::tree::{Piece, TreeError};
use crate::source::{BlockSource, ReadError};

/// Most directories looked into; each may cost a seek.
const DIRECTORIES_LIMIT: usize = 4096;

/// Most extents taken from them beside those the table knows.
const CLAIMS_LIMIT: usize = 1 << 18;

/// Every cluster that a directory entry claims and `used` lacks, whatever the table says of it: an entry whose
/// chain was not written before the power failed still says where its data begin and how long they are, and
/// most files lie in one piece. `None` when there is too much to look at.
pub fn claims(
    source: &dyn BlockSource,
    boot: &Boot,
    used: &ExtentMap,
) -> Result<Option<ExtentMap>, ReadError> {
    let chains = Chains::new(source, boot);
    let mut stack = vec![tree::root(source, boot).unwrap_or_default()];
    let mut seen = HashSet::new();
    let mut claims = Vec::new();
    // Sound chains share no cluster; the rest is for those that do.
    let mut work = 2 * u64::from(boot.cluster_count) + (1 << 20);
    while let Some(directory) = stack.pop() {
        for entry in entries(source, boot, &directory)? {
            let pieces = claimed(&chains, boot, &entry)?;
            let clusters: u64 =
                pieces.iter().map(|p| p.extent.len()).sum::<u64>() / boot.cluster_bytes;
            let extents = pieces.iter().map(|piece| piece.extent);
            claims.extend(extents.filter(|extent| !used.covers(*extent)));
            let Some(left) = work.checked_sub(clusters + 1) else {
                return Ok(None);
            };
            work = left;
            if entry.is_directory && seen.insert(entry.first_cluster) {
                stack.push(pieces);
            }
        }
        if seen.len() > DIRECTORIES_LIMIT || claims.len() > CLAIMS_LIMIT {
            return Ok(None);
        }
    }
    Ok(Some(ExtentMap::from(claims)))
}

/// The entries of a directory but `.` and `..`; what cannot be read has none.
fn entries(
    source: &dyn BlockSource,
    boot: &Boot,
    directory: &[Piece],
) -> Result<Vec<Short>, ReadError> {
    let mut entries = Vec::new();
    let scanned = tree::scan(source, boot, directory, &mut |_, slot| {
        if let Slot::Short(short) = slot
            && !short.is_dots
        {
            entries.push(short);
        }
        true
    });
    match scanned {
        Err(TreeError::Read(ReadError::Gone(what))) => Err(ReadError::Gone(what)),
        _ => Ok(entries),
    }
}

/// The chain of an entry and, where it breaks off, what would follow if the rest lay behind it in a row.
fn claimed(chains: &Chains<'_>, boot: &Boot, entry: &Short) -> Result<Vec<Piece>, ReadError> {
    let size = if entry.is_directory {
        DIRECTORY_LIMIT
    } else {
        entry.size_bytes
    };
    let mut pieces = Vec::new();
    let broken = match chains.follow(entry.first_cluster, size, &mut pieces) {
        Ok(broken) => broken.is_some(),
        Err(ReadError::Unreadable(_)) => true,
        Err(error) => return Err(error),
    };
    let Some(last) = pieces
        .last()
        .copied()
        .filter(|_| broken && !entry.is_directory)
    else {
        return Ok(pieces);
    };
    let at = last.at + last.extent.len();
    let start = last.extent.end();
    let end = start.saturating_add(size.saturating_sub(at));
    let end = end
        .next_multiple_of(boot.cluster_bytes)
        .min(boot.data_end());
    if let Some(extent) = Extent::between(start, end) {
        pieces.push(Piece { at, extent });
    }
    Ok(pieces)
}
