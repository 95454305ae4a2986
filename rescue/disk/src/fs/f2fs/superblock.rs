//! The superblock of F2FS: two copies, in the first two blocks.

use crate::fields::{Fields, text_utf16};
use crate::fs::f2fs::{BLOCK, SEGMENT_BLOCKS, sum};
use crate::fs::uuid;
use crate::source::{BlockSource, ReadError, read_vec};

pub const MAGIC: u32 = 0xF2F5_2010;
const COPY_BYTES: u64 = 3072;
const SUM_AT: usize = 3068;
/// What a summary needs of a checkpoint pack: its own two blocks and the six logs.
const PACK_BLOCKS: u64 = 8;

mod feature {
    pub const ZONED: u32 = 0x2;
    pub const FLEXIBLE: u32 = 0x40;
    pub const SUMMED: u32 = 0x800;
    /// Encryption, quotas, checksums, verity, case folding, compression and the like: nothing about where blocks are.
    pub const KNOWN: u32 = 0x3FFF;
}

/// Numbers that fit together; addresses and counts in blocks but where they say segments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    pub blocks: u64,
    pub checkpoints: u64,
    /// Blocks of a checkpoint pack that hold what its first has no room for.
    pub payload: u64,
    pub information: u64,
    /// Of one of the two sets.
    pub information_blocks: u64,
    /// Where the nodes are: two sets, a segment of one behind a segment of the other.
    pub table: u64,
    /// Of one of the two sets.
    pub table_blocks: u64,
    pub main: u64,
    pub main_segments: u64,
    pub root: u32,
    /// An inode says itself how much of it is for attributes.
    pub flexible: bool,
    /// What about it is not followed here.
    pub unfollowed: Option<&'static str>,
}

pub struct Names {
    pub label: Option<String>,
    pub uuid: Option<String>,
}

impl Names {
    pub fn of(copy: &[u8]) -> Option<Names> {
        let fields = Fields(copy);
        (fields.u32(0)? == MAGIC).then_some(())?;
        Some(Names {
            label: Some(text_utf16(fields.bytes(124, 1024)?)).filter(|label| !label.is_empty()),
            uuid: fields.array(108).and_then(uuid),
        })
    }
}

/// Both copies, as far as they can be read.
pub fn copies(source: &dyn BlockSource) -> Result<[Option<Vec<u8>>; 2], ReadError> {
    let copy = |at| match read_vec(source, at, COPY_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    Ok([copy(1024)?, copy(BLOCK + 1024)?])
}

impl Superblock {
    /// By the copies that are sound, which must agree.
    pub fn parse(copies: &[Option<Vec<u8>>; 2]) -> Result<Superblock, &'static str> {
        let sound = |copy: &Option<Vec<u8>>| copy.as_deref().and_then(Superblock::of);
        match (sound(&copies[0]), sound(&copies[1])) {
            (Some(first), Some(second)) if first != second => {
                Err("its two superblocks contradict each other")
            }
            (Some(one), _) | (None, Some(one)) => Ok(one),
            (None, None) => Err("its superblocks are damaged"),
        }
    }

    fn of(copy: &[u8]) -> Option<Superblock> {
        let fields = Fields(copy);
        let number = |at: usize| fields.u32(at).map(u64::from);
        let features = fields.u32(2180)?;
        let summed = features & feature::SUMMED != 0;
        if fields.u32(0)? != MAGIC
            || summed && fields.u32(SUM_AT)? != sum(MAGIC, fields.bytes(0, SUM_AT)?)
        {
            return None;
        }
        let mut superblock = Superblock {
            blocks: fields.u64(36)?,
            checkpoints: number(76)?,
            payload: number(1664)?,
            information: number(80)?,
            information_blocks: number(56)? / 2 * SEGMENT_BLOCKS,
            table: number(84)?,
            table_blocks: number(60)? / 2 * SEGMENT_BLOCKS,
            main: number(92)?,
            main_segments: number(68)?,
            root: fields.u32(96)?,
            flexible: features & feature::FLEXIBLE != 0,
            unfollowed: None,
        };
        // The path of a first device; a filesystem on one has none.
        let devices = fields.u8(2201)? != 0;
        if (number(16)?, number(20)?) != (12, 9) {
            superblock.unfollowed = Some("its blocks do not have 4 KiB");
            superblock.blocks = 0;
            return Some(superblock);
        }
        if devices {
            superblock.unfollowed = Some("it lies on several devices");
        } else if features & feature::ZONED != 0 {
            superblock.unfollowed = Some("it is made for a zoned disk");
        } else if features & !feature::KNOWN != 0 {
            superblock.unfollowed = Some("it has features that are not known here");
        }
        // One area behind the other, as the kernel wants them.
        let areas = [(76, 52), (80, 56), (84, 60), (88, 64), (92, 68)];
        let mut at = number(72)?;
        for (start, segments) in areas {
            if number(start)? != at {
                return None;
            }
            at += number(segments)? * SEGMENT_BLOCKS;
        }
        let needed = superblock.main_segments.div_ceil(55);
        let fits = at <= superblock.blocks
            && superblock.blocks.checked_mul(BLOCK).is_some()
            && number(52)? >= 2
            && superblock.payload + PACK_BLOCKS < SEGMENT_BLOCKS
            && superblock.information_blocks >= needed;
        fits.then_some(superblock)
    }

    /// Files and nodes lie there.
    pub fn in_main(&self, block: u64) -> bool {
        (self.main..self.main_end()).contains(&block)
    }

    /// First block behind the last segment.
    pub fn main_end(&self) -> u64 {
        self.main + self.main_segments * SEGMENT_BLOCKS
    }
}
