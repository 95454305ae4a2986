//! The directories of exFAT, entry by entry.

use std::ops::ControlFlow;

use crate::fs::exfat::boot::Boot;
use crate::fs::exfat::chain::{Allocation, Chains, Order, Work};
use crate::fs::exfat::entry::{self, LABEL, SLOT_BYTES, Slot};
use crate::fs::tree::{Piece, TreeError};
use crate::source::{BlockSource, around};

/// No directory is larger (specification, 7.4 "DataLength").
pub const DIRECTORY_LIMIT: u64 = 256 << 20;
const READ_BYTES: u64 = 16 << 10;

/// The root directory has no entry that says how long it is.
pub fn root(boot: &Boot) -> Allocation {
    Allocation {
        first_cluster: boot.root_cluster,
        size_bytes: DIRECTORY_LIMIT,
        order: Order::ToItsEnd,
    }
}

/// The clusters of the root directory.
pub fn root_pieces(source: &dyn BlockSource, boot: &Boot) -> Result<Vec<Piece>, TreeError> {
    Chains::new(source, boot).pieces(root(boot), &mut Work::default())
}

/// Shows every entry with its offset, deleted ones too, until there are no more or `visit` has enough.
pub fn scan(
    source: &dyn BlockSource,
    pieces: &[Piece],
    visit: &mut dyn FnMut(u64, &Slot) -> ControlFlow<()>,
) -> Result<(), TreeError> {
    let mut unread = None;
    for piece in pieces {
        for part in piece.extent.split_at_multiples(READ_BYTES) {
            let more = around(source, part, &mut unread, &mut |start, bytes| {
                let offsets = (start..).step_by(SLOT_BYTES);
                for (offset, slot) in offsets.zip(bytes.chunks_exact(SLOT_BYTES)) {
                    let slot: &Slot = slot.try_into().expect("chunks have exactly that size");
                    if slot[0] == 0 || visit(offset, slot).is_break() {
                        return false;
                    }
                }
                true
            })?;
            if !more {
                return Ok(());
            }
        }
    }
    unread.map_or(Ok(()), |error| Err(TreeError::Read(error)))
}

/// The label in the root directory.
pub fn label(source: &dyn BlockSource, boot: &Boot) -> Option<String> {
    let mut found = None;
    let pieces = root_pieces(source, boot).ok()?;
    scan(source, &pieces, &mut |_, slot| match slot[0] {
        LABEL => {
            found = entry::label(slot);
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .ok()?;
    found
}
