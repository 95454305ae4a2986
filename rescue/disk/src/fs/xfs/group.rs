//! One allocation group's headers: how much of it is free and where that is recorded.

use super::overlay::Overlay;
use super::superblock::{Superblock, Version, sum_fits};
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::source::read_vec;

/// `XFS_BTREE_MAXLEVELS`.
const LEVEL_LIMIT: u32 = 9;
const NO_BLOCK: u32 = u32::MAX;

/// A filesystem, with or without what its log holds.
pub(super) struct View<'a> {
    pub source: Overlay<'a>,
    pub superblock: Superblock,
}

/// A tree of a group: its root, and how many levels it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Root {
    pub block: u32,
    pub levels: u32,
}

/// The AGF: the group's free space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FreeSpace {
    pub by_block: Root,
    pub by_count: Root,
    pub free_blocks: u64,
    pub longest: u64,
    /// Blocks that wait for the trees' own growth.
    pub reserve: u64,
    /// Blocks of the two trees beyond their roots.
    pub tree_blocks: u64,
    reserve_first: u32,
}

impl<'a> View<'a> {
    pub fn new(source: Overlay<'a>, superblock: Superblock) -> View<'a> {
        View { source, superblock }
    }

    pub fn free_space(&self, group: u64) -> Result<FreeSpace, Trouble> {
        let superblock = &self.superblock;
        let (at, bytes) = self.header(group, 1)?;
        let fields = Fields(&bytes);
        if !fields.starts_with(0, b"XAGF") || fields.be32(4) != Some(1) {
            return refused("is not what it should be");
        }
        let blocks = superblock.group_blocks(group);
        let found = free_space(fields).ok_or(Trouble::Refused("is cut off".into()))?;
        let number = |at: usize| fields.be32(at).map(u64::from);
        if number(8) != Some(group) || number(12) != Some(blocks) {
            return refused("belongs to another group");
        }
        if superblock.version == Version::V5 {
            if fields.array(64) != Some(superblock.meta_uuid) {
                return refused("belongs to another filesystem");
            }
            self.check_sum(at, &bytes, 216)?;
        }
        let inside =
            |root: Root| u64::from(root.block) < blocks && (1..=LEVEL_LIMIT).contains(&root.levels);
        let counts = found.longest <= found.free_blocks
            && found.free_blocks + found.reserve + found.tree_blocks <= blocks;
        if !inside(found.by_block) || !inside(found.by_count) || !counts {
            return refused("contradicts itself");
        }
        Ok(found)
    }

    /// The AGFL: blocks that are neither free nor used by anything yet.
    pub fn reserve(&self, group: u64, space: &FreeSpace) -> Result<Vec<u32>, Trouble> {
        let (at, bytes) = self.header(group, 3)?;
        let fields = Fields(&bytes);
        let first = match self.superblock.version {
            Version::V4 => 0,
            Version::V5 => {
                let real = fields.starts_with(0, b"XAFL")
                    && fields.be32(4).map(u64::from) == Some(group)
                    && fields.array(8) == Some(self.superblock.meta_uuid);
                if !real {
                    return refused("is not what it should be");
                }
                self.check_sum(at, &bytes, 32)?;
                36
            }
        };
        let slots = (bytes.len() - first) / 4;
        let from = usize::try_from(space.reserve_first).unwrap_or(usize::MAX);
        let count = usize::try_from(space.reserve).unwrap_or(usize::MAX);
        if count > slots || from >= slots {
            return refused("contradicts itself");
        }
        let slot = |n: usize| {
            fields
                .be32(first + (from + n) % slots * 4)
                .unwrap_or(NO_BLOCK)
        };
        let blocks: Vec<u32> = (0..count).map(slot).collect();
        let length = self.superblock.group_blocks(group);
        if blocks.iter().any(|block| u64::from(*block) >= length) {
            return refused("contradicts itself");
        }
        Ok(blocks)
    }

    /// One of the first sectors of a group, and where it lies.
    pub fn header(&self, group: u64, sector: u64) -> Result<(u64, Vec<u8>), Trouble> {
        let size = self.superblock.sector_size;
        let at = self.superblock.group_block(group, 0) + sector * size;
        Ok((at, read_vec(&self.source, at, size)?))
    }

    /// What the log changed carries an old sum; the log's own records vouch for it.
    pub fn check_sum(&self, at: u64, bytes: &[u8], sum: usize) -> Result<(), Trouble> {
        match sum_fits(bytes, sum) || self.source.changed(at, bytes.len() as u64) {
            true => Ok(()),
            false => refused("has a wrong checksum"),
        }
    }
}

fn free_space(fields: Fields<'_>) -> Option<FreeSpace> {
    let root = |block: usize, levels: usize| {
        Some(Root {
            block: fields.be32(block)?,
            levels: fields.be32(levels)?,
        })
    };
    Some(FreeSpace {
        by_block: root(16, 28)?,
        by_count: root(20, 32)?,
        reserve_first: fields.be32(40)?,
        reserve: fields.be32(48)?.into(),
        free_blocks: fields.be32(52)?.into(),
        longest: fields.be32(56)?.into(),
        tree_blocks: fields.be32(60)?.into(),
    })
}
