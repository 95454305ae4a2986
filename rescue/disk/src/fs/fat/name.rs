//! A slot of a FAT directory: names in both forms, attributes, times.

use crate::fields::{Fields, text, text_utf16};

pub const SLOT_BYTES: usize = 32;

/// What one slot of 32 bytes is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Slot {
    /// Nothing follows in this directory.
    End,
    Deleted,
    /// 13 characters of a long name.
    Long {
        order: u8,
        checksum: u8,
        units: [u8; 26],
    },
    Label(String),
    Short(Short),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Short {
    pub name: String,
    pub is_directory: bool,
    /// `.` or `..`.
    pub is_dots: bool,
    pub first_cluster: u32,
    pub size_bytes: u64,
    pub modified: Option<i64>,
    pub checksum: u8,
}

impl Slot {
    pub fn parse(slot: &[u8; SLOT_BYTES]) -> Slot {
        let attributes = slot[11];
        match slot[0] {
            0x00 => Slot::End,
            0xE5 => Slot::Deleted,
            order if attributes & 0x3F == 0x0F => {
                let mut units = [0; 26];
                units[..10].copy_from_slice(&slot[1..11]);
                units[10..22].copy_from_slice(&slot[14..26]);
                units[22..].copy_from_slice(&slot[28..]);
                Slot::Long {
                    order,
                    checksum: slot[13],
                    units,
                }
            }
            _ if attributes & 0x18 == 0x08 => Slot::Label(label(slot)),
            _ => Slot::Short(Short::parse(slot)),
        }
    }
}

fn label(slot: &[u8; SLOT_BYTES]) -> String {
    let mut bytes = [0; 11];
    bytes.copy_from_slice(&slot[..11]);
    if bytes[0] == 0x05 {
        bytes[0] = 0xE5;
    }
    text(&bytes)
}

impl Short {
    fn parse(slot: &[u8; SLOT_BYTES]) -> Short {
        let number = |at: usize| u16::from_le_bytes([slot[at], slot[at + 1]]);
        let (low, high) = (number(26), number(20));
        let size = Fields(slot).u32(28).unwrap_or(0);
        Short {
            name: short_name(slot),
            is_directory: slot[11] & 0x10 != 0,
            is_dots: slot.starts_with(b".          ") || slot.starts_with(b"..         "),
            first_cluster: u32::from(high) << 16 | u32::from(low),
            size_bytes: u64::from(size),
            modified: seconds(number(24), number(22)),
            checksum: slot[..11]
                .iter()
                .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte)),
        }
    }
}

/// `NAME.EXT`; two bits say that a half was written in small letters. What is not ASCII is in a code page
/// that nobody noted down.
fn short_name(slot: &[u8; SLOT_BYTES]) -> String {
    let half = |range: std::ops::Range<usize>, small: bool| {
        let mut bytes = slot[range].to_vec();
        if bytes[0] == 0x05 {
            bytes[0] = 0xE5;
        }
        let half = text(&bytes);
        if small {
            half.to_ascii_lowercase()
        } else {
            half
        }
    };
    let base = half(0..8, slot[12] & 0x08 != 0);
    let extension = half(8..11, slot[12] & 0x10 != 0);
    match extension.is_empty() {
        true => base,
        false => format!("{base}.{extension}"),
    }
}

/// Long names stand before their short one, last part first.
#[derive(Debug, Default)]
pub struct LongName {
    /// In the order of the disk.
    parts: Vec<[u8; 26]>,
    checksum: u8,
    /// The number of the part that must come next; 0: complete.
    awaited: u8,
}

impl LongName {
    pub fn push(&mut self, order: u8, checksum: u8, units: [u8; 26]) {
        let number = order & 0x3F;
        if order & 0x40 != 0 {
            *self = LongName {
                parts: Vec::new(),
                checksum,
                awaited: number,
            };
        }
        if number == 0 || number != self.awaited || checksum != self.checksum {
            *self = LongName::default();
            return;
        }
        self.awaited -= 1;
        self.parts.push(units);
    }

    /// The name, when it is complete and belongs to this short one.
    pub fn take(&mut self, short: &Short) -> Option<String> {
        let LongName {
            parts,
            checksum,
            awaited,
        } = std::mem::take(self);
        let fits = awaited == 0 && checksum == short.checksum && !parts.is_empty();
        let name = text_utf16(&parts.into_iter().rev().flatten().collect::<Vec<u8>>());
        (fits && !name.is_empty()).then_some(name)
    }
}

/// FAT keeps local time without saying which; it is taken as UTC.
fn seconds(date: u16, time: u16) -> Option<i64> {
    let (year, month, day) = (
        1980 + i64::from(date >> 9),
        i64::from(date >> 5 & 15),
        i64::from(date & 31),
    );
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Days from 1970-01-01 of the proleptic Gregorian calendar, years counted from March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let clock =
        i64::from(time >> 11) * 3600 + i64::from(time >> 5 & 63) * 60 + i64::from(time & 31) * 2;
    Some(days * 86400 + clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_1970() {
        assert_eq!(seconds(0x0021, 0), Some(315_532_800));
        // 2024-02-29 12:34:56
        assert_eq!(
            seconds(44 << 9 | 2 << 5 | 29, 12 << 11 | 34 << 5 | 28),
            Some(1_709_210_096)
        );
        assert_eq!(seconds(0, 0), None);
    }
}
