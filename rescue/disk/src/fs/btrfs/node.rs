//! A node of a tree: the one structure that everything in btrfs is made of.

use super::superblock::Superblock;
use super::{Trouble, refused};
use crate::fields::Fields;

const HEAD: usize = 101;
const ITEM: usize = 25;
const CHILD: usize = 33;

/// What items are sorted by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    pub object: u64,
    pub kind: u8,
    pub offset: u64,
}

impl Key {
    pub const FIRST: Key = Key::new(0, 0, 0);
    pub const LAST: Key = Key::new(u64::MAX, u8::MAX, u64::MAX);

    pub const fn new(object: u64, kind: u8, offset: u64) -> Key {
        Key {
            object,
            kind,
            offset,
        }
    }

    pub fn at(fields: Fields<'_>, at: usize) -> Option<Key> {
        Some(Key {
            object: fields.u64(at)?,
            kind: fields.u8(at + 8)?,
            offset: fields.u64(at + 9)?,
        })
    }
}

/// The tree that a node says it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    Tree(u64),
    /// A snapshot shares the nodes of what it was taken of.
    Shared,
}

impl Owner {
    pub const ROOTS: Owner = Owner::Tree(1);
    pub const CHUNKS: Owner = Owner::Tree(3);
    pub const LOG: Owner = Owner::Tree(u64::MAX - 5);
}

/// Where a node is, and what its parent knows of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pointer {
    pub logical: u64,
    pub level: u8,
    pub generation: u64,
    pub owner: Owner,
}

/// Its sum, its place and its relation to its parent were checked, and that its keys ascend.
#[derive(Debug)]
pub(super) struct Node {
    raw: Vec<u8>,
    pub level: u8,
    pub count: usize,
}

/// Why a copy of a node is not believed.
pub(super) fn parse(
    raw: Vec<u8>,
    pointer: Pointer,
    superblock: &Superblock,
) -> Result<Node, Trouble> {
    let fields = Fields(&raw);
    let is = |at: usize, number: u64| fields.u64(at) == Some(number);
    if !superblock.sums.fit(&raw) {
        return refused("a node of its trees has a wrong checksum");
    }
    let expected = fields.array(32) == Some(superblock.id)
        && is(48, pointer.logical)
        && is(80, pointer.generation)
        && fields.u8(100) == Some(pointer.level)
        && match pointer.owner {
            Owner::Tree(owner) => is(88, owner),
            Owner::Shared => true,
        };
    if !expected {
        return refused("a node of its trees is another one than its parent says");
    }
    let entry = if pointer.level == 0 { ITEM } else { CHILD };
    let count = fields.u32(96).and_then(|count| usize::try_from(count).ok());
    let room = (raw.len() - HEAD) / entry;
    let Some(count) = count.filter(|count| *count <= room) else {
        return refused("a node of its trees claims more entries than it has room for");
    };
    let level = pointer.level;
    let node = Node { raw, level, count };
    let ascending = (1..node.count).all(|n| node.key(n - 1) < node.key(n));
    if !ascending || (level > 0 && count == 0) {
        return refused("a node of its trees is out of order");
    }
    Ok(node)
}

impl Node {
    pub fn key(&self, n: usize) -> Key {
        let entry = if self.level == 0 { ITEM } else { CHILD };
        Key::at(Fields(&self.raw), HEAD + n * entry).expect("the entries lie inside the node")
    }

    /// The address and the generation of a child.
    pub fn child(&self, n: usize) -> (u64, u64) {
        let (fields, at) = (Fields(&self.raw), HEAD + n * CHILD + 17);
        fields
            .u64(at)
            .zip(fields.u64(at + 8))
            .expect("the entries lie inside the node")
    }

    /// The bytes of an item; `None` when they do not lie behind the entries of this leaf.
    pub fn item(&self, n: usize) -> Option<Fields<'_>> {
        let (fields, at) = (Fields(&self.raw), HEAD + n * ITEM + 17);
        let offset = usize::try_from(fields.u32(at)?).ok()?;
        let len = usize::try_from(fields.u32(at + 4)?).ok()?;
        let start = HEAD.checked_add(offset)?;
        let bytes = fields.bytes(start, len)?;
        (start >= HEAD + self.count * ITEM).then_some(Fields(bytes))
    }
}
