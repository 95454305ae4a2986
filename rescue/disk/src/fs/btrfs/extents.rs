//! The tree of extents: which addresses are used, held against the counts of each block group and of the superblock.

use super::chunk::Chunks;
use super::node::{Key, Owner, Pointer};
use super::volume::{ON, Volume};
use super::{Trouble, refused};
use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::gather::Gather;

const EXTENT_ITEM: u8 = 168;
/// Its key has the level of the node; its length is that of every node.
const METADATA_ITEM: u8 = 169;
const BLOCK_GROUP_ITEM: u8 = 192;
const EXTENT_TREE: u64 = 2;
const BLOCK_GROUP_TREE: u64 = 11;

/// Of an `EXTENT_ITEM`: a node of a tree.
const TREE_BLOCK: u64 = 2;

/// Addresses of the filesystem, ascending.
pub(super) struct Used {
    pub all: ExtentMap,
    /// The nodes of its trees.
    pub nodes: ExtentMap,
}

/// What the tree of extents says.
pub(super) fn used(volume: &Volume<'_>) -> Result<Used, Trouble> {
    let superblock = &volume.superblock;
    if superblock.records_unknown() {
        return refused("it has records of what is used that are unknown here");
    }
    let mut counts = Counts::of(&volume.chunks);
    let everything = || Key::FIRST..=Key::LAST;
    if superblock.has_group_tree() {
        let Some(groups) = volume.root(BLOCK_GROUP_TREE, Owner::Tree(BLOCK_GROUP_TREE))? else {
            return refused("it has no tree of block groups");
        };
        volume.items(groups, everything(), &mut |key, item| {
            if key.kind == BLOCK_GROUP_ITEM {
                counts.recorded(&volume.chunks, key, item)?;
            }
            ON
        })?;
    }
    let Some(extents) = volume.root(EXTENT_TREE, Owner::Tree(EXTENT_TREE))? else {
        return refused("it has no tree of extents");
    };
    let [mut gather, mut nodes] = [(); 2].map(|()| Gather::new(superblock.sector_size));
    let mut end = 0;
    volume.items(extents, everything(), &mut |key, item| {
        let len = match key.kind {
            EXTENT_ITEM => key.offset,
            METADATA_ITEM => superblock.node_size,
            BLOCK_GROUP_ITEM if superblock.has_group_tree() => {
                return refused("it has a block group in the wrong tree");
            }
            BLOCK_GROUP_ITEM => {
                counts.recorded(&volume.chunks, key, item)?;
                return ON;
            }
            _ => return ON,
        };
        let even = (key.object | len) % superblock.sector_size == 0;
        if key.object < end || len == 0 || !even {
            return refused("its tree of extents contradicts itself");
        }
        counts.extent(&volume.chunks, key.object, len)?;
        end = key.object + len;
        gather.push(key.object, end);
        if is_node(key, item) {
            nodes.push(key.object, end);
        }
        ON
    })?;
    counts.agree(superblock.bytes_used)?;
    let used = gather.finish();
    let roots = [superblock.root, superblock.chunk_root, extents];
    match covers(&used, roots, superblock.node_size) {
        true => Ok(Used {
            all: used,
            nodes: nodes.finish(),
        }),
        false => refused("its tree of extents does not know the roots of the trees"),
    }
}

fn covers(used: &ExtentMap, roots: [Pointer; 3], node_size: u64) -> bool {
    let mut roots = roots.iter();
    roots.all(|root| Extent::new(root.logical, node_size).is_some_and(|root| used.covers(root)))
}

fn is_node(key: Key, item: Fields<'_>) -> bool {
    key.kind == METADATA_ITEM || item.u64(16).is_some_and(|flags| flags & TREE_BLOCK != 0)
}

/// Used bytes of each chunk: as extents were met, and as its block group records them.
struct Counts {
    met: Vec<u64>,
    recorded: Vec<Option<u64>>,
}

impl Counts {
    fn of(chunks: &Chunks) -> Counts {
        Counts {
            met: vec![0; chunks.count()],
            recorded: vec![None; chunks.count()],
        }
    }

    fn extent(&mut self, chunks: &Chunks, start: u64, len: u64) -> Result<(), Trouble> {
        let Some((index, _)) = chunks.find(start, len) else {
            return refused("an extent lies in no chunk");
        };
        // It cannot overflow: extents are disjoint and lie in the chunk.
        self.met[index] += len;
        Ok(())
    }

    fn recorded(&mut self, chunks: &Chunks, key: Key, item: Fields<'_>) -> Result<(), Trouble> {
        let same = |index: &usize| {
            let chunk = chunks.iter().nth(*index);
            chunk.is_some_and(|chunk| {
                (chunk.start, chunk.len) == (key.object, key.offset)
                    && item.u64(16) == Some(chunk.flags)
            })
        };
        let index = chunks.find(key.object, key.offset).map(|(index, _)| index);
        match (index.filter(same), item.u64(0)) {
            (Some(index), Some(used)) => {
                self.recorded[index] = Some(used);
                Ok(())
            }
            _ => refused("a block group is not the chunk that it should be"),
        }
    }

    fn agree(&self, bytes_used: u64) -> Result<(), Trouble> {
        let pairs = || self.met.iter().zip(&self.recorded);
        if pairs().any(|(met, recorded)| Some(*met) != *recorded) {
            return refused("a block group counts other bytes than its extents have");
        }
        let total = self
            .met
            .iter()
            .try_fold(0u64, |sum, met| sum.checked_add(*met));
        match total == Some(bytes_used) {
            true => Ok(()),
            false => refused("its superblock counts other bytes than its extents have"),
        }
    }
}
