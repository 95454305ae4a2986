//! The log: a ring of records, and which of them wait to be replayed.

use super::record::{BASIC, MAGIC, RECORD_LIMIT, Record};
use super::superblock::Superblock;
use super::{Trouble, refused};
use crate::extent::Extent;
use crate::fields::Fields;
use crate::source::{BlockSource, ReadError, read_vec};

/// Records that may be under way at once, and so be written in any order (`XLOG_MAX_ICLOGS`).
const UNDER_WAY: usize = 8;
/// Blocks that those records may take.
const WINDOW: u64 = UNDER_WAY as u64 * (RECORD_LIMIT as u64 / BASIC);

/// How far around a place is looked where it cannot be read: a stripe of a log has 256 KiB at most.
const NEAR: u64 = 512;

/// Far below what mkfs.xfs ever made.
const SMALLEST: u64 = 64 << 10;

pub(super) struct Log<'a> {
    source: &'a dyn BlockSource,
    pub superblock: &'a Superblock,
    pub extent: Extent,
    /// In units of 512 bytes.
    blocks: u64,
}

/// How the last user of the filesystem left it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    Clean,
    Dirty(Span),
}

/// What has to be replayed: the records from `from` to before `to`, in units of 512 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    from: u64,
    from_lsn: u64,
    to: u64,
    /// The last records were not written whole.
    pub torn: bool,
}

const UNREADABLE: &str = "its log cannot be followed";

pub(super) type VisitRecord<'a> = &'a mut dyn FnMut(&Record, &[u8]) -> Result<(), Trouble>;

/// Where a record lies, and itself.
type Placed = (u64, Record);

impl<'a> Log<'a> {
    pub fn source(&self) -> &'a dyn BlockSource {
        self.source
    }

    pub fn open(source: &'a dyn BlockSource, superblock: &'a Superblock) -> Result<Self, Trouble> {
        let place = superblock.place(superblock.log_start, superblock.log_blocks);
        let extent = place.and_then(|at| {
            Extent::new(
                at,
                superblock.log_blocks.checked_mul(superblock.block_size)?,
            )
        });
        let Some(extent) = extent.filter(|extent| extent.len() >= SMALLEST) else {
            return refused("its log lies where it cannot be");
        };
        Ok(Log {
            source,
            superblock,
            extent,
            blocks: extent.len() / BASIC,
        })
    }

    /// How the last user left it. Where a part of what was written last cannot be read, a record of the unmount right
    /// at the end is enough: it is written when nothing else is under way.
    pub fn ending(&self) -> Result<Ending, Trouble> {
        match self.followed() {
            Err(Trouble::Read(ReadError::Unreadable(_))) if self.ends_with_unmount()? => {
                Ok(Ending::Clean)
            }
            followed => followed,
        }
    }

    fn ends_with_unmount(&self) -> Result<bool, Trouble> {
        let head = self.head()?;
        // The record has a header and one block, and what fills it up to a stripe.
        for back in 2..=NEAR.min(self.blocks) {
            let at = self.wrapped(head + self.blocks - back);
            let Some(record) = Record::parse(&self.read(at, 1)?, self.superblock) else {
                continue;
            };
            let last = record.lsn & 0xFFFF_FFFF == at && record.blocks() == back;
            let data = self.data(at, &record)?;
            return Ok(last && data.is_some_and(|data| record.is_unmount(&data)));
        }
        Ok(false)
    }

    /// As the kernel finds the head and the tail (`xlog_find_head`, `xlog_find_tail`).
    fn followed(&self) -> Result<Ending, Trouble> {
        let head = self.hole_before(self.head()?)?;
        let mut placed = self.records_before(head)?;
        let mut torn = placed
            .last()
            .is_some_and(|(at, record)| self.wrapped(at + record.blocks()) != head);
        // The last ones may have been cut off; the first damaged one ends the log.
        let first = placed.len().saturating_sub(UNDER_WAY);
        for n in first..placed.len() {
            if self.data(placed[n].0, &placed[n].1)?.is_none() {
                placed.truncate(n);
                torn = true;
                break;
            }
        }
        let Some((at, last)) = placed.last().copied() else {
            return refused(UNREADABLE);
        };
        let data = self.data(at, &last)?.unwrap_or_default();
        let to = self.wrapped(at + last.blocks());
        if last.is_unmount(&data) && !torn {
            return Ok(Ending::Clean);
        }
        let from = last.tail_lsn & 0xFFFF_FFFF;
        if from >= self.blocks {
            return refused(UNREADABLE);
        }
        Ok(Ending::Dirty(Span {
            from,
            from_lsn: last.tail_lsn,
            to,
            torn,
        }))
    }

    /// Gives every record of the span and its data to `visit`, oldest first.
    pub fn each(&self, span: &Span, visit: VisitRecord<'_>) -> Result<(), Trouble> {
        let distance = (span.to + self.blocks - span.from - 1) % self.blocks + 1;
        let mut done = 0;
        let mut last = 0;
        while done < distance {
            let at = self.wrapped(span.from + done);
            let header = self.read(at, 1)?;
            let Some(record) = Record::parse(&header, self.superblock) else {
                return refused(UNREADABLE);
            };
            let first_fits = done > 0 || record.lsn == span.from_lsn;
            let here = record.lsn & 0xFFFF_FFFF == at && record.lsn > last && first_fits;
            if !here || !record.little_endian || done + record.blocks() > distance {
                return refused(UNREADABLE);
            }
            let Some(data) = self.data(at, &record)? else {
                return refused("a record of its log has a wrong checksum");
            };
            visit(&record, &data)?;
            last = record.lsn;
            done += record.blocks();
        }
        Ok(())
    }

    fn wrapped(&self, at: u64) -> u64 {
        at % self.blocks
    }

    /// Blocks of the ring from `at` on.
    fn read(&self, at: u64, count: u64) -> Result<Vec<u8>, Trouble> {
        let first = count.min(self.blocks - at);
        let start = self.extent.start();
        let mut bytes = read_vec(self.source, start + at * BASIC, first * BASIC)?;
        if first < count {
            bytes.extend(read_vec(self.source, start, (count - first) * BASIC)?);
        }
        Ok(bytes)
    }

    fn data(&self, at: u64, record: &Record) -> Result<Option<Vec<u8>>, Trouble> {
        if record.blocks() > self.blocks {
            return Ok(None);
        }
        let bytes = self.read(at, record.blocks())?;
        Ok(record.data(&bytes, self.superblock, self.blocks - at))
    }

    fn cycle(&self, at: u64) -> Result<u32, Trouble> {
        let bytes = read_vec(self.source, self.extent.start() + at * BASIC, 8)?;
        Ok(cycle_of(&bytes))
    }

    /// Where the next record would go, if all were written in order: blocks before it carry a newer cycle than
    /// those from it on.
    fn head(&self) -> Result<u64, Trouble> {
        let (first, last) = (self.cycle(0)?, self.cycle(self.blocks - 1)?);
        if first == 0 || first != last && first != last.wrapping_add(1) {
            return refused(UNREADABLE);
        }
        if first == last {
            return Ok(self.blocks);
        }
        let (mut low, mut high) = (0, self.blocks - 1);
        while high - low > 1 {
            let (middle, cycle) = self.readable(low + (high - low) / 2, high)?;
            match cycle == last {
                true => high = middle,
                false => low = middle,
            }
        }
        Ok(high)
    }

    /// The round of the first block from `at` on, and before `end`, that can be read.
    fn readable(&self, at: u64, end: u64) -> Result<(u64, u32), Trouble> {
        let mut next = at;
        loop {
            match self.cycle(next) {
                Err(Trouble::Read(ReadError::Unreadable(_))) if next + 1 < end.min(at + NEAR) => {
                    next += 1;
                }
                cycle => return Ok((next, cycle?)),
            }
        }
    }

    /// The first block, among the last that were written before `head`, that an older round left there: what was
    /// under way need not have been written in order.
    fn hole_before(&self, head: u64) -> Result<u64, Trouble> {
        let expected = self.cycle(self.wrapped(head + self.blocks - 1))?;
        let count = WINDOW.min(self.blocks);
        let start = self.wrapped(head + self.blocks - count);
        let bytes = self.read(start, count)?;
        for (n, block) in (0..count).zip(bytes.chunks(512)) {
            // Blocks that lie behind the head were written in the round before.
            let before = start + n < self.blocks && start >= head;
            let wanted = expected.wrapping_sub(u32::from(before));
            if cycle_of(block) != wanted {
                return Ok(self.wrapped(start + n));
            }
        }
        Ok(self.wrapped(head))
    }

    /// The unbroken row of records that ends before `head`, as far as it is looked at, oldest first.
    fn records_before(&self, head: u64) -> Result<Vec<Placed>, Trouble> {
        // Room for the records under way and the one before them.
        let count = (WINDOW + 2 * u64::from(RECORD_LIMIT) / BASIC).min(self.blocks);
        let start = self.wrapped(head + self.blocks - count);
        let bytes = self.read(start, count)?;
        let mut placed: Vec<Placed> = Vec::new();
        for (n, block) in (0..count).zip(bytes.chunks(512)) {
            let at = self.wrapped(start + n);
            let record = Record::parse(block, self.superblock);
            let Some(record) = record.filter(|r| r.lsn & 0xFFFF_FFFF == at) else {
                continue;
            };
            let follows = placed.last().is_none_or(|(before, last)| {
                self.wrapped(before + last.blocks()) == at && last.lsn < record.lsn
            });
            if !follows {
                placed.clear();
            }
            // One that reaches past the head was not written whole.
            if n + record.blocks() <= count {
                placed.push((at, record));
            }
        }
        Ok(placed)
    }
}

/// The round in which a block of the log was written.
fn cycle_of(block: &[u8]) -> u32 {
    let word = |at: usize| Fields(block).be32(at).unwrap_or(0);
    if word(0) == MAGIC { word(4) } else { word(0) }
}
