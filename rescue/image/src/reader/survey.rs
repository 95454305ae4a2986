//! What an image knows of each part of its disk, without the contents.

use disk::extent::Extent;

use crate::error::ImageError;
use crate::reader::{Piece, Reader};
use crate::states::State;

/// In this order they are told of within a chunk.
const STATES: [State; 4] = [State::Kept, State::Free, State::Unreadable, State::NotTried];

impl Reader {
    /// Tells the states of everything, chunk after chunk in disk order; what the image has lost counts as not tried.
    pub fn survey(&self, mut tell: impl FnMut(State, Extent)) -> Result<(), ImageError> {
        for piece in self.pieces() {
            let piece = piece?;
            let entry = match &piece {
                Piece::Lost(extent) => {
                    tell(State::NotTried, *extent);
                    continue;
                }
                Piece::Entry(entry) => entry,
            };
            if !entry.has_states() {
                tell(entry.kind.state(), entry.extent);
                continue;
            }
            let Some(states) = self.states(entry)? else {
                tell(State::NotTried, entry.extent);
                continue;
            };
            for state in STATES {
                states
                    .extents(entry.extent, state)
                    .for_each(|extent| tell(state, extent));
            }
        }
        Ok(())
    }
}
