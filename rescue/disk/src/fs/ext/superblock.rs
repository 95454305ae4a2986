//! The superblock: the shape of the filesystem, checked.

use super::checksum::{crc16, crc32c};
use super::features::{
    BIGALLOC, BITS64, CSUM_SEED, Feature, Features, GDT_CSUM, HAS_JOURNAL, META_BG, METADATA_CSUM,
};
use super::find::SUPERBLOCK_AT;
use crate::fields::Fields;

/// How descriptors and bitmaps are protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Checksums {
    None,
    /// `uninit_bg`: a CRC16 over each descriptor, begun with the UUID.
    Descriptors(u16),
    /// `metadata_csum`: CRC32C over everything, begun with this seed.
    Metadata(u32),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum JournalPlace {
    None,
    Inode(u64),
    /// On another device.
    External,
}

/// A superblock whose shape was checked: no division by zero, no overflow and no absurd size can come from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub block_size: u64,
    /// Blocks that share one bit of the bitmap: 1 without bigalloc.
    pub cluster_blocks: u64,
    pub blocks: u64,
    pub first_data_block: u64,
    pub blocks_per_group: u64,
    pub groups: u64,
    pub inodes: u64,
    pub inodes_per_group: u64,
    pub inode_size: u64,
    pub descriptor_size: u64,
    pub reserved_gdt_blocks: u64,
    pub first_meta_group: u64,
    pub backup_groups: [u64; 2],
    pub free_blocks: u64,
    pub state: u16,
    pub mmp_block: u64,
    pub journal: JournalPlace,
    pub checksums: Checksums,
    /// The copy of the superblock behind which the descriptors are read.
    pub copy_at: u64,
    pub features: Features,
}

impl Superblock {
    /// The text of an error says what is impossible about it.
    pub fn parse(bytes: &[u8]) -> Result<Superblock, &'static str> {
        Raw(Fields(bytes)).superblock()
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    pub fn size_bytes(&self) -> u64 {
        self.blocks * self.block_size
    }

    pub fn inode_table_blocks(&self) -> u64 {
        (self.inodes_per_group * self.inode_size).div_ceil(self.block_size)
    }

    /// True when both describe the same division into groups.
    pub fn same_shape(&self, other: &Superblock) -> bool {
        let shape = |s: &Superblock| {
            [
                s.block_size,
                s.cluster_blocks,
                s.blocks,
                s.first_data_block,
                s.blocks_per_group,
                s.inodes_per_group,
                s.inode_size,
                s.descriptor_size,
                s.reserved_gdt_blocks,
                s.first_meta_group,
                s.backup_groups[0],
                s.backup_groups[1],
            ]
        };
        shape(self) == shape(other)
            && self.checksums == other.checksums
            && self.features.lasting() == other.features.lasting()
    }
}

const SHORT: &str = "the superblock is cut off";

/// The bytes of a superblock, not yet believed.
#[derive(Clone, Copy)]
struct Raw<'a>(Fields<'a>);

impl Raw<'_> {
    fn u16(self, at: usize) -> Result<u64, &'static str> {
        self.0.u16(at).map(u64::from).ok_or(SHORT)
    }

    fn u32(self, at: usize) -> Result<u32, &'static str> {
        self.0.u32(at).ok_or(SHORT)
    }

    fn wide(self, at: usize) -> Result<u64, &'static str> {
        self.u32(at).map(u64::from)
    }

    fn superblock(self) -> Result<Superblock, &'static str> {
        let features = Features::parse(self.0).ok_or(SHORT)?;
        self.check_sum(features)?;
        let (block_size, cluster_blocks) = self.sizes(features)?;
        let bits64 = features.has(BITS64);
        let high = |at| if bits64 { self.wide(at) } else { Ok(0) };
        let blocks = self.wide(0x4)? | high(0x150)? << 32;
        if blocks.checked_mul(block_size).is_none() {
            return Err("it has more blocks than bytes can be counted");
        }
        let first_data_block = self.wide(0x14)?;
        if first_data_block > 1 || first_data_block >= blocks {
            return Err("its first block is impossible");
        }
        let blocks_per_group = self.blocks_per_group(block_size, cluster_blocks)?;
        let (inode_size, inodes_per_group) = self.inodes(block_size)?;
        let descriptor_size = self.descriptor_size(bits64)?;
        let groups = (blocks - first_data_block).div_ceil(blocks_per_group);
        let first_meta_group = self.wide(0x104)?;
        if features.has(META_BG) && first_meta_group > groups.div_ceil(block_size / descriptor_size)
        {
            return Err("its first meta group is impossible");
        }
        let reserved_gdt_blocks = self.u16(0xCE)?;
        if reserved_gdt_blocks > block_size / 4 {
            return Err("it reserves more descriptor blocks than it can");
        }
        Ok(Superblock {
            block_size,
            cluster_blocks,
            blocks,
            first_data_block,
            blocks_per_group,
            groups,
            inodes: self.wide(0x0)?,
            inodes_per_group,
            inode_size,
            descriptor_size,
            reserved_gdt_blocks,
            first_meta_group,
            backup_groups: [self.wide(0x24C)?, self.wide(0x250)?],
            free_blocks: self.wide(0xC)? | high(0x158)? << 32,
            state: self.0.u16(0x3A).ok_or(SHORT)?,
            mmp_block: self.0.u64(0x168).ok_or(SHORT)?,
            journal: self.journal(features)?,
            checksums: self.checksums(features)?,
            copy_at: SUPERBLOCK_AT / block_size,
            features,
        })
    }

    fn check_sum(self, features: Features) -> Result<(), &'static str> {
        let summed = self.0.bytes(0, 0x3FC).ok_or(SHORT)?;
        if features.has(METADATA_CSUM) && crc32c(!0, summed) != self.u32(0x3FC)? {
            return Err("the checksum of its superblock is wrong");
        }
        Ok(())
    }

    /// Block size in bytes, and blocks in a cluster.
    fn sizes(self, features: Features) -> Result<(u64, u64), &'static str> {
        let log = self.u32(0x18)?;
        if log > 6 {
            return Err("its block size is impossible");
        }
        // s_log_cluster_size means something only with bigalloc (kernel documentation, "Super Block").
        if !features.has(BIGALLOC) {
            return Ok((1024 << log, 1));
        }
        match self.u32(0x1C)?.checked_sub(log) {
            Some(ratio) if ratio + log <= 20 => Ok((1024 << log, 1 << ratio)),
            _ => Err("its cluster size is impossible"),
        }
    }

    fn blocks_per_group(self, block_size: u64, cluster_blocks: u64) -> Result<u64, &'static str> {
        let (blocks, clusters) = (self.wide(0x20)?, self.wide(0x24)?);
        let clusters = if cluster_blocks == 1 {
            blocks
        } else {
            clusters
        };
        let possible = (8..=block_size * 8).contains(&clusters) && clusters % 8 == 0;
        if !possible || clusters * cluster_blocks != blocks {
            return Err("its groups have an impossible size");
        }
        Ok(blocks)
    }

    /// Inode size in bytes, inodes in a group.
    fn inodes(self, block_size: u64) -> Result<(u64, u64), &'static str> {
        let size = match self.u32(0x4C)? {
            0 => 128,
            _ => self.u16(0x58)?,
        };
        let per_group = self.wide(0x28)?;
        if !(128..=block_size).contains(&size) || !size.is_power_of_two() {
            return Err("its inodes have an impossible size");
        }
        if !(1..=block_size * 8).contains(&per_group) {
            return Err("its groups have an impossible number of inodes");
        }
        Ok((size, per_group))
    }

    fn descriptor_size(self, bits64: bool) -> Result<u64, &'static str> {
        if !bits64 {
            return Ok(32);
        }
        let size = self.u16(0xFE)?;
        let possible = (64..=1024).contains(&size) && size.is_power_of_two();
        possible
            .then_some(size)
            .ok_or("its descriptors have an impossible size")
    }

    fn journal(self, features: Features) -> Result<JournalPlace, &'static str> {
        Ok(match (features.has(HAS_JOURNAL), self.wide(0xE0)?) {
            (false, _) => JournalPlace::None,
            (true, 0) => JournalPlace::External,
            (true, inode) => JournalPlace::Inode(inode),
        })
    }

    fn checksums(self, features: Features) -> Result<Checksums, &'static str> {
        let uuid = self.0.bytes(0x68, 16).ok_or(SHORT)?;
        Ok(if features.has(METADATA_CSUM) {
            let stored = features.has(CSUM_SEED);
            Checksums::Metadata(if stored {
                self.u32(0x270)?
            } else {
                crc32c(!0, uuid)
            })
        } else if features.has(GDT_CSUM) {
            Checksums::Descriptors(crc16(!0, uuid))
        } else {
            Checksums::None
        })
    }
}
