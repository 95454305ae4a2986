//! The container's superblock: where its checkpoints are, and what the newest of them says.

use std::ops::Range;

use super::object::{Head, Kind};
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::source::{BlockSource, ReadError, read_vec};

/// The smallest block there is; a superblock's fields are in its first one.
const SMALLEST: u64 = 4096;
const LARGEST: u64 = 65_536;
/// `NX_INCOMPAT_FUSION`.
const FUSION: u64 = 0x100;
/// `NX_INCOMPAT_VERSION2`: every other incompatible feature is unknown here, version 1 too.
const KNOWN: u64 = 2;
/// Most blocks of the descriptor area; a container has some hundreds.
const DESCRIPTORS: u64 = 1 << 16;
/// `NX_MAX_FILE_SYSTEMS`.
const VOLUMES: usize = 100;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub xid: u64,
    pub block_size: u64,
    pub blocks: u64,
    /// The checkpoint descriptor area and the checkpoint data area, in blocks.
    pub descriptors: Range<u64>,
    pub data: Range<u64>,
    /// Of the descriptor area, where this checkpoint begins and how many blocks it has.
    pub index: u64,
    pub length: u64,
    pub space: u64,
    pub omap: u64,
    pub volumes: Vec<u64>,
    /// Ranges of blocks that are kept whatever the space manager says: blocked out, keys, the EFI driver's record.
    pub kept: Vec<Range<u64>>,
}

/// The first bytes, where they are those of a container.
pub(super) fn head(source: &dyn BlockSource) -> Result<Option<Vec<u8>>, ReadError> {
    if source.size_bytes() < SMALLEST {
        return Ok(None);
    }
    let bytes = read_vec(source, 0, SMALLEST)?;
    Ok(Fields(&bytes).starts_with(32, b"NXSB").then_some(bytes))
}

pub(super) fn uuid(head: &[u8]) -> Option<String> {
    Fields(head).array(72).and_then(crate::fs::uuid)
}

/// Of the first bytes, how large a block is.
pub(super) fn block_size(head: &[u8]) -> Result<u64, Trouble> {
    match Fields(head).u32(36).map(u64::from) {
        Some(size) if size.is_power_of_two() && (SMALLEST..=LARGEST).contains(&size) => Ok(size),
        _ => refused("its block size is none of APFS"),
    }
}

impl Superblock {
    /// Of a whole block.
    pub fn parse(bytes: &[u8]) -> Result<Superblock, Trouble> {
        let head = Head::of(bytes, Kind::Container)?;
        match fields(bytes, head.xid) {
            Some(superblock) => superblock?.checked(),
            None => refused("its superblock is cut off"),
        }
    }

    fn checked(self) -> Result<Superblock, Trouble> {
        let inside = |range: &Range<u64>| range.start < range.end && range.end <= self.blocks;
        if !inside(&self.descriptors) || !inside(&self.data) {
            return refused("its checkpoints lie beyond its end");
        }
        let descriptors = self.descriptors.end - self.descriptors.start;
        if descriptors > DESCRIPTORS || self.index >= descriptors || self.length > descriptors {
            return refused("its superblock contradicts itself");
        }
        if self.kept.iter().any(|range| range.end > self.blocks) {
            return refused("its superblock keeps blocks beyond its end");
        }
        Ok(self)
    }

    /// Whether this is a superblock of the same container in the same place.
    pub fn same_shape(&self, other: &Superblock) -> bool {
        self.block_size == other.block_size
            && self.descriptors == other.descriptors
            && self.data == other.data
    }
}

fn fields(bytes: &[u8], xid: u64) -> Option<Result<Superblock, Trouble>> {
    let fields = Fields(bytes);
    let incompatible = fields.u64(64)?;
    if incompatible & FUSION != 0 {
        return Some(refused("it is one of the two devices of a Fusion Drive"));
    }
    if incompatible != KNOWN {
        let why = format!("it has features that are unknown here ({incompatible:#x})");
        return Some(refused(why));
    }
    // The highest bit: the area is in pieces, which a tree lists.
    let area = |blocks: usize, base: usize| -> Option<Option<Range<u64>>> {
        let (blocks, base) = (u64::from(fields.u32(blocks)?), fields.u64(base)?);
        let whole = blocks >> 31 == 0 && base >> 63 == 0;
        Some(whole.then(|| base..base.saturating_add(blocks)))
    };
    let (Some(descriptors), Some(data)) = (area(104, 112)?, area(108, 120)?) else {
        return Some(refused("its checkpoint areas are in pieces"));
    };
    let range = |at: usize| -> Option<Range<u64>> {
        let (start, count) = (fields.u64(at)?, fields.u64(at + 8)?);
        Some(start..start.saturating_add(count))
    };
    let jumpstart = fields.u64(0x4F8)?;
    let mut kept = vec![range(0x4D8)?, range(0x510)?, range(0x570)?];
    kept.push(jumpstart..jumpstart.saturating_add(1));
    kept.retain(|range| range.start != 0 && range.start < range.end);
    let mut volumes = Vec::new();
    for slot in 0..VOLUMES {
        volumes.push(fields.u64(184 + slot * 8)?);
    }
    volumes.retain(|oid| *oid != 0);
    Some(Ok(Superblock {
        xid,
        block_size: u64::from(fields.u32(36)?),
        blocks: fields.u64(40)?,
        descriptors,
        data,
        index: u64::from(fields.u32(136)?),
        length: u64::from(fields.u32(140)?),
        space: fields.u64(152)?,
        omap: fields.u64(160)?,
        volumes,
        kept,
    }))
}
