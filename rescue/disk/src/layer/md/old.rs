//! The superblock of version 0.90: in the last 128 KiB, at a multiple of 64 KiB. In the byte order of the machine
//! that made it, of which only the little-endian one is read.

use crate::extent::Extent;
use crate::fields::Fields;
use crate::fs;
use crate::layer::md::{Leads, MAGIC, Member, sum};
use crate::source::{BlockSource, ReadError, read_vec};

const LEN: u64 = 4096;
const RESERVED: u64 = 64 << 10;

/// Where it would stand.
pub fn place(size_bytes: u64) -> Option<u64> {
    (size_bytes & !(RESERVED - 1)).checked_sub(RESERVED)
}

pub fn read(source: &dyn BlockSource) -> Result<Option<Member>, ReadError> {
    let Some(at) = place(source.size_bytes()) else {
        return Ok(None);
    };
    let raw = read_vec(source, at, LEN)?;
    Ok(parse(&raw, at))
}

fn parse(raw: &[u8], at: u64) -> Option<Member> {
    let fields = Fields(raw);
    let word = |index: usize| fields.u32(index * 4);
    if !fields.starts_with(0, MAGIC) || word(1)? != 0 || !matches!(word(2)?, 90 | 91) {
        return None;
    }
    let mut summed = raw.to_vec();
    summed.get_mut(38 * 4..39 * 4)?.fill(0);
    if word(38)? != sum(&summed) {
        return None;
    }
    let level = word(7)?.cast_signed();
    let (size, chunk) = (u64::from(word(8)?) << 10, u64::from(word(65)?));
    let len = match level {
        1 => size,
        _ if chunk > 0 => at / chunk * chunk,
        _ => at,
    };
    let (place, state) = (word(992 + 3)?, word(992 + 4)?);
    let raid_disks = word(10)?;
    // Active and in sync, not faulty, not removed.
    let active = state & 0b1111 == 0b0110 && place < raid_disks;
    let doubt = if word(2)? == 91 {
        Some("its array is being reshaped")
    } else if !active {
        Some("it is a spare or faulty member of its array")
    } else if len > at || at - len >= RESERVED + chunk {
        // It may belong to the disk, and this be its last partition only, or the other way round.
        Some("its array does not end where it does")
    } else {
        None
    };
    let write_mostly = state & 1 << 9 != 0;
    let first = (0..27).filter_map(|disk| {
        let state = word(128 + disk * 32 + 4)?;
        let place = word(128 + disk * 32 + 3)?;
        (state & 0b1111 == 0b0110).then_some(place)
    });
    let leads =
        word(33)? & 1 != 0 || raid_disks == 1 || (first.min() == Some(place) && !write_mostly);
    Some(Member {
        version: "0.90",
        uuid: uuid([word(5)?, word(13)?, word(14)?, word(15)?]),
        name: None,
        level,
        raid_disks,
        data: Extent::new(0, len),
        doubt: doubt.map(str::to_owned),
        leads: if leads { Leads::Yes } else { Leads::Unsure },
    })
}

/// As mdadm and blkid print it: each word as a number.
pub fn uuid(words: [u32; 4]) -> Option<String> {
    let mut bytes = [0; 16];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    fs::uuid(bytes)
}
