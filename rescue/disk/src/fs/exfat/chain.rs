//! Where the clusters of something lie: in a row, or by the file allocation table.

use std::cell::RefCell;

use crate::extent::Extent;
use crate::fields::Fields;
use crate::fs::exfat::boot::Boot;
use crate::fs::tree::{Piece, TreeError};
use crate::source::{BlockSource, ReadError, read_vec};

/// Most pieces of one file.
const PIECE_LIMIT: usize = 1 << 19;
/// Entries of four bytes never cross it.
const WINDOW_BYTES: u64 = 16 << 10;
/// From here on an entry ends a chain; the one before it marks a bad cluster.
const CHAIN_END: u32 = 0xFFFF_FFF8;

/// What an allocation begins with, how long it is, and how it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allocation {
    pub first_cluster: u32,
    pub size_bytes: u64,
    pub order: Order,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The table says what follows.
    Chained,
    /// Likewise, and only the table says where it ends; the size is but a limit.
    ToItsEnd,
    /// In a row; the table says nothing of it.
    Row,
}

/// What may still be done for structures that may loop and overlap: steps along chains.
#[derive(Debug)]
pub struct Work {
    left: u64,
}

impl Default for Work {
    /// A chain over 64 million clusters, 8 TiB in the usual ones.
    fn default() -> Work {
        Work { left: 1 << 26 }
    }
}

impl Work {
    pub fn spend(&mut self, amount: u64) -> Result<(), TreeError> {
        self.left = self
            .left
            .checked_sub(amount)
            .ok_or(TreeError::TooMany("more clusters than can be followed"))?;
        Ok(())
    }
}

/// Follows allocations. Keeps the last piece of the table it read.
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

    /// The pieces of an allocation in whole clusters.
    pub fn pieces(&self, allocation: Allocation, work: &mut Work) -> Result<Vec<Piece>, TreeError> {
        let mut pieces = Vec::new();
        match self.follow(allocation, work, &mut pieces)? {
            Some(broken) => Err(broken),
            None => Ok(pieces),
        }
    }

    /// As [`Chains::pieces`], up to the place where the chain is broken; what is wrong there is returned.
    pub fn follow(
        &self,
        allocation: Allocation,
        work: &mut Work,
        pieces: &mut Vec<Piece>,
    ) -> Result<Option<TreeError>, TreeError> {
        if allocation.size_bytes == 0 {
            return Ok(None);
        }
        if allocation.order == Order::Row {
            let row = self.row(allocation);
            pieces.extend(row.map(|extent| Piece { at: 0, extent }));
            let len = row.map_or(0, Extent::len);
            return Ok((len < allocation.size_bytes).then_some(TreeError::Damaged(
                "a row of clusters leaves the filesystem",
            )));
        }
        let (mut at, mut cluster) = (0, allocation.first_cluster);
        // Brent: a chain that meets a cluster remembered at a power of two runs in a circle.
        let (mut remembered, mut steps, mut power) = (0, 0u64, 1u64);
        while at < allocation.size_bytes {
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
            append(pieces, at, extent)?;
            at += extent.len();
            steps += 1;
            if steps == power {
                (remembered, steps, power) = (cluster, 0, power * 2);
            }
            match self.next(cluster, work)? {
                CHAIN_END.. if allocation.order == Order::ToItsEnd => break,
                CHAIN_END.. if at < allocation.size_bytes => {
                    return Ok(Some(TreeError::Damaged(
                        "a chain of clusters ends before its file does",
                    )));
                }
                CHAIN_END.. => break,
                next => cluster = next,
            }
        }
        Ok(None)
    }

    /// The clusters of a row, as far as there are that many.
    fn row(&self, allocation: Allocation) -> Option<Extent> {
        let first = self.boot.cluster(allocation.first_cluster)?;
        let clusters = allocation.size_bytes.div_ceil(self.boot.cluster_bytes);
        let len = clusters.saturating_mul(self.boot.cluster_bytes);
        let end = first.start().saturating_add(len);
        Extent::between(first.start(), end.min(self.boot.heap_end()))
    }

    /// What the table says of a cluster of the filesystem.
    pub fn next(&self, cluster: u32, work: &mut Work) -> Result<u32, TreeError> {
        let at = u64::from(cluster) * 4;
        let start = at / WINDOW_BYTES * WINDOW_BYTES;
        let mut window = self.window.borrow_mut();
        work.spend(1)?;
        if window.1.is_empty() || window.0 != start {
            // As long as so many steps.
            work.spend(1024)?;
            let len = WINDOW_BYTES.min(self.boot.fat_bytes - start);
            window.1.clear();
            window.1 = read_vec(self.source, self.boot.fat_start + start, len)?;
            window.0 = start;
        }
        let within = usize::try_from(at - start).expect("it lies inside a window");
        Fields(&window.1)
            .u32(within)
            .ok_or(TreeError::Damaged("the file allocation table is too short"))
    }
}

/// Whether it is the disk itself that is gone, after which nothing more can be said.
pub fn is_gone(error: &TreeError) -> bool {
    matches!(error, TreeError::Read(ReadError::Gone(_)))
}

/// Adds a cluster to the last piece or as a new one.
fn append(pieces: &mut Vec<Piece>, at: u64, extent: Extent) -> Result<(), TreeError> {
    if let Some(last) = pieces.last_mut()
        && last.extent.end() == extent.start()
    {
        last.extent = Extent::between(last.extent.start(), extent.end())
            .expect("both lie inside the filesystem");
        return Ok(());
    }
    if pieces.len() >= PIECE_LIMIT {
        return Err(TreeError::Unsupported(
            "a file in more than half a million pieces",
        ));
    }
    pieces.push(Piece { at, extent });
    Ok(())
}
