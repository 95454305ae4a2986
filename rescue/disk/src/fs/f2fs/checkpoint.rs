//! The checkpoints of F2FS: what was true when all was last written together. Two packs of blocks take turns.

use crate::fields::Fields;
use crate::fs::f2fs::superblock::{MAGIC, Superblock};
use crate::fs::f2fs::{BLOCK, SEGMENT_BLOCKS, Trouble, sum};
use crate::source::{BlockSource, read_vec};

mod flag {
    pub const UNMOUNTED: u32 = 0x1;
    pub const COMPACT: u32 = 0x4;
    pub const LARGE_NODE_BITMAP: u32 = 0x400;
    /// An error was met, a check is asked for, checkpoints are switched off, it is being resized.
    pub const DOUBTS: u32 = 0x8 | 0x10 | 0x800 | 0x1000 | 0x2000 | 0x4000;
}

/// Where the bitmaps begin in the first block of a pack.
const BITMAPS: usize = 192;
/// Journals: behind 512 entries of 7 bytes in a summary, and one behind another where summaries are compact.
const JOURNAL_AT: usize = 512 * 7;
const JOURNAL_BYTES: usize = 507;
/// A segment's number and its information.
const JOURNAL_ENTRY: usize = 4 + ENTRY_BYTES;
const JOURNAL_ENTRIES: u16 = 6;
pub const ENTRY_BYTES: usize = 74;

/// The newest one that is sound.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its first block.
    at: u64,
    version: u64,
    /// Of the whole pack.
    blocks: u64,
    flags: u32,
    /// The first block and its payload.
    head: Vec<u8>,
}

/// The segments whose information is newer than where it belongs, with it.
pub type Journal = Vec<(u32, [u8; ENTRY_BYTES])>;

impl Checkpoint {
    pub fn newest(
        source: &dyn BlockSource,
        superblock: &Superblock,
    ) -> Result<Checkpoint, Trouble> {
        let first = Checkpoint::read(source, superblock, superblock.checkpoints)?;
        let second = superblock.checkpoints + SEGMENT_BLOCKS;
        let second = Checkpoint::read(source, superblock, second)?;
        match (first, second) {
            // As the kernel compares them.
            (Some(one), Some(other)) => Ok(
                match other.version.wrapping_sub(one.version).cast_signed() > 0 {
                    true => other,
                    false => one,
                },
            ),
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => Err(Trouble::Refused("it has no checkpoint that is sound")),
        }
    }

    /// A pack whose first and last block are the same version.
    fn read(
        source: &dyn BlockSource,
        superblock: &Superblock,
        at: u64,
    ) -> Result<Option<Checkpoint>, Trouble> {
        // One that cannot be read may be the newest.
        let head = read_vec(source, at * BLOCK, (1 + superblock.payload) * BLOCK)?;
        let fields = Fields(&head);
        let (Some(version), Some(blocks), Some(flags)) =
            (version_of(&head), fields.u32(136), fields.u32(132))
        else {
            return Ok(None);
        };
        let blocks = u64::from(blocks);
        if !(2 + superblock.payload..=SEGMENT_BLOCKS).contains(&blocks) {
            return Ok(None);
        }
        let last = read_vec(source, (at + blocks - 1) * BLOCK, BLOCK)?;
        Ok((version_of(&last) == Some(version)).then_some(Checkpoint {
            at,
            version,
            blocks,
            flags,
            head,
        }))
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub fn valid_blocks(&self) -> Option<u64> {
        Fields(&self.head).u64(16)
    }

    /// Where a file that was fsynced after this checkpoint would be written down: behind the last of the warm nodes.
    pub fn next_node(&self, superblock: &Superblock) -> Option<u64> {
        let fields = Fields(&self.head);
        let segment = u64::from(fields.u32(36 + 4)?);
        let offset = u64::from(fields.u16(68 + 2)?);
        let inside = segment < superblock.main_segments && offset <= SEGMENT_BLOCKS;
        inside.then_some(superblock.main + segment * SEGMENT_BLOCKS + offset)
    }

    /// Nothing is proven free where the checkpoint is not the last word.
    pub fn refuse(&self, source: &dyn BlockSource, superblock: &Superblock) -> Result<(), Trouble> {
        if !self.has(flag::UNMOUNTED) {
            return Err(Trouble::Refused("it was not unmounted"));
        }
        if self.has(flag::DOUBTS) {
            return Err(Trouble::Refused("it asks for a check of itself"));
        }
        let next = self
            .next_node(superblock)
            .ok_or(Trouble::Refused("its checkpoint contradicts itself"))?;
        if next >= superblock.main_end() {
            return Ok(());
        }
        // What was fsynced right after a mount carries the version of the checkpoint before the mount (the kernel's
        // recovery goes by the footer of the node; its upper half may be a sum).
        let node = read_vec(source, next * BLOCK, BLOCK)?;
        let version = Fields(&node).u32(4084).map(u64::from);
        if version == Some(self.version & 0xFFFF_FFFF) {
            return Err(Trouble::Refused(
                "it was not unmounted, and files were fsynced since its last checkpoint",
            ));
        }
        Ok(())
    }

    /// The bits that say which of two sets a block of segment information is in.
    pub fn set_bits(&self, superblock: &Superblock) -> Option<&[u8]> {
        let fields = Fields(&self.head);
        let number = |at: usize| usize::try_from(fields.u32(at)?).ok();
        let len = number(156)?;
        if u64::try_from(len).ok()? < superblock.information_blocks.div_ceil(8) {
            return None;
        }
        let at = if self.has(flag::LARGE_NODE_BITMAP) {
            // The sum stands first, and the nodes' bitmap.
            (BITMAPS + 4).checked_add(number(160)?)?
        } else if superblock.payload > 0 {
            usize::try_from(BLOCK).ok()?
        } else {
            BITMAPS
        };
        fields.bytes(at, len)
    }

    pub fn journal(
        &self,
        source: &dyn BlockSource,
        superblock: &Superblock,
    ) -> Result<Journal, Trouble> {
        const DAMAGED: Trouble = Trouble::Refused("its checkpoint's journal is damaged");
        let (block, at) = if self.has(flag::COMPACT) {
            let start = Fields(&self.head).u32(140).ok_or(DAMAGED)?;
            (u64::from(start), JOURNAL_BYTES)
        } else {
            // Summaries of three logs of data and three of nodes, then the last block. This is the third.
            (self.blocks.checked_sub(7 - 2).ok_or(DAMAGED)?, JOURNAL_AT)
        };
        if !(1 + superblock.payload..self.blocks).contains(&block) {
            return Err(DAMAGED);
        }
        let bytes = read_vec(source, (self.at + block) * BLOCK, BLOCK)?;
        let fields = Fields(&bytes);
        let count = fields.u16(at).ok_or(DAMAGED)?;
        if count > JOURNAL_ENTRIES {
            return Err(DAMAGED);
        }
        (0..usize::from(count))
            .map(|index| {
                let entry = at + 2 + index * JOURNAL_ENTRY;
                let segment = fields.u32(entry)?;
                let known = u64::from(segment) < superblock.main_segments;
                Some((segment, fields.array(entry + 4)?)).filter(|_| known)
            })
            .collect::<Option<Journal>>()
            .ok_or(DAMAGED)
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
