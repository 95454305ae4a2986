//! One node of a tree: keys from the front, values from the back, and a table of where they are.

use super::object::Head;
use super::{Trouble, refused};
use crate::fields::Fields;

const ROOT: u16 = 1;
const LEAF: u16 = 2;
const FIXED: u16 = 4;
/// Hashed nodes and nodes without a head, of sealed volumes.
const KNOWN: u16 = ROOT | LEAF | FIXED;
/// Where the table's area begins.
const FRONT: usize = 56;
/// What a root has at its end.
const FOOTER: usize = 40;
/// The deepest tree there can be.
const DEPTH: u16 = 12;

/// What kind of tree it is, and how long its keys and values are where they are all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    /// `o_subtype` of its nodes.
    pub subkind: u32,
    pub key: usize,
    pub value: usize,
}

impl Shape {
    pub const OMAP: Shape = Shape::fixed(0x0B, 16, 16);
    pub const OMAP_SNAPSHOTS: Shape = Shape::fixed(0x13, 8, 16);
    pub const FILE_EXTENTS: Shape = Shape::fixed(0x1F, 16, 16);
    pub const EXTENTS: Shape = Shape::fixed(0x0F, 0, 0);
    pub const FILES: Shape = Shape::fixed(0x0E, 0, 0);
    pub const SNAPSHOTS: Shape = Shape::fixed(0x10, 0, 0);

    const fn fixed(subkind: u32, key: usize, value: usize) -> Shape {
        Shape {
            subkind,
            key,
            value,
        }
    }
}

/// A node whose checksum is right, over its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    fields: Fields<'a>,
    shape: Shape,
    flags: u16,
    pub level: u16,
    pub count: usize,
    keys: usize,
    /// Where the values end.
    end: usize,
}

impl<'a> Node<'a> {
    /// `oid` is how the node was asked for: its place, or its number in an object map.
    pub fn checked(bytes: &'a [u8], oid: u64, shape: Shape) -> Result<Node<'a>, Trouble> {
        let Some(head) = Head::checked(bytes) else {
            return refused("the checksum of a node of its trees is wrong");
        };
        let node = matches!(head.kind, 2 | 3) && head.oid == oid && head.subkind == shape.subkind;
        match Node::parse(bytes, shape).filter(|_| node) {
            Some(node) => Ok(node),
            None => refused("a node of its trees is something else"),
        }
    }

    /// As [`Node::checked`] of bytes that were checked before.
    pub fn parse(bytes: &'a [u8], shape: Shape) -> Option<Node<'a>> {
        let fields = Fields(bytes);
        let (flags, level) = (fields.u16(32)?, fields.u16(34)?);
        let table = usize::from(fields.u16(42)?);
        let footer = if flags & ROOT != 0 { FOOTER } else { 0 };
        let node = Node {
            fields,
            shape,
            flags,
            level,
            count: usize::try_from(fields.u32(36)?).ok()?,
            keys: FRONT + table,
            end: bytes.len().checked_sub(footer)?,
        };
        let right = flags & !KNOWN == 0
            && fields.u16(40)? == 0
            && (flags & FIXED != 0) == (shape.key != 0)
            && (flags & LEAF != 0) == (level == 0)
            && level < DEPTH
            && node.count.checked_mul(node.entry())? <= table;
        right.then_some(node)
    }

    pub fn is_leaf(&self) -> bool {
        self.flags & LEAF != 0
    }

    fn entry(&self) -> usize {
        if self.shape.key != 0 { 4 } else { 8 }
    }

    /// The key and the value; the value is empty where a record has none.
    pub fn record(&self, nth: usize) -> Result<(&'a [u8], &'a [u8]), Trouble> {
        match self.bytes(nth) {
            Some(record) if nth < self.count => Ok(record),
            _ => refused("a record of its trees is cut off"),
        }
    }

    fn bytes(&self, nth: usize) -> Option<(&'a [u8], &'a [u8])> {
        let at = FRONT + nth.checked_mul(self.entry())?;
        let number = |at: usize| self.fields.u16(at).map(usize::from);
        let (key, key_len, value, value_len) = match self.shape.key {
            0 => (
                number(at)?,
                number(at + 2)?,
                number(at + 4)?,
                number(at + 6)?,
            ),
            key_len if self.is_leaf() => (number(at)?, key_len, number(at + 2)?, self.shape.value),
            key_len => (number(at)?, key_len, number(at + 2)?, 8),
        };
        let key = self.fields.bytes(self.keys + key, key_len)?;
        if value == 0xFFFF {
            return Some((key, &[]));
        }
        let start = self.end.checked_sub(value)?;
        let value = self.fields.bytes(start, value_len)?;
        (start >= self.keys && start + value_len <= self.end).then_some((key, value))
    }

    /// Of a node above others, what the value leads to.
    pub fn child(&self, nth: usize) -> Result<u64, Trouble> {
        match Fields(self.record(nth)?.1).u64(0) {
            Some(child) if !self.is_leaf() => Ok(child),
            _ => refused("a record of its trees is cut off"),
        }
    }
}
