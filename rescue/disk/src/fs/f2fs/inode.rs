//! An inode of F2FS: a node with a file's attributes, and its first numbers of blocks or what it holds itself.

use crate::fields::Fields;
use crate::fs::f2fs::BLOCK;
use crate::fs::f2fs::superblock::Superblock;
use crate::fs::tree::{NodeKind, TreeError};

/// Where numbers of blocks begin, and how many there are when nothing else takes their room.
const NUMBERS: usize = 360;
const NUMBERS_COUNT: usize = 923;
/// Numbers of the nodes that have more: two that lead to blocks, two to such nodes, one to such nodes of nodes.
const NODES: usize = NUMBERS + NUMBERS_COUNT * 4;
/// Words for attributes in an inode that does not say.
const ATTRIBUTES: usize = 50;

mod flag {
    pub const ATTRIBUTES: u8 = 0x1;
    pub const DATA: u8 = 0x2;
    pub const ENTRIES: u8 = 0x4;
    pub const MORE: u8 = 0x20;
    pub const ENCRYPTED: u8 = 0x4;
    pub const COMPRESSED: u32 = 0x4;
}

#[derive(Debug)]
pub struct Inode {
    pub number: u32,
    block: Vec<u8>,
    /// Words before the numbers of blocks and behind them.
    before: usize,
    behind: usize,
}

impl Inode {
    pub fn parse(superblock: &Superblock, number: u32, block: Vec<u8>) -> Result<Inode, TreeError> {
        let parsed = Inode::room(superblock, &block).filter(|(before, behind)| {
            block.len() as u64 == BLOCK && before + behind < NUMBERS_COUNT
        });
        let (before, behind) = parsed.ok_or(TreeError::Damaged("an inode contradicts itself"))?;
        Ok(Inode {
            number,
            block,
            before,
            behind,
        })
    }

    /// Words that more attributes of the file take, and extended ones.
    fn room(superblock: &Superblock, block: &[u8]) -> Option<(usize, usize)> {
        let fields = Fields(block);
        let has = |flags: u8| fields.u8(3).is_some_and(|found| found & flags != 0);
        let before = match has(flag::MORE) {
            true => usize::from(fields.u16(NUMBERS)?) / 4,
            false => 0,
        };
        let behind = match (superblock.flexible, has(flag::MORE)) {
            (true, true) => usize::from(fields.u16(NUMBERS + 2)?),
            _ if has(flag::ATTRIBUTES | flag::ENTRIES) => ATTRIBUTES,
            _ => 0,
        };
        Some((before, behind))
    }

    fn fields(&self) -> Fields<'_> {
        Fields(&self.block)
    }

    fn has(&self, flags: u8) -> bool {
        self.fields().u8(3).is_some_and(|found| found & flags != 0)
    }

    pub fn kind(&self) -> NodeKind {
        match self.fields().u16(0).unwrap_or(0) & 0xF000 {
            0x4000 => NodeKind::Directory,
            0x8000 => NodeKind::File,
            0xA000 => NodeKind::Symlink,
            _ => NodeKind::Special,
        }
    }

    pub fn size_bytes(&self) -> u64 {
        self.fields().u64(16).unwrap_or(0)
    }

    pub fn modified(&self) -> Option<i64> {
        self.fields().u64(48).map(u64::cast_signed)
    }

    /// The name it had when it was fsynced.
    pub fn name(&self) -> Option<&[u8]> {
        let len = usize::try_from(self.fields().u32(88)?).ok()?;
        self.fields().bytes(92, len).filter(|_| len <= 255)
    }

    pub fn is_encrypted(&self) -> bool {
        let advice = self.fields().u8(2).unwrap_or(0);
        advice & flag::ENCRYPTED != 0
    }

    /// Blocks that are compressed together, where some may be.
    pub fn cluster_blocks(&self) -> Option<usize> {
        let flags = self.fields().u32(80)?;
        if flags & flag::COMPRESSED == 0 || !self.has(flag::MORE) || self.before * 4 < 34 {
            return None;
        }
        let log = self.fields().u8(NUMBERS + 33)?;
        (2..=8).contains(&log).then(|| 1 << log)
    }

    /// The bytes of a file or the entries of a folder, when it holds them itself.
    pub fn inside(&self) -> Option<&[u8]> {
        let words = NUMBERS_COUNT - self.before - self.behind - 1;
        let start = NUMBERS + (self.before + 1) * 4;
        match self.has(flag::DATA | flag::ENTRIES) {
            true => self.fields().bytes(start, words * 4),
            false => None,
        }
    }

    /// Its first numbers of blocks.
    pub fn numbers(&self) -> &[u8] {
        let start = NUMBERS + self.before * 4;
        let len = (NUMBERS_COUNT - self.before - self.behind) * 4;
        self.fields().bytes(start, len).unwrap_or_default()
    }

    pub fn nodes(&self) -> impl Iterator<Item = u32> + '_ {
        (0..5).filter_map(|index| self.fields().u32(NODES + index * 4))
    }
}
