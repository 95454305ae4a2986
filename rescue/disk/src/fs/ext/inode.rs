//! Inodes: what a file is, how long, and the 60 bytes that lead to its blocks.

use super::checksum::crc32c;
use super::groups::View;
use super::superblock::Checksums;
use crate::fields::Fields;
use crate::fs::tree::{NodeKind, TreeError};
use crate::source::read_vec;

pub(super) const ROOT: u64 = 2;

const ENCRYPTED: u32 = 0x800;
const COMPRESSED: u32 = 0x200;
const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;

/// An inode as it lies on the disk, at least 128 bytes.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub number: u64,
    bytes: Vec<u8>,
}

/// How the blocks of an inode are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Storage {
    /// In the 60 bytes of the inode and in its attributes.
    Inline,
    /// A tree of extents whose root is in the 60 bytes.
    Extents,
    /// Twelve blocks, then blocks of block numbers, one, two and three deep.
    Indirect,
}

impl View<'_> {
    pub fn inode(&self, number: u64) -> Result<Inode, TreeError> {
        let superblock = &self.superblock;
        if number == 0 || number > superblock.inodes {
            return Err(TreeError::Damaged("an inode number is impossible"));
        }
        let (group, index) = (
            (number - 1) / superblock.inodes_per_group,
            (number - 1) % superblock.inodes_per_group,
        );
        if group >= superblock.groups {
            return Err(TreeError::Damaged("an inode number is impossible"));
        }
        self.spend(superblock.inode_size)?;
        let table = self
            .inode_table(group)?
            .ok_or(TreeError::Damaged("a table of inodes is lost"))?;
        let at = table * superblock.block_size + index * superblock.inode_size;
        let bytes = read_vec(&self.source, at, superblock.inode_size)?;
        Ok(Inode { number, bytes })
    }
}

impl Inode {
    fn u16(&self, at: usize) -> u16 {
        Fields(&self.bytes)
            .u16(at)
            .expect("an inode has at least 128 bytes")
    }

    fn u32(&self, at: usize) -> u32 {
        Fields(&self.bytes)
            .u32(at)
            .expect("an inode has at least 128 bytes")
    }

    pub fn kind(&self) -> NodeKind {
        match self.u16(0) & 0xF000 {
            0x8000 => NodeKind::File,
            0x4000 => NodeKind::Directory,
            0xA000 => NodeKind::Symlink,
            _ => NodeKind::Special,
        }
    }

    /// No name leads to it any more, or it never was a file.
    pub fn is_free(&self) -> bool {
        self.u16(0) == 0 || self.u16(0x1A) == 0
    }

    pub fn size(&self) -> u64 {
        let high = match self.kind() {
            NodeKind::File | NodeKind::Directory => u64::from(self.u32(0x6C)) << 32,
            _ => 0,
        };
        u64::from(self.u32(0x4)) | high
    }

    /// The two low bits of `i_mtime_extra` carry the epoch on past 2038 (kernel documentation, "Inode Timestamps").
    pub fn modified(&self) -> i64 {
        let low = i64::from(self.u32(0x10).cast_signed());
        let extra = Fields(&self.bytes)
            .u32(0x88)
            .filter(|_| self.extra_size() >= 12);
        low + (i64::from(extra.unwrap_or(0) & 3) << 32)
    }

    /// Bytes past the first 128 that are fields of the inode.
    fn extra_size(&self) -> usize {
        let extra = Fields(&self.bytes).u16(0x80).map_or(0, usize::from);
        if 128 + extra <= self.bytes.len() {
            extra
        } else {
            0
        }
    }

    pub fn storage(&self) -> Storage {
        match self.u32(0x20) {
            flags if flags & INLINE != 0 => Storage::Inline,
            flags if flags & EXTENTS != 0 => Storage::Extents,
            _ => Storage::Indirect,
        }
    }

    /// Why its bytes cannot be read although they are found.
    pub fn opaque(&self) -> Option<&'static str> {
        match self.u32(0x20) {
            flags if flags & ENCRYPTED != 0 => Some("it is encrypted"),
            flags if flags & COMPRESSED != 0 => Some("it is compressed"),
            _ => None,
        }
    }

    /// The 60 bytes with the block numbers, the extents or the data itself.
    pub fn body(&self) -> &[u8] {
        &self.bytes[0x28..0x64]
    }

    /// A short target lies in the inode itself: no blocks are counted but that of the attributes.
    pub fn is_fast_symlink(&self, block_size: u64) -> bool {
        let attributes = if self.u32(0x68) == 0 {
            0
        } else {
            block_size / 512
        };
        self.kind() == NodeKind::Symlink
            && self.storage() == Storage::Indirect
            && self.size() < 60
            && u64::from(self.u32(0x1C)) <= attributes
    }

    /// What follows the first 60 bytes of inline data: the attribute `system.data`.
    pub fn inline_rest(&self) -> Option<&[u8]> {
        const SYSTEM: u8 = 7;
        let fields = Fields(&self.bytes);
        let start = 128 + self.extra_size();
        (fields.u32(start)? == 0xEA02_0000).then_some(())?;
        let first = start + 4;
        let mut at = first;
        // An entry has at least 16 bytes, so the loop ends with the inode.
        while fields.u32(at)? != 0 {
            let name = usize::from(fields.u8(at)?);
            if fields.u8(at + 1)? == SYSTEM && fields.bytes(at + 16, name)? == b"data" {
                let value = usize::from(fields.u16(at + 2)?);
                let length = usize::try_from(fields.u32(at + 8)?).ok()?;
                return fields.bytes(first + value, length);
            }
            at += 16 + name.next_multiple_of(4);
        }
        None
    }

    /// False when a checksum says that the inode is not what was written.
    pub fn sum_fits(&self, checksums: Checksums) -> bool {
        let (Checksums::Metadata(seed), Ok(number)) = (checksums, u32::try_from(self.number))
        else {
            return true;
        };
        let wide = self.extra_size() >= 4;
        let mut bytes = self.bytes.clone();
        bytes[0x7C..0x7E].fill(0);
        if wide {
            bytes[0x82..0x84].fill(0);
        }
        let seed = crc32c(crc32c(seed, &number.to_le_bytes()), &self.bytes[0x64..0x68]);
        let sum = crc32c(seed, &bytes);
        let low = sum & 0xFFFF == u32::from(self.u16(0x7C));
        low && (!wide || sum >> 16 == u32::from(self.u16(0x82)))
    }
}
