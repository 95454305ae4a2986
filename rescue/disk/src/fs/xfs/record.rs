//! A record of the log: one write of it, with its header.

use super::superblock::{Superblock, Version};
use crate::fields::Fields;

/// The log is written and numbered in units of this size, whatever the sectors are.
pub(super) const BASIC: u64 = 512;
const BASIC_BYTES: usize = 512;
pub(super) const MAGIC: u32 = 0xFEED_BABE;
/// One header sector holds the first words of this many bytes of data (`XLOG_HEADER_CYCLE_SIZE`).
const CYCLE_SIZE: u32 = 32 << 10;
/// `XLOG_MAX_RECORD_BSIZE`.
pub(super) const RECORD_LIMIT: u32 = 256 << 10;
const LITTLE_ENDIAN: u32 = 1;
const UNMOUNT_FLAG: u8 = 0x20;

/// The header of a record; its numbers are within bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub cycle: u32,
    pub len: u32,
    /// Cycle and block of this record, and of the oldest one that is still needed.
    pub lsn: u64,
    pub tail_lsn: u64,
    pub crc: u32,
    pub operations: u32,
    pub header_blocks: u64,
    pub little_endian: bool,
}

impl Record {
    /// `None` when there is no header of this filesystem's log.
    pub fn parse(bytes: &[u8], superblock: &Superblock) -> Option<Record> {
        let fields = Fields(bytes);
        let (version, len) = (fields.be32(8)?, fields.be32(12)?);
        let id: [u8; 16] = fields.array(304)?;
        let ours = id == superblock.uuid || id == superblock.meta_uuid;
        if fields.be32(0)? != MAGIC || !ours || !matches!(version, 1 | 2) || len > RECORD_LIMIT {
            return None;
        }
        let size = fields.be32(320)?;
        let header_blocks = match version {
            2 if size > RECORD_LIMIT => return None,
            2 => u64::from(size.div_ceil(CYCLE_SIZE).max(1)),
            _ => 1,
        };
        // Past 32 KiB the first words would lie in headers that there are not.
        let covered = header_blocks * u64::from(CYCLE_SIZE);
        (u64::from(len) <= covered).then_some(Record {
            cycle: fields.be32(4)?,
            len,
            lsn: fields.be64(16)?,
            tail_lsn: fields.be64(24)?,
            crc: fields.u32(32)?,
            operations: fields.be32(40)?,
            header_blocks,
            little_endian: fields.be32(300)? == LITTLE_ENDIAN,
        })
    }

    /// Blocks of the log that it takes, with its header.
    pub fn blocks(&self) -> u64 {
        self.header_blocks + u64::from(self.len).div_ceil(BASIC)
    }

    /// The data as it was before each block's first word was replaced by the cycle; `None` when it is not as it
    /// was written. `bytes` are all its blocks; from block `turn` of them on the log had wrapped around.
    pub fn data(&self, bytes: &[u8], superblock: &Superblock, turn: u64) -> Option<Vec<u8>> {
        let head = usize::try_from(self.header_blocks).ok()? * BASIC_BYTES;
        let len = usize::try_from(self.len).ok()?;
        let (headers, data) = bytes.split_at_checked(head)?;
        let data = data.get(..len.next_multiple_of(BASIC_BYTES))?;
        if !self.sum_fits(headers, data.get(..len)?, superblock.version) {
            return None;
        }
        let mut data = data.to_vec();
        for (n, block) in data.chunks_exact_mut(BASIC_BYTES).enumerate() {
            let wrapped = self.header_blocks + n as u64 >= turn;
            let cycle = self.cycle.wrapping_add(u32::from(wrapped));
            // A cycle that looks like the magic number is left out.
            let cycle = cycle.wrapping_add(u32::from(wrapped && cycle == MAGIC));
            if Fields(block).be32(0)? != cycle {
                return None;
            }
            let word = match (n / 64, n % 64) {
                (0, n) => 44 + n * 4,
                (header, n) => header * BASIC_BYTES + 4 + n * 4,
            };
            block[..4].copy_from_slice(headers.get(word..word + 4)?);
        }
        data.truncate(len);
        Some(data)
    }

    /// The sum goes over the header without the sum, the further headers and the data as written. Structures end
    /// with padding on 64-bit machines, and without on 32-bit ones.
    fn sum_fits(&self, headers: &[u8], data: &[u8], version: Version) -> bool {
        // mkfs.xfs writes no sum into the one record it makes, which has one operation.
        if self.crc == 0 && (version == Version::V4 || self.operations == 1) {
            return true;
        }
        [328, 324].into_iter().any(|len| {
            let mut sum = crc32c::crc32c(&headers[..32]);
            sum = crc32c::crc32c_append(sum, &[0; 4]);
            sum = crc32c::crc32c_append(sum, &headers[36..len]);
            // Of the further headers only those that the data needed.
            let needed = self.len.div_ceil(CYCLE_SIZE).max(1);
            let needed = usize::try_from(needed).expect("8 at most");
            for more in headers.chunks(BASIC_BYTES).take(needed).skip(1) {
                sum = crc32c::crc32c_append(sum, &more[..260]);
            }
            crc32c::crc32c_append(sum, data) == self.crc
        })
    }

    /// It says that the filesystem was unmounted. `data` are its bytes.
    pub fn is_unmount(&self, data: &[u8]) -> bool {
        self.operations == 1
            && Fields(data)
                .u8(9)
                .is_some_and(|flags| flags & UNMOUNT_FLAG != 0)
    }
}
