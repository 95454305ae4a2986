//! The boot regions of exFAT: where everything is, twice, each with a checksum.

use crate::extent::Extent;
use crate::fields::Fields;
use crate::fs::READERS;
use crate::source::{BlockSource, ReadError, read_vec};

const NAME: &[u8] = b"EXFAT   ";
/// Of a region, the one with the checksum included.
const REGION_SECTORS: u64 = 12;
/// Sectors have 512 to 4096 bytes.
const SECTOR_SHIFTS: std::ops::RangeInclusive<u8> = 9..=12;
/// Clusters have at most 32 MiB.
const CLUSTER_SHIFT_LIMIT: u8 = 25;

/// Numbers of a boot sector that fit together. Offsets and lengths are in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Boot {
    pub sector_shift: u8,
    pub cluster_bytes: u64,
    pub size_bytes: u64,
    /// Of the table that counts.
    pub fat_start: u64,
    pub fat_bytes: u64,
    pub fat_count: u8,
    /// Where cluster 2 begins.
    pub heap_start: u64,
    pub cluster_count: u32,
    pub root_cluster: u32,
    pub serial: u32,
    /// Set while it is mounted and something was changed.
    pub mounted: bool,
    /// Somebody met a place of the disk that failed.
    pub failed: bool,
}

/// What the two boot regions say.
#[derive(Debug)]
pub struct Region {
    /// From the region that is sound, or else from the first, as far as it makes sense.
    pub boot: Option<Boot>,
    /// As it stands in the first region, where that one is known at all; all zeros is none.
    pub serial: Option<u32>,
    /// Why nothing may be called free.
    pub doubt: Option<String>,
    /// What was read from the backup, because it cannot be read where it should be.
    pub backup: Option<&'static str>,
}

impl Boot {
    fn parse(sector: &[u8]) -> Option<Boot> {
        let fields = Fields(sector);
        let (sector_shift, cluster_shift) = (fields.u8(108)?, fields.u8(109)?);
        // FAT has its numbers in the first 64 bytes; here they are zero, so that nobody takes it for FAT.
        let zeros = fields.bytes(11, 53)?.iter().all(|byte| *byte == 0);
        let signed = fields.starts_with(510, &[0x55, 0xAA]);
        if !zeros
            || !signed
            || !SECTOR_SHIFTS.contains(&sector_shift)
            || cluster_shift > CLUSTER_SHIFT_LIMIT - sector_shift
        {
            return None;
        }
        let sector_bytes = 1u64 << sector_shift;
        let bytes = |at: usize| Some(u64::from(fields.u32(at)?) << sector_shift);
        let flags = fields.u16(106)?;
        let (first_fat, fat_bytes) = (bytes(80)?, bytes(84)?);
        let active = u64::from(flags & 1);
        let boot = Boot {
            sector_shift,
            cluster_bytes: sector_bytes << cluster_shift,
            size_bytes: fields.u64(72)?.checked_mul(sector_bytes)?,
            fat_start: first_fat + active * fat_bytes,
            fat_bytes,
            fat_count: fields.u8(110)?,
            heap_start: bytes(88)?,
            cluster_count: fields.u32(92)?,
            root_cluster: fields.u32(96)?,
            serial: fields.u32(100)?,
            mounted: flags & 2 != 0,
            failed: flags & 4 != 0,
        };
        let fits = matches!(boot.fat_count, 1 | 2)
            && active < u64::from(boot.fat_count)
            && first_fat >= 2 * REGION_SECTORS * sector_bytes
            && first_fat + u64::from(boot.fat_count) * fat_bytes <= boot.heap_start
            && (u64::from(boot.cluster_count) + 2) * 4 <= fat_bytes
            && (1..=0xFFFF_FFF5).contains(&boot.cluster_count)
            && boot.heap_end() <= boot.size_bytes;
        fits.then_some(boot)
    }

    /// The same but for the flags, which only the first region keeps.
    fn same_shape(&self, other: &Boot) -> bool {
        let shape = |boot: &Boot| Boot {
            mounted: false,
            failed: false,
            ..boot.clone()
        };
        shape(self) == shape(other)
    }

    /// The bytes of a cluster; `None` for numbers that are not a cluster's.
    pub fn cluster(&self, number: u32) -> Option<Extent> {
        let index = number.checked_sub(2).filter(|i| *i < self.cluster_count)?;
        let start = self.heap_start + u64::from(index) * self.cluster_bytes;
        Extent::new(start, self.cluster_bytes)
    }

    /// The cluster a byte of the heap is in.
    pub fn cluster_at(&self, offset: u64) -> Option<u32> {
        let index = offset.checked_sub(self.heap_start)? / self.cluster_bytes;
        let index = u32::try_from(index)
            .ok()
            .filter(|i| *i < self.cluster_count)?;
        Some(index + 2)
    }

    /// First byte behind the last cluster.
    pub fn heap_end(&self) -> u64 {
        self.heap_start + u64::from(self.cluster_count) * self.cluster_bytes
    }
}

/// The boot regions of a partition; `None` when it is not exFAT.
pub fn find(source: &dyn BlockSource) -> Result<Option<Region>, ReadError> {
    let sector = match read_vec(source, 0, 512) {
        Ok(sector) => sector,
        Err(ReadError::BeyondEnd { .. }) => return Ok(None),
        Err(ReadError::Unreadable(place)) => {
            let found = by_backup(source)?.map(|region| Region {
                backup: Some("its boot sector cannot be read, the backup was used"),
                doubt: None,
                ..region
            });
            return found.map(Some).ok_or(ReadError::Unreadable(place));
        }
        Err(error) => return Err(error),
    };
    if !Fields(&sector).starts_with(3, NAME) {
        return Ok(by_backup(source)?.filter(|_| !is_something_else(source)));
    }
    let serial = Fields(&sector).u32(100).filter(|serial| *serial != 0);
    let parsed = Boot::parse(&sector);
    let mut backup = None;
    let doubt = match &parsed {
        None => Some("its boot sector contradicts itself".to_owned()),
        Some(boot) => match sum_is_right(source, 0, boot.sector_shift) {
            Ok(true) => None,
            Ok(false) => Some("the checksum of its boot region is wrong".to_owned()),
            Err(ReadError::Gone(what)) => return Err(ReadError::Gone(what)),
            Err(error) => match by_backup(source)?.and_then(|region| region.boot) {
                Some(sound) if sound.same_shape(boot) => {
                    backup = Some(
                        "its boot region cannot be read, the backup agrees with its boot sector",
                    );
                    None
                }
                _ => Some(format!("its boot region cannot be read: {error}")),
            },
        },
    };
    let sound = match doubt {
        Some(_) => by_backup(source)?.and_then(|region| region.boot),
        None => None,
    };
    Ok(Some(Region {
        boot: sound.or(parsed),
        serial,
        doubt,
        backup,
    }))
}

/// A backup region that is sound: behind 12 sectors, whatever their size.
fn by_backup(source: &dyn BlockSource) -> Result<Option<Region>, ReadError> {
    for shift in SECTOR_SHIFTS {
        let at = REGION_SECTORS << shift;
        let Some(sector) = first_bytes(source, at)? else {
            continue;
        };
        let named = Fields(&sector).starts_with(3, NAME);
        let boot = Boot::parse(&sector).filter(|boot| named && boot.sector_shift == shift);
        let Some(boot) = boot else { continue };
        match sum_is_right(source, at, shift) {
            Ok(true) => {}
            Err(ReadError::Gone(what)) => return Err(ReadError::Gone(what)),
            _ => continue,
        }
        return Ok(Some(Region {
            serial: Some(boot.serial).filter(|serial| *serial != 0),
            boot: Some(boot),
            doubt: Some("its boot sector is damaged; only the backup of it is sound".into()),
            backup: None,
        }));
    }
    Ok(None)
}

/// A backup alone may be the remnant of what was there before another filesystem was made.
fn is_something_else(source: &dyn BlockSource) -> bool {
    READERS
        .iter()
        .filter(|reader| reader.name != super::READER.name)
        .any(|reader| matches!((reader.read)(source), Ok(Some(_))))
}

/// 512 bytes, unless they lie beyond the end or cannot be read.
fn first_bytes(source: &dyn BlockSource, at: u64) -> Result<Option<Vec<u8>>, ReadError> {
    match read_vec(source, at, 512) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The twelfth sector of a region repeats the sum of the eleven before it, without the bytes that change: the flags
/// and the percentage in use.
fn sum_is_right(source: &dyn BlockSource, at: u64, sector_shift: u8) -> Result<bool, ReadError> {
    let region = read_vec(source, at, REGION_SECTORS << sector_shift)?;
    let (summed, sums) = region.split_at(region.len() / 12 * 11);
    let sum = summed
        .iter()
        .enumerate()
        .filter(|(index, _)| !matches!(index, 106 | 107 | 112))
        .fold(0u32, |sum, (_, byte)| {
            sum.rotate_right(1).wrapping_add(u32::from(*byte))
        });
    Ok(sums.chunks(4).all(|chunk| chunk == sum.to_le_bytes()))
}
