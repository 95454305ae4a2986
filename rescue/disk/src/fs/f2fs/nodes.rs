//! The nodes of F2FS by their numbers: inodes, and what leads from them to blocks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::fields::Fields;
use crate::fs::f2fs::checkpoint::{Checkpoint, Records};
use crate::fs::f2fs::journal::{self, NODE_BYTES};
use crate::fs::f2fs::newer::Newer;
use crate::fs::f2fs::superblock::{self, Superblock};
use crate::fs::f2fs::{BLOCK, SEGMENT_BLOCKS, Trouble};
use crate::fs::tree::TreeError;
use crate::source::{BlockSource, ReadError, read_vec};

/// Entries of a block of the table.
const ENTRIES: u64 = 455;
/// Bytes that may be read for a node, and besides.
const BUDGET_FACTOR: u64 = 4;
const BUDGET_MORE: u64 = 64 << 20;

pub struct Nodes<'a> {
    pub source: &'a dyn BlockSource,
    pub superblock: Superblock,
    pub newer: Newer,
    /// Which set a block of the table is in.
    sets: Vec<u8>,
    journal: HashMap<u32, [u8; NODE_BYTES]>,
    /// The block of the table that was asked for last.
    last: RefCell<Option<(u64, Vec<u8>)>>,
    /// Bytes that may still be read, so that what leads in circles ends.
    budget: Cell<u64>,
}

impl<'a> Nodes<'a> {
    /// Opens it even where the used map would not be given; without what was fsynced last where that cannot be
    /// followed.
    pub fn open(source: &'a dyn BlockSource) -> Result<Nodes<'a>, TreeError> {
        let copies = superblock::copies(source)?;
        let superblock = Superblock::parse(&copies).map_err(TreeError::Damaged)?;
        if let Some(why) = superblock.unfollowed {
            return Err(TreeError::Unsupported(why));
        }
        let checkpoint = Checkpoint::newest(source, &superblock)?;
        let sets = checkpoint.set_bits(&superblock, Records::Nodes, superblock.table_blocks);
        let sets = sets.ok_or(TreeError::Damaged("its checkpoint contradicts itself"))?;
        let newer = match Newer::read(source, &superblock, &checkpoint) {
            Err(Trouble::Read(ReadError::Gone(what))) => return Err(ReadError::Gone(what).into()),
            newer => newer.unwrap_or_default(),
        };
        let journal = journal::nodes(source, &superblock, &checkpoint)?;
        let budget = superblock.blocks * BLOCK;
        Ok(Nodes {
            source,
            newer,
            sets: sets.to_vec(),
            journal: journal.into_iter().collect(),
            last: RefCell::new(None),
            budget: Cell::new(
                budget
                    .saturating_mul(BUDGET_FACTOR)
                    .saturating_add(BUDGET_MORE),
            ),
            superblock,
        })
    }

    pub fn spend(&self, bytes: u64) -> Result<(), TreeError> {
        let left = self.budget.get().checked_sub(bytes);
        self.budget
            .set(left.ok_or(TreeError::Damaged("its files lead in circles"))?);
        Ok(())
    }

    pub fn block(&self, block: u64) -> Result<Vec<u8>, TreeError> {
        self.spend(BLOCK)?;
        Ok(read_vec(self.source, block * BLOCK, BLOCK)?)
    }

    /// A node of this file; it says itself that it is.
    pub fn node(&self, number: u32, inode: u32) -> Result<Vec<u8>, TreeError> {
        let place = u64::from(self.place(number)?);
        if place == 0 {
            return Err(TreeError::Damaged(
                "a name leads to a file that was deleted",
            ));
        }
        if !self.superblock.in_main(place) {
            return Err(TreeError::Damaged("a node lies outside of the filesystem"));
        }
        let bytes = self.block(place)?;
        let fields = Fields(&bytes);
        let own = (fields.u32(4072), fields.u32(4076)) == (Some(number), Some(inode));
        own.then_some(bytes).ok_or(TreeError::Damaged(
            "a node is not the one that it should be",
        ))
    }

    fn place(&self, number: u32) -> Result<u32, TreeError> {
        const DAMAGED: TreeError = TreeError::Damaged("a node's number is too high");
        if let Some(block) = self.newer.blocks.get(&number) {
            return Ok(*block);
        }
        if let Some(entry) = self.journal.get(&number) {
            return Fields(entry).u32(5).ok_or(DAMAGED);
        }
        let index = u64::from(number) / ENTRIES;
        if index >= self.superblock.table_blocks {
            return Err(DAMAGED);
        }
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|(known, _)| *known != index) {
            *last = Some((index, self.block(self.table_block(index).ok_or(DAMAGED)?)?));
        }
        let entry = usize::try_from(u64::from(number) % ENTRIES).map_err(|_| DAMAGED)?;
        let found = last.as_ref();
        let found = found.and_then(|(_, bytes)| Fields(bytes).u32(entry * NODE_BYTES + 5));
        found.ok_or(DAMAGED)
    }

    /// Where this block of the table is now.
    fn table_block(&self, index: u64) -> Option<u64> {
        let byte = self.sets.get(usize::try_from(index / 8).ok()?)?;
        let set = u64::from(byte >> (7 - index % 8) & 1);
        let segment = index / SEGMENT_BLOCKS * 2 + set;
        Some(self.superblock.table + segment * SEGMENT_BLOCKS + index % SEGMENT_BLOCKS)
    }
}
