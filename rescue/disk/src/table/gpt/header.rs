//! One copy of a GPT: a header whose checksum holds, and its entries (UEFI specification, 5.3.2 and 5.3.3).

use std::fmt;

use crate::extent::Extent;
use crate::fields::Fields;
use crate::source::{BlockSource, ReadError};
use crate::table::read_if_there;

/// Smallest header there is.
const HEADER_BYTES: usize = 92;
/// Largest array of entries taken into memory; 16 KiB is what every tool makes.
const ENTRIES_LIMIT: u64 = 4 << 20;

/// A header whose checksum holds and whose numbers fit together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its whole sector.
    sector: Vec<u8>,
    pub lba: u64,
    pub alternate: u64,
    pub first_usable: u64,
    pub last_usable: u64,
    pub disk_guid: [u8; 16],
    pub entries_lba: u64,
    pub entry_count: u32,
    pub entry_size: u32,
    entries_crc: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy {
    pub header: Header,
    pub entries: Result<Vec<u8>, Flaw>,
}

/// Why a header or its entries cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    Absent,
    Unreadable,
    Checksum,
    Contradiction,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::Absent => "is not there",
            Flaw::Unreadable => "cannot be read",
            Flaw::Checksum => "has a wrong checksum",
            Flaw::Contradiction => "contradicts itself",
        })
    }
}

impl Copy {
    pub fn read(
        source: &dyn BlockSource,
        sector_size: u32,
        lba: u64,
    ) -> Result<Result<Copy, Flaw>, ReadError> {
        let Some(offset) = lba.checked_mul(u64::from(sector_size)) else {
            return Ok(Err(Flaw::Absent));
        };
        if offset >= source.size_bytes() {
            return Ok(Err(Flaw::Absent));
        }
        let Some(sector) = read_if_there(source, offset, u64::from(sector_size))? else {
            return Ok(Err(Flaw::Unreadable));
        };
        let header = match Header::parse(sector, lba) {
            Ok(header) => header,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let entries = header.read_entries(source)?;
        Ok(Ok(Copy { header, entries }))
    }

    /// The entries where their checksum holds.
    pub fn whole(&self) -> Option<(&Header, &[u8])> {
        self.entries.as_deref().ok().map(|e| (&self.header, e))
    }

    /// Header and entries name the same disk and the same partitions.
    pub fn agrees_with(&self, other: &Copy) -> bool {
        let facts = |h: &Header| {
            (
                h.disk_guid,
                h.first_usable,
                h.last_usable,
                h.entry_count,
                h.entry_size,
            )
        };
        facts(&self.header) == facts(&other.header) && self.entries == other.entries
    }
}

impl Header {
    fn parse(sector: Vec<u8>, lba: u64) -> Result<Header, Flaw> {
        let fields = Fields(&sector);
        if !fields.starts_with(0, b"EFI PART") {
            return Err(Flaw::Absent);
        }
        let size = fields.u32(12).and_then(|size| usize::try_from(size).ok());
        let covered = size
            .filter(|size| *size >= HEADER_BYTES)
            .and_then(|size| fields.bytes(0, size))
            .ok_or(Flaw::Contradiction)?;
        if checksum(covered) != fields.u32(16).ok_or(Flaw::Contradiction)? {
            return Err(Flaw::Checksum);
        }
        let header = Header::numbers(&sector).ok_or(Flaw::Contradiction)?;
        let sound = header.lba == lba
            && header.first_usable <= header.last_usable
            && header.entry_size.is_power_of_two()
            && (128..=4096).contains(&header.entry_size)
            && (1..=ENTRIES_LIMIT).contains(&header.entries_bytes());
        if !sound {
            return Err(Flaw::Contradiction);
        }
        Ok(Header { sector, ..header })
    }

    fn numbers(sector: &[u8]) -> Option<Header> {
        let fields = Fields(sector);
        Some(Header {
            sector: Vec::new(),
            lba: fields.u64(24)?,
            alternate: fields.u64(32)?,
            first_usable: fields.u64(40)?,
            last_usable: fields.u64(48)?,
            disk_guid: fields.array(56)?,
            entries_lba: fields.u64(72)?,
            entry_count: fields.u32(80)?,
            entry_size: fields.u32(84)?,
            entries_crc: fields.u32(88)?,
        })
    }

    fn read_entries(&self, source: &dyn BlockSource) -> Result<Result<Vec<u8>, Flaw>, ReadError> {
        let Some(extent) = self.entries_extent() else {
            return Ok(Err(Flaw::Contradiction));
        };
        if extent.end() > source.size_bytes() {
            return Ok(Err(Flaw::Contradiction));
        }
        Ok(
            match read_if_there(source, extent.start(), self.entries_bytes())? {
                None => Err(Flaw::Unreadable),
                Some(entries) if crc32fast::hash(&entries) == self.entries_crc => Ok(entries),
                Some(_) => Err(Flaw::Checksum),
            },
        )
    }

    /// Without the padding to whole sectors.
    pub fn entries_bytes(&self) -> u64 {
        u64::from(self.entry_count) * u64::from(self.entry_size)
    }

    pub fn sector_size(&self) -> u64 {
        self.sector.len() as u64
    }

    pub fn entries_sectors(&self) -> u64 {
        self.entries_bytes().div_ceil(self.sector_size())
    }

    /// In whole sectors; `None` when it would leave the range of numbers.
    pub fn entries_extent(&self) -> Option<Extent> {
        let start = self.entries_lba.checked_mul(self.sector_size())?;
        Extent::new(start, self.entries_sectors() * self.sector_size())
    }

    pub fn extent(&self) -> Option<Extent> {
        Extent::new(
            self.lba.checked_mul(self.sector_size())?,
            self.sector_size(),
        )
    }

    /// The bytes of this header at another place of another disk: everything else in its sector stays.
    pub fn encoded(&self, place: Place, entries: &[u8]) -> Vec<u8> {
        let mut sector = self.sector.clone();
        for (at, value) in [
            (24, place.lba),
            (32, place.alternate),
            (48, place.last_usable),
            (72, place.entries_lba),
        ] {
            sector[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        sector[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
        let size = Fields(&sector)
            .u32(12)
            .and_then(|size| usize::try_from(size).ok())
            .expect("a header was accepted only with a size inside its sector");
        let crc = checksum(&sector[..size]);
        sector[16..20].copy_from_slice(&crc.to_le_bytes());
        sector
    }
}

/// What differs between the two headers of a disk, and between disks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub lba: u64,
    pub alternate: u64,
    pub last_usable: u64,
    pub entries_lba: u64,
}

/// CRC-32 of a header with its own checksum field taken as zero.
fn checksum(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..16]);
    hasher.update(&[0; 4]);
    hasher.update(&header[20..]);
    hasher.finalize()
}
