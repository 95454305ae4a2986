//! A volume that is read: its header, its overflow tree, and searches in its trees.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::rc::Rc;

use super::fork::{Fork, RUNS, Stream, runs};
use super::header::{self, Header};
use super::node::{Btree, Kind, Node, Record};
use super::overlay::{Overlay, Pieces};
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::source::BlockSource;

pub(super) const EXTENTS_ID: u32 = 3;
pub(super) const CATALOG_ID: u32 = 4;
pub(super) const ALLOCATION_ID: u32 = 6;

/// The forks of a file, as the overflow tree numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    Data = 0,
    Resource = 0xFF,
}

pub(super) struct Volume<'a> {
    pub source: Overlay<'a>,
    pub header: Header,
    /// Bytes of nodes that may still be read, so that what leads in circles ends.
    budget: Cell<u64>,
    overflow: RefCell<Option<Rc<Btree>>>,
}

/// Where a record of a tree is, for as long as the tree is only read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub node: u32,
    pub index: u16,
}

impl<'a> Volume<'a> {
    pub fn new(source: Overlay<'a>, header: Header) -> Volume<'a> {
        let budget = header
            .size_bytes()
            .saturating_mul(4)
            .saturating_add(64 << 20);
        Volume {
            source,
            header,
            budget: Cell::new(budget),
            overflow: RefCell::new(None),
        }
    }

    /// As it is when these bytes of its journal are in their places.
    pub fn replayed(source: &'a dyn BlockSource, pieces: Pieces) -> Result<Volume<'a>, Trouble> {
        let overlay = Overlay::new(source, pieces);
        let Some(sector) = header::primary(&overlay)? else {
            return refused("its journal destroys its volume header");
        };
        let header = Header::parse(source, &sector)?;
        Ok(Volume::new(overlay, header))
    }

    pub fn spend(&self, bytes: u64) -> Result<(), Trouble> {
        match self.budget.get().checked_sub(bytes) {
            Some(left) => {
                self.budget.set(left);
                Ok(())
            }
            None => refused("its files lead in circles"),
        }
    }

    pub fn node(&self, tree: &Btree, number: u32) -> Result<Node, Trouble> {
        self.spend(tree.node_size)?;
        tree.node(&self.source, number)
    }

    pub fn catalog(&self) -> Result<Btree, Trouble> {
        let stream = self.stream(&self.header.catalog, CATALOG_ID, Which::Data)?;
        Btree::open(&self.source, stream)
    }

    /// All runs of a fork: the first ones, then those of the overflow tree.
    pub fn stream(&self, fork: &Fork, id: u32, which: Which) -> Result<Stream, Trouble> {
        let Header {
            block_size, blocks, ..
        } = self.header;
        let mut stream = Stream::new(fork.size_bytes);
        stream.push(&fork.first, block_size, blocks)?;
        let mut known = fork.first_blocks();
        if known < fork.blocks && fork.first.len() == RUNS && id != EXTENTS_ID {
            self.overflowing(id, which, &mut known, fork.blocks, &mut stream)?;
        }
        if known < fork.blocks || fork.blocks * block_size < fork.size_bytes {
            return refused("a file has fewer blocks than it says");
        }
        Ok(stream)
    }

    fn overflowing(
        &self,
        id: u32,
        which: Which,
        known: &mut u64,
        blocks: u64,
        stream: &mut Stream,
    ) -> Result<(), Trouble> {
        let tree = self.overflow_tree()?;
        let wanted = (id, which as u8, u32::try_from(*known).unwrap_or(u32::MAX));
        let place = self.seek(&tree, &|key| extent_key(key).map(|key| key.cmp(&wanted)))?;
        self.each(&tree, place, &mut |_, record| {
            let Some((file, fork, start)) = extent_key(record.key) else {
                return refused("a record of its overflow tree is damaged");
            };
            if (file, fork) != (id, which as u8) || *known >= blocks {
                return Ok(false);
            }
            let found = Fields(record.data()).bytes(0, RUNS * 8).map(runs);
            let found = found.unwrap_or_default();
            if u64::from(start) < *known {
                return Ok(true);
            }
            if u64::from(start) != *known || found.is_empty() {
                return refused("a file has a gap between its blocks");
            }
            stream.push(&found, self.header.block_size, self.header.blocks)?;
            *known += found.iter().map(|run| u64::from(run.count)).sum::<u64>();
            Ok(true)
        })
    }

    fn overflow_tree(&self) -> Result<Rc<Btree>, Trouble> {
        if let Some(tree) = &*self.overflow.borrow() {
            return Ok(Rc::clone(tree));
        }
        let stream = self.stream(&self.header.extents, EXTENTS_ID, Which::Data)?;
        let tree = Rc::new(Btree::open(&self.source, stream)?);
        *self.overflow.borrow_mut() = Some(Rc::clone(&tree));
        Ok(tree)
    }

    /// The last record that is not greater than what is looked for, or the first one of all. `compare` tells how a
    /// key stands to it; `None` is a damaged key.
    pub fn seek(
        &self,
        tree: &Btree,
        compare: &dyn Fn(&[u8]) -> Option<Ordering>,
    ) -> Result<Place, Trouble> {
        let mut number = tree.root;
        let mut height = tree.depth;
        loop {
            let node = self.node(tree, number)?;
            if node.height() != height || (height == 1) != (node.kind == Kind::Leaf) {
                return refused("one of its trees is not as deep as it says");
            }
            let index = last_not_after(&node, compare)?;
            if node.kind == Kind::Leaf {
                let index = u16::try_from(index).expect("a node has at most 32 KiB");
                return Ok(Place {
                    node: number,
                    index,
                });
            }
            let child = node.record(index).and_then(|record| tree.child(record));
            number = child.ok_or(Trouble::Refused("a node of a tree is damaged".into()))?;
            height -= 1;
        }
    }

    /// Shows the records of the leaves from `place` on, until `visit` has enough.
    pub fn each(
        &self,
        tree: &Btree,
        place: Place,
        visit: &mut dyn FnMut(Place, Record<'_>) -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        let (mut number, mut index) = (place.node, usize::from(place.index));
        loop {
            let node = self.node(tree, number)?;
            if node.kind != Kind::Leaf {
                return refused("the leaves of a tree lead to something else");
            }
            for at in index..node.count() {
                let Some(record) = node.record(at) else {
                    return refused("a record of a tree does not lie inside its node");
                };
                let place = Place {
                    node: number,
                    index: u16::try_from(at).expect("a node has at most 32 KiB"),
                };
                if !visit(place, record)? {
                    return Ok(());
                }
            }
            (number, index) = (node.next(), 0);
            if number == 0 {
                return Ok(());
            }
        }
    }
}

/// Index of the last record whose key is not greater; 0 when all are.
fn last_not_after(
    node: &Node,
    compare: &dyn Fn(&[u8]) -> Option<Ordering>,
) -> Result<usize, Trouble> {
    let (mut from, mut to) = (0, node.count());
    while from < to {
        let middle = usize::midpoint(from, to);
        match node.record(middle).and_then(|r| compare(r.key)) {
            Some(Ordering::Greater) => to = middle,
            Some(_) => from = middle + 1,
            None => return refused("a key of one of its trees is damaged"),
        }
    }
    Ok(from.saturating_sub(1))
}

/// File, fork, and where in the fork its runs begin.
fn extent_key(key: &[u8]) -> Option<(u32, u8, u32)> {
    let fields = Fields(key);
    Some((fields.be32(2)?, fields.u8(0)?, fields.be32(6)?))
}
