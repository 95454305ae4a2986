//! Where the blocks of a file lie: extent trees and indirect blocks.

use super::groups::View;
use super::inode::{Inode, Storage};
use crate::fields::Fields;
use crate::fs::tree::TreeError;

/// Most pieces kept of one file: 12 MiB of them, and as much again for who asks.
const RUN_LIMIT: usize = 1 << 19;
/// No tree of extents is deeper (`EXT4_MAX_EXTENT_DEPTH` in the kernel).
const EXTENT_DEPTH_LIMIT: u16 = 5;
/// Blocks of a file are numbered with 32 bits.
const LOGICAL_END: u64 = 1 << 32;

/// Blocks `logical..logical + count` of a file lie at `physical`; all inside the filesystem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub logical: u64,
    pub physical: u64,
    pub count: u64,
}

impl View<'_> {
    /// The blocks of an inode that were written, ascending. None for data inside the inode.
    pub fn runs(&self, inode: &Inode) -> Result<Vec<Run>, TreeError> {
        let mut runs = Runs {
            view: self,
            runs: Vec::new(),
            total: 0,
        };
        match inode.storage() {
            Storage::Inline => {}
            Storage::Extents => runs.root(inode.body())?,
            Storage::Indirect => runs.indirect(inode)?,
        }
        Ok(runs.runs)
    }
}

struct Runs<'a> {
    view: &'a View<'a>,
    runs: Vec<Run>,
    total: u64,
}

impl Runs<'_> {
    fn push(&mut self, run: Run) -> Result<(), TreeError> {
        let superblock = &self.view.superblock;
        let possible = run.physical > 0
            && run.physical >= superblock.first_data_block
            && run.physical + run.count <= superblock.blocks;
        if !possible {
            return Err(TreeError::Damaged(
                "a file has blocks outside of the filesystem",
            ));
        }
        // No block belongs to a file twice, so a loop in its tree is found here.
        self.total += run.count;
        if self.total > superblock.blocks {
            return Err(TreeError::Damaged(
                "a file has more blocks than the filesystem",
            ));
        }
        if let Some(last) = self.runs.last_mut()
            && last.logical + last.count == run.logical
            && last.physical + last.count == run.physical
        {
            last.count += run.count;
            return Ok(());
        }
        if self.runs.len() == RUN_LIMIT {
            return Err(TreeError::Unsupported("a file is in too many pieces"));
        }
        self.runs.push(run);
        Ok(())
    }

    fn block(&self, block: u64) -> Result<Vec<u8>, TreeError> {
        self.view.spend(self.view.superblock.block_size)?;
        let bytes = self.view.block(block)?;
        bytes.ok_or(TreeError::Damaged(
            "a block that leads to others cannot be read",
        ))
    }

    fn root(&mut self, bytes: &[u8]) -> Result<(), TreeError> {
        let depth = Fields(bytes).u16(6).unwrap_or(u16::MAX);
        if depth > EXTENT_DEPTH_LIMIT {
            return Err(TreeError::Damaged("a tree of extents is too deep"));
        }
        self.node(bytes, depth, 0, LOGICAL_END)
    }

    /// A node whose extents lie within `from..to`. Each child has a part of that for itself, so the same block
    /// cannot be used twice; the depth ends the recursion.
    fn node(&mut self, bytes: &[u8], depth: u16, from: u64, to: u64) -> Result<(), TreeError> {
        const DAMAGED: TreeError = TreeError::Damaged("a tree of extents contradicts itself");
        let fields = Fields(bytes);
        let entries = usize::from(fields.u16(2).ok_or(DAMAGED)?);
        let fits = 12 + entries * 12 <= bytes.len();
        if fields.u16(0) != Some(0xF30A) || fields.u16(6) != Some(depth) || !fits {
            return Err(DAMAGED);
        }
        let logical = |entry: usize| fields.u32(12 + entry * 12).map(u64::from);
        let mut from = from;
        for entry in 0..entries {
            let at = 12 + entry * 12;
            let first = logical(entry)
                .filter(|first| (from..to).contains(first))
                .ok_or(DAMAGED)?;
            if depth == 0 {
                from = first + self.extent(fields, at, first, to).ok_or(DAMAGED)??;
                continue;
            }
            let end = if entry + 1 < entries {
                logical(entry + 1).ok_or(DAMAGED)?
            } else {
                to
            };
            let low = u64::from(fields.u32(at + 4).ok_or(DAMAGED)?);
            let high = u64::from(fields.u16(at + 8).ok_or(DAMAGED)?);
            let child = self.block(low | high << 32)?;
            if Fields(&child).u16(2) == Some(0) {
                return Err(DAMAGED);
            }
            self.node(&child, depth - 1, first, end)?;
            from = end;
        }
        Ok(())
    }

    /// Takes one extent of a leaf; its length in blocks.
    fn extent(
        &mut self,
        fields: Fields<'_>,
        at: usize,
        logical: u64,
        to: u64,
    ) -> Option<Result<u64, TreeError>> {
        /// Longer ones were allocated but never written and read as zeros (kernel documentation, "Extent Tree").
        const WRITTEN_LIMIT: u64 = 32768;
        let length = u64::from(fields.u16(at + 4)?);
        let high = u64::from(fields.u16(at + 6)?);
        let physical = u64::from(fields.u32(at + 8)?) | high << 32;
        let count = if length > WRITTEN_LIMIT {
            length - WRITTEN_LIMIT
        } else {
            length
        };
        (count > 0 && logical + count <= to).then_some(())?;
        if length > WRITTEN_LIMIT {
            return Some(Ok(count));
        }
        Some(
            self.push(Run {
                logical,
                physical,
                count,
            })
            .map(|()| count),
        )
    }

    fn indirect(&mut self, inode: &Inode) -> Result<(), TreeError> {
        let size = self.view.superblock.block_size;
        let end = inode.size().div_ceil(size).min(LOGICAL_END);
        let mut logical = 0;
        for (slot, pointer) in inode.body().chunks_exact(4).enumerate() {
            let depth = match slot {
                0..12 => 0,
                deep => u32::try_from(deep - 11).expect("there are 15 slots"),
            };
            logical = self.pointer(Fields(pointer).u32(0).unwrap_or(0), depth, logical, end)?;
        }
        Ok(())
    }

    /// Follows one block number `depth` levels down; the first block of the file behind it.
    fn pointer(
        &mut self,
        block: u32,
        depth: u32,
        logical: u64,
        end: u64,
    ) -> Result<u64, TreeError> {
        let covered = (self.view.superblock.block_size / 4).pow(depth);
        let after = logical.saturating_add(covered);
        if logical >= end || block == 0 {
            return Ok(after);
        }
        if depth == 0 {
            self.push(Run {
                logical,
                physical: u64::from(block),
                count: 1,
            })?;
            return Ok(after);
        }
        let bytes = self.block(u64::from(block))?;
        let mut at = logical;
        for pointer in bytes.chunks_exact(4) {
            if at >= end {
                break;
            }
            at = self.pointer(Fields(pointer).u32(0).unwrap_or(0), depth - 1, at, end)?;
        }
        Ok(after)
    }
}
