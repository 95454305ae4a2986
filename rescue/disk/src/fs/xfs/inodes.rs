//! Where a group keeps its inodes, by its tree of them: what has to be read before any file can be.

use super::group::{Root, View};
use super::superblock::Version;
use super::{Trouble, refused};
use crate::extent::Extent;
use crate::fields::Fields;
use crate::source::read_vec;

/// Inodes are made in chunks of this many (`XFS_INODES_PER_CHUNK`).
const CHUNK: u64 = 64;
/// The AGI is the third sector of a group.
const HEADER: u64 = 2;
/// Most chunks of one group that are listed: one million inodes.
const LIMIT: usize = 1 << 14;
const LEVEL_LIMIT: u32 = 9;
const TANGLED: &str = "has a tree of inodes that is damaged";

impl View<'_> {
    /// The chunks of inodes of a group. Nothing is proven by it: it says only what to read first.
    pub fn inodes(&self, group: u64) -> Result<Vec<Extent>, Trouble> {
        let (_, bytes) = self.header(group, HEADER)?;
        let fields = Fields(&bytes);
        let root = fields.be32(20).zip(fields.be32(24));
        let root = root.map(|(block, levels)| Root { block, levels });
        let Some(root) = root.filter(|root| (1..=LEVEL_LIMIT).contains(&root.levels)) else {
            return refused(TANGLED);
        };
        if !fields.starts_with(0, b"XAGI") {
            return refused(TANGLED);
        }
        let mut chunks = Vec::new();
        let mut left = self.superblock.group_blocks(group).min(1 << 12);
        self.inode_node(group, root.block, root.levels - 1, &mut left, &mut chunks)?;
        Ok(chunks)
    }

    /// `level` counts from the leaves and falls with each step.
    fn inode_node(
        &self,
        group: u64,
        block: u32,
        level: u32,
        left: &mut u64,
        chunks: &mut Vec<Extent>,
    ) -> Result<(), Trouble> {
        let superblock = &self.superblock;
        if u64::from(block) >= superblock.group_blocks(group) || *left == 0 {
            return refused(TANGLED);
        }
        *left -= 1;
        let at = superblock.group_block(group, block.into());
        let bytes = read_vec(&self.source, at, superblock.block_size)?;
        let fields = Fields(&bytes);
        let (head, magic): (usize, &[u8]) = match superblock.version {
            Version::V4 => (16, b"IABT"),
            Version::V5 => (56, b"IAB3"),
        };
        let entry = if level == 0 { 16 } else { 8 };
        let room = (bytes.len() - head) / entry;
        let count = fields.be16(6).map_or(0, usize::from);
        let known = fields.starts_with(0, magic) && fields.be16(4).map(u32::from) == Some(level);
        if !known || count > room {
            return refused(TANGLED);
        }
        for n in 0..count {
            let number = |at: usize| fields.be32(at).ok_or(Trouble::Refused(TANGLED.into()));
            if level > 0 {
                let below = number(head + room * 4 + n * 4)?;
                self.inode_node(group, below, level - 1, left, chunks)?;
                continue;
            }
            if chunks.len() >= LIMIT {
                return Ok(());
            }
            let first = u64::from(number(head + n * entry)?) >> superblock.inodes_per_block_log;
            if first < superblock.group_blocks(group) {
                let start = superblock.group_block(group, first);
                chunks.extend(Extent::new(start, CHUNK * superblock.inode_size));
            }
        }
        Ok(())
    }
}
