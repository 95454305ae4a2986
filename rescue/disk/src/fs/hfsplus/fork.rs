//! A fork: the bytes of a file, in runs of blocks.

use super::{Trouble, refused};
use crate::extent::Extent;
use crate::fields::Fields;
use crate::source::BlockSource;

/// Runs in a record, of the catalog as of the overflow file.
pub(super) const RUNS: usize = 8;
/// Most runs kept of one fork: 24 MiB of them.
const LIMIT: usize = 1 << 20;

/// Blocks in a row; `count` is not zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub start: u32,
    pub count: u32,
}

/// As the volume header and the catalog record a fork: its first runs and how long it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fork {
    pub size_bytes: u64,
    pub blocks: u64,
    /// Eight at most, up to the first empty one.
    pub first: Vec<Run>,
}

impl Fork {
    pub const LEN: usize = 80;

    /// `None` when there are too few bytes.
    pub fn parse(bytes: &[u8]) -> Option<Fork> {
        let fields = Fields(bytes);
        Some(Fork {
            size_bytes: fields.be64(0)?,
            blocks: fields.be32(12)?.into(),
            first: runs(fields.bytes(16, RUNS * 8)?),
        })
    }

    pub fn first_blocks(&self) -> u64 {
        self.first.iter().map(|run| u64::from(run.count)).sum()
    }
}

/// The runs of one record, up to the first empty one.
pub(super) fn runs(bytes: &[u8]) -> Vec<Run> {
    let (pairs, _) = bytes.as_chunks::<8>();
    pairs
        .iter()
        .map(|[a, b, c, d, e, f, g, h]| Run {
            start: u32::from_be_bytes([*a, *b, *c, *d]),
            count: u32::from_be_bytes([*e, *f, *g, *h]),
        })
        .take_while(|run| run.count > 0)
        .collect()
}

/// Where the bytes of a fork lie: pieces of the volume in their order, without holes.
#[derive(Debug)]
pub(super) struct Stream {
    pub size_bytes: u64,
    /// Where in the fork each begins, and where it lies.
    pieces: Vec<(u64, Extent)>,
    end: u64,
}

impl Stream {
    pub fn new(size_bytes: u64) -> Stream {
        Stream {
            size_bytes,
            pieces: Vec::new(),
            end: 0,
        }
    }

    /// Appends runs; each must lie inside the volume.
    pub fn push(&mut self, runs: &[Run], block_size: u64, blocks: u64) -> Result<(), Trouble> {
        for run in runs {
            let (start, count) = (u64::from(run.start), u64::from(run.count));
            if start + count > blocks || self.pieces.len() >= LIMIT {
                return refused("a file has blocks where there are none");
            }
            let extent = Extent::new(start * block_size, count * block_size)
                .expect("it lies inside the volume and is not empty");
            self.pieces.push((self.end, extent));
            self.end += extent.len();
        }
        Ok(())
    }

    /// How many bytes its pieces hold.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn pieces(&self) -> impl Iterator<Item = (u64, Extent)> + '_ {
        self.pieces.iter().copied()
    }

    pub fn read_at(
        &self,
        source: &dyn BlockSource,
        mut at: u64,
        mut buf: &mut [u8],
    ) -> Result<(), Trouble> {
        let mut index = self
            .pieces
            .partition_point(|(from, extent)| from + extent.len() <= at);
        while !buf.is_empty() {
            let Some((from, extent)) = self.pieces.get(index) else {
                return refused("a file is shorter than it says");
            };
            let left = from + extent.len() - at;
            let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
            let (now, later) = buf.split_at_mut(len);
            source.read_at(extent.start() + (at - from), now)?;
            at += len as u64;
            buf = later;
            index += 1;
        }
        Ok(())
    }
}
