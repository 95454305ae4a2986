//! The checkpoints of F2FS: what was true when all was last written together. Two packs of blocks take turns.

use crate::extent::Extent;
use crate::fields::Fields;
use crate::fs::f2fs::superblock::{MAGIC, Superblock};
use crate::fs::f2fs::{BLOCK, SEGMENT_BLOCKS, Trouble, sum};
use crate::source::{BlockSource, read_vec};

pub mod flag {
    pub const UNMOUNTED: u32 = 0x1;
    pub const COMPACT: u32 = 0x4;
    /// Summaries of nodes are written as with [`UNMOUNTED`].
    pub const FAST_BOOT: u32 = 0x20;
    pub const LARGE_NODE_BITMAP: u32 = 0x400;
    /// An error was met, a check is asked for, checkpoints are switched off, it is being resized.
    pub const DOUBTS: u32 = 0x8 | 0x10 | 0x800 | 0x1000 | 0x2000 | 0x4000;
}

/// Where the bitmaps begin in the first block of a pack.
const BITMAPS: usize = 192;
/// Three logs of nodes and three of data: (numbers of their segments, places of their next blocks).
const LOGS: [(usize, usize); 2] = [(36, 68), (84, 116)];
const LOGS_EACH: usize = 3;

/// The newest one that is sound.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its first block.
    pub at: u64,
    version: u64,
    /// Of the whole pack.
    pub blocks: u64,
    flags: u32,
    /// The first block and its payload.
    head: Vec<u8>,
    /// The other pack is damaged: it may have been the newest.
    pub is_doubtful: bool,
}

/// What a pack of blocks is.
enum Pack {
    Sound(Checkpoint),
    /// It was never begun, or not ended: a kernel takes the other one.
    Unfinished,
    /// A sum is wrong.
    Damaged,
}

/// Which of two sets a block of records is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Records {
    Segments,
    Nodes,
}

impl Checkpoint {
    pub fn newest(
        source: &dyn BlockSource,
        superblock: &Superblock,
    ) -> Result<Checkpoint, Trouble> {
        let first = Checkpoint::read(source, superblock, superblock.checkpoints)?;
        let second = superblock.checkpoints + SEGMENT_BLOCKS;
        let second = Checkpoint::read(source, superblock, second)?;
        Ok(match (first, second) {
            // As the kernel compares them.
            (Pack::Sound(one), Pack::Sound(other)) => {
                let later = other.version.wrapping_sub(one.version).cast_signed() > 0;
                return Ok(if later { other } else { one });
            }
            (Pack::Sound(one), other) | (other, Pack::Sound(one)) => Checkpoint {
                is_doubtful: matches!(other, Pack::Damaged),
                ..one
            },
            _ => return Err(Trouble::Refused("it has no checkpoint that is sound")),
        })
    }

    /// A pack is sound when its first and last block are the same version.
    fn read(source: &dyn BlockSource, superblock: &Superblock, at: u64) -> Result<Pack, Trouble> {
        // One that cannot be read may be the newest.
        let head = read_vec(source, at * BLOCK, (1 + superblock.payload) * BLOCK)?;
        if head.iter().all(|byte| *byte == 0) {
            return Ok(Pack::Unfinished);
        }
        let fields = Fields(&head);
        let (Some(version), Some(blocks), Some(flags)) =
            (version_of(&head), fields.u32(136), fields.u32(132))
        else {
            return Ok(Pack::Damaged);
        };
        let blocks = u64::from(blocks);
        if !(2 + superblock.payload..=SEGMENT_BLOCKS).contains(&blocks) {
            return Ok(Pack::Damaged);
        }
        let last = read_vec(source, (at + blocks - 1) * BLOCK, BLOCK)?;
        Ok(match version_of(&last) {
            Some(last) if last == version => Pack::Sound(Checkpoint {
                at,
                version,
                blocks,
                flags,
                head,
                is_doubtful: false,
            }),
            Some(_) => Pack::Unfinished,
            None => Pack::Damaged,
        })
    }

    /// Whether any of these flags is set.
    pub fn has(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    /// A number of its first block.
    pub fn number(&self, at: usize) -> Option<u64> {
        Fields(&self.head).u32(at).map(u64::from)
    }

    /// Blocks that hold something, and those promised to files that did not write them yet.
    pub fn valid_blocks(&self) -> Option<u64> {
        Fields(&self.head).u64(16)
    }

    pub fn valid_nodes(&self) -> Option<u64> {
        self.number(144)
    }

    pub fn free_segments(&self) -> Option<u64> {
        self.number(32)
    }

    /// Where a file that was fsynced after this checkpoint would be written down: behind the last of the warm nodes.
    pub fn next_node(&self, superblock: &Superblock) -> Option<u64> {
        let segment = self.number(36 + 4)?;
        let offset = u64::from(Fields(&self.head).u16(68 + 2)?);
        let inside = segment < superblock.main_segments && offset <= SEGMENT_BLOCKS;
        inside.then_some(superblock.main + segment * SEGMENT_BLOCKS + offset)
    }

    /// The segments that are being filled.
    pub fn current_segments(&self) -> impl Iterator<Item = u64> + '_ {
        LOGS.into_iter()
            .flat_map(|(numbers, _)| (0..LOGS_EACH).map(move |log| numbers + log * 4))
            .filter_map(|at| self.number(at))
    }

    /// What is behind the next blocks of the segments that are being filled.
    pub fn unfilled(&self, superblock: &Superblock) -> impl Iterator<Item = Extent> + '_ {
        let (main, segments) = (superblock.main, superblock.main_segments);
        LOGS.into_iter()
            .flat_map(|(numbers, places)| {
                (0..LOGS_EACH).map(move |log| (numbers + log * 4, places + log * 2))
            })
            .filter_map(move |(number, place)| {
                let segment = self.number(number).filter(|number| *number < segments)?;
                let start = main + segment * SEGMENT_BLOCKS;
                let from = start + u64::from(Fields(&self.head).u16(place)?);
                Extent::between(from * BLOCK, (start + SEGMENT_BLOCKS) * BLOCK)
            })
    }

    /// Whether a node was written after this checkpoint and before the next, by its last bytes. The upper half of
    /// the version may be a sum.
    pub fn is_followed_by(&self, node: &[u8]) -> bool {
        Fields(node).u32(4084).map(u64::from) == Some(self.version & 0xFFFF_FFFF)
    }

    /// The bits that say which of two sets a block of records is in, highest bit first; enough for `blocks`.
    pub fn set_bits(
        &self,
        superblock: &Superblock,
        records: Records,
        blocks: u64,
    ) -> Option<&[u8]> {
        let number = |at: usize| usize::try_from(self.number(at)?).ok();
        let (segments, nodes) = (number(156)?, number(160)?);
        let len = match records {
            Records::Segments => segments,
            Records::Nodes => nodes,
        };
        if u64::try_from(len).ok()? < blocks.div_ceil(8) {
            return None;
        }
        let at = match records {
            // The sum stands first, and the nodes' bitmap.
            Records::Segments if self.has(flag::LARGE_NODE_BITMAP) => {
                (BITMAPS + 4).checked_add(nodes)?
            }
            Records::Nodes if self.has(flag::LARGE_NODE_BITMAP) => BITMAPS + 4,
            Records::Segments if superblock.payload > 0 => usize::try_from(BLOCK).ok()?,
            Records::Segments => BITMAPS,
            Records::Nodes if superblock.payload > 0 => BITMAPS,
            Records::Nodes => BITMAPS.checked_add(segments)?,
        };
        Fields(&self.head).bytes(at, len)
    }
}

/// The version of a pack's first or last block, when its sum is right.
fn version_of(block: &[u8]) -> Option<u64> {
    let fields = Fields(block);
    let size = usize::try_from(BLOCK).ok()?;
    let at = usize::try_from(fields.u32(164)?).ok()?;
    if !(BITMAPS..=size - 4).contains(&at) || !at.is_multiple_of(4) {
        return None;
    }
    let mut found = sum(MAGIC, fields.bytes(0, at)?);
    if at < size - 4 {
        found = sum(found, fields.bytes(at + 4, size - at - 4)?);
    }
    (fields.u32(at)? == found).then_some(fields.u64(0)?)
}
