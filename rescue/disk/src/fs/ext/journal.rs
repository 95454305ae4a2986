//! The journal (jbd2), replayed in memory: which blocks would be overwritten, and from where.
//!
//! Follows `fs/jbd2/recovery.c` in the kernel: the same three passes, stopping where it stops. Where the kernel
//! would give up with an error, nothing is believed.

mod block;
mod fast;
mod log;

use super::checksum::crc32c;
use super::groups::View;
use super::overlay::JournalCopy;
use super::superblock::JournalPlace;
use crate::extent::Extent;
use crate::fields::Fields;
use crate::fs::tree::TreeError;
use crate::source::ReadError;
use log::Log;

/// First four bytes of every block that belongs to the journal itself.
pub(super) const MAGIC: u32 = 0xC03B_3998;

/// What a replay would do.
#[derive(Debug)]
pub(super) struct Replay {
    /// Blocks with a newer copy, sorted.
    pub copies: Vec<JournalCopy>,
    /// Bytes that fast commits gave to files.
    pub fast: Vec<Extent>,
    /// Where the journal lies.
    pub area: Vec<Extent>,
    /// Something a person should know.
    pub notes: Vec<&'static str>,
}

/// Why a journal is not replayed.
#[derive(Debug)]
pub(super) enum Trouble {
    Read(ReadError),
    /// It is damaged or of an unknown kind; the text says how.
    Refused(&'static str),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Trouble {
        Trouble::Read(error)
    }
}

/// The journal inside the filesystem. `None`: it has none, or elsewhere.
pub(super) fn open<'a>(view: &'a View<'a>) -> Result<Option<Log<'a>>, Trouble> {
    let JournalPlace::Inode(number) = view.superblock.journal else {
        return Ok(None);
    };
    let inode = followed(view.inode(number))?;
    if !inode.sum_fits(view.superblock.checksums) {
        return Err(Trouble::Refused(
            "the inode of its journal has a wrong checksum",
        ));
    }
    let runs = followed(view.runs(&inode))?;
    Log::open(view, runs).map(Some)
}

/// A journal that cannot be found is refused; only a disk that is gone is an error.
fn followed<T>(result: Result<T, TreeError>) -> Result<T, Trouble> {
    result.map_err(|error| match error {
        TreeError::Read(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => {
            Trouble::Refused("the inode of its journal cannot be read")
        }
        TreeError::Read(error) => Trouble::Read(error),
        TreeError::Damaged(_) | TreeError::Unsupported(_) | TreeError::TooMany(_) => {
            Trouble::Refused("the inode of its journal is damaged")
        }
    })
}

/// How the blocks of a journal are protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sums {
    None,
    /// A CRC32 over whole transactions in their commit block.
    Transactions,
    /// CRC32C of each block, of which 16 bits are kept for copies.
    V2(u32),
    /// The same with all 32 bits.
    V3(u32),
}

impl Sums {
    fn seed(self) -> Option<u32> {
        match self {
            Sums::V2(seed) | Sums::V3(seed) => Some(seed),
            Sums::None | Sums::Transactions => None,
        }
    }
}

/// What the superblock of a journal says.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Shape {
    sums: Sums,
    /// Block numbers have 64 bits.
    wide: bool,
    async_commit: bool,
    /// Blocks `first..last` are the ring.
    first: u64,
    last: u64,
    /// Blocks for fast commits, behind the ring.
    fast: std::ops::Range<u64>,
    /// First block to replay; 0: nothing.
    start: u64,
    sequence: u32,
    /// It remembers that a write failed.
    failed: bool,
}

const COMPAT_CHECKSUM: u32 = 1;
const INCOMPAT_64BIT: u32 = 2;
const INCOMPAT_ASYNC_COMMIT: u32 = 4;
const INCOMPAT_CSUM_V2: u32 = 8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
/// These and revoke records.
const INCOMPAT_KNOWN: u32 = 0x3F;
/// The kernel uses no shorter journal (`JBD2_MIN_JOURNAL_BLOCKS`).
const SHORTEST: u64 = 1024;

impl Shape {
    /// `blocks` is how many blocks the journal's inode has.
    fn parse(bytes: &[u8], block_size: u64, blocks: u64) -> Result<Shape, &'static str> {
        Shape::fields(Fields(bytes), block_size, blocks).unwrap_or(Err("its journal is cut off"))
    }

    fn fields(f: Fields<'_>, block_size: u64, blocks: u64) -> Option<Result<Shape, &'static str>> {
        // A version 1 superblock has no words for features.
        let featured = match (f.be32(0)?, f.be32(4)?) {
            (MAGIC, 3) => false,
            (MAGIC, 4) => true,
            _ => return Some(Err("its journal has no superblock")),
        };
        let word = |at| if featured { f.be32(at) } else { Some(0) };
        let (compat, incompat) = (word(0x24)?, word(0x28)?);
        let sums = match Shape::sums(f, compat, incompat)? {
            Ok(sums) => sums,
            Err(why) => return Some(Err(why)),
        };
        let (length, first) = (u64::from(f.be32(0x10)?), u64::from(f.be32(0x14)?));
        let start = u64::from(f.be32(0x1C)?);
        let fast_blocks = match (incompat & INCOMPAT_FAST_COMMIT != 0, word(0x54)?) {
            (false, _) => 0,
            (true, 0) => 256,
            (true, blocks) => u64::from(blocks),
        };
        let last = length
            .checked_sub(fast_blocks)
            .filter(|last| *last >= SHORTEST);
        let last = last.unwrap_or(length);
        if u64::from(f.be32(0xC)?) != block_size {
            return Some(Err("its journal has another block size"));
        }
        if incompat & !INCOMPAT_KNOWN != 0 {
            return Some(Err("its journal has features unknown here"));
        }
        let ring = first..last;
        if length > blocks || first == 0 || ring.is_empty() || start != 0 && !ring.contains(&start)
        {
            return Some(Err("its journal has an impossible shape"));
        }
        Some(Ok(Shape {
            sums,
            wide: incompat & INCOMPAT_64BIT != 0,
            async_commit: incompat & INCOMPAT_ASYNC_COMMIT != 0,
            first,
            last,
            fast: if fast_blocks > 0 {
                last + 1..length
            } else {
                0..0
            },
            start,
            sequence: f.be32(0x18)?,
            failed: f.be32(0x20)? != 0,
        }))
    }

    fn sums(f: Fields<'_>, compat: u32, incompat: u32) -> Option<Result<Sums, &'static str>> {
        const SUM_AT: usize = 0xFC;
        const CRC32C: u8 = 4;
        let seed = crc32c(!0, f.bytes(0x30, 16)?);
        let sums = match (incompat & INCOMPAT_CSUM_V2, incompat & INCOMPAT_CSUM_V3) {
            (0, 0) if compat & COMPAT_CHECKSUM != 0 => Sums::Transactions,
            (0, 0) => Sums::None,
            (_, 0) => Sums::V2(seed),
            (0, _) => Sums::V3(seed),
            _ => return Some(Err("its journal claims two kinds of checksum")),
        };
        if sums.seed().is_some() {
            let (before, after) = (f.bytes(0, SUM_AT)?, f.bytes(SUM_AT + 4, 1024 - SUM_AT - 4)?);
            let sum = [before, &[0; 4], after].into_iter().fold(!0, crc32c);
            if f.u8(0x50)? != CRC32C || sum != f.be32(SUM_AT)? {
                return Some(Err("the superblock of its journal has a wrong checksum"));
            }
        }
        Some(Ok(sums))
    }
}
