//! Blocks of a journal: descriptors with their tags, revoke records, commits. Big-endian throughout.

use super::super::checksum::crc32c;
use super::{MAGIC, Shape, Sums};
use crate::fields::Fields;

/// First byte behind the header that every such block begins with.
const HEADER: usize = 12;
const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Descriptor,
    Commit,
    Revoke,
}

/// What kind of block this is, if it belongs to the journal and to transaction `sequence`.
pub(super) fn kind(block: &[u8], sequence: u32) -> Option<Kind> {
    let fields = Fields(block);
    if fields.be32(0)? != MAGIC || fields.be32(8)? != sequence {
        return None;
    }
    match fields.be32(4)? {
        1 => Some(Kind::Descriptor),
        2 => Some(Kind::Commit),
        5 => Some(Kind::Revoke),
        _ => None,
    }
}

/// One block of the filesystem, whose copy follows in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag {
    pub block: u64,
    pub escaped: bool,
    sum: u32,
}

impl Shape {
    /// The tags of a descriptor, as far as the block goes.
    pub(super) fn tags(&self, block: &[u8]) -> Vec<Tag> {
        // With version 2 sums a tag grew by two bytes that nobody uses (`journal_tag_bytes` in the kernel).
        let length = match (self.sums, self.wide) {
            (Sums::V3(_), _) => 16,
            (Sums::V2(_), true) => 14,
            (Sums::V2(_), false) => 10,
            (_, true) => 12,
            (_, false) => 8,
        };
        let end = block.len() - if self.sums.seed().is_some() { 4 } else { 0 };
        let mut tags = Vec::new();
        let mut at = HEADER;
        while at + length <= end {
            let Some((tag, flags)) = self.tag(Fields(&block[at..at + length])) else {
                break;
            };
            tags.push(tag);
            at += length + if flags & SAME_UUID == 0 { 16 } else { 0 };
            if flags & LAST != 0 {
                break;
            }
        }
        tags
    }

    fn tag(&self, fields: Fields<'_>) -> Option<(Tag, u32)> {
        let high = if self.wide { fields.be32(8)? } else { 0 };
        let (flags, sum) = match self.sums {
            Sums::V3(_) => (fields.be32(4)?, fields.be32(12)?),
            _ => (u32::from(fields.be16(6)?), u32::from(fields.be16(4)?)),
        };
        let tag = Tag {
            block: u64::from(fields.be32(0)?) | u64::from(high) << 32,
            escaped: flags & ESCAPED != 0,
            sum,
        };
        Some((tag, flags))
    }

    /// The blocks that a revoke block names; `None` when its own count is impossible.
    pub(super) fn revoked(&self, block: &[u8]) -> Option<Vec<u64>> {
        let fields = Fields(block);
        let end = usize::try_from(fields.be32(HEADER)?).ok()?;
        let room = block.len() - if self.sums.seed().is_some() { 4 } else { 0 };
        let length = if self.wide { 8 } else { 4 };
        let records = block.get(HEADER + 4..end).filter(|_| end <= room)?;
        let number = |record: &[u8]| {
            let fields = Fields(record);
            if self.wide {
                fields.be64(0)
            } else {
                fields.be32(0).map(u64::from)
            }
        };
        records.chunks_exact(length).map(number).collect()
    }

    /// True when a descriptor or revoke block is as it was written.
    pub(super) fn tail_fits(&self, block: &[u8]) -> bool {
        let (Some(seed), Some(at)) = (self.sums.seed(), block.len().checked_sub(4)) else {
            return true;
        };
        let sum = crc32c(crc32c(seed, &block[..at]), &[0; 4]);
        Fields(block).be32(at) == Some(sum)
    }

    /// True when a commit block is as it was written. The kernel also accepts a sum over its header alone.
    pub(super) fn commit_fits(&self, block: &[u8]) -> bool {
        const SUM: std::ops::Range<usize> = 16..20;
        const HEADER_LEN: usize = 60;
        let Some(seed) = self.sums.seed() else {
            return true;
        };
        let Some(stored) = Fields(block).be32(SUM.start) else {
            return false;
        };
        let mut copy = block.to_vec();
        copy[SUM].fill(0);
        if crc32c(seed, &copy) == stored {
            return true;
        }
        copy[HEADER_LEN..].fill(0);
        crc32c(seed, &copy) == stored
    }

    /// True when the copy of a block is as it was written; `copy` is as it lies in the log.
    pub(super) fn copy_fits(&self, tag: &Tag, sequence: u32, copy: &[u8]) -> bool {
        let Some(seed) = self.sums.seed() else {
            return true;
        };
        let sum = crc32c(crc32c(seed, &sequence.to_be_bytes()), copy);
        match self.sums {
            Sums::V3(_) => sum == tag.sum,
            _ => sum & 0xFFFF == tag.sum,
        }
    }
}

/// When a transaction was committed.
pub(super) fn commit_time(block: &[u8]) -> u64 {
    let fields = Fields(block);
    let (seconds, nanoseconds) = (fields.be64(48).unwrap_or(0), fields.be32(56).unwrap_or(0));
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(nanoseconds))
}

/// The sum of a whole transaction in its commit block: type, size and value.
pub(super) fn transaction_sum(block: &[u8]) -> (u8, u8, u32) {
    let fields = Fields(block);
    (
        fields.u8(12).unwrap_or(0),
        fields.u8(13).unwrap_or(0),
        fields.be32(16).unwrap_or(0),
    )
}
