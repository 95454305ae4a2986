//! The entries of an exFAT directory: 32 bytes each, a file in a set of them.

use crate::fields::{Fields, text_utf16};
use crate::fs::exfat::chain::{Allocation, Order};
use crate::fs::tree::TreeError;

pub const SLOT_BYTES: usize = 32;

pub type Slot = [u8; SLOT_BYTES];

/// Types of entries. Bit 7 says that one is in use, bit 6 that it belongs to a primary one before it.
pub const BITMAP: u8 = 0x81;
pub const LABEL: u8 = 0x83;
pub const FILE: u8 = 0x85;
const STREAM: u8 = 0xC0;
const NAME: u8 = 0xC1;

/// A file's entries, the primary one first. Their number and types are not checked yet.
#[derive(Debug)]
pub struct Set(pub Vec<Slot>);

/// What a sound set says.
#[derive(Debug)]
pub struct File {
    pub is_directory: bool,
    pub allocation: Allocation,
    /// What was ever written; the rest reads as zeros.
    pub valid_bytes: u64,
    pub modified: Option<i64>,
}

pub fn is_secondary(slot: &Slot) -> bool {
    slot[0] & 0xC0 == 0xC0
}

/// How many entries belong to this one.
pub fn secondary_count(primary: &Slot) -> usize {
    usize::from(primary[1])
}

impl Set {
    pub fn is_directory(&self) -> bool {
        self.0
            .first()
            .is_some_and(|primary| primary[0] == FILE && primary[4] & 0x10 != 0)
    }

    /// The name; what is in no valid name is replaced, so that it leads nowhere else. `None` without one.
    pub fn name(&self) -> Option<String> {
        let stream = self.0.get(1).filter(|slot| slot[0] == STREAM)?;
        let mut units: Vec<u8> = self
            .0
            .iter()
            .filter(|slot| slot[0] == NAME)
            .flat_map(|slot| slot[2..].iter().copied())
            .collect();
        units.truncate(usize::from(stream[3]) * 2);
        let name = text_utf16(&units).replace('/', "\u{FFFD}");
        match name.as_str() {
            "" => None,
            "." | ".." => Some(name.replace('.', "\u{FFFD}")),
            _ => Some(name),
        }
    }

    pub fn file(&self) -> Result<File, TreeError> {
        let (Some(primary), Some(stream)) = (self.0.first(), self.0.get(1)) else {
            return Err(TreeError::Damaged("a directory entry is not complete"));
        };
        let whole = primary[0] == FILE
            && stream[0] == STREAM
            && self.0.len() == secondary_count(primary) + 1
            && self.0.iter().skip(1).all(is_secondary);
        if !whole {
            return Err(TreeError::Damaged("a directory entry is not complete"));
        }
        if Fields(primary).u16(2) != Some(self.sum()) {
            return Err(TreeError::Damaged(
                "the checksum of a directory entry is wrong",
            ));
        }
        let allocation = allocation(stream, usize::from(stream[1]));
        let valid = Fields(stream).u64(8).unwrap_or(0);
        Ok(File {
            is_directory: self.is_directory(),
            allocation,
            valid_bytes: valid.min(allocation.size_bytes),
            modified: modified(primary),
        })
    }

    /// Over all bytes of the set but the sum itself.
    fn sum(&self) -> u16 {
        let bytes = self.0.iter().flatten().enumerate();
        bytes
            .filter(|(index, _)| !matches!(index, 2 | 3))
            .fold(0u16, |sum, (_, byte)| {
                sum.rotate_right(1).wrapping_add(u16::from(*byte))
            })
    }
}

/// Every kind of entry keeps these in the same place; only the flags stand elsewhere.
fn allocation(slot: &Slot, flags: usize) -> Allocation {
    let fields = Fields(slot);
    Allocation {
        first_cluster: fields.u32(20).unwrap_or(0),
        size_bytes: fields.u64(24).unwrap_or(0),
        order: match flags & 2 {
            0 => Order::Chained,
            _ => Order::Row,
        },
    }
}

/// What an entry in use claims, whatever its kind; `None` where it can claim nothing.
pub fn claimed(slot: &Slot) -> Option<Allocation> {
    let claim = match slot[0] {
        0..=0x7F | LABEL | FILE | NAME => return None,
        // Bit 0 of the bitmap's flags is the bitmap's number; both it and the table of capital letters are chained.
        BITMAP | 0x82 => allocation(slot, 0),
        0xC0.. => allocation(slot, usize::from(slot[1])),
        _ => allocation(slot, usize::from(slot[4])),
    };
    (claim.first_cluster >= 2 && claim.size_bytes > 0).then_some(claim)
}

/// The label of a volume; an empty one is none.
pub fn label(slot: &Slot) -> Option<String> {
    let units = usize::from(slot[1]).min(11);
    Some(text_utf16(&slot[2..2 + units * 2])).filter(|label| !label.is_empty())
}

/// Local time with its distance from UTC, where that is known; else it is taken for UTC.
fn modified(primary: &Slot) -> Option<i64> {
    let stamp = Fields(primary).u32(12)?;
    let bits = |at: u32, width: u32| i64::from(stamp >> at & ((1 << width) - 1));
    let (year, month, day) = (1980 + bits(25, 7), bits(21, 4), bits(16, 5));
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Days from 1970-01-01 of the proleptic Gregorian calendar, years counted from March.
    let (y, m) = match month {
        3.. => (year, month - 3),
        _ => (year - 1, month + 9),
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let clock =
        bits(11, 5) * 3600 + bits(5, 6) * 60 + bits(0, 5) * 2 + i64::from(primary[21] / 100);
    Some(days * 86400 + clock - offset(primary[23]))
}

/// Seconds east of UTC: quarters of an hour in seven bits with a sign; the eighth says that they are valid.
fn offset(byte: u8) -> i64 {
    match byte & 0x80 {
        0 => 0,
        _ => i64::from((byte << 1).cast_signed() >> 1) * 900,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(stamp: u32, hundredths: u8, offset: u8) -> Slot {
        let mut slot = [0; SLOT_BYTES];
        slot[12..16].copy_from_slice(&stamp.to_le_bytes());
        slot[21] = hundredths;
        slot[23] = offset;
        slot
    }

    #[test]
    fn times_are_seconds_of_utc() {
        // 2024-02-29 12:34:56
        let stamp = 44 << 25 | 2 << 21 | 29 << 16 | 12 << 11 | 34 << 5 | 28;
        let seconds = 1_709_210_096;
        assert_eq!(modified(&stamped(stamp, 0, 0)), Some(seconds));
        assert_eq!(modified(&stamped(stamp, 100, 0x80)), Some(seconds + 1));
        // An hour east, three and a half hours west.
        assert_eq!(modified(&stamped(stamp, 0, 0x84)), Some(seconds - 3600));
        assert_eq!(modified(&stamped(stamp, 0, 0xF2)), Some(seconds + 12600));
        assert_eq!(modified(&stamped(0, 0, 0x80)), None);
    }

    #[test]
    fn names_lead_nowhere_else() {
        let set = |name: &str| {
            let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let mut stream = [0; SLOT_BYTES];
            (stream[0], stream[3]) = (STREAM, u8::try_from(units.len() / 2).unwrap());
            let mut part = [0; SLOT_BYTES];
            part[0] = NAME;
            part[2..2 + units.len()].copy_from_slice(&units);
            Set(vec![[FILE; SLOT_BYTES], stream, part]).name()
        };
        assert_eq!(set("ümläut.txt").as_deref(), Some("ümläut.txt"));
        assert_eq!(set("../x").as_deref(), Some("..\u{FFFD}x"));
        assert_eq!(set("..").as_deref(), Some("\u{FFFD}\u{FFFD}"));
        assert_eq!(set(""), None);
    }
}
