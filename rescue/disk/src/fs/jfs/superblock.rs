//! The superblock of JFS, 32 KiB behind the start, its second copy, and that of its log.

use super::Trouble;
use crate::extent::Extent;
use crate::fields::{Fields, text};
use crate::fs::uuid;
use crate::source::{BlockSource, ReadError, read_vec};

/// Linux knows no other block.
pub const BLOCK_SIZE: u32 = 4096;
pub const BLOCK: u64 = 4096;
const PLACE: u64 = 32 << 10;
const SECOND_PLACE: u64 = 0xF000;
/// The first inodes of the aggregate, of which the block allocation map is number 2.
pub const INODES: u64 = 0xB000;
const BYTES: u64 = 184;
const INLINE_LOG: u32 = 0x800;
const LOG_MAGIC: u32 = 0x8765_4321;
/// What stands in a log that has nothing left to replay.
const LOG_REDONE: u32 = 1;
const LOG_VERSION: u32 = 1;
/// States of the filesystem.
const CLEAN: u32 = 0;
const MOUNTED: u32 = 1;

/// Numbers that fit together; places and counts in blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Blocks that the allocation map speaks of; the room of fsck and the log lie behind them.
    pub blocks: u64,
    /// Where those end.
    pub end: u64,
    log: (u64, u64),
    /// The second copies of the aggregate's inodes and of their map.
    second: [(u64, u64); 2],
    state: u32,
    uuid: [u8; 16],
}

pub struct Names {
    pub label: Option<String>,
    pub uuid: Option<String>,
}

impl Names {
    pub fn of(raw: &[u8]) -> Names {
        let fields = Fields(raw);
        let label = fields.bytes(152, 16).map(text);
        Names {
            label: label.filter(|label| !label.is_empty()),
            uuid: fields.array(136).and_then(uuid),
        }
    }
}

/// `None` when there is no magic of JFS.
pub fn raw(source: &dyn BlockSource) -> Result<Option<Vec<u8>>, ReadError> {
    if source.size_bytes() < PLACE + BYTES {
        return Ok(None);
    }
    let raw = read_vec(source, PLACE, BYTES)?;
    Ok(Fields(&raw).starts_with(0, b"JFS1").then_some(raw))
}

/// The first block and the count of blocks of a physical extent descriptor (`pxd_t`).
pub fn place(fields: Fields, at: usize) -> Option<(u64, u64)> {
    let first = fields.u32(at)?;
    let low = u64::from(fields.u32(at.checked_add(4)?)?);
    let count = u64::from(first & 0x00FF_FFFF);
    Some(((u64::from(first >> 24) << 32) | low, count))
}

/// As bytes.
pub fn extent((start, count): (u64, u64)) -> Option<Extent> {
    Extent::new(start.checked_mul(BLOCK)?, count.checked_mul(BLOCK)?)
}

impl Superblock {
    pub fn parse(raw: &[u8]) -> Result<Superblock, Trouble> {
        let damaged = Trouble::Refused("its superblock contradicts itself");
        let fields = Fields(raw);
        if !matches!(fields.u32(4), Some(1 | 2)) {
            return Err(Trouble::Refused("its version is not known"));
        }
        if (fields.u32(16), fields.u16(20)) != (Some(BLOCK_SIZE), Some(12)) {
            return Err(Trouble::Refused("its blocks have a size that is not known"));
        }
        let flags = fields.u32(36).ok_or(damaged.clone())?;
        if flags & INLINE_LOG == 0 {
            return Err(Trouble::Refused("its log is on another disk"));
        }
        let superblock = Superblock::of(fields).ok_or(damaged.clone())?;
        let inside = |(start, count): (u64, u64)| {
            count > 0
                && start
                    .checked_add(count)
                    .is_some_and(|end| end <= superblock.blocks)
        };
        let fits = superblock.blocks > 64
            && superblock.second.iter().all(|place| inside(*place))
            && superblock.log.0 >= superblock.blocks
            && superblock.log.1 > 1;
        if fits { Ok(superblock) } else { Err(damaged) }
    }

    fn of(fields: Fields) -> Option<Superblock> {
        // Sectors of its own size, always 512 bytes on Linux.
        let sector = u64::from(fields.u32(24)?);
        let per_block = BLOCK.checked_div(sector).filter(|n| *n > 0)?;
        let sectors = fields.u64(8)?;
        let known = per_block.is_power_of_two() && sector * per_block == BLOCK;
        let log = place(fields, 72)?;
        let workspace = place(fields, 80)?;
        let log_end = log.0.checked_add(log.1)?;
        let workspace_end = workspace.0.checked_add(workspace.1)?;
        let blocks = sectors / per_block;
        let superblock = Superblock {
            blocks,
            end: blocks.max(log_end).max(workspace_end),
            log,
            second: [place(fields, 48)?, place(fields, 56)?],
            state: fields.u32(40)?,
            uuid: fields.array(136)?,
        };
        (known && superblock.end < u64::MAX / BLOCK).then_some(superblock)
    }

    /// Whether it was unmounted, and nothing waits in its log.
    pub fn settled(&self, source: &dyn BlockSource) -> Result<(), Trouble> {
        match self.state {
            CLEAN => {}
            MOUNTED => {
                return Err(Trouble::Refused(
                    "it was not unmounted: its log waits for fsck.jfs",
                ));
            }
            _ => {
                return Err(Trouble::Refused(
                    "it says of itself that it has errors, or a change of its size was not finished",
                ));
            }
        }
        // The first block of the log is not used, the second is its superblock.
        let raw = read_vec(source, (self.log.0 + 1) * BLOCK, 64)?;
        let log = Fields(&raw);
        if (log.u32(0), log.u32(4)) != (Some(LOG_MAGIC), Some(LOG_VERSION)) {
            return Err(Trouble::Refused("the superblock of its log is damaged"));
        }
        if log.u32(28) != Some(LOG_REDONE) {
            return Err(Trouble::Refused("its log waits for fsck.jfs"));
        }
        let second = read_vec(source, SECOND_PLACE, BYTES)?;
        let same = Fields(&second).starts_with(0, b"JFS1")
            && Superblock::of(Fields(&second)).is_some_and(|second| self.same_shape(&second));
        if same {
            Ok(())
        } else {
            Err(Trouble::Refused(
                "the two copies of its superblock contradict each other",
            ))
        }
    }

    /// The second copy is not written at every mount, and its identifier is none of the shape.
    fn same_shape(&self, other: &Superblock) -> bool {
        let shape = |s: &Superblock| Superblock {
            state: CLEAN,
            uuid: [0; 16],
            ..s.clone()
        };
        shape(self) == shape(other)
    }

    /// What must be used in every such filesystem: all up to the end of the second superblock, and the second copies.
    pub fn own(&self) -> impl Iterator<Item = Extent> {
        let head = Extent::new(0, SECOND_PLACE + BLOCK);
        let second = self.second.map(extent);
        head.into_iter().chain(second.into_iter().flatten())
    }
}
