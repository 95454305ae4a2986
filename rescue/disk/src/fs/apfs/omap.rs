//! Object maps: where an object with a number of its own is, in each version of it that is kept.

use super::container::Container;
use super::node::{Node, Shape};
use super::object::Kind;
use super::{Trouble, refused};
use crate::fields::Fields;

/// `OMAP_VAL_DELETED`: the number leads nowhere any more.
const DELETED: u32 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Omap {
    /// Where its tree is.
    pub tree: u64,
    /// Where the tree of its snapshots is.
    pub snapshots: Option<u64>,
}

/// What a map says of one version of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mapped {
    pub place: u64,
    pub size: u64,
}

impl Omap {
    pub fn read(container: &Container<'_>, place: u64) -> Result<Omap, Trouble> {
        let bytes = container.physical(place, Kind::Omap)?;
        let fields = Fields(&bytes);
        match (fields.u64(48), fields.u64(56)) {
            (Some(tree), Some(snapshots)) => Ok(Omap {
                tree,
                snapshots: (snapshots != 0).then_some(snapshots),
            }),
            _ => refused("an object map is cut off"),
        }
    }

    /// The newest version of an object that is not newer than a transaction.
    pub fn find(
        &self,
        container: &Container<'_>,
        oid: u64,
        xid: u64,
    ) -> Result<Option<Mapped>, Trouble> {
        let (mut place, mut level) = (self.tree, None);
        loop {
            let bytes = container.remembered(place, &mut |bytes| {
                Node::checked(bytes, place, Shape::OMAP).map(|_| ())
            })?;
            let Some(node) = Node::parse(&bytes, Shape::OMAP) else {
                return refused("a node of an object map is something else");
            };
            if level.is_some_and(|level| level != node.level) {
                return refused("an object map leads back into itself");
            }
            let Some(nth) = last_not_above(&node, (oid, xid))? else {
                return Ok(None);
            };
            if node.is_leaf() {
                let (key, value) = node.record(nth)?;
                let found = Fields(key).u64(0) == Some(oid);
                return Ok(mapped(Fields(value)).filter(|_| found));
            }
            (place, level) = (node.child(nth)?, node.level.checked_sub(1));
        }
    }
}

/// `None` for a number that was deleted.
pub(super) fn mapped(value: Fields<'_>) -> Option<Mapped> {
    if value.u32(0)? & DELETED != 0 {
        return None;
    }
    Some(Mapped {
        place: value.u64(8)?,
        size: u64::from(value.u32(4)?),
    })
}

/// The last record whose key is not above the one wanted.
fn last_not_above(node: &Node<'_>, wanted: (u64, u64)) -> Result<Option<usize>, Trouble> {
    let (mut from, mut to) = (0, node.count);
    while from < to {
        let middle = from + (to - from) / 2;
        let key = Fields(node.record(middle)?.0);
        let (Some(oid), Some(xid)) = (key.u64(0), key.u64(8)) else {
            return refused("a key of an object map is cut off");
        };
        match (oid, xid) <= wanted {
            true => from = middle + 1,
            false => to = middle,
        }
    }
    Ok(from.checked_sub(1))
}
