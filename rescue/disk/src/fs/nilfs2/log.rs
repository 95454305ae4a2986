//! The log: logs of some blocks each, one behind the other in a segment, then in the segment that it names as next.

use std::collections::BTreeSet;

use super::Trouble;
use super::superblock::{Superblock, sum};
use crate::fields::Fields;
use crate::source::{BlockSource, read_vec};

const MAGIC: u32 = 0x1EAF_FA11;
const HAS_SUPER_ROOT: u16 = 4;
const PIECE: u64 = 256 << 10;
/// The kernel writes a superblock every ten seconds, and follows the log from there.
const MOST_BYTES: u64 = 2 << 30;

/// What the kernel would find at a mount.
#[derive(Debug)]
pub struct Log {
    /// The inodes of the address translation and of the segment usage in the last super root.
    pub translation: Vec<u8>,
    pub usage: Vec<u8>,
    /// Segments that were looked at, those in which nothing of the log stands yet among them.
    pub segments: BTreeSet<u64>,
}

/// The summary at the head of a log that is sound.
struct Summary {
    blocks: u64,
    /// The segment that follows.
    next: u64,
    has_super_root: bool,
}

impl Log {
    /// As `nilfs_search_super_root` does it: it ends where two segments in turn do not go on with it.
    pub fn follow(source: &dyn BlockSource, superblock: &Superblock) -> Result<Log, Trouble> {
        let mut at = superblock.last_log;
        let mut sequence = superblock.last_sequence;
        let mut segment = superblock.segment_of(at);
        let mut next = segment;
        let mut segments = BTreeSet::from([segment]);
        let mut root = None;
        let mut left = MOST_BYTES;
        let mut strayed = 0;
        while strayed < 2 {
            let (_, end) = superblock.range(segment);
            // A log has two blocks at least.
            let room = end.saturating_sub(at);
            let found = match room {
                0 | 1 => None,
                _ => summary(source, superblock, at, sequence, &mut left)?,
            };
            if let Some(log) = found.filter(|log| log.blocks <= room) {
                strayed = 0;
                next = log.next;
                if log.has_super_root {
                    root = Some(super_root(source, superblock, at + log.blocks - 1)?);
                } else if root.is_none() {
                    break;
                }
                at += log.blocks;
                continue;
            }
            if root.is_none() {
                break;
            }
            strayed += 1;
            sequence = sequence.wrapping_add(1);
            segment = next;
            segments.insert(segment);
            (at, _) = superblock.range(segment);
        }
        let lost = "the log has no super root where its superblock says";
        let (translation, usage) = root.ok_or(Trouble::Refused(lost))?;
        segments.insert(next);
        Ok(Log {
            translation,
            usage,
            segments,
        })
    }
}

/// `None` where no log of this segment stands.
fn summary(
    source: &dyn BlockSource,
    superblock: &Superblock,
    at: u64,
    sequence: u64,
    left: &mut u64,
) -> Result<Option<Summary>, Trouble> {
    let block = superblock.block();
    let raw = read_vec(source, at * block, block)?;
    let fields = Fields(&raw);
    let blocks = fields.u32(40).map_or(0, u64::from);
    let known = (fields.u32(8), fields.u64(16)) == (Some(MAGIC), Some(sequence));
    if !known || !(1..=superblock.blocks_per_segment).contains(&blocks) {
        return Ok(None);
    }
    let long = Trouble::Refused("its log is too long since its superblock was written");
    let bytes = blocks * block;
    *left = left.checked_sub(bytes).ok_or(long)?;
    if fields.u32(0) != Some(sum_of(source, superblock.seed, at * block, bytes)?) {
        return Ok(None);
    }
    let damaged = Trouble::Refused("its log goes on outside of its segments");
    let next = fields.u64(32).ok_or(damaged.clone())?;
    if !superblock.holds(next.max(superblock.first_block)) {
        return Err(damaged);
    }
    Ok(Some(Summary {
        blocks,
        next: superblock.segment_of(next),
        has_super_root: fields
            .u16(14)
            .is_some_and(|flags| flags & HAS_SUPER_ROOT != 0),
    }))
}

/// Of all of a log but the sum itself. A log that would reach beyond the disk has another.
fn sum_of(source: &dyn BlockSource, seed: u32, start: u64, bytes: u64) -> Result<u32, Trouble> {
    let end = (start + bytes).min(source.size_bytes());
    let mut at = start + 4;
    let mut value = seed;
    while at < end {
        let len = PIECE.min(end - at);
        value = sum(value, &[&read_vec(source, at, len)?]);
        at += len;
    }
    Ok(value)
}

/// The inodes of the address translation and of the segment usage.
fn super_root(
    source: &dyn BlockSource,
    superblock: &Superblock,
    at: u64,
) -> Result<(Vec<u8>, Vec<u8>), Trouble> {
    let raw = read_vec(source, at * superblock.block(), superblock.block())?;
    let fields = Fields(&raw);
    let inode = usize::try_from(superblock.inode_bytes).expect("it fits in a block");
    let judged = || {
        let len = usize::from(fields.u16(4)?).checked_sub(4)?;
        let value = sum(superblock.seed, &[fields.bytes(4, len)?]);
        let sound = fields.u32(0)? == value && len + 4 >= 16 + 3 * inode;
        let translation = fields.bytes(16, inode)?.to_vec();
        let usage = fields.bytes(16 + 2 * inode, inode)?.to_vec();
        sound.then_some((translation, usage))
    };
    judged().ok_or(Trouble::Refused("its super root is damaged"))
}
