//! Fast commits: small logical records behind the ring. They are not replayed into files; what they gave to
//! files is kept.
//!
//! After `ext4_fc_replay_scan` in `fs/ext4/fast_commit.c`.

use super::super::checksum::crc32c;
use super::Trouble;
use super::log::{Log, RECORD_LIMIT, TOO_LARGE};
use crate::extent::Extent;
use crate::fields::Fields;

const ADD_RANGE: u16 = 1;
const TAIL: u16 = 8;
const HEAD: u16 = 9;
/// Tag and length, 16 bits each.
const TAG_LEN: usize = 4;

/// What the fast commits behind the last transaction hold.
#[derive(Debug, Default)]
pub(super) struct Fast {
    /// Bytes that were given to files. Those behind the last intact tail are in it too: they cannot be needed, but
    /// they cost nothing.
    pub ranges: Vec<Extent>,
    pub note: Option<&'static str>,
}

impl Fast {
    /// `tid` is the number of the transaction that was not committed.
    pub fn scan(log: &Log<'_>, tid: u32) -> Result<Fast, Trouble> {
        let mut scan = Scan {
            log,
            tid,
            sum: 0,
            fast: Fast::default(),
        };
        for at in log.shape().fast.clone() {
            if !scan.block(&log.block(at)?)? {
                break;
            }
        }
        Ok(scan.fast)
    }
}

struct Scan<'a, 'b> {
    log: &'a Log<'b>,
    tid: u32,
    sum: u32,
    fast: Fast,
}

impl Scan<'_, '_> {
    /// False: the fast commits end in this block.
    fn block(&mut self, block: &[u8]) -> Result<bool, Trouble> {
        let fields = Fields(block);
        let mut at = 0;
        while let (Some(tag), Some(length)) = (fields.u16(at), fields.u16(at + 2)) {
            let length = usize::from(length);
            let Some(value) = fields.bytes(at + TAG_LEN, length).map(Fields) else {
                return Ok(false);
            };
            match tag {
                HEAD => {
                    if value.u32(4) != Some(self.tid) {
                        return Ok(false);
                    }
                    if value.u32(0) != Some(0) {
                        return Err(Trouble::Refused(
                            "its fast commits have features unknown here",
                        ));
                    }
                }
                TAIL => {
                    let summed = fields.bytes(at, TAG_LEN + 4).unwrap_or_default();
                    let sum = crc32c(self.sum, summed);
                    self.sum = 0;
                    if value.u32(0) != Some(self.tid) || value.u32(4) != Some(sum) {
                        return Ok(false);
                    }
                    self.fast.note = Some(
                        "its last changes are fast commits: their space is kept, their files show the state before",
                    );
                    at += TAG_LEN + length;
                    continue;
                }
                ADD_RANGE if self.fast.ranges.len() == RECORD_LIMIT => return Err(TOO_LARGE),
                ADD_RANGE => {
                    let range = self.range(value)?;
                    self.fast.ranges.extend(range);
                }
                2..=7 => {}
                _ => return Ok(false),
            }
            self.sum = crc32c(
                self.sum,
                fields.bytes(at, TAG_LEN + length).unwrap_or_default(),
            );
            at += TAG_LEN + length;
        }
        Ok(true)
    }

    /// An inode number, then an extent as in a leaf of a tree.
    fn range(&self, value: Fields<'_>) -> Result<Option<Extent>, Trouble> {
        let superblock = &self.log.view().superblock;
        let parts = (value.u16(8), value.u16(10), value.u32(12));
        let (Some(length), Some(high), Some(low)) = parts else {
            return Ok(None);
        };
        let count = u64::from(if length > 32768 {
            length - 32768
        } else {
            length
        });
        let physical = u64::from(low) | u64::from(high) << 32;
        if physical + count > superblock.blocks {
            return Err(Trouble::Refused(
                "a fast commit names a block from outside of it",
            ));
        }
        Ok(Extent::new(
            physical * superblock.block_size,
            count * superblock.block_size,
        ))
    }
}
