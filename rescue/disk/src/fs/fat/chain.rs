//! Chains of clusters: what follows a cluster, by the file allocation table.

use std::cell::RefCell;

use crate::extent::Extent;
use crate::fs::fat::boot::Boot;
use crate::fs::tree::{Piece, TreeError};
use crate::source::{BlockSource, ReadError};

/// Most pieces of one file.
const PIECE_LIMIT: usize = 1 << 19;
/// Pairs of 12-bit entries never cross it.
const WINDOW_BYTES: u64 = 3 << 14;

/// Follows chains. Keeps the last piece of the table it read.
pub struct Chains<'a> {
    source: &'a dyn BlockSource,
    boot: &'a Boot,
    window: RefCell<(u64, Vec<u8>)>,
}

impl<'a> Chains<'a> {
    pub fn new(source: &'a dyn BlockSource, boot: &'a Boot) -> Chains<'a> {
        Chains {
            source,
            boot,
            window: RefCell::new((0, Vec::new())),
        }
    }

    /// The pieces of a chain, at most `limit` bytes of it.
    pub fn pieces(&self, first: u32, limit: u64) -> Result<Vec<Piece>, TreeError> {
        let mut pieces = Vec::new();
        match self.follow(first, limit, &mut pieces)? {
            Some(broken) => Err(broken),
            None => Ok(pieces),
        }
    }

    /// As [`Chains::pieces`], up to the place where the chain is broken; what is wrong there is returned.
    pub fn follow(
        &self,
        first: u32,
        limit: u64,
        pieces: &mut Vec<Piece>,
    ) -> Result<Option<TreeError>, ReadError> {
        let (mut at, mut cluster) = (0, first);
        // Brent: a chain that meets a cluster remembered at a power of two runs in a circle.
        let (mut remembered, mut steps, mut power) = (0, 0u64, 1u64);
        while at < limit {
            let Some(extent) = self.boot.cluster(cluster) else {
                return Ok(Some(TreeError::Damaged(
                    "a chain of clusters leaves the filesystem",
                )));
            };
            if cluster == remembered {
                return Ok(Some(TreeError::Damaged(
                    "a chain of clusters runs in a circle",
                )));
            }
            if !append(pieces, at, extent) {
                return Ok(Some(TreeError::Unsupported(
                    "a file in more than half a million pieces",
                )));
            }
            at += extent.len();
            steps += 1;
            if steps == power {
                (remembered, steps, power) = (cluster, 0, power * 2);
            }
            match self.next(cluster)? {
                Some(next) if next >= self.boot.width.end() => break,
                Some(next) => cluster = next,
                None => {
                    return Ok(Some(TreeError::Damaged(
                        "the file allocation table is too short",
                    )));
                }
            }
        }
        Ok(None)
    }

    fn next(&self, cluster: u32) -> Result<Option<u32>, ReadError> {
        let even = cluster & !1;
        let at = self.boot.width.offset(even);
        let start = at / WINDOW_BYTES * WINDOW_BYTES;
        let mut window = self.window.borrow_mut();
        if window.1.is_empty() || window.0 != start {
            let len = WINDOW_BYTES.min(self.boot.fat_bytes - start);
            window.1 = self.read(start, len)?;
            window.0 = start;
        }
        let within = usize::try_from(at - start).expect("it lies inside a window");
        let pair = &window.1[within.min(window.1.len())..];
        Ok(self.boot.width.entry(pair, usize::from(cluster != even)))
    }

    /// From the copy that counts, or from another when that one cannot be read.
    fn read(&self, start: u64, len: u64) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; usize::try_from(len).expect("a window is small")];
        let active = self.boot.active_fat;
        let others = (0..self.boot.fat_count).filter(|copy| *copy != active);
        let mut first = None;
        for copy in std::iter::once(active).chain(others) {
            match self.source.read_at(self.boot.fat(copy) + start, &mut bytes) {
                Ok(()) => return Ok(bytes),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.expect("there is at least one copy"))
    }
}

/// Adds a cluster to the last piece or as a new one; false when there are too many.
fn append(pieces: &mut Vec<Piece>, at: u64, extent: Extent) -> bool {
    if let Some(last) = pieces.last_mut()
        && last.extent.end() == extent.start()
    {
        last.extent = Extent::new(last.extent.start(), last.extent.len() + extent.len())
            .expect("both lie inside the filesystem");
        return true;
    }
    let room = pieces.len() < PIECE_LIMIT;
    if room {
        pieces.push(Piece { at, extent });
    }
    room
}
