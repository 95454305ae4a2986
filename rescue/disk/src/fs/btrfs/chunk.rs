//! Chunks: addresses of the filesystem, and where their copies and stripes lie on this disk.

use super::superblock::Superblock;
use super::{Trouble, refused};
use crate::extent::Extent;
use crate::fields::Fields;

pub(super) const CHUNK_ITEM: u8 = 228;
/// Most chunks looked at: 64 TiB in chunks of 1 GiB, in more than one copy.
pub(super) const CHUNK_LIMIT: usize = 1 << 17;
/// `BTRFS_STRIPE_LEN`; no kernel has ever made another.
const STRIPE: u64 = 64 << 10;
const HEAD: usize = 48;
const STRIPE_ITEM: usize = 32;

const RAID0: u64 = 1 << 3;
const RAID1: u64 = 1 << 4;
const DUP: u64 = 1 << 5;
const RAID10: u64 = 1 << 6;
const RAID5: u64 = 1 << 7;
const RAID6: u64 = 1 << 8;
const RAID1C3: u64 = 1 << 9;
const RAID1C4: u64 = 1 << 10;
/// Profiles, of which a chunk has none or one.
const PROFILES: u64 = 0x7F8;
/// Data, system and metadata.
const TYPES: u64 = 7;

/// How the bytes of a chunk are spread over its stripes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spread {
    /// Each stripe is the whole of it.
    Copied,
    /// 64 KiB go to each of `wide` groups in turn; a group is `copies` stripes that are the same.
    Striped { wide: u64, copies: u16 },
    /// Rows of `data` pieces of 64 KiB and their parity, turned by one stripe from row to row.
    Parity { data: u64, all: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    pub start: u64,
    pub len: u64,
    pub flags: u64,
    spread: Spread,
    /// How long each stripe is.
    each: u64,
    /// The first and the second stripe on this disk; only DUP has two.
    here: [Option<Stripe>; 2],
}

/// A part of this disk that a chunk has taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stripe {
    index: u16,
    at: u64,
}

/// The length of a chunk's item, and the chunk; `None` when it is damaged.
fn parse(fields: Fields<'_>, start: u64, device: u64) -> Option<(usize, Chunk)> {
    let (len, stripe_len, flags) = (fields.u64(0)?, fields.u64(16)?, fields.u64(24)?);
    let (count, sub) = (fields.u16(44)?, fields.u16(46)?);
    let known = flags >> 11 == 0 && flags & TYPES != 0 && stripe_len == STRIPE;
    let all = u64::from(count);
    let (spread, parts) = match flags & PROFILES {
        0 if count == 1 => (Spread::Copied, 1),
        DUP | RAID1 if count == 2 => (Spread::Copied, 1),
        RAID1C3 if count == 3 => (Spread::Copied, 1),
        RAID1C4 if count == 4 => (Spread::Copied, 1),
        RAID0 if count > 0 => (
            Spread::Striped {
                wide: all,
                copies: 1,
            },
            all,
        ),
        RAID10 if sub == 2 && count > 0 && count % 2 == 0 => {
            let wide = all / 2;
            (Spread::Striped { wide, copies: 2 }, wide)
        }
        RAID5 if count >= 2 => (Spread::Parity { data: all - 1, all }, all - 1),
        RAID6 if count >= 3 => (Spread::Parity { data: all - 2, all }, all - 2),
        _ => return None,
    };
    let each = (len / parts > 0 && len % parts == 0).then_some(len / parts)?;
    if spread != Spread::Copied && each % STRIPE != 0 {
        return None;
    }
    start.checked_add(len)?;
    let mut here = [None; 2];
    let mut free = here.iter_mut();
    for index in 0..count {
        let at = HEAD + usize::from(index) * STRIPE_ITEM;
        let (whose, at) = (fields.u64(at)?, fields.u64(at + 8)?);
        if whose == device {
            Extent::new(at, each)?;
            *free.next()? = Some(Stripe { index, at });
        }
    }
    if here[1].is_some() && flags & DUP == 0 {
        return None;
    }
    let found = Chunk {
        start,
        len,
        flags,
        spread,
        each,
        here,
    };
    known.then_some((HEAD + usize::from(count) * STRIPE_ITEM, found))
}

impl Chunk {
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    pub fn stripes(&self) -> impl Iterator<Item = Stripe> + '_ {
        self.here.iter().flatten().copied()
    }

    /// What of this disk a stripe takes.
    pub fn place(&self, stripe: Stripe) -> Extent {
        Extent::new(stripe.at, self.each).expect("it was checked when the chunk was read")
    }

    /// Where the byte at this offset of the chunk lies on this disk, in each of its copies here, and how many bytes
    /// follow it there in a row.
    pub fn copies(&self, offset: u64) -> (impl Iterator<Item = u64> + '_, u64) {
        let (piece, inside) = (offset / STRIPE, offset % STRIPE);
        // Where in its stripe, and the first and the number of the stripes that have it.
        let (at, first, count, run) = match self.spread {
            Spread::Copied => (offset, 0, u64::MAX, self.len - offset),
            Spread::Striped { wide, copies } => {
                let copies = u64::from(copies);
                let at = piece / wide * STRIPE + inside;
                (at, piece % wide * copies, copies, STRIPE - inside)
            }
            Spread::Parity { data, all } => {
                let row = piece / data;
                let index = (row + piece % data) % all;
                (row * STRIPE + inside, index, 1, STRIPE - inside)
            }
        };
        let holds = move |stripe: &Stripe| {
            let index = u64::from(stripe.index);
            index >= first && index - first < count
        };
        let run = run.min(self.len - offset);
        (self.stripes().filter(holds).map(move |s| s.at + at), run)
    }

    /// What bytes `from..to` of the chunk take of a stripe: with parity the whole of each row they touch.
    pub fn taken(&self, stripe: Stripe, from: u64, to: u64) -> Option<Extent> {
        let (start, end) = match self.spread {
            Spread::Copied => (from, to),
            Spread::Striped { wide, copies } => {
                let group = u64::from(stripe.index / copies);
                (share(from, wide, group), share(to, wide, group))
            }
            Spread::Parity { data, .. } => {
                let row = data * STRIPE;
                (from / row * STRIPE, to.div_ceil(row) * STRIPE)
            }
        };
        // The last row may be short.
        Extent::between(start.min(self.each), end.min(self.each))?.shifted(stripe.at)
    }
}

/// How many of the chunk's first `offset` bytes lie in this group of stripes.
fn share(offset: u64, wide: u64, group: u64) -> u64 {
    let (row, piece) = (offset / STRIPE / wide, offset / STRIPE % wide);
    let partial = match piece.cmp(&group) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => offset % STRIPE,
        std::cmp::Ordering::Greater => STRIPE,
    };
    row * STRIPE + partial
}

/// Sorted by address, not overlapping.
#[derive(Clone, Default, Debug)]
pub(super) struct Chunks(Vec<Chunk>);

const DAMAGED: &str = "its tree of chunks is damaged";

impl Chunks {
    /// Those that the superblock lists.
    pub fn system(superblock: &Superblock) -> Result<Chunks, Trouble> {
        let list = Fields(&superblock.system);
        let (mut found, mut at) = (Chunks::default(), 0);
        while at < superblock.system.len() {
            let is_chunk = list.u8(at + 8) == Some(CHUNK_ITEM);
            let start = list.u64(at + 9).filter(|_| is_chunk);
            let item = superblock.system.get(at + 17..).map(Fields);
            let one = start
                .zip(item)
                .and_then(|(start, item)| parse(item, start, superblock.device.id));
            let Some((length, one)) = one else {
                return refused(DAMAGED);
            };
            at += 17 + length;
            found.0.push(one);
        }
        found.0.sort_unstable_by_key(|chunk| chunk.start);
        match found.0.windows(2).all(|two| two[0].end() <= two[1].start) {
            true => Ok(found),
            false => refused(DAMAGED),
        }
    }

    /// Adds one behind all others.
    pub fn push(&mut self, item: Fields<'_>, start: u64, device: u64) -> Result<(), Trouble> {
        let after = self.0.last().is_none_or(|last| last.end() <= start);
        match parse(item, start, device) {
            Some((length, one))
                if after && self.0.len() < CHUNK_LIMIT && length == item.0.len() =>
            {
                self.0.push(one);
                Ok(())
            }
            _ => refused(DAMAGED),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.0.iter()
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The number of the chunk that holds all of these bytes, and the chunk.
    pub fn find(&self, logical: u64, len: u64) -> Option<(usize, &Chunk)> {
        let index = self.0.partition_point(|chunk| chunk.end() <= logical);
        let chunk = self.0.get(index)?;
        let inside = chunk.start <= logical && logical.checked_add(len)? <= chunk.end();
        inside.then_some((index, chunk))
    }

    /// What chunks have taken of this disk, ascending, each with its chunk. The disk's own record counts the same.
    pub fn taken(&self, superblock: &Superblock) -> Result<Vec<(Stripe, &Chunk)>, Trouble> {
        let mut taken: Vec<_> = self
            .iter()
            .flat_map(|chunk| chunk.stripes().map(move |stripe| (stripe, chunk)))
            .collect();
        taken.sort_unstable_by_key(|(stripe, _)| stripe.at);
        let (mut end, mut total) = (0, 0u64);
        for (stripe, chunk) in &taken {
            let place = chunk.place(*stripe);
            if place.start() < end || place.end() > superblock.device.bytes {
                return refused("its chunks lie over each other or beyond the end of the disk");
            }
            end = place.end();
            total += place.len();
        }
        if total != superblock.device.taken {
            return refused("its chunks and its count of allocated bytes differ");
        }
        Ok(taken)
    }
}
