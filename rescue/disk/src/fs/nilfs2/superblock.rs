//! The superblock of NILFS2, 1 KiB behind the start, and its second copy near the end.

use super::Trouble;
use crate::extent::Extent;
use crate::fields::{Fields, text};
use crate::fs::uuid;
use crate::source::{BlockSource, ReadError, read_vec};

pub const PLACE: u64 = 1024;
const BYTES: u64 = 1024;
/// The revision, then the magic number; between them minor revision 0.
const MAGIC: &[u8] = &[2, 0, 0, 0, 0, 0, 0x34, 0x34];
const SUM_AT: usize = 16;
const SMALLEST_SEGMENT: u64 = 16;
/// With segments of the usual 8 MiB that is 128 TiB; two bits are held for each.
const MOST_SEGMENTS: u64 = 1 << 24;
const SMALLEST_INODE: u64 = 128;
const SMALLEST_TRANSLATION: u64 = 32;
const SMALLEST_USAGE: u64 = 16;
/// States.
const UNMOUNTED: u16 = 1;
const ERRORS: u16 = 2;
const RESIZING: u16 = 4;
/// Inodes may count their blocks: nothing to a map.
const BLOCK_COUNT: u64 = 1;

/// Numbers that fit together; places and counts in blocks where nothing else is said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    pub block_size: u32,
    /// Of the disk it was made for; the second superblock stands before this end.
    pub size_bytes: u64,
    pub segments: u64,
    pub blocks_per_segment: u64,
    pub first_block: u64,
    /// Where the log is followed from, and the number of its segment.
    pub last_log: u64,
    pub last_sequence: u64,
    last_checkpoint: u64,
    pub seed: u32,
    pub unmounted: bool,
    pub inode_bytes: u64,
    pub translation_bytes: u64,
    pub usage_bytes: u64,
    uuid: [u8; 16],
}

pub struct Names {
    pub label: Option<String>,
    pub uuid: Option<String>,
}

impl Names {
    pub fn of(raw: &[u8]) -> Names {
        let fields = Fields(raw);
        let label = fields.bytes(0xA8, 80).map(text);
        Names {
            label: label.filter(|label| !label.is_empty()),
            uuid: fields.array(0x98).and_then(uuid),
        }
    }
}

/// `None` when there is no magic of NILFS2 at the first place.
pub fn raw(source: &dyn BlockSource) -> Result<Option<Vec<u8>>, ReadError> {
    if source.size_bytes() < PLACE + BYTES {
        return Ok(None);
    }
    let raw = read_vec(source, PLACE, BYTES)?;
    Ok(raw.starts_with(MAGIC).then_some(raw))
}

/// The kernel's `crc32_le`, which inverts nothing.
pub fn sum(seed: u32, pieces: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!seed);
    for piece in pieces {
        hasher.update(piece);
    }
    !hasher.finalize()
}

impl Superblock {
    /// Of the two the one with the later checkpoint, as the kernel takes it; both must be sound.
    pub fn newest(source: &dyn BlockSource, raw: &[u8]) -> Result<Superblock, Trouble> {
        let first = Superblock::parse(raw)?;
        if first.size_bytes > source.size_bytes() {
            return Err(Trouble::Refused(
                "the filesystem is larger than its partition",
            ));
        }
        let raw = read_vec(source, first.second_place(), BYTES)?;
        let missing = Trouble::Refused("its second superblock is missing or damaged");
        if !raw.starts_with(MAGIC) {
            return Err(missing);
        }
        let second = Superblock::parse(&raw).map_err(|_| missing)?;
        let shape = |superblock: &Superblock| Superblock {
            last_log: 0,
            last_sequence: 0,
            last_checkpoint: 0,
            unmounted: true,
            ..superblock.clone()
        };
        if shape(&first) != shape(&second) {
            return Err(Trouble::Refused(
                "the two copies of its superblock contradict each other",
            ));
        }
        Ok(if second.last_checkpoint > first.last_checkpoint {
            second
        } else {
            first
        })
    }

    fn parse(raw: &[u8]) -> Result<Superblock, Trouble> {
        let damaged = Trouble::Refused("its superblock is damaged");
        let fields = Fields(raw);
        if !sound(fields) {
            return Err(damaged);
        }
        let (superblock, state) = Superblock::of(fields).ok_or(damaged.clone())?;
        let features = (fields.u64(0x108), fields.u64(0x110));
        if !matches!(features, (Some(ro), Some(0)) if ro & !BLOCK_COUNT == 0) {
            return Err(Trouble::Refused("it has features that are not known"));
        }
        if state & (ERRORS | RESIZING) != 0 {
            return Err(Trouble::Refused(
                "it says of itself that it has errors, or a change of its size was not finished",
            ));
        }
        if superblock.segments > MOST_SEGMENTS {
            return Err(Trouble::Refused(
                "it has more segments than are followed here",
            ));
        }
        let fits = superblock.fits();
        if fits { Ok(superblock) } else { Err(damaged) }
    }

    fn of(fields: Fields) -> Option<(Superblock, u16)> {
        let shift = fields.u32(0x14).filter(|shift| *shift <= 6)?;
        let state = fields.u16(0x74)?;
        let number = |at: usize| fields.u16(at).map(u64::from);
        let superblock = Superblock {
            block_size: 1024 << shift,
            size_bytes: fields.u64(0x20)?,
            segments: fields.u64(0x18)?,
            blocks_per_segment: u64::from(fields.u32(0x30)?),
            first_block: fields.u64(0x28)?,
            last_log: fields.u64(0x40)?,
            last_sequence: fields.u64(0x48)?,
            last_checkpoint: fields.u64(0x38)?,
            seed: fields.u32(12)?,
            unmounted: state & UNMOUNTED != 0,
            inode_bytes: number(0x90)?,
            translation_bytes: number(0x92)?,
            usage_bytes: number(0x96)?,
            uuid: fields.array(0x98)?,
        };
        Some((superblock, state))
    }

    fn fits(&self) -> bool {
        let block = self.block();
        let behind = self.segments.checked_mul(self.blocks_per_segment);
        let behind = behind.and_then(|blocks| blocks.checked_mul(block));
        let records = [
            (self.inode_bytes, SMALLEST_INODE),
            (self.translation_bytes, SMALLEST_TRANSLATION),
            (self.usage_bytes, SMALLEST_USAGE),
        ];
        self.segments > 0
            && self.blocks_per_segment >= SMALLEST_SEGMENT
            && self.size_bytes >= 64 << 10
            && behind.is_some_and(|end| end <= self.size_bytes)
            && self.first_block >= (PLACE + BYTES).div_ceil(block)
            && self.first_block < self.blocks_per_segment
            && self.holds(self.last_log)
            && records
                .iter()
                .all(|(size, least)| (*least..=block).contains(size))
    }

    pub fn block(&self) -> u64 {
        u64::from(self.block_size)
    }

    fn second_place(&self) -> u64 {
        ((self.size_bytes >> 12) - 1) << 12
    }

    /// Whether a block lies in a segment.
    pub fn holds(&self, block: u64) -> bool {
        // The product was checked when the superblock was read.
        (self.first_block..self.segments * self.blocks_per_segment).contains(&block)
    }

    pub fn segment_of(&self, block: u64) -> u64 {
        block / self.blocks_per_segment
    }

    /// The first block of a segment, and the first behind it.
    pub fn range(&self, segment: u64) -> (u64, u64) {
        let start = segment * self.blocks_per_segment;
        (start.max(self.first_block), start + self.blocks_per_segment)
    }

    /// Used in every such filesystem besides segments: what stands before them and behind, both superblocks.
    pub fn own(&self, size_bytes: u64) -> impl Iterator<Item = Extent> {
        let head = Extent::between(0, self.first_block * self.block());
        let end = self.segments * self.blocks_per_segment * self.block();
        let second = Extent::between(self.second_place().min(end), size_bytes);
        head.into_iter()
            .chain(second)
            .chain(Extent::between(end, size_bytes))
    }
}

/// Its checksum, which leaves out its own place.
fn sound(fields: Fields) -> bool {
    let judged = || {
        let len = usize::from(fields.u16(8)?).checked_sub(SUM_AT + 4)?;
        let (before, after) = (fields.bytes(0, SUM_AT)?, fields.bytes(SUM_AT + 4, len)?);
        let sum = sum(fields.u32(12)?, &[before, &[0; 4], after]);
        Some(fields.u32(SUM_AT)? == sum)
    };
    judged() == Some(true)
}
