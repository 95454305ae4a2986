//! A container as its newest checkpoint leaves it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::object::{Head, Kind};
use super::superblock::{self, Superblock};
use super::{Trouble, refused};
use crate::extent::Extent;
use crate::fields::Fields;
use crate::source::{BlockSource, read_vec};

/// Largest object of more than one block; a space manager has some blocks.
const OBJECT_LIMIT: u64 = 1 << 20;
/// Blocks that are remembered: 8 MiB of them.
const REMEMBERED: usize = 8 << 20;
/// What a block costs of the budget, against a look at one in memory.
const COST: u64 = 64;

pub(super) struct Container<'a> {
    source: &'a dyn BlockSource,
    pub superblock: Superblock,
    /// What reading may still cost: a damaged tree must not lead through itself for ever.
    budget: Cell<u64>,
    remembered: RefCell<HashMap<u64, Rc<Vec<u8>>>>,
}

impl<'a> Container<'a> {
    /// `head` is the first bytes. Damage to the newest checkpoint is refused: what an older one calls free may have
    /// become used since.
    pub fn open(source: &'a dyn BlockSource, head: &[u8]) -> Result<Container<'a>, Trouble> {
        let size = superblock::block_size(head)?;
        let first = Superblock::parse(&read_vec(source, 0, size)?)?;
        let bytes = first.blocks.checked_mul(size);
        if bytes.is_none_or(|bytes| bytes > source.size_bytes()) {
            return refused("it is larger than what it stands on");
        }
        let superblock = newest(source, &first)?;
        Ok(Container {
            source,
            // To map a container each of its blocks is read once at most; a walk over its files comes back to some.
            budget: Cell::new(
                superblock
                    .blocks
                    .saturating_add(1 << 16)
                    .saturating_mul(COST),
            ),
            superblock,
            remembered: RefCell::new(HashMap::new()),
        })
    }

    pub fn source(&self) -> &'a dyn BlockSource {
        self.source
    }

    pub fn block_size(&self) -> u64 {
        self.superblock.block_size
    }

    pub fn size_bytes(&self) -> u64 {
        self.superblock.blocks * self.block_size()
    }

    /// The bytes of some blocks; `None` where there are none of them or not all.
    pub fn extent(&self, blocks: Range<u64>) -> Option<Extent> {
        let inside = blocks.end <= self.superblock.blocks;
        let size = self.block_size();
        inside
            .then(|| Extent::between(blocks.start * size, blocks.end * size))
            .flatten()
    }

    pub fn block(&self, number: u64) -> Result<Vec<u8>, Trouble> {
        if number >= self.superblock.blocks {
            return refused("one of its records points beyond its end");
        }
        self.spend(COST)?;
        let size = self.block_size();
        Ok(read_vec(self.source, number * size, size)?)
    }

    pub fn spend(&self, cost: u64) -> Result<(), Trouble> {
        let Some(left) = self.budget.get().checked_sub(cost) else {
            return refused("its trees have more blocks than the container");
        };
        self.budget.set(left);
        Ok(())
    }

    /// As [`Container::block`], from memory where it was asked for before; what is new is checked.
    pub fn remembered(
        &self,
        number: u64,
        check: &mut dyn FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<Rc<Vec<u8>>, Trouble> {
        self.spend(1)?;
        if let Some(block) = self.remembered.borrow().get(&number) {
            return Ok(Rc::clone(block));
        }
        let block = Rc::new(self.block(number)?);
        check(&block)?;
        let mut remembered = self.remembered.borrow_mut();
        if remembered.len() * block.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(number, Rc::clone(&block));
        Ok(block)
    }

    /// An object that is named by its place.
    pub fn physical(&self, number: u64, kind: Kind) -> Result<Vec<u8>, Trouble> {
        let bytes = self.block(number)?;
        let head = Head::of(&bytes, kind)?;
        if head.oid != number || head.xid > self.superblock.xid {
            return refused("one of its records belongs elsewhere");
        }
        Ok(bytes)
    }

    /// The space manager, by the maps of the newest checkpoint. It lies in the data area, which wraps around.
    pub fn space(&self) -> Result<Vec<u8>, Trouble> {
        let superblock = &self.superblock;
        let (place, size) = self.mapped(superblock.space)?;
        let (data, block) = (&superblock.data, superblock.block_size);
        let blocks = size / block;
        let fits = blocks > 0 && blocks <= data.end - data.start && size.is_multiple_of(block);
        if !data.contains(&place) || !fits || size > OBJECT_LIMIT {
            return refused("its checkpoint places the space manager where it cannot be");
        }
        let mut bytes = Vec::new();
        for nth in 0..blocks {
            let at = (place - data.start + nth) % (data.end - data.start);
            bytes.extend(self.block(data.start + at)?);
        }
        let head = Head::of(&bytes, Kind::Space)?;
        if head.oid != superblock.space || head.xid > superblock.xid {
            return refused("its space manager belongs elsewhere");
        }
        Ok(bytes)
    }

    /// Where a checkpoint keeps an object, and its size in bytes. The last block of a checkpoint is its superblock.
    fn mapped(&self, oid: u64) -> Result<(u64, u64), Trouble> {
        let superblock = &self.superblock;
        let area = &superblock.descriptors;
        for nth in 0..superblock.length.saturating_sub(1) {
            let at = area.start + (superblock.index + nth) % (area.end - area.start);
            let bytes = self.block(at)?;
            let head = Head::of(&bytes, Kind::CheckpointMap)?;
            if head.xid != superblock.xid || head.oid != at {
                return refused("a map of its newest checkpoint is older than it");
            }
            let fields = Fields(&bytes);
            let count = fields.u32(36).unwrap_or(0) as usize;
            let entries = bytes.get(40..).unwrap_or_default().chunks_exact(40);
            for entry in entries.take(count).map(Fields) {
                let kind = entry.u32(0).map(|kind| kind & 0xFFFF);
                if kind == Some(Kind::Space as u32)
                    && entry.u64(24) == Some(oid)
                    && let (Some(place), Some(size)) = (entry.u64(32), entry.u32(8))
                {
                    return Ok((place, u64::from(size)));
                }
            }
        }
        refused("its newest checkpoint has no space manager")
    }
}

/// Of the descriptor area, the superblock with the highest transaction.
fn newest(source: &dyn BlockSource, first: &Superblock) -> Result<Superblock, Trouble> {
    let size = first.block_size;
    let (mut found, mut highest): (Option<Vec<u8>>, u64) = (None, first.xid);
    let mut torn = None;
    for number in first.descriptors.clone() {
        let bytes = read_vec(source, number * size, size)?;
        let fields = Fields(&bytes);
        let xid = fields.u64(16).unwrap_or(0);
        if !fields.starts_with(32, b"NXSB") || xid < highest {
            continue;
        }
        match Head::checked(&bytes) {
            None => torn = torn.max(Some(xid)),
            Some(_) => (found, highest) = (Some(bytes), xid),
        }
    }
    let Some(found) = found else {
        return refused("it has no checkpoint as new as its first block");
    };
    if torn >= Some(highest) {
        return refused("its newest checkpoint is damaged");
    }
    let newest = Superblock::parse(&found)?;
    let bytes = newest.blocks.checked_mul(size);
    if !newest.same_shape(first) || bytes.is_none_or(|bytes| bytes > source.size_bytes()) {
        return refused("its newest checkpoint contradicts its first block");
    }
    Ok(newest)
}
