//! The journal: a ring of transactions, each a list of blocks and the blocks themselves.
//!
//! After TN1150 ("The Journal") and `vfs_journal.h`; numbers are in the byte order of the machine that wrote them.

use super::header::Header;
use super::overlay::Pieces;
use super::{Trouble, refused};
use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::source::{BlockSource, read_vec};

const IN_VOLUME: u32 = 1;
const ON_OTHER_DEVICE: u32 = 2;
/// Made by formatting, and not written to since.
const NEEDS_INIT: u32 = 4;

const MAGIC: u32 = 0x4A4E_4C78;
const ORDER: u32 = 0x1234_5678;
/// How much of the journal's header, and of a list of blocks, their checksums cover.
const HEADER_SUMMED: usize = 44;
const LIST_SUMMED: usize = 32;
/// Of a list: its blocks have checksums of their own.
const BLOCKS_SUMMED: u32 = 1;
/// A block that was given up after it was put into a list.
const KILLED: u64 = u64::MAX;
const LARGEST_LIST: u64 = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, fields: Fields<'_>, at: usize) -> Option<u16> {
        match self {
            Order::Big => fields.be16(at),
            Order::Little => fields.u16(at),
        }
    }

    fn u32(self, fields: Fields<'_>, at: usize) -> Option<u32> {
        match self {
            Order::Big => fields.be32(at),
            Order::Little => fields.u32(at),
        }
    }

    fn u64(self, fields: Fields<'_>, at: usize) -> Option<u64> {
        match self {
            Order::Big => fields.be64(at),
            Order::Little => fields.u64(at),
        }
    }
}

pub(super) struct Journal<'a> {
    source: &'a dyn BlockSource,
    order: Order,
    /// Where it begins on the volume; the numbers below count from there.
    at: u64,
    start: u64,
    end: u64,
    size: u64,
    list_size: u64,
    /// Also the unit of the addresses of blocks.
    header_size: u64,
}

/// What is on the disk once it is replayed.
#[derive(Debug)]
pub(super) struct Replay {
    pub pieces: Pieces,
    pub touched: ExtentMap,
    pub blocks: u64,
}

/// A list of blocks: where each goes and how long it is.
struct List {
    bytes_used: u64,
    sequence: u32,
    blocks: Vec<Block>,
}

struct Block {
    number: u64,
    len: u64,
    sum: Option<u32>,
}

impl<'a> Journal<'a> {
    /// `None` where there is none, or none that anybody would replay.
    pub fn open(
        source: &'a dyn BlockSource,
        header: &Header,
    ) -> Result<Option<Journal<'a>>, Trouble> {
        let Some(block) = header.journal_info else {
            return Ok(None);
        };
        if block == 0 || block >= header.blocks {
            return refused("its journal lies where it cannot be");
        }
        let info = read_vec(source, block * header.block_size, 512)?;
        let fields = Fields(&info);
        let place = || Some((fields.be32(0)?, fields.be64(36)?, fields.be64(44)?));
        let Some((flags, at, size)) = place() else {
            return refused("its journal lies where it cannot be");
        };
        if flags & ON_OTHER_DEVICE != 0 || flags & IN_VOLUME == 0 {
            return refused("its journal is on another disk");
        }
        if flags & NEEDS_INIT != 0 {
            return Ok(None);
        }
        let inside = Extent::new(at, size).is_some_and(|e| e.end() <= header.size_bytes());
        if !inside {
            return refused("its journal lies where it cannot be");
        }
        let journal = Journal::parse(source, at, size)?;
        match header.journal_kept {
            true => Ok(Some(journal)),
            // macOS throws it away then.
            false if journal.start == journal.end => Ok(None),
            false => {
                refused("its journal is not empty, but a system without journal used it since")
            }
        }
    }

    fn parse(source: &'a dyn BlockSource, at: u64, size: u64) -> Result<Journal<'a>, Trouble> {
        let head = read_vec(source, at, 512.min(size))?;
        let fields = Fields(&head);
        let order = match (fields.be32(0), fields.be32(4)) {
            (Some(MAGIC), Some(ORDER)) => Order::Big,
            _ if fields.u32(0) == Some(MAGIC) && fields.u32(4) == Some(ORDER) => Order::Little,
            _ => return refused("its journal has no header"),
        };
        let read = || {
            let journal = Journal {
                source,
                order,
                at,
                start: order.u64(fields, 8)?,
                end: order.u64(fields, 16)?,
                size: order.u64(fields, 24)?,
                list_size: order.u32(fields, 32)?.into(),
                header_size: order.u32(fields, 40)?.into(),
            };
            Some((journal, order.u32(fields, 36)?))
        };
        let right = |(journal, stored): &(Journal<'_>, u32)| {
            let (first, size) = (journal.header_size, journal.size);
            first.is_power_of_two()
                && (512..=64 << 10).contains(&first)
                && (512..=LARGEST_LIST).contains(&journal.list_size)
                && first + journal.list_size < size
                && [journal.start, journal.end]
                    .iter()
                    .all(|n| (first..=size).contains(n))
                && sum(&head, HEADER_SUMMED, 36) == Some(*stored)
        };
        match read().filter(right) {
            Some((journal, _)) if journal.size <= size => Ok(Journal {
                start: journal.wrapped(journal.start),
                end: journal.wrapped(journal.end),
                ..journal
            }),
            _ => refused("the header of its journal is damaged"),
        }
    }

    /// Itself, where something waits in it to be replayed.
    pub fn waiting(&self) -> Option<&Journal<'a>> {
        (self.start != self.end).then_some(self)
    }

    /// The newest bytes of every block in it.
    pub fn replay(&self) -> Result<Replay, Trouble> {
        let mut replay = Replay {
            pieces: Pieces::default(),
            touched: ExtentMap::new(),
            blocks: 0,
        };
        let mut at = self.start;
        let mut left = (self.end + self.ring() - self.start) % self.ring();
        let mut sequence = None;
        while left > 0 {
            let Some(list) = self.list(at)?.filter(|list| list.bytes_used <= left) else {
                return refused("its journal cannot be followed");
            };
            self.take(at, &list, &mut replay)?;
            left -= list.bytes_used;
            at = self.after(at, list.bytes_used);
            sequence = Some(list.sequence);
        }
        // The header is not written with every transaction, and macOS goes on behind its end.
        let next = sequence.map(|sequence| sequence.wrapping_add(1));
        if self
            .list(at)?
            .is_some_and(|list| Some(list.sequence) == next)
        {
            return refused("its journal goes on behind the end it records");
        }
        Ok(replay)
    }

    fn take(&self, at: u64, list: &List, replay: &mut Replay) -> Result<(), Trouble> {
        let mut from = self.after(at, self.list_size);
        for block in &list.blocks {
            let bytes = self.bytes(from, block.len)?;
            from = self.after(from, block.len);
            if block.number == KILLED {
                continue;
            }
            if block.sum.is_some_and(|sum| sum_of(&bytes) != sum) {
                return refused("a block in its journal is damaged");
            }
            let place = block.number.checked_mul(self.header_size);
            let extent = place.and_then(|place| Extent::new(place, block.len));
            let Some(extent) = extent.filter(|e| e.end() <= self.source.size_bytes()) else {
                return refused("its journal writes where nothing is");
            };
            if !replay.pieces.put(extent.start(), &bytes) {
                return refused("its journal is too long to be replayed in memory");
            }
            replay.touched.insert(extent);
            replay.blocks += 1;
        }
        Ok(())
    }

    /// `None` when no list begins there.
    fn list(&self, at: u64) -> Result<Option<List>, Trouble> {
        let bytes = self.bytes(at, self.list_size)?;
        Ok(self.parse_list(&bytes))
    }

    fn parse_list(&self, bytes: &[u8]) -> Option<List> {
        let (fields, order) = (Fields(bytes), self.order);
        if sum(bytes, LIST_SUMMED, 8)? != order.u32(fields, 8)? {
            return None;
        }
        let summed = order.u32(fields, 12)? & BLOCKS_SUMMED != 0;
        let (most, count) = (order.u16(fields, 0)?, order.u16(fields, 2)?);
        if count == 0 || count > most {
            return None;
        }
        // The first entry is not a block: it holds the sequence.
        let blocks = (1..usize::from(count))
            .map(|n| {
                let at = 16 + 16 * n;
                let len = u64::from(order.u32(fields, at + 8)?);
                let sum = order.u32(fields, at + 12)?;
                let block = Block {
                    number: order.u64(fields, at)?,
                    len,
                    sum: summed.then_some(sum),
                };
                (len > 0 && len.is_multiple_of(512)).then_some(block)
            })
            .collect::<Option<Vec<Block>>>()?;
        let bytes_used = u64::from(order.u32(fields, 4)?);
        let total = self.list_size + blocks.iter().map(|block| block.len).sum::<u64>();
        (bytes_used == total && total < self.ring()).then_some(List {
            bytes_used,
            sequence: order.u32(fields, 28)?,
            blocks,
        })
    }

    /// Bytes of the ring, whose first are those behind the header.
    fn bytes(&self, at: u64, len: u64) -> Result<Vec<u8>, Trouble> {
        let first = len.min(self.size - at);
        let mut bytes = read_vec(self.source, self.at + at, first)?;
        if first < len {
            bytes.extend(read_vec(
                self.source,
                self.at + self.header_size,
                len - first,
            )?);
        }
        Ok(bytes)
    }

    fn ring(&self) -> u64 {
        self.size - self.header_size
    }

    /// `len` is at most as long as the ring.
    fn after(&self, at: u64, len: u64) -> u64 {
        self.header_size + (at - self.header_size + len) % self.ring()
    }

    fn wrapped(&self, at: u64) -> u64 {
        self.after(at, 0)
    }
}

/// Of the first `len` bytes, those of the checksum itself taken as zeros.
fn sum(bytes: &[u8], len: usize, own: usize) -> Option<u32> {
    let mut bytes = bytes.get(..len)?.to_vec();
    bytes.get_mut(own..own + 4)?.fill(0);
    Some(sum_of(&bytes))
}

fn sum_of(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(0u32, |sum, byte| {
        (sum << 8) ^ sum.wrapping_add(u32::from(*byte))
    })
}
