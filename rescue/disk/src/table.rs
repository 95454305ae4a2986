//! Partition tables: how a disk is divided.

pub mod edit;
mod gpt;
mod mbr;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::extent::{Extent, ExtentMap};
use crate::fs;
use crate::source::{BlockSource, ReadError, read_vec};
use mbr::FirstSector;

/// A table as it was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Table {
    pub scheme: Scheme,
    /// GPT: the disk's GUID, lower case; MBR: the signature as eight hexadecimal digits. Empty when it is lost.
    pub id: String,
    /// The sector size the table counts in, which is not always the disk's (a disk moved between USB bridges).
    pub sector_size: u32,
    /// Ascending by start.
    pub partitions: Vec<Partition>,
    /// The bytes of the table itself: headers, entries, MBR, EBRs, the backup at the end.
    pub own: ExtentMap,
    /// What a person should know: the backup disagrees, a CRC is wrong, partitions overlap.
    pub notes: Vec<String>,
    /// False when anything about it is doubtful: then nothing on the disk is called free.
    pub trusted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    Gpt,
    /// With logical partitions where there is an extended one.
    Mbr,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Gpt => "GPT",
            Scheme::Mbr => "MBR",
        })
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Partition {
    /// As Linux numbers it: the entry's slot for GPT and primary MBR partitions, from 5 in chain order for
    /// logical ones.
    pub number: u32,
    pub extent: Extent,
    /// GPT: the type GUID, upper case; MBR: two hexadecimal digits.
    pub type_id: String,
    /// The type in words where it is known: `EFI system`, `Linux`, `Windows data`.
    pub type_name: Option<String>,
    /// GPT only; lower case, as in `PARTUUID=`.
    pub uuid: Option<String>,
    pub name: Option<String>,
    pub attributes: u64,
    pub role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Primary,
    /// The MBR container of logical partitions; it holds no filesystem of its own.
    Extended,
    Logical,
}

/// Most partitions of one disk that Linux gives a device to, and that are taken from a table here.
pub const PARTITION_LIMIT: usize = 256;

/// The table of a disk; `Ok(None)` when there is none. Damage makes a table untrusted, never an error.
pub fn read(source: &dyn BlockSource) -> Result<Option<Table>, ReadError> {
    read_asking(source, &mut || is_filesystem(source))
}

/// As [`read`]; `is_filesystem` is asked only where the first sector may be that of a filesystem on the whole disk.
pub(crate) fn read_asking(
    source: &dyn BlockSource,
    is_filesystem: &mut dyn FnMut() -> Result<bool, ReadError>,
) -> Result<Option<Table>, ReadError> {
    let mut table = read_any(source, is_filesystem)?;
    if let Some(table) = &mut table
        && let Some(kind) = fs::array_member(source)?
    {
        // Its partitions may be those of an array that is striped over several disks.
        table.trusted = false;
        table
            .notes
            .push(format!("the disk is part of an array ({kind})"));
    }
    Ok(table)
}

fn read_any(
    source: &dyn BlockSource,
    is_filesystem: &mut dyn FnMut() -> Result<bool, ReadError>,
) -> Result<Option<Table>, ReadError> {
    let first = FirstSector::read(source)?;
    let gpt = gpt::find(source, first.protected_end())?;
    match (gpt, &first) {
        (Some(found), FirstSector::Protective { .. }) => Ok(Some(found.table(source, &first))),
        (None, FirstSector::Protective { .. }) => Ok(Some(gpt::lost(source))),
        // A table of the old kind replaced the GPT; Linux and every firmware believe it.
        (Some(_), FirstSector::Mbr(_)) => Ok(mbr::read(source, &first)?.map(|mut table| {
            table
                .notes
                .push("remains of an older GPT are on the disk; they are kept as they are".into());
            table
        })),
        (None, FirstSector::Mbr(_)) => mbr::read(source, &first),
        (Some(found), _) if found.primary.is_ok() || !is_filesystem()? => {
            Ok(Some(found.table(source, &first)))
        }
        (None, FirstSector::Empty(_)) if !is_filesystem()? => mbr::read(source, &first),
        _ => Ok(None),
    }
}

/// Whether the whole of the disk is known as one filesystem; a place that cannot be read is no sign of one.
fn is_filesystem(source: &dyn BlockSource) -> Result<bool, ReadError> {
    match fs::recognise(source) {
        Ok(found) => Ok(found.is_some()),
        Err(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bytes that may be damaged or absent: `None` when they cannot be read or lie beyond the end.
fn read_if_there(
    source: &dyn BlockSource,
    offset: u64,
    len: u64,
) -> Result<Option<Vec<u8>>, ReadError> {
    match read_vec(source, offset, len) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Table {
    /// Sorts the partitions and says what is wrong with their places; any of it ends the trust.
    fn judged(mut self, size_bytes: u64) -> Table {
        self.partitions
            .sort_by_key(|p| (p.extent.start(), p.number));
        let before = self.notes.len();
        if self.partitions.len() > PARTITION_LIMIT {
            self.partitions.truncate(PARTITION_LIMIT);
            self.notes.push(format!(
                "it has more than {PARTITION_LIMIT} partitions; only the first of them are shown"
            ));
        }
        for partition in &self.partitions {
            if partition.extent.end() > size_bytes {
                self.notes.push(format!(
                    "partition {} ends {} bytes beyond the disk",
                    partition.number,
                    partition.extent.end() - size_bytes
                ));
            }
        }
        let holders: Vec<&Partition> = self
            .partitions
            .iter()
            .filter(|p| p.role != Role::Extended)
            .collect();
        let mut overlaps = Vec::new();
        let mut furthest: Option<&Partition> = None;
        for partition in holders {
            if let Some(earlier) = furthest.filter(|f| f.extent.end() > partition.extent.start()) {
                overlaps.push(format!(
                    "partitions {} and {} overlap",
                    earlier.number, partition.number
                ));
            }
            if self.own.within(partition.extent).next().is_some() {
                overlaps.push(format!(
                    "partition {} overlaps the table itself",
                    partition.number
                ));
            }
            if furthest.is_none_or(|f| f.extent.end() < partition.extent.end()) {
                furthest = Some(partition);
            }
        }
        self.notes.extend(overlaps);
        self.trusted &= self.notes.len() == before;
        self
    }
}
