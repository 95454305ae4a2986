//! The two free-space trees of an allocation group: the same extents, by block and by length.

use super::group::{FreeSpace, Root, View};
use super::superblock::Version;
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::source::{ReadError, read_vec};

/// Most free extents of one group kept: 4 MiB of them. A group in more pieces is taken whole.
const LIMIT: usize = 1 << 19;

/// Free blocks of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub start: u32,
    pub count: u32,
}

impl Run {
    pub fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.count)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Block,
    Count,
}

impl View<'_> {
    /// What the group's records prove free: both trees, the counts beside them and the reserve tell the same. One of
    /// the trees, or the reserve, may be unreadable: the counts still hold.
    pub fn free(&self, group: u64, space: &FreeSpace) -> Result<Vec<Run>, Trouble> {
        let runs = match self.listed(group, space.by_block) {
            Err(Trouble::Read(ReadError::Unreadable(_))) => self.listed_by_count(group, space)?,
            listed => listed?,
        };
        let mut same = Same::default();
        runs.iter().for_each(|run| same.add(*run));
        if same.blocks != space.free_blocks || same.longest != space.longest {
            return refused(format!(
                "counts {} free blocks, {} in one piece; its tree has {} and {}",
                space.free_blocks, space.longest, same.blocks, same.longest
            ));
        }
        let mut other = Same::default();
        let walked = self.walk(group, space.by_count, Order::Count, &mut |run| {
            other.add(run);
            Ok(())
        });
        match walked {
            Err(Trouble::Read(ReadError::Unreadable(_))) => {}
            walked => {
                walked?;
                if same != other {
                    return refused("has two trees of free space that differ");
                }
            }
        }
        let reserve = match self.reserve(group, space) {
            Err(Trouble::Read(ReadError::Unreadable(_))) => Vec::new(),
            reserve => reserve?,
        };
        for block in reserve {
            let after = runs.partition_point(|run| run.end() <= u64::from(block));
            if runs.get(after).is_some_and(|run| run.start <= block) {
                return refused("calls blocks of its reserve free");
            }
        }
        Ok(runs)
    }

    /// The records of the tree by length, sorted by block.
    fn listed_by_count(&self, group: u64, space: &FreeSpace) -> Result<Vec<Run>, Trouble> {
        let mut runs: Vec<Run> = Vec::new();
        self.walk(group, space.by_count, Order::Count, &mut |run| {
            if runs.len() == LIMIT {
                return refused("is in more pieces than are kept in memory");
            }
            runs.push(run);
            Ok(())
        })?;
        runs.sort_unstable_by_key(|run| run.start);
        match runs
            .windows(2)
            .all(|pair| pair[0].end() < u64::from(pair[1].start))
        {
            true => Ok(runs),
            false => refused(TANGLED),
        }
    }

    /// The records of the tree by block, ascending and not touching.
    pub fn listed(&self, group: u64, root: Root) -> Result<Vec<Run>, Trouble> {
        let mut runs: Vec<Run> = Vec::new();
        self.walk(group, root, Order::Block, &mut |run| {
            if runs
                .last()
                .is_some_and(|last| last.end() >= u64::from(run.start))
            {
                return refused("has a tree of free space that is out of order");
            }
            if runs.len() == LIMIT {
                return refused("is in more pieces than are kept in memory");
            }
            runs.push(run);
            Ok(())
        })?;
        Ok(runs)
    }

    fn walk(
        &self,
        group: u64,
        root: Root,
        order: Order,
        visit: &mut dyn FnMut(Run) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut walk = Walk {
            view: self,
            group,
            order,
            left: self.superblock.group_blocks(group),
            visit,
        };
        walk.node(root.block, root.levels - 1, true)
    }
}

struct Walk<'a> {
    view: &'a View<'a>,
    group: u64,
    order: Order,
    /// Blocks that may still be read: a tree has no more than its group.
    left: u64,
    visit: &'a mut dyn FnMut(Run) -> Result<(), Trouble>,
}

const TANGLED: &str = "has a tree of free space that is damaged";

impl Walk<'_> {
    /// `level` counts from the leaves; a root's is at most 8, so the recursion ends.
    fn node(&mut self, block: u32, level: u32, is_root: bool) -> Result<(), Trouble> {
        let superblock = &self.view.superblock;
        let blocks = superblock.group_blocks(self.group);
        if self.left == 0 || u64::from(block) >= blocks {
            return refused(TANGLED);
        }
        self.left -= 1;
        let at = superblock.group_block(self.group, block.into());
        let bytes = read_vec(&self.view.source, at, superblock.block_size)?;
        let fields = Fields(&bytes);
        let head = self.head(fields, at)?;
        let count = fields.be16(6).map_or(0, usize::from);
        let entry = if level == 0 { 8 } else { 12 };
        let room = (bytes.len() - head) / entry;
        let empty = count == 0 && !(is_root && level == 0);
        if fields.be16(4).map(u32::from) != Some(level) || count > room || empty {
            return refused(TANGLED);
        }
        if self.view.superblock.version == Version::V5 {
            self.view.check_sum(at, &bytes, 52)?;
        }
        for n in 0..count {
            let number = |at: usize| fields.be32(at).ok_or(Trouble::Refused(TANGLED.into()));
            if level > 0 {
                self.node(number(head + room * 8 + n * 4)?, level - 1, false)?;
                continue;
            }
            let run = Run {
                start: number(head + n * 8)?,
                count: number(head + n * 8 + 4)?,
            };
            if run.count == 0 || run.end() > blocks {
                return refused(TANGLED);
            }
            (self.visit)(run)?;
        }
        Ok(())
    }

    /// Length of the head of a block, which says where it belongs.
    fn head(&self, fields: Fields<'_>, at: u64) -> Result<usize, Trouble> {
        let superblock = &self.view.superblock;
        let (head, magic): (usize, &[u8]) = match (superblock.version, self.order) {
            (Version::V4, Order::Block) => (16, b"ABTB"),
            (Version::V4, Order::Count) => (16, b"ABTC"),
            (Version::V5, Order::Block) => (56, b"AB3B"),
            (Version::V5, Order::Count) => (56, b"AB3C"),
        };
        let here = superblock.version == Version::V4
            || fields.be64(16) == Some(at / 512)
                && fields.array(32) == Some(superblock.meta_uuid)
                && fields.be32(48).map(u64::from) == Some(self.group);
        match fields.starts_with(0, magic) && here {
            true => Ok(head),
            false => refused(TANGLED),
        }
    }
}

/// What two lists of the same runs have in common, whatever their order.
#[derive(Default, PartialEq, Eq, Debug)]
struct Same {
    blocks: u64,
    longest: u64,
    count: u64,
    mixed: u64,
}

impl Same {
    fn add(&mut self, run: Run) {
        let one = u64::from(run.start) << 32 | u64::from(run.count);
        self.blocks += u64::from(run.count);
        self.longest = self.longest.max(run.count.into());
        self.count += 1;
        let turned = (one ^ (one >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.mixed = self.mixed.wrapping_add(turned ^ (turned >> 32));
    }
}
