//! The nodes of a B-tree: records, found by offsets at the end.

use super::fork::Stream;
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::source::BlockSource;

const DESCRIPTOR: usize = 14;
/// `kBTVariableIndexKeysMask`: keys of index nodes are as long as they say.
const VARIABLE_KEYS: u32 = 1 << 2;
/// Deeper than any tree of 2^32 nodes.
const DEPTH_LIMIT: u16 = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Index,
    Leaf,
}

/// A tree in a fork, by its header node.
#[derive(Debug)]
pub(super) struct Btree {
    pub stream: Stream,
    pub node_size: u64,
    pub root: u32,
    pub depth: u16,
    nodes: u64,
    /// How long keys of index nodes are, where not as long as they say.
    key_len: Option<usize>,
    /// Names are compared as they are (HFSX), not by their letters alone.
    pub binary: bool,
}

impl Btree {
    pub fn open(source: &dyn BlockSource, stream: Stream) -> Result<Btree, Trouble> {
        let mut head = vec![0; 256];
        stream.read_at(source, 0, &mut head)?;
        let fields = Fields(&head);
        let read = || {
            let node_size = u64::from(fields.be16(32)?);
            let fixed = fields.be32(52)? & VARIABLE_KEYS == 0;
            let key_len = usize::from(fields.be16(34)?);
            Some(Btree {
                node_size,
                root: fields.be32(16)?,
                depth: fields.be16(14)?,
                nodes: stream.end().checked_div(node_size)?,
                key_len: fixed.then_some(key_len),
                binary: fields.u8(51)? == 0xBC,
                stream: Stream::new(0),
            })
        };
        let sensible = |tree: &Btree| {
            tree.node_size.is_power_of_two()
                && (512..=32 << 10).contains(&tree.node_size)
                && tree.depth <= DEPTH_LIMIT
                && head[8] == 1
        };
        match read().filter(sensible) {
            Some(tree) => Ok(Btree { stream, ..tree }),
            None => refused("the head of one of its trees is damaged"),
        }
    }

    pub fn node(&self, source: &dyn BlockSource, number: u32) -> Result<Node, Trouble> {
        if u64::from(number) >= self.nodes {
            return refused("one of its trees leads out of itself");
        }
        let size = usize::try_from(self.node_size).expect("32 KiB at most");
        let mut bytes = vec![0; size];
        self.stream
            .read_at(source, u64::from(number) * self.node_size, &mut bytes)?;
        let kind = match bytes[8] {
            0xFF => Kind::Leaf,
            0 => Kind::Index,
            _ => return refused("one of its trees has a node of the wrong kind"),
        };
        let node = Node { bytes, kind };
        if node.count() > (size - DESCRIPTOR) / 4 {
            return refused("a node of one of its trees is damaged");
        }
        Ok(node)
    }

    /// The child that a record of an index node leads to.
    pub fn child(&self, record: Record<'_>) -> Option<u32> {
        let key = self.key_len.unwrap_or(record.key.len());
        Fields(record.bytes).be32(2 + key)
    }
}

#[derive(Debug)]
pub(super) struct Node {
    bytes: Vec<u8>,
    pub kind: Kind,
}

/// A record of a node: its key without the length before it, and all of its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub key: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// What stands behind the key.
    pub fn data(self) -> &'a [u8] {
        self.bytes.get(2 + self.key.len()..).unwrap_or_default()
    }
}

impl Node {
    pub fn next(&self) -> u32 {
        Fields(&self.bytes).be32(0).unwrap_or(0)
    }

    pub fn height(&self) -> u16 {
        self.bytes[9].into()
    }

    pub fn count(&self) -> usize {
        Fields(&self.bytes).be16(10).unwrap_or(0).into()
    }

    /// `None` when it does not lie inside the node.
    pub fn record(&self, index: usize) -> Option<Record<'_>> {
        let fields = Fields(&self.bytes);
        // Offsets grow from the end towards the middle; one more than there are records ends the last.
        let slot = |n: usize| {
            let at = self.bytes.len().checked_sub(2 * (n + 1))?;
            Some(usize::from(fields.be16(at)?))
        };
        let (from, to) = (slot(index)?, slot(index.checked_add(1)?)?);
        if index >= self.count() || from < DESCRIPTOR {
            return None;
        }
        let bytes = self.bytes.get(from..to)?;
        let key_len = usize::from(Fields(bytes).be16(0)?);
        let key = Fields(bytes).bytes(2, key_len)?;
        Some(Record { key, bytes })
    }
}
