//! The filesystem's own blocks: superblocks, descriptors, bitmaps and inode tables, wherever they lie.

use super::features;
use super::groups::View;
use super::superblock::Superblock;
use crate::extent::{Extent, ExtentMap};
use crate::fs::bits::Bits;
use crate::source::ReadError;

/// Most extents of tables kept in memory (8 MiB): 8 Mi groups as mke2fs lays them out.
const TABLE_LIMIT: usize = 1 << 19;

/// Most copies of superblock and descriptors that count as metadata.
const COPY_LIMIT: usize = 1 << 16;

/// The filesystem's own blocks, wherever they lie.
pub(super) struct Tables {
    own: ExtentMap,
    /// Of the tables of inodes, what was never used.
    unused: ExtentMap,
    /// Used whatever the bitmaps say.
    more: ExtentMap,
    /// False where a descriptor was not believed: its tables may be anywhere.
    pub complete: bool,
}

impl Tables {
    /// `None`: too many pieces.
    pub fn read(view: &View<'_>, more: Vec<Extent>) -> Result<Option<Tables>, ReadError> {
        let superblock = &view.superblock;
        let size = superblock.block_size;
        let mut extents: Vec<Extent> = Vec::new();
        let mut unused = ExtentMap::new();
        let mut complete = true;
        // Groups laid out together have their bitmaps side by side and their inode tables too: three pieces that grow.
        let mut growing: [Option<Extent>; 3] = [None; 3];
        for group in 0..superblock.groups {
            let found = view.descriptor(group)?.ok();
            let Some(descriptor) = found.filter(|d| d.inodes_possible) else {
                complete = false;
                continue;
            };
            if unused.count() < TABLE_LIMIT {
                let used = superblock.inodes_per_group - descriptor.unused_inodes;
                let used = (used * superblock.inode_size).div_ceil(size);
                let table = descriptor.inode_table;
                let end = table + superblock.inode_table_blocks();
                let never = Extent::between((table + used) * size, end * size);
                never.into_iter().for_each(|never| unused.insert(never));
            }
            let own = [
                (descriptor.block_bitmap, 1),
                (descriptor.inode_bitmap, 1),
                (descriptor.inode_table, superblock.inode_table_blocks()),
            ];
            for (piece, (block, count)) in growing.iter_mut().zip(own) {
                let next = Extent::new(block * size, count * size);
                *piece = match (*piece, next) {
                    (Some(done), Some(next)) if done.end() == next.start() => {
                        Extent::between(done.start(), next.end())
                    }
                    (done, next) => {
                        extents.extend(done);
                        next
                    }
                };
            }
            if extents.len() > TABLE_LIMIT {
                return Ok(None);
            }
        }
        extents.extend(growing.into_iter().flatten());
        if superblock.has(features::MMP) && superblock.mmp_block < superblock.blocks {
            extents.extend(Extent::new(superblock.mmp_block * size, size));
        }
        Ok(Some(Tables {
            own: ExtentMap::from(extents),
            unused,
            more: ExtentMap::from(more),
            complete,
        }))
    }

    /// What has to be read to know anything: superblocks, descriptors, bitmaps, inodes that were ever used, and the
    /// journal where it has to be replayed.
    pub fn metadata(&self, superblock: &Superblock) -> ExtentMap {
        let size = superblock.block_size;
        let copies = (0..superblock.groups).filter_map(|group| {
            let (first, count) = superblock.copy_blocks(group);
            Extent::new(first * size, count * size)
        });
        let copies: ExtentMap = copies.take(COPY_LIMIT).collect();
        copies
            .union(&self.own.difference(&self.unused))
            .union(&self.more)
    }

    /// Marks what the filesystem itself needs in a group, wherever that is said: its superblock and descriptors,
    /// and the tables of any group.
    pub fn mark(&self, superblock: &Superblock, group: u64, bits: &mut Bits) {
        let (first, count) = superblock.base_blocks(group);
        if count > 0 {
            let from = superblock.group_start(group);
            mark_blocks(superblock, group, from, first + count, bits);
        }
        mark_within(superblock, group, &self.own, bits);
    }

    /// Marks what is used whatever bitmaps say.
    pub fn mark_more(&self, superblock: &Superblock, group: u64, bits: &mut Bits) {
        mark_within(superblock, group, &self.more, bits);
    }
}

/// Marks the parts of these extents that lie in a group.
fn mark_within(superblock: &Superblock, group: u64, extents: &ExtentMap, bits: &mut Bits) {
    let size = superblock.block_size;
    let start = superblock.group_start(group);
    let end = start + superblock.group_blocks(group);
    if let Some(window) = Extent::between(start * size, end * size) {
        for own in extents.within(window) {
            let (from, to) = (own.start() / size, own.end().div_ceil(size));
            mark_blocks(superblock, group, from, to, bits);
        }
    }
}

/// Marks the clusters of a group that hold any of these blocks.
fn mark_blocks(superblock: &Superblock, group: u64, from: u64, to: u64, bits: &mut Bits) {
    let start = superblock.group_start(group);
    let per = superblock.cluster_blocks;
    bits.mark(
        from.saturating_sub(start) / per,
        to.saturating_sub(start).div_ceil(per),
    );
}
