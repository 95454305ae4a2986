//! Partition tables: how a disk is divided.

pub mod edit;
mod gpt;
mod mbr;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::extent::{Extent, ExtentMap};
use crate::source::{BlockSource, ReadError};

/// A table as it was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Table {
    pub scheme: Scheme,
    /// GPT: the disk's GUID; MBR: the signature as eight hexadecimal digits.
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
    /// GPT only.
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

/// The table of a disk; `Ok(None)` when there is none. Damage makes a table untrusted, never an error.
pub fn read(source: &dyn BlockSource) -> Result<Option<Table>, ReadError> {
    if let Some(table) = gpt::read(source)? {
        return Ok(Some(table));
    }
    mbr::read(source)
}
