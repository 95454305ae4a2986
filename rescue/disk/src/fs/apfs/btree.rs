//! Trees whose nodes are named by their place, walked as a whole.

use super::container::Container;
use super::node::{Node, Shape};
use super::{Trouble, refused};
use crate::fields::Fields;

/// Takes the place of every node, and the key and value of every record.
pub(super) trait Visitor {
    fn node(&mut self, place: u64) -> Result<(), Trouble>;
    fn record(&mut self, key: Fields<'_>, value: Fields<'_>) -> Result<(), Trouble>;
}

pub(super) fn walk(
    container: &Container<'_>,
    root: u64,
    shape: Shape,
    visitor: &mut dyn Visitor,
) -> Result<(), Trouble> {
    // Nodes to come, and the level that each must have.
    let mut pending = vec![(root, None)];
    while let Some((place, level)) = pending.pop() {
        visitor.node(place)?;
        let bytes = container.block(place)?;
        let node = Node::checked(&bytes, place, shape)?;
        if level.is_some_and(|level| level != node.level) {
            return refused("one of its trees leads back into itself");
        }
        if node.is_leaf() {
            for nth in 0..node.count {
                let (key, value) = node.record(nth)?;
                visitor.record(Fields(key), Fields(value))?;
            }
            continue;
        }
        // In the order of the disk, so that a disk that turns is not sent to and fro.
        let mut children = (0..node.count)
            .map(|nth| Ok((node.child(nth)?, node.level.checked_sub(1))))
            .collect::<Result<Vec<_>, Trouble>>()?;
        children.sort_unstable();
        pending.extend(children.into_iter().rev());
    }
    Ok(())
}
