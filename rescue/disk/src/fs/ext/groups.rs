//! Block groups: where their descriptors stand, what they say, and whether to believe them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::checksum::{crc16, crc32c};
use super::features;
use super::overlay::Overlay;
use super::superblock::{Checksums, Superblock};
use crate::fields::Fields;
use crate::fs::tree::TreeError;
use crate::source::{ReadError, read_vec};

/// The filesystem as one source shows it: the disk itself, or the disk under its replayed journal.
pub(super) struct View<'a> {
    pub source: Overlay<'a>,
    pub superblock: Superblock,
    /// How many more bytes may be read on the way to files: the size of the filesystem and something, enough for
    /// all its inodes and directories many times over, while trees made to be endless come to an end.
    budget: Cell<u64>,
    /// The descriptor blocks read last, those that could not be read too: they are not touched for each group.
    descriptors: RefCell<VecDeque<(u64, Option<Vec<u8>>)>>,
}

/// Descriptor blocks that are kept: one, and its backups.
const KEPT: usize = 4;

/// A group descriptor whose block bitmap lies inside the filesystem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Descriptor {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
    /// False when an address of the inodes is impossible; the bitmap of blocks may still be right.
    pub inodes_possible: bool,
    sum_fits: bool,
    /// `None` in a backup, which is not kept up to date.
    pub free_clusters: Option<u64>,
    /// Inodes at the end of the table that were never used.
    pub unused_inodes: u64,
    /// The bitmap was never written: everything is free but the filesystem's own blocks. In a backup: it was not when
    /// the filesystem was made.
    pub never_written: bool,
    /// As far as the descriptor has room for it: all of it, or the low 16 bits.
    bitmap_sum: Sum,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sum {
    None,
    Low(u16),
    Full(u32),
}

/// Why nothing about a group is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doubt {
    Unreadable,
    Descriptor,
    Bitmap,
    /// Another group's tables may lie in it, and which is not known.
    Neighbour,
}

/// Bad places and pointers past the end are a doubt about the structure; a disk that is gone is an error.
pub(super) fn tolerate<T>(result: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Superblock {
    pub fn group_start(&self, group: u64) -> u64 {
        self.first_data_block + group * self.blocks_per_group
    }

    /// Blocks in a group; the last one may be short.
    pub fn group_blocks(&self, group: u64) -> u64 {
        self.blocks_per_group
            .min(self.blocks - self.group_start(group))
    }

    /// With `sparse_super` only groups 0, 1 and the powers of 3, 5 and 7 carry a copy of the superblock.
    pub fn has_super(&self, group: u64) -> bool {
        let power = |base: u64| {
            let mut at = base;
            while at < group {
                at *= base;
            }
            at == group
        };
        if group == 0 {
            true
        } else if self.has(features::SPARSE_SUPER2) {
            self.backup_groups.contains(&group)
        } else {
            group == 1 || !self.has(features::SPARSE_SUPER) || [3, 5, 7].into_iter().any(power)
        }
    }

    pub fn descriptors_per_block(&self) -> u64 {
        self.block_size / self.descriptor_size
    }

    /// The block of descriptors with this index, behind the superblock at `copy` unless it lies among its groups.
    fn descriptor_block(&self, index: u64, copy: u64) -> u64 {
        if !self.spread(index) {
            return copy + 1 + index;
        }
        let group = index * self.descriptors_per_block();
        self.base(group) + u64::from(self.has_super(group))
    }

    /// Where the backups of a block of descriptors stand: behind backups of the superblock, or with `meta_bg` in the
    /// second and the last group of those it describes.
    fn descriptor_backups(&self, index: u64) -> impl Iterator<Item = u64> + '_ {
        let per_block = self.descriptors_per_block();
        let first = index * per_block;
        let (from, groups) = match self.spread(index) {
            true => (first, [1, per_block - 1]),
            // Which groups have one depends on features; the first two that do are asked.
            false => (
                0,
                [self.super_after(0), self.super_after(self.super_after(0))],
            ),
        };
        groups.into_iter().filter_map(move |group| {
            let group = from + group;
            let behind = match self.spread(index) {
                true => u64::from(self.has_super(group)),
                false => 1 + index,
            };
            (group > from && group < self.groups).then(|| self.base(group) + behind)
        })
    }

    /// The next group that carries a copy of the superblock; the number of groups where there is none near.
    fn super_after(&self, group: u64) -> u64 {
        let near = group.saturating_add(64).min(self.groups);
        let mut later = group.saturating_add(1)..near;
        later
            .find(|group| self.has_super(*group))
            .unwrap_or(self.groups)
    }

    /// Where a group's copy of the superblock would stand: 1 KiB blocks begin behind the boot block even where
    /// the first group is counted from block 0 (bigalloc).
    fn base(&self, group: u64) -> u64 {
        match self.group_start(group) {
            0 if self.block_size == 1024 => 1,
            start => start,
        }
    }

    /// With `meta_bg` a block of descriptors stands among the groups it describes.
    fn spread(&self, index: u64) -> bool {
        self.has(features::META_BG) && index >= self.first_meta_group
    }

    /// As [`Superblock::base_blocks`], without the room for more descriptors.
    pub fn copy_blocks(&self, group: u64) -> (u64, u64) {
        let (first, count) = self.base_blocks(group);
        let spread = self.spread(group / self.descriptors_per_block());
        let room = if spread || count == 0 {
            0
        } else {
            self.reserved_gdt_blocks
        };
        (first, count.saturating_sub(room))
    }

    /// The blocks at the beginning of a group that hold superblock, descriptors and room for more of them:
    /// first block and count. As `ext4_num_base_meta_clusters` in the kernel counts them.
    pub fn base_blocks(&self, group: u64) -> (u64, u64) {
        let per_block = self.descriptors_per_block();
        let copy = u64::from(self.has_super(group));
        let descriptors = if self.spread(group / per_block) {
            let at = group % per_block;
            u64::from(at == 0 || at == 1 || at == per_block - 1)
        } else if copy == 1 {
            let all = self.groups.div_ceil(per_block);
            let here = if self.has(features::META_BG) {
                all.min(self.first_meta_group)
            } else {
                all
            };
            here + self.reserved_gdt_blocks
        } else {
            0
        };
        (self.base(group), copy + descriptors)
    }
}

impl<'a> View<'a> {
    pub fn new(source: Overlay<'a>, superblock: Superblock) -> View<'a> {
        View {
            budget: Cell::new(superblock.size_bytes().saturating_add(64 << 20)),
            source,
            superblock,
            descriptors: RefCell::default(),
        }
    }

    /// Counts a read on the way to a file.
    pub fn spend(&self, bytes: u64) -> Result<(), TreeError> {
        let left = self.budget.get().checked_sub(bytes);
        self.budget
            .set(left.ok_or(TreeError::Damaged("its files lead in circles"))?);
        Ok(())
    }

    pub fn block(&self, block: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let size = self.superblock.block_size;
        match block.checked_mul(size) {
            Some(at) => tolerate(read_vec(&self.source, at, size)),
            None => Ok(None),
        }
    }

    /// `group` is below the number of groups.
    pub fn descriptor(&self, group: u64) -> Result<Result<Descriptor, Doubt>, ReadError> {
        let index = group / self.superblock.descriptors_per_block();
        let place = self
            .superblock
            .descriptor_block(index, self.superblock.copy_at);
        match self.descriptor_at(group, place)? {
            Some(Some(descriptor)) if descriptor.sum_fits => return Ok(Ok(descriptor)),
            Some(_) => return Ok(Err(Doubt::Descriptor)),
            None => {}
        }
        for backup in self.superblock.descriptor_backups(index) {
            if let Some(Some(descriptor)) = self.descriptor_at(group, backup)?
                && descriptor.sum_fits
            {
                return Ok(Ok(descriptor.as_backup()));
            }
        }
        Ok(Err(Doubt::Unreadable))
    }

    /// Where a group's inodes lie: by its descriptor, by the backup of it, or by a descriptor whose sum is wrong.
    pub fn inode_table(&self, group: u64) -> Result<Option<u64>, ReadError> {
        let superblock = &self.superblock;
        let index = group / superblock.descriptors_per_block();
        let own = superblock.descriptor_block(index, superblock.copy_at);
        let backup = superblock.descriptor_block(index, superblock.group_start(1));
        let possible =
            |found: Option<Option<Descriptor>>| found.flatten().filter(|d| d.inodes_possible);
        let first = possible(self.descriptor_at(group, own)?);
        if let Some(descriptor) = first.filter(|d| d.sum_fits) {
            return Ok(Some(descriptor.inode_table));
        }
        let second = possible(self.descriptor_at(group, backup)?);
        Ok(second
            .filter(|d| d.sum_fits)
            .or(first)
            .map(|d| d.inode_table))
    }

    /// The descriptor of a group in this block of descriptors; the outer `None`: it cannot be read.
    fn descriptor_at(
        &self,
        group: u64,
        place: u64,
    ) -> Result<Option<Option<Descriptor>>, ReadError> {
        let mut kept = self.descriptors.borrow_mut();
        if !kept.iter().any(|(at, _)| *at == place) {
            kept.truncate(KEPT - 1);
            kept.push_front((place, self.block(place)?));
        }
        let found = kept.iter().find(|(at, _)| *at == place);
        let Some((_, Some(block))) = found else {
            return Ok(None);
        };
        let size = self.superblock.descriptor_size;
        let at = index_of(group % self.superblock.descriptors_per_block() * size);
        Ok(Some(
            self.superblock
                .descriptor(group, &block[at..at + index_of(size)]),
        ))
    }

    /// A group's bitmap, one bit a cluster, checked against its sum.
    pub fn bitmap(&self, descriptor: &Descriptor) -> Result<Result<Vec<u8>, Doubt>, ReadError> {
        Ok(match self.bitmap_unchecked(descriptor)? {
            None => Err(Doubt::Unreadable),
            Some(bits) if self.superblock.bitmap_fits(descriptor, &bits) => Ok(bits),
            Some(_) => Err(Doubt::Bitmap),
        })
    }

    pub fn bitmap_unchecked(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, ReadError> {
        let superblock = &self.superblock;
        let length = superblock.blocks_per_group / superblock.cluster_blocks / 8;
        let at = descriptor.block_bitmap * superblock.block_size;
        tolerate(read_vec(&self.source, at, length))
    }
}

impl Descriptor {
    /// What a backup still tells: where things lie.
    fn as_backup(self) -> Descriptor {
        Descriptor {
            free_clusters: None,
            unused_inodes: 0,
            bitmap_sum: Sum::None,
            ..self
        }
    }
}

/// Offsets inside a block, which is 64 KiB at most.
pub(super) fn index_of(at: u64) -> usize {
    usize::try_from(at).expect("an offset inside a block fits")
}

impl Superblock {
    fn descriptor(&self, group: u64, bytes: &[u8]) -> Option<Descriptor> {
        let fields = Fields(bytes);
        let wide = bytes.len() >= 64;
        let split = |low: usize, high: usize| {
            let high = if wide { fields.u32(high)? } else { 0 };
            Some(u64::from(fields.u32(low)?) | u64::from(high) << 32)
        };
        let free_high = if wide { fields.u16(0x2C)? } else { 0 };
        let flags = fields.u16(0x12)?;
        let unused_high = if wide { fields.u16(0x32)? } else { 0 };
        let unused = u64::from(fields.u16(0x1C)?) | u64::from(unused_high) << 16;
        let summed = self.checksums != Checksums::None;
        let inside = |block: u64, count: u64| {
            block >= self.first_data_block
                && block > 0
                && block
                    .checked_add(count)
                    .is_some_and(|end| end <= self.blocks)
        };
        let inode_bitmap = split(0x4, 0x24)?;
        let inode_table = split(0x8, 0x28)?;
        let descriptor = Descriptor {
            block_bitmap: split(0x0, 0x20)?,
            inode_bitmap,
            inode_table,
            inodes_possible: inside(inode_bitmap, 1)
                && inside(inode_table, self.inode_table_blocks()),
            free_clusters: Some(u64::from(fields.u16(0xC)?) | u64::from(free_high) << 16),
            unused_inodes: match flags & 0x1 {
                _ if !summed => 0,
                0 => unused.min(self.inodes_per_group),
                _ => self.inodes_per_group,
            },
            sum_fits: self.descriptor_fits(group, bytes),
            // The flag means something only where a sum protects it (kernel documentation, "Block Group Descriptors").
            never_written: flags & 0x2 != 0 && summed,
            bitmap_sum: match self.checksums {
                Checksums::Metadata(_) if wide => {
                    Sum::Full(u32::from(fields.u16(0x18)?) | u32::from(fields.u16(0x38)?) << 16)
                }
                Checksums::Metadata(_) => Sum::Low(fields.u16(0x18)?),
                _ => Sum::None,
            },
        };
        inside(descriptor.block_bitmap, 1).then_some(descriptor)
    }

    fn descriptor_fits(&self, group: u64, bytes: &[u8]) -> bool {
        const SUM_AT: usize = 0x1E;
        let Some(stored) = Fields(bytes).u16(SUM_AT) else {
            return false;
        };
        let Ok(group) = u32::try_from(group) else {
            return false;
        };
        let number = group.to_le_bytes();
        let (before, after) = (&bytes[..SUM_AT], &bytes[SUM_AT + 2..]);
        match self.checksums {
            Checksums::None => true,
            Checksums::Descriptors(seed) => {
                crc16(crc16(crc16(seed, &number), before), after) == stored
            }
            Checksums::Metadata(seed) => {
                let sum = [&number[..], before, &[0, 0], after]
                    .into_iter()
                    .fold(seed, crc32c);
                sum & 0xFFFF == u32::from(stored)
            }
        }
    }

    fn bitmap_fits(&self, descriptor: &Descriptor, bits: &[u8]) -> bool {
        let Checksums::Metadata(seed) = self.checksums else {
            return true;
        };
        let sum = crc32c(seed, bits);
        match descriptor.bitmap_sum {
            Sum::None => true,
            Sum::Low(stored) => sum & 0xFFFF == u32::from(stored),
            Sum::Full(stored) => sum == stored,
        }
    }
}
