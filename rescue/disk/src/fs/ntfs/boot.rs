//! The boot sector: how large the volume and its units are, and where its first records lie.

use crate::fields::Fields;
use crate::source::{BlockSource, ReadError, read_vec};

pub(super) const SECTOR: u64 = 512;
const MARK: &[u8] = b"NTFS    ";
/// As large as clusters get (kernel, `fs/ntfs3/super.c`).
const CLUSTER_LIMIT: u64 = 2 << 20;
/// File records have 1 KiB, or 4 KiB on disks with such sectors; more than this was never seen.
const RECORD_LIMIT: u64 = 64 << 10;

/// A boot sector whose numbers were checked: sizes are powers of two, nothing computed from it overflows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Boot {
    pub cluster: u64,
    pub clusters: u64,
    pub size_bytes: u64,
    /// Length of a file record.
    pub record: u64,
    pub index_block: u64,
    pub mft_cluster: u64,
    pub mirror_cluster: u64,
    pub serial: u64,
}

/// Which boot sector was believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    Primary,
    /// The primary one carries the mark of NTFS but is wrong in this way.
    Damaged(&'static str),
    Unreadable,
    /// There is no mark of NTFS in the first sector: something else may live here now.
    Missing,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub boot: Result<Boot, &'static str>,
    pub origin: Origin,
}

/// The boot sector, or its backup where it is damaged or unreadable. `None`: not NTFS.
pub(super) fn find(source: &dyn BlockSource) -> Result<Option<Found>, ReadError> {
    let primary = match read_vec(source, 0, SECTOR) {
        Ok(bytes) => bytes,
        Err(ReadError::BeyondEnd { .. }) => return Ok(None),
        Err(error @ ReadError::Unreadable(_)) => {
            let found = backup(source, Origin::Unreadable)?;
            return found.map(Some).ok_or(error);
        }
        Err(error) => return Err(error),
    };
    if !Fields(&primary).starts_with(3, MARK) {
        return Ok(None);
    }
    let why = match Boot::parse(&primary) {
        Ok(boot) => {
            return Ok(Some(Found {
                boot: Ok(boot),
                origin: Origin::Primary,
            }));
        }
        Err(why) => why,
    };
    let found = backup(source, Origin::Damaged(why))?;
    Ok(Some(found.unwrap_or(Found {
        boot: Err(why),
        origin: Origin::Primary,
    })))
}

/// As [`find`], but a backup is believed even if nothing is left of the primary: for looking at files, never
/// for deciding which bytes are free.
pub(super) fn find_any(source: &dyn BlockSource) -> Result<Option<Found>, ReadError> {
    match find(source)? {
        Some(found) => Ok(Some(found)),
        None => backup(source, Origin::Missing),
    }
}

/// The sector behind the last one of the volume, which is the last of the partition.
fn backup(source: &dyn BlockSource, origin: Origin) -> Result<Option<Found>, ReadError> {
    let size = source.size_bytes();
    for sector in [512, 4096, 1024, 2048, 256] {
        let Some(at) = (size / sector).checked_sub(1).map(|last| last * sector) else {
            continue;
        };
        let bytes = match read_vec(source, at, SECTOR.min(size - at)) {
            Ok(bytes) => bytes,
            Err(ReadError::Unreadable(_)) => continue,
            Err(error) => return Err(error),
        };
        if !Fields(&bytes).starts_with(3, MARK) {
            continue;
        }
        // It must speak of the volume it stands behind, not of another one that once ended here.
        if let Ok(boot) = Boot::parse(&bytes)
            && boot.size_bytes == at
        {
            return Ok(Some(Found {
                boot: Ok(boot),
                origin,
            }));
        }
    }
    Ok(None)
}

impl Boot {
    /// After `struct NTFS_BOOT` of the kernel's `fs/ntfs3/ntfs.h` and the checks of libblkid.
    fn parse(bytes: &[u8]) -> Result<Boot, &'static str> {
        Boot::checked(Fields(bytes)).unwrap_or(Err("the boot sector is cut off"))
    }

    fn checked(fields: Fields<'_>) -> Option<Result<Boot, &'static str>> {
        let sector = u64::from(fields.u16(0x0B)?);
        if !sector.is_power_of_two() || !(256..=4096).contains(&sector) {
            return Some(Err("its sectors have an impossible size"));
        }
        let per_cluster = match fields.u8(0x0D)? {
            count @ 0..=0x80 => u64::from(count),
            code => 1 << (256 - u32::from(code)).min(63),
        };
        let cluster = per_cluster.saturating_mul(sector);
        if !cluster.is_power_of_two() || cluster > CLUSTER_LIMIT {
            return Some(Err("its clusters have an impossible size"));
        }
        let fat_fields = [
            u64::from(fields.u16(0x0E)?),
            u64::from(fields.u8(0x10)?),
            u64::from(fields.u16(0x11)?),
            u64::from(fields.u16(0x13)?),
            u64::from(fields.u16(0x16)?),
            u64::from(fields.u32(0x20)?),
        ];
        if fat_fields.iter().any(|value| *value != 0) {
            return Some(Err("fields that NTFS leaves empty are filled"));
        }
        let (Some(record), Some(index_block)) = (
            unit(fields.u8(0x40)?, cluster),
            unit(fields.u8(0x44)?, cluster),
        ) else {
            return Some(Err("its records have an impossible size"));
        };
        let Some(size_bytes) = fields.u64(0x28)?.checked_mul(sector) else {
            return Some(Err("it claims more sectors than there can be"));
        };
        let boot = Boot {
            cluster,
            clusters: size_bytes / cluster,
            size_bytes,
            record,
            index_block,
            mft_cluster: fields.u64(0x30)?,
            mirror_cluster: fields.u64(0x38)?,
            serial: fields.u64(0x48)?,
        };
        Some(
            if boot.mft_cluster >= boot.clusters || boot.mirror_cluster >= boot.clusters {
                Err("its file table lies outside the volume")
            } else {
                Ok(boot)
            },
        )
    }
}

/// A count of clusters, or as a negative number the power of two in bytes.
fn unit(code: u8, cluster: u64) -> Option<u64> {
    let size = match code.cast_signed() {
        count @ 1.. => u64::from(count.unsigned_abs()) * cluster,
        power => 1 << u32::from(power.unsigned_abs()).min(63),
    };
    (size.is_power_of_two() && (SECTOR..=RECORD_LIMIT).contains(&size)).then_some(size)
}
