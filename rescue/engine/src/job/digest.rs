//! What was written, a digest a piece, for reading back.

use super::piece::Piece;

/// The first half of a BLAKE3: told apart from any accident, and small enough for 20 TB in memory.
pub type Digest = [u8; 16];

/// Of the runs of a piece, in the buffer of its window.
pub fn digest(piece: &Piece, buffer: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for run in &piece.runs {
        hasher.update(&buffer[piece.place(*run)]);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    half
}

/// Digests by piece, in disk order.
#[derive(Debug)]
pub struct Digests {
    piece_bytes: u64,
    list: Vec<(u64, Digest)>,
}

impl Digests {
    pub fn new(piece_bytes: u64) -> Digests {
        Digests {
            piece_bytes,
            list: Vec::new(),
        }
    }

    /// Pieces come in disk order.
    pub fn add(&mut self, piece: &Piece, digest: Option<Digest>) {
        let number = piece.window.start() / self.piece_bytes;
        self.list.extend(digest.map(|digest| (number, digest)));
    }

    pub fn of(&self, piece: &Piece) -> Option<Digest> {
        let number = piece.window.start() / self.piece_bytes;
        let found = self.list.binary_search_by_key(&number, |(n, _)| *n);
        found.ok().map(|at| self.list[at].1)
    }
}
