//! The superblock and its copies: where the trees begin, and what this disk is to the filesystem.

use super::node::{Owner, Pointer};
use super::sums::Sums;
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::fs::named::bytes;
use crate::source::{BlockSource, ReadError};

pub(super) const FIRST: u64 = 64 << 10;
pub(super) const LENGTH: u64 = 4096;
pub(super) const COPIES: [u64; 3] = [FIRST, 64 << 20, 256 << 30];
/// What is kept free around each copy (`BTRFS_STRIPE_LEN`).
pub(super) const COPY_ROOM: u64 = 64 << 10;
const MAGIC: &[u8] = b"_BHRfS_M";
/// All up to RAID1C34, and simple quotas. Zoned, extent tree v2 and the RAID stripe tree put things elsewhere.
const INCOMPAT_KNOWN: u64 = 0xFFF | 0x1_0000;
const METADATA_ID: u64 = 1 << 10;
/// Free space tree, whether it is valid, verity, and the tree of block groups.
const COMPAT_RO_KNOWN: u64 = 0xF;
const BLOCK_GROUP_TREE: u64 = 1 << 3;
/// Written, relocating, and "errors were seen".
const FLAGS_KNOWN: u64 = 7;
const HAS_ERRORS: u64 = 4;
const LEVEL_LIMIT: u8 = 8;
const SYSTEM_LIMIT: usize = 2048;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub generation: u64,
    pub root: Pointer,
    pub chunk_root: Pointer,
    pub log_root: Option<Pointer>,
    pub bytes_used: u64,
    pub sector_size: u64,
    pub node_size: u64,
    pub sums: Sums,
    /// What stands in each node.
    pub id: [u8; 16],
    /// The chunks that hold the tree of chunks, each after its key.
    pub system: Vec<u8>,
    pub device: Device,
    pub compat_ro: u64,
    incompat: u64,
    flags: u64,
    /// As the first copy has it, whatever the nodes have.
    shown_id: [u8; 16],
}

/// This disk, as the filesystem knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Device {
    pub id: u64,
    pub bytes: u64,
    /// How much of it chunks have taken.
    pub taken: u64,
}

/// Which copy is believed, and whether it is the one the kernel mounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Copy {
    First,
    Later,
}

/// The first superblock's bytes, or those of a copy where they cannot be read; `None` when this is not btrfs.
pub(super) fn first(source: &dyn BlockSource) -> Result<Option<Vec<u8>>, ReadError> {
    let error = match bytes(source, FIRST, LENGTH) {
        Ok(raw) => return Ok(raw.filter(|raw| Fields(raw).starts_with(0x40, MAGIC))),
        Err(error @ ReadError::Unreadable(_)) => error,
        Err(error) => return Err(error),
    };
    for at in COPIES.into_iter().skip(1) {
        match bytes(source, at, LENGTH) {
            Ok(Some(raw)) if parse(&raw, at).is_ok() => return Ok(Some(raw)),
            Ok(_) | Err(ReadError::Unreadable(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(error)
}

/// The newest copy that is whole. A copy that is newer than a whole first one is no state that a kernel leaves.
pub(super) fn newest(
    source: &dyn BlockSource,
    first: &[u8],
) -> Result<(Superblock, Copy), Trouble> {
    let id = Fields(first).array(0x20);
    let mut best = parse(first, FIRST).map(|found| (found, Copy::First));
    for at in COPIES.into_iter().skip(1) {
        let raw = match bytes(source, at, LENGTH) {
            Ok(Some(raw)) => raw,
            Err(ReadError::Gone(what)) => return Err(ReadError::Gone(what).into()),
            Ok(None) | Err(_) => continue,
        };
        let Ok(copy) = parse(&raw, at) else { continue };
        if Some(copy.shown_id) != id {
            continue;
        }
        match &best {
            Ok((found, Copy::First)) if copy.generation > found.generation => {
                return refused("a copy of its superblock is newer than the first one");
            }
            Ok((found, _)) if copy.generation <= found.generation => {}
            _ => best = Ok((copy, Copy::Later)),
        }
    }
    let (found, copy) = best?;
    found.refuse(source)?;
    Ok((found, copy))
}

fn parse(raw: &[u8], place: u64) -> Result<Superblock, Trouble> {
    let fields = Fields(raw);
    let Some(sums) = fields.u16(0xC4).and_then(Sums::of) else {
        return refused("its checksums are of a kind not known here");
    };
    if !fields.starts_with(0x40, MAGIC) || !sums.fit(raw) || fields.u64(0x30) != Some(place) {
        return refused("its superblock has a wrong checksum");
    }
    numbers(fields, sums).ok_or(Trouble::Refused(
        "its superblock is cut off or its numbers contradict each other".into(),
    ))
}

fn numbers(fields: Fields<'_>, sums: Sums) -> Option<Superblock> {
    let generation = fields.u64(0x48)?;
    let incompat = fields.u64(0xBC)?;
    let shown_id = fields.array(0x20)?;
    let root = |at: usize, level: usize, generation: u64, owner: Owner| {
        Some(Pointer {
            logical: fields.u64(at)?,
            level: fields.u8(level).filter(|level| *level < LEVEL_LIMIT)?,
            generation,
            owner,
        })
    };
    let log = root(0x60, 0xC8, generation.checked_add(1)?, Owner::LOG)?;
    let system = usize::try_from(fields.u32(0xA0)?).ok()?;
    let found = Superblock {
        generation,
        root: root(0x50, 0xC6, generation, Owner::ROOTS)?,
        chunk_root: root(0x58, 0xC7, fields.u64(0xA4)?, Owner::CHUNKS)?,
        log_root: (log.logical != 0).then_some(log),
        bytes_used: fields.u64(0x78)?,
        sector_size: fields.u32(0x90)?.into(),
        node_size: fields.u32(0x94)?.into(),
        sums,
        id: match incompat & METADATA_ID {
            0 => shown_id,
            _ => fields.array(0x23B)?,
        },
        system: fields
            .bytes(0x32B, system)
            .filter(|_| system <= SYSTEM_LIMIT)?
            .to_vec(),
        device: Device {
            id: fields.u64(0xC9)?,
            bytes: fields.u64(0xD1)?,
            taken: fields.u64(0xD9)?,
        },
        compat_ro: fields.u64(0xB4)?,
        incompat,
        flags: fields.u64(0x38)?,
        shown_id,
    };
    let sizes = [found.sector_size, found.node_size];
    let powers = sizes
        .iter()
        .all(|size| (4096..=65536).contains(size) && size.is_power_of_two());
    (powers && found.node_size >= found.sector_size && found.device.id != 0).then_some(found)
}

impl Superblock {
    fn refuse(&self, source: &dyn BlockSource) -> Result<(), Trouble> {
        // Seeds, filesystems whose identity is just being changed, and dumps of metadata have their own flags.
        if self.incompat & !INCOMPAT_KNOWN != 0 || self.flags & !FLAGS_KNOWN != 0 {
            return refused("it has features unknown here");
        }
        if self.device.bytes > source.size_bytes() {
            return refused("it claims more than its partition has");
        }
        Ok(())
    }

    pub fn has_errors(&self) -> bool {
        self.flags & HAS_ERRORS != 0
    }

    /// A kernel without these may read the filesystem; its records of what is used may be elsewhere.
    pub fn records_unknown(&self) -> bool {
        self.compat_ro & !COMPAT_RO_KNOWN != 0
    }

    pub fn has_group_tree(&self) -> bool {
        self.compat_ro & BLOCK_GROUP_TREE != 0
    }
}
