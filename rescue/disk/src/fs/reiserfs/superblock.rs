//! The superblock of ReiserFS, 64 KiB behind the start.

use super::Trouble;
use crate::fields::{Fields, text};
use crate::fs::uuid;
use crate::source::{BlockSource, ReadError, read_vec};

/// Where the superblock stands, whatever a block is.
pub const PLACE: u64 = 64 << 10;
/// The first releases had it there, and all bitmaps behind it.
const OLDER_PLACE: u64 = 8 << 10;
const BYTES: u64 = 204;
const MAGIC_AT: usize = 52;
const UNMOUNTED: u16 = 1;
/// Most blocks of a journal; reiserfsprogs makes at most half of them.
const LONGEST_JOURNAL: u64 = 1 << 16;

/// Numbers that fit together; places and counts in blocks but where they say bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    pub block_size: u32,
    pub blocks: u64,
    pub free: u64,
    pub root: u64,
    pub journal: u64,
    /// Without the block of its header, which is behind it.
    pub journal_blocks: u64,
    pub journal_magic: u32,
    pub longest_transaction: u64,
    /// Blocks for a journal that is elsewhere now.
    pub reserved: u64,
    /// The journal can be moved, and has a magic number of its own.
    pub movable: bool,
    pub unmounted: bool,
    consistent: bool,
}

pub struct Names {
    pub label: Option<String>,
    pub uuid: Option<String>,
    pub variant: Option<String>,
}

impl Names {
    pub fn of(raw: &[u8]) -> Names {
        let fields = Fields(raw);
        let old = fields.starts_with(MAGIC_AT, b"ReIsErFs");
        let label = fields.bytes(100, 16).map(text);
        Names {
            label: label.filter(|label| !old && !label.is_empty()),
            uuid: fields.array(84).and_then(uuid).filter(|_| !old),
            variant: old.then(|| "ReiserFS 3.5".into()),
        }
    }
}

/// `None` when there is no magic of ReiserFS.
pub fn raw(source: &dyn BlockSource) -> Result<Option<Vec<u8>>, ReadError> {
    if source.size_bytes() < PLACE + BYTES {
        return Ok(None);
    }
    let raw = read_vec(source, PLACE, BYTES)?;
    Ok(magic(&raw).then_some(raw))
}

fn magic(raw: &[u8]) -> bool {
    [&b"ReIsErFs"[..], b"ReIsEr2Fs", b"ReIsEr3Fs"]
        .iter()
        .any(|magic| Fields(raw).starts_with(MAGIC_AT, magic))
}

/// The kernel prefers the older place, where one that was formatted over may still stand.
pub fn no_older_one(source: &dyn BlockSource) -> Result<(), Trouble> {
    if magic(&read_vec(source, OLDER_PLACE, BYTES)?) {
        return Err(Trouble::Refused(
            "a superblock of an older ReiserFS stands before its own",
        ));
    }
    Ok(())
}

impl Superblock {
    pub fn parse(raw: &[u8]) -> Result<Superblock, Trouble> {
        let damaged = Trouble::Refused("its superblock contradicts itself");
        let (superblock, device, bitmaps) = Superblock::of(raw).ok_or(damaged.clone())?;
        if device != 0 {
            return Err(Trouble::Refused("its journal is on another disk"));
        }
        let size = superblock.block_size;
        if !size.is_power_of_two() || !(512..=16384).contains(&size) {
            return Err(Trouble::Refused("its blocks have a size that is not known"));
        }
        let first = PLACE / u64::from(superblock.block_size) + 2;
        let journal = superblock.journal.checked_add(superblock.journal_blocks);
        // A count too large for its field stands there as 0.
        let counted = match superblock.bitmaps() {
            many if many > u64::from(u16::MAX) => 0,
            few => few,
        };
        let fits = superblock.journal >= first
            && (2..=LONGEST_JOURNAL).contains(&superblock.journal_blocks)
            && journal.is_some_and(|end| end < superblock.blocks)
            && superblock.reserved < superblock.blocks
            && superblock.free < superblock.blocks
            && (1..superblock.journal_blocks).contains(&superblock.longest_transaction)
            && bitmaps == counted;
        if fits { Ok(superblock) } else { Err(damaged) }
    }

    fn of(raw: &[u8]) -> Option<(Superblock, u32, u64)> {
        let fields = Fields(raw);
        let number = |at: usize| fields.u32(at).map(u64::from);
        if !magic(raw) {
            return None;
        }
        let movable = fields.starts_with(MAGIC_AT, b"ReIsEr3Fs");
        let superblock = Superblock {
            block_size: fields.u16(44)?.into(),
            blocks: number(0)?,
            free: number(4)?,
            root: number(8)?,
            journal: number(12)?,
            journal_blocks: number(20)?,
            journal_magic: fields.u32(28)?,
            longest_transaction: number(24)?,
            reserved: if movable { fields.u16(74)?.into() } else { 0 },
            movable,
            unmounted: fields.u16(50)? == UNMOUNTED,
            consistent: fields.u16(62)? == 0,
        };
        Some((superblock, fields.u32(16)?, fields.u16(70)?.into()))
    }

    pub fn size_bytes(&self) -> u64 {
        self.blocks * u64::from(self.block_size)
    }

    /// Of a block.
    pub fn at(&self, block: u64) -> u64 {
        block * u64::from(self.block_size)
    }

    /// A bitmap has a bit for so many blocks.
    pub fn group(&self) -> u64 {
        u64::from(self.block_size) * 8
    }

    pub fn bitmaps(&self) -> u64 {
        self.blocks.div_ceil(self.group())
    }

    /// The block of a bitmap: the first behind the superblock, others first among the blocks they speak of.
    pub fn bitmap(&self, number: u64) -> u64 {
        match number {
            0 => PLACE / u64::from(self.block_size) + 1,
            _ => number * self.group(),
        }
    }

    /// What nothing but the journal may write: it, its header, and its former place.
    pub fn is_journal(&self, block: u64) -> bool {
        let first = PLACE / u64::from(self.block_size) + 2;
        (self.journal..=self.journal + self.journal_blocks).contains(&block)
            || (first..first + self.reserved).contains(&block)
    }

    pub fn same_shape(&self, other: &Superblock) -> bool {
        let shape = |s: &Superblock| Superblock {
            free: 0,
            root: 0,
            unmounted: true,
            consistent: true,
            ..s.clone()
        };
        shape(self) == shape(other)
    }

    /// Whether its own words allow to believe the bitmaps.
    pub fn trusted(&self) -> Result<(), Trouble> {
        if self.root >= self.blocks {
            return Err(Trouble::Refused("a check of it was not finished"));
        }
        if !self.consistent {
            return Err(Trouble::Refused("it says of itself that it has errors"));
        }
        Ok(())
    }
}
