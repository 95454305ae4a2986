//! The superblock: shape, names and features.

use super::{Trouble, refused};
use crate::fields::{Fields, text};
use crate::fs::uuid;
use crate::source::{BlockSource, ReadError, read_vec};

const MAGIC: &[u8] = b"XFSB";
/// mkfs.xfs makes 4 groups, 16 or 32 over several disks, and no more than the disk needs above 4 TiB.
const GROUPS_TRIED: u64 = 64;
/// Bytes of the superblock that are looked at; the smallest sector holds them.
const LENGTH: u64 = 512;

/// Bits of sb_versionnum that are known here; SHARED (0x200) and version 1 to 3 never came into use.
const VERSION_KNOWN: u16 = 0xFDF0;
const MORE_BITS: u16 = 0x8000;
const LOG_V2: u16 = 0x400;
/// sb_features2: lazysbcount, attr2, parent, projid32, crc, ftype, and two that were reserved.
const FEATURES2_KNOWN: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100 | 0x200;
const LAZY_COUNT: u32 = 0x2;
const FTYPE2: u32 = 0x200;
/// finobt, rmapbt, reflink, inobtcount.
const READ_ONLY_KNOWN: u32 = 0xF;
/// ftype, sparse inodes, meta_uuid, bigtime, needsrepair, nrext64, exchange-range, parent.
const INCOMPAT_KNOWN: u32 = 0xFF;
const FTYPE: u32 = 0x1;
const META_UUID: u32 = 0x4;
const NEEDS_REPAIR: u32 = 0x10;
/// Features of the log: extended attributes as intents. Others may hide what a replay has to do.
const LOG_INCOMPAT_KNOWN: u32 = 0x1;

/// A superblock's bytes, and whether it is the first one or that of another group.
pub(super) enum Found {
    First(Vec<u8>),
    Later(Vec<u8>),
}

impl Found {
    pub fn bytes(&self) -> &[u8] {
        let (Found::First(bytes) | Found::Later(bytes)) = self;
        bytes
    }

    pub fn superblock(&self, source: &dyn BlockSource) -> Result<Superblock, Trouble> {
        match self {
            Found::First(sector) => Superblock::parse(source, sector),
            // Its sum was checked when it was found.
            Found::Later(sector) => {
                let superblock = Superblock::replayed(source, sector)?;
                Ok(Superblock {
                    free_blocks: None,
                    ..superblock
                })
            }
        }
    }
}

/// The superblock, or where it cannot be read that of another group. `None`: not XFS.
pub(super) fn find(source: &dyn BlockSource) -> Result<Option<Found>, ReadError> {
    match primary(source) {
        Ok(sector) => Ok(sector.map(Found::First)),
        Err(error @ ReadError::Unreadable(_)) => match later(source)? {
            Some(sector) => Ok(Some(Found::Later(sector))),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// A superblock at the start of the second group, wherever mkfs.xfs would have put that on a disk of this size.
fn later(source: &dyn BlockSource) -> Result<Option<Vec<u8>>, ReadError> {
    for block in [4096u64, 1024, 512, 2048, 65536, 16384, 8192, 32768] {
        let blocks = source.size_bytes() / block;
        // Other block sizes than the usual one are rare: they are looked for in the usual number of groups.
        let most = if block == 4096 { GROUPS_TRIED } else { 4 };
        let shares = (2..=most).flat_map(|groups| {
            let up = blocks.div_ceil(groups);
            [up, up.saturating_sub(1)]
        });
        for group in shares.chain([(1 << 40) / block - 1]) {
            let at = group * block;
            let sector = match read_vec(source, at, LENGTH) {
                Ok(sector) if sector.starts_with(MAGIC) => sector,
                Ok(_) | Err(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => continue,
                Err(error) => return Err(error),
            };
            if let Some(sector) = sound(source, at, sector)? {
                return Ok(Some(sector));
            }
        }
    }
    Ok(None)
}

/// A later superblock that proves itself by its sum and stands where it says that its group begins.
fn sound(
    source: &dyn BlockSource,
    at: u64,
    mut sector: Vec<u8>,
) -> Result<Option<Vec<u8>>, ReadError> {
    // mkfs.xfs leaves "being made" set in all but the first.
    if let Some(in_progress) = sector.get_mut(126) {
        *in_progress = 0;
    }
    let Ok(found) = Superblock::replayed(source, &sector) else {
        return Ok(None);
    };
    let whole = match read_vec(source, at, found.sector_size) {
        Ok(whole) => whole,
        Err(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let proven = found.version == Version::V5
        && sum_fits(&whole, 224)
        && at == found.ag_blocks * found.block_size;
    Ok(proven.then_some(sector))
}

/// The first sector, if it is XFS's.
pub(super) fn primary(source: &dyn BlockSource) -> Result<Option<Vec<u8>>, ReadError> {
    if source.size_bytes() < LENGTH {
        return Ok(None);
    }
    let sector = read_vec(source, 0, LENGTH)?;
    Ok(sector.starts_with(MAGIC).then_some(sector))
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Names {
    pub label: Option<String>,
    pub uuid: Option<String>,
}

impl Names {
    pub fn of(sector: &[u8]) -> Names {
        let fields = Fields(sector);
        let label = fields.bytes(108, 12).map(text);
        Names {
            label: label.filter(|label| !label.is_empty()),
            uuid: fields.array(32).and_then(uuid),
        }
    }
}

/// Whether metadata says of itself where it belongs, and carries checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    V4,
    V5,
}

/// What can be followed here; the text says why no more.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Reach {
    FreeSpace,
    Files(String),
    Nothing(String),
}

/// Numbers that agree with each other and with the size of the source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub version: Version,
    pub block_size: u64,
    pub blocks: u64,
    pub ag_blocks: u64,
    pub ag_count: u64,
    /// Bits of a block number that count inside an allocation group.
    pub ag_block_log: u32,
    pub sector_size: u64,
    pub inode_size: u64,
    pub inodes_per_block_log: u32,
    pub directory_block_log: u32,
    pub root_inode: u64,
    /// A block number; 0 when the log is on another disk.
    pub log_start: u64,
    pub log_blocks: u64,
    pub log_v2: bool,
    /// The one a person may change, and the one that metadata carries.
    pub uuid: [u8; 16],
    pub meta_uuid: [u8; 16],
    /// Only the first superblock's is kept up.
    pub free_blocks: Option<u64>,
    pub lazy_count: bool,
    /// Directory entries say what they lead to.
    pub file_types: bool,
    reach: Reach,
}

impl Superblock {
    /// From the first sector of a source that is not shorter than the filesystem.
    pub fn parse(source: &dyn BlockSource, sector: &[u8]) -> Result<Superblock, Trouble> {
        let superblock = Superblock::replayed(source, sector)?;
        if superblock.version == Version::V5 {
            let whole = read_vec(source, 0, superblock.sector_size)?;
            if !sum_fits(&whole, 224) {
                return refused("its superblock has a wrong checksum");
            }
        }
        Ok(superblock)
    }

    /// As [`Superblock::parse`], for a superblock that the log changed and that carries its old checksum.
    pub fn replayed(source: &dyn BlockSource, sector: &[u8]) -> Result<Superblock, Trouble> {
        let superblock = Superblock::numbers(Fields(sector))
            .ok_or(Trouble::Refused("its superblock is cut off".into()))?;
        superblock.check(Fields(sector))?;
        let (claimed, real) = (superblock.size_bytes(), source.size_bytes());
        if claimed > real {
            return refused(format!(
                "it claims {claimed} bytes of a partition of {real}"
            ));
        }
        Ok(superblock)
    }

    fn numbers(fields: Fields<'_>) -> Option<Superblock> {
        let number = fields.be16(100)?;
        let version = match number & 0xF {
            5 => Version::V5,
            _ => Version::V4,
        };
        let incompat = fields.be32(216)?;
        let features2 = fields.be32(200)?;
        let more = number & MORE_BITS != 0;
        let v5 = version == Version::V5;
        let own: [u8; 16] = fields.array(32)?;
        let meta = match v5 && incompat & META_UUID != 0 {
            true => fields.array(248)?,
            false => own,
        };
        Some(Superblock {
            version,
            block_size: fields.be32(4)?.into(),
            blocks: fields.be64(8)?,
            ag_blocks: fields.be32(84)?.into(),
            ag_count: fields.be32(88)?.into(),
            ag_block_log: fields.u8(124)?.into(),
            sector_size: fields.be16(102)?.into(),
            inode_size: fields.be16(104)?.into(),
            inodes_per_block_log: fields.u8(123)?.into(),
            directory_block_log: fields.u8(192)?.into(),
            root_inode: fields.be64(56)?,
            log_start: fields.be64(48)?,
            log_blocks: fields.be32(96)?.into(),
            log_v2: v5 || number & LOG_V2 != 0,
            uuid: own,
            meta_uuid: meta,
            free_blocks: Some(fields.be64(144)?),
            lazy_count: v5 || more && features2 & LAZY_COUNT != 0,
            file_types: if v5 {
                incompat & FTYPE != 0
            } else {
                more && features2 & FTYPE2 != 0
            },
            reach: reach(fields)?,
        })
    }

    /// The kernel's own conditions (`xfs_validate_sb_common`), so that nothing after this overflows.
    fn check(&self, fields: Fields<'_>) -> Result<(), Trouble> {
        let log_of = |at: usize| fields.u8(at).map_or(0, u32::from);
        let power = |size: u64, log: u32, from: u64, to: u64| {
            (from..=to).contains(&size) && size.is_power_of_two() && size.trailing_zeros() == log
        };
        let sizes = power(self.block_size, log_of(120), 512, 64 << 10)
            && power(self.sector_size, log_of(121), 512, 32 << 10)
            && power(self.inode_size, log_of(122), 256, 2048)
            && self.block_size >= self.sector_size
            && self.block_size >= self.inode_size
            && self.block_size / self.inode_size == 1 << self.inodes_per_block_log.min(31)
            && self.block_size << self.directory_block_log.min(31) <= 64 << 10;
        // A group has at least 16 MiB and at most 1 TiB.
        let group = self.ag_blocks.checked_mul(self.block_size);
        let groups = group.is_some_and(|bytes| (16 << 20..=1 << 40).contains(&bytes))
            && self.ag_count > 0
            && self.ag_block_log == self.ag_blocks.next_power_of_two().trailing_zeros()
            && self.blocks <= self.ag_count * self.ag_blocks
            && self.blocks >= (self.ag_count - 1) * self.ag_blocks + 64
            && self.blocks.checked_mul(self.block_size).is_some();
        if !sizes || !groups {
            return refused("the numbers in its superblock contradict each other");
        }
        Ok(())
    }

    /// Why the free-space trees of this filesystem prove nothing here.
    pub fn refuse(&self) -> Result<(), Trouble> {
        match &self.reach {
            Reach::FreeSpace => Ok(()),
            Reach::Files(why) | Reach::Nothing(why) => refused(why.clone()),
        }
    }

    pub fn features_unknown(&self) -> bool {
        matches!(self.reach, Reach::Nothing(_))
    }

    pub fn size_bytes(&self) -> u64 {
        self.blocks * self.block_size
    }

    /// Blocks of a group; the last one may be short.
    pub fn group_blocks(&self, group: u64) -> u64 {
        self.ag_blocks.min(self.blocks - group * self.ag_blocks)
    }

    /// Where a block of a group lies, in bytes.
    pub fn group_block(&self, group: u64, block: u64) -> u64 {
        (group * self.ag_blocks + block) * self.block_size
    }

    /// Where a run of blocks lies, by XFS's block number; `None` when it leaves its group.
    pub fn place(&self, number: u64, count: u64) -> Option<u64> {
        let group = number >> self.ag_block_log;
        let block = number & ((1 << self.ag_block_log) - 1);
        let inside = group < self.ag_count
            && block.checked_add(count)? <= self.group_blocks(group)
            && count > 0;
        inside.then(|| self.group_block(group, block))
    }

    /// True when a replay left alone where everything is.
    pub fn same_shape(&self, other: &Superblock) -> bool {
        let fixed = |s: &Superblock| Superblock {
            free_blocks: None,
            ..s.clone()
        };
        fixed(self) == fixed(other)
    }
}

/// Features of before version 5 that nobody told this reader about.
fn old(number: u16, features2: u32) -> bool {
    number & !0xF & !VERSION_KNOWN != 0
        || number & MORE_BITS != 0 && features2 & !FEATURES2_KNOWN != 0
}

/// What its features let this reader follow.
fn reach(fields: Fields<'_>) -> Option<Reach> {
    let number = fields.be16(100)?;
    let features2 = fields.be32(200)?;
    let (read_only, incompat) = (fields.be32(212)?, fields.be32(216)?);
    let log = fields.be32(220)?;
    let files = |why: &str| Some(Reach::Files(why.into()));
    match number & 0xF {
        4 | 5 if old(number, features2) => {
            let why = format!("it has features unknown here ({number:#x}, {features2:#x})");
            return Some(Reach::Nothing(why));
        }
        4 => {}
        5 => {
            let why = format!(
                "it has features unknown here (read-only {read_only:#x}, incompat {incompat:#x}, log {log:#x})"
            );
            if incompat & !INCOMPAT_KNOWN != 0 {
                return Some(Reach::Nothing(why));
            }
            if read_only & !READ_ONLY_KNOWN != 0 || log & !LOG_INCOMPAT_KNOWN != 0 {
                return Some(Reach::Files(why));
            }
            if incompat & NEEDS_REPAIR != 0 {
                return files("it asks to be repaired");
            }
        }
        other => {
            return Some(Reach::Nothing(format!(
                "its version {other} is unknown here"
            )));
        }
    }
    if fields.u8(126)? != 0 {
        return files("it was never completely made");
    }
    if fields.be64(16)? != 0 {
        return files("part of it is on a realtime device");
    }
    if fields.be64(48)? == 0 {
        return files("its log is on another disk");
    }
    Some(Reach::FreeSpace)
}

/// True when the little-endian CRC32C at `at` is that of the bytes with four zeros in its place.
pub(super) fn sum_fits(bytes: &[u8], at: usize) -> bool {
    let (Some(before), Some(after)) = (bytes.get(..at), bytes.get(at + 4..)) else {
        return false;
    };
    let sum = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    Fields(bytes).u32(at) == Some(crc32c::crc32c_append(sum, after))
}
