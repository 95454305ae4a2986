//! A large image with little in it, in memory.

use std::collections::HashMap;
use std::io::{self, Read};

use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};

const PIECE: usize = 64 << 10;

/// Only pieces with something in them are kept.
pub struct Sparse {
    pieces: HashMap<u64, Vec<u8>>,
    size_bytes: u64,
}

impl Sparse {
    pub fn read(mut from: impl Read) -> io::Result<Sparse> {
        let mut sparse = Sparse {
            pieces: HashMap::new(),
            size_bytes: 0,
        };
        for index in 0.. {
            let mut piece = Vec::with_capacity(PIECE);
            let len = from.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
            sparse.size_bytes += len as u64;
            if piece.iter().any(|b| *b != 0) {
                piece.resize(PIECE, 0);
                sparse.pieces.insert(index, piece);
            }
            if len < PIECE {
                break;
            }
        }
        Ok(sparse)
    }
}

impl BlockSource for Sparse {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len = buf.len() as u64;
        if offset
            .checked_add(len)
            .is_none_or(|end| end > self.size_bytes)
        {
            return Err(ReadError::BeyondEnd {
                offset,
                len,
                size_bytes: self.size_bytes,
            });
        }
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let index = at / PIECE as u64;
            let within = usize::try_from(at % PIECE as u64).expect("a piece is small");
            let part = (PIECE - within).min(buf.len() - done);
            let into = &mut buf[done..done + part];
            match self.pieces.get(&index) {
                Some(piece) => into.copy_from_slice(&piece[within..within + part]),
                None => into.fill(0),
            }
            done += part;
        }
        Ok(())
    }
}
