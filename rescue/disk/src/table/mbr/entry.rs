//! One entry of an MBR or of an extended boot record.

use crate::fields::Fields;

/// Where 55 AA stands.
pub const SIGNATURE_AT: usize = 510;
/// Where the four entries stand.
pub const ENTRIES_AT: usize = 446;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// 80 for the partition a BIOS boots.
    pub active: u8,
    pub kind: u8,
    /// In sectors, from the start of the disk, of its record, or of the first record: by where it stands.
    pub start: u32,
    pub sectors: u32,
}

/// The four entries of a sector; unused ones where it is too short.
pub fn entries(sector: &[u8]) -> [Entry; 4] {
    let fields = Fields(sector);
    [0usize, 1, 2, 3].map(|slot| {
        let at = ENTRIES_AT + 16 * slot;
        Entry {
            active: fields.u8(at).unwrap_or(0),
            kind: fields.u8(at + 4).unwrap_or(0),
            start: fields.u32(at + 8).unwrap_or(0),
            sectors: fields.u32(at + 12).unwrap_or(0),
        }
    })
}

impl Entry {
    /// Linux goes by the length alone and makes a device of an entry of type 00; so do we.
    pub fn is_used(&self) -> bool {
        self.sectors > 0
    }

    /// DOS, Windows 98 and Linux extended.
    pub fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }

    /// First sector after it.
    pub fn end(&self) -> u64 {
        u64::from(self.start) + u64::from(self.sectors)
    }

    pub fn type_name(&self) -> Option<&'static str> {
        Some(match self.kind {
            0x01 => "FAT12",
            0x04 | 0x06 | 0x0E => "FAT16",
            0x05 | 0x0F | 0x85 => "extended",
            0x07 => "Windows data",
            0x0B | 0x0C => "FAT32",
            0x11 | 0x14 | 0x16 | 0x17 | 0x1B | 0x1C | 0x1E => "hidden Windows data",
            0x12 => "manufacturer's diagnostics",
            0x27 => "Windows recovery",
            0x42 => "Windows dynamic disk",
            0x82 => "Linux swap",
            0x83 => "Linux",
            0x84 => "hibernation",
            0x8E => "Linux LVM",
            0xA5 => "FreeBSD",
            0xA6 => "OpenBSD",
            0xA8 => "Apple UFS",
            0xA9 => "NetBSD",
            0xAB => "Apple boot",
            0xAF => "Apple HFS+",
            0xBF => "Solaris",
            0xDA => "raw data",
            0xEF => "EFI system",
            0xFB => "VMware VMFS",
            0xFD => "Linux RAID",
            _ => return None,
        })
    }
}
