//! Finding the superblock, or a backup of it, and the names in it.

use super::features::Features;
use super::groups::tolerate;
use super::superblock::{Checksums, Superblock};
use crate::fields::{self, Fields};
use crate::source::{BlockSource, ReadError, read_vec};

pub(super) const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK_LEN: u64 = 1024;
const MAGIC: u16 = 0xEF53;

/// What a person calls the filesystem; readable even where its shape is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Names {
    pub kind: &'static str,
    pub label: Option<String>,
    pub uuid: Option<String>,
}

/// Which superblock was believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    Primary,
    /// The primary one carries the mark of ext but is wrong in this way.
    Damaged(&'static str),
    /// The primary one cannot be read.
    Unreadable,
    /// There is no mark of ext where the primary one should be: something else may live here now.
    Missing,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub names: Names,
    pub superblock: Result<Superblock, &'static str>,
    pub origin: Origin,
}

/// The primary superblock, or a backup of the same filesystem where the primary is damaged or unreadable.
/// `None`: not ext.
pub(super) fn find(source: &dyn BlockSource) -> Result<Option<Found>, ReadError> {
    let primary = match read_vec(source, SUPERBLOCK_AT, SUPERBLOCK_LEN) {
        Ok(bytes) => bytes,
        Err(ReadError::BeyondEnd { .. }) => return Ok(None),
        Err(error @ ReadError::Unreadable(_)) => {
            let found = backup(source, None, Origin::Unreadable)?;
            return found.map(Some).ok_or(error);
        }
        Err(error) => return Err(error),
    };
    let Some(names) = Names::parse(&primary) else {
        return Ok(None);
    };
    let uuid = Fields(&primary).array::<16>(0x68);
    let superblock = Superblock::parse(&primary);
    let why = match &superblock {
        Ok(found) if matches!(found.checksums, Checksums::Metadata(_)) => None,
        // What nothing protects may have lost the very bit that says so.
        Ok(_) => Some("its superblock has lost its checksum"),
        Err(why) => Some(*why),
    };
    if let Some(why) = why
        && let Some(found) = backup(source, uuid, Origin::Damaged(why))?
        && found.is_better_than(&superblock)
    {
        return Ok(Some(found));
    }
    Ok(Some(Found {
        names,
        superblock,
        origin: Origin::Primary,
    }))
}

impl Found {
    /// A backup takes the place of a primary that is impossible, or that has no checksum where the backup has one.
    fn is_better_than(&self, primary: &Result<Superblock, &'static str>) -> bool {
        let summed = self.superblock.as_ref().map(|backup| backup.checksums);
        primary.is_err() || matches!(summed, Ok(Checksums::Metadata(_)))
    }
}

/// The primary superblock as this source shows it.
pub(super) fn primary(
    source: &dyn BlockSource,
) -> Result<Result<Superblock, &'static str>, ReadError> {
    let bytes = tolerate(read_vec(source, SUPERBLOCK_AT, SUPERBLOCK_LEN))?;
    Ok(bytes.map_or(Err("its superblock cannot be read"), |bytes| {
        Superblock::parse(&bytes)
    }))
}

/// As [`find`], but a backup is believed even if nothing is left of the primary: for looking at files, never
/// for deciding which bytes are free.
pub(super) fn find_any(source: &dyn BlockSource) -> Result<Option<Found>, ReadError> {
    match find(source)? {
        Some(found) => Ok(Some(found)),
        None => backup(source, None, Origin::Missing),
    }
}

/// The backup in group 1, where each block size would have put it.
fn backup(
    source: &dyn BlockSource,
    uuid: Option<[u8; 16]>,
    origin: Origin,
) -> Result<Option<Found>, ReadError> {
    for log in 0..=6 {
        let block_size = 1024u64 << log;
        // Counts of a group are 16 bits wide and a multiple of 8 (mke2fs), so 64 KiB blocks make smaller groups.
        let block = (block_size * 8).min(65528) + u64::from(log == 0);
        let bytes = match read_vec(source, block * block_size, SUPERBLOCK_LEN) {
            Ok(bytes) => bytes,
            Err(ReadError::BeyondEnd { .. } | ReadError::Unreadable(_)) => continue,
            Err(error) => return Err(error),
        };
        let same = |found: &[u8]| {
            uuid.is_none_or(|uuid| Fields(found).array::<16>(0x68) == Some(uuid))
                && Fields(found).u32(0x18) == Some(log)
        };
        let Some(names) = Names::parse(&bytes).filter(|_| same(&bytes)) else {
            continue;
        };
        if let Ok(mut superblock) = Superblock::parse(&bytes) {
            // Only the primary descriptors are kept up to date; the backups' serve where nothing else is left.
            if origin == Origin::Missing {
                superblock.copy_at = block;
            }
            return Ok(Some(Found {
                names,
                superblock: Ok(superblock),
                origin,
            }));
        }
    }
    Ok(None)
}

impl Names {
    fn parse(bytes: &[u8]) -> Option<Names> {
        let fields = Fields(bytes);
        // Two bytes are a weak mark: with a block size no ext ever had, it is a boot sector's code or text.
        (fields.u16(0x38)? == MAGIC && fields.u32(0x18)? <= 6).then_some(())?;
        let uuid = fields.array::<16>(0x68)?;
        let label = fields::text(fields.bytes(0x78, 16)?);
        Some(Names {
            kind: Features::parse(fields)?.kind(fields.u32(0x160)?),
            label: (!label.is_empty()).then_some(label),
            uuid: (uuid != [0; 16]).then(|| hyphenated(&uuid)),
        })
    }
}

fn hyphenated(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
