//! The boot sector of FAT: where everything is (Microsoft, "FAT32 File System Specification", 1.03).

use crate::extent::Extent;
use crate::fields::Fields;
use crate::fs::locked::is_bitlocker;

/// Numbers of a boot sector that fit together. Offsets and lengths are in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Boot {
    pub width: Width,
    pub sector_bytes: u64,
    pub cluster_bytes: u64,
    pub size_bytes: u64,
    pub fat_start: u64,
    /// Of one copy.
    pub fat_bytes: u64,
    pub fat_count: u8,
    /// The copy that counts where they are not mirrored.
    pub active_fat: u8,
    pub root: Root,
    /// Where cluster 2 begins.
    pub data_start: u64,
    pub cluster_count: u32,
    pub serial: Option<u32>,
    /// Linux sets it while the filesystem is mounted.
    pub mounted: bool,
}

/// Bits of an entry of the FAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    Fat12,
    Fat16,
    Fat32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root {
    /// FAT12 and FAT16: an area of its own; `None` when it has no room at all.
    Area(Option<Extent>),
    /// FAT32: a chain like any other.
    Cluster(u32),
}

impl Width {
    pub fn name(self) -> &'static str {
        match self {
            Width::Fat12 => "FAT12",
            Width::Fat16 => "FAT16",
            Width::Fat32 => "FAT32",
        }
    }

    /// Offset of an entry's first byte in the FAT.
    pub fn offset(self, cluster: u32) -> u64 {
        let cluster = u64::from(cluster);
        match self {
            Width::Fat12 => cluster + cluster / 2,
            Width::Fat16 => cluster * 2,
            Width::Fat32 => cluster * 4,
        }
    }

    /// Whole entries in that many bytes.
    pub fn entries_in(self, bytes: u64) -> u64 {
        match self {
            Width::Fat12 => bytes * 2 / 3,
            Width::Fat16 => bytes / 2,
            Width::Fat32 => bytes / 4,
        }
    }

    /// Most clusters there can be.
    fn limit(self) -> u64 {
        match self {
            Width::Fat12 => 4084,
            Width::Fat16 => 65524,
            Width::Fat32 => 0x0FFF_FFF5,
        }
    }
}

impl Boot {
    /// `None` when the sector is not FAT's: the rules of the kernel and of libblkid.
    pub fn parse(sector: &[u8]) -> Option<Boot> {
        let fields = Fields(sector);
        if !looks_like_fat(fields) {
            return None;
        }
        let sector_bytes = u64::from(fields.u16(11)?);
        let cluster_sectors = u64::from(fields.u8(13)?);
        let reserved = u64::from(fields.u16(14)?);
        let fat_count = fields.u8(16)?;
        let root_bytes = u64::from(fields.u16(17)?) * 32;
        let sectors = match fields.u16(19)? {
            0 => u64::from(fields.u32(32)?),
            small => u64::from(small),
        };
        // The two layouts differ in this field; what Windows and Linux go by. Within the older layout only
        // the number of clusters tells 12 bits from 16.
        let (wide, fat_sectors) = match fields.u16(22)? {
            0 => (true, u64::from(fields.u32(36)?)),
            small => (false, u64::from(small)),
        };
        let fat_bytes = fat_sectors * sector_bytes;
        let root_start = (reserved + u64::from(fat_count) * fat_sectors) * sector_bytes;
        let data_start = root_start + root_bytes.next_multiple_of(sector_bytes);
        let size_bytes = sectors * sector_bytes;
        let cluster_bytes = cluster_sectors * sector_bytes;
        let clusters = size_bytes.checked_sub(data_start)? / cluster_bytes;
        let width = match (wide, clusters) {
            (true, _) => Width::Fat32,
            (false, ..4085) => Width::Fat12,
            (false, _) => Width::Fat16,
        };
        // What the FAT has no entry for cannot be given to a file.
        let entries = width.entries_in(fat_bytes).checked_sub(2)?;
        if fat_sectors == 0 || clusters == 0 || clusters > width.limit() {
            return None;
        }
        let root = match wide {
            true => Root::Cluster(fields.u32(44)?),
            false => Root::Area(Extent::new(root_start, root_bytes)),
        };
        let boot = Boot {
            width,
            sector_bytes,
            cluster_bytes,
            size_bytes,
            fat_start: reserved * sector_bytes,
            fat_bytes,
            fat_count,
            active_fat: active_fat(fields, wide, fat_count),
            root,
            data_start,
            cluster_count: u32::try_from(clusters.min(entries)).ok()?,
            serial: None,
            mounted: false,
        };
        Some(boot.with_names(fields, if wide { 64 } else { 36 }))
    }

    /// Drive number, state, signature and serial stand in a row, at 36 or, for FAT32, at 64. The label behind
    /// them is not read: Windows changes and erases only the one in the root directory.
    fn with_names(mut self, fields: Fields<'_>, at: usize) -> Boot {
        self.mounted = fields.u8(at + 1).is_some_and(|state| state & 1 != 0);
        let signature = fields.u8(at + 2);
        if matches!(signature, Some(0x28 | 0x29)) || self.width == Width::Fat32 {
            self.serial = fields.u32(at + 3).filter(|serial| *serial != 0);
        }
        self
    }

    /// The bytes of a cluster; `None` for numbers that are not a cluster's.
    pub fn cluster(&self, number: u32) -> Option<Extent> {
        let index = number.checked_sub(2).filter(|i| *i < self.cluster_count)?;
        Extent::new(
            self.data_start + u64::from(index) * self.cluster_bytes,
            self.cluster_bytes,
        )
    }

    pub fn fat(&self, copy: u8) -> u64 {
        self.fat_start + u64::from(copy) * self.fat_bytes
    }

    /// First byte behind the last cluster.
    pub fn data_end(&self) -> u64 {
        self.data_start + u64::from(self.cluster_count) * self.cluster_bytes
    }
}

fn looks_like_fat(fields: Fields<'_>) -> bool {
    let named = [
        (0x52, &b"FAT32   "[..]),
        (0x52, b"MSWIN"),
        (0x36, b"FAT12   "),
        (0x36, b"FAT16   "),
        (0x36, b"FAT     "),
        (0x36, b"MSDOS"),
    ]
    .iter()
    .any(|(at, name)| fields.starts_with(*at, name));
    // OS/2 puts a FAT-like header before JFS and HPFS, Windows before exFAT, NTFS and BitLocker.
    let other = [(0x36, &b"JFS     "[..]), (0x36, b"HPFS    ")]
        .into_iter()
        .chain([(3, &b"NTFS    "[..]), (3, b"EXFAT   ")])
        .any(|(at, name)| fields.starts_with(at, name))
        || is_bitlocker(fields);
    let signed = fields.starts_with(510, &[0x55, 0xAA]);
    let (Some(sector), Some(cluster), Some(reserved), Some(fats), Some(media)) = (
        fields.u16(11),
        fields.u8(13),
        fields.u16(14),
        fields.u8(16),
        fields.u8(21),
    ) else {
        return false;
    };
    (named || signed)
        && !other
        && sector.is_power_of_two()
        && (512..=4096).contains(&sector)
        && cluster.is_power_of_two()
        && reserved > 0
        && fats > 0
        && (media == 0xF0 || media >= 0xF8)
}

/// FAT32's flags: bit 7 set, only the copy named by the low bits is kept up to date.
fn active_fat(fields: Fields<'_>, wide: bool, fat_count: u8) -> u8 {
    match fields.u8(40) {
        Some(flags) if wide && flags & 0x80 != 0 => (flags & 0x0F).min(fat_count - 1),
        _ => 0,
    }
}
