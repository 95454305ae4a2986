//! btrfs: which parts of this disk its chunks have taken. What lies in a chunk is kept whether it is used or not.
//!
//! After the btrfs documentation ("On-disk Format") and `include/uapi/linux/btrfs_tree.h`. Nothing is ever written
//! outside of chunks but the superblocks; a chunk that is not committed yet makes the next fsync commit it
//! (`btrfs_make_block_group` in the kernel), so that the trees of the log lie in committed chunks too.

use crate::extent::{Extent, ExtentMap};
use crate::fields::{Fields, text};
use crate::fs::named::{bytes, whole};
use crate::fs::{Basis, Filesystem, Reader, State, Used, uuid};
use crate::source::{BlockSource, ReadError, read_vec};

pub const READER: Reader = Reader {
    name: "btrfs",
    read,
    tree: None,
};

const SUPERBLOCK: u64 = 64 << 10;
const SUPERBLOCK_LENGTH: u64 = 4096;
const COPIES: [u64; 3] = [SUPERBLOCK, 64 << 20, 256 << 30];
const MAGIC: &[u8] = b"_BHRfS_M";
/// Nothing is allocated before this.
const RESERVED: u64 = 1 << 20;
/// All up to RAID1C34 but zoned, and simple quotas. Extent tree v2 and the RAID stripe tree put things elsewhere.
const INCOMPAT_KNOWN: u64 = 0xFFF | 0x1_0000;
const SEEDING: u64 = 1 << 32;
const CRC32C: u16 = 0;
const CHUNK_ITEM: u8 = 228;
const HEAD: usize = 101;
const ITEM: usize = 25;
const POINTER: usize = 33;
const LEVEL_LIMIT: u8 = 8;
/// Most chunks looked at: 64 TiB in chunks of 1 GiB, in more than one copy.
const CHUNK_LIMIT: usize = 1 << 17;
const NODE_LIMIT: usize = 1 << 13;

const RAID0: u64 = 1 << 3;
const RAID10: u64 = 1 << 6;
const RAID5: u64 = 1 << 7;
const RAID6: u64 = 1 << 8;
/// Profiles, of which a chunk has none or one; RAID1, DUP and RAID1C3/4 keep whole copies.
const PROFILES: u64 = 0x7F8;

/// Why nothing is proven free.
enum Trouble {
    Read(ReadError),
    Refused(&'static str),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Trouble {
        Trouble::Read(error)
    }
}

const DAMAGED: Trouble = Trouble::Refused("its tree of chunks is damaged");

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some(raw) = bytes(source, SUPERBLOCK, SUPERBLOCK_LENGTH)? else {
        return Ok(None);
    };
    let fields = Fields(&raw);
    if !fields.starts_with(0x40, MAGIC) {
        return Ok(None);
    }
    let mut found = whole("btrfs", source.size_bytes());
    found.uuid = fields.array(0x20).and_then(uuid);
    let label = fields.bytes(299, 256).map(text);
    found.label = label.filter(|label| !label.is_empty());
    match chunks(source, &raw, &mut found) {
        Ok(extents) => {
            let basis = Basis::Records;
            found.used = Used::Map { basis, extents };
        }
        Err(Trouble::Read(ReadError::Gone(what))) => return Err(ReadError::Gone(what)),
        Err(Trouble::Read(error)) => refuse(&mut found, error.to_string()),
        Err(Trouble::Refused(why)) => refuse(&mut found, why.into()),
    }
    Ok(Some(found))
}

fn refuse(found: &mut Filesystem, why: String) {
    found.state = State::Dirty(why.clone());
    found.used = Used::Whole(why);
}

/// The superblock's numbers that matter here.
struct Superblock {
    ids: [[u8; 16]; 2],
    chunk_root: u64,
    chunk_level: u8,
    node_size: u64,
    log_root: u64,
    device: u64,
    device_bytes: u64,
    device_used: u64,
}

fn superblock(raw: &[u8]) -> Result<Superblock, Trouble> {
    let fields = Fields(raw);
    let cut = Trouble::Refused("its superblock is cut off");
    let numbers = || {
        let incompat = fields.u64(0xBC)?;
        let flags = fields.u64(0x38)?;
        let found = Superblock {
            ids: [fields.array(0x20)?, fields.array(0x23B)?],
            chunk_root: fields.u64(0x58)?,
            chunk_level: fields.u8(0xC7)?,
            node_size: fields.u32(0x94)?.into(),
            log_root: fields.u64(0x60)?,
            device: fields.u64(0xC9)?,
            device_bytes: fields.u64(0xD1)?,
            device_used: fields.u64(0xD9)?,
        };
        Some((found, incompat, flags, fields.u16(0xC4)?, fields.u64(0x30)?))
    };
    let Some((found, incompat, flags, sums, place)) = numbers() else {
        return Err(cut);
    };
    if sums != CRC32C {
        return Err(Trouble::Refused(
            "its checksums are of a kind not known here",
        ));
    }
    if !sum_fits(raw) || place != SUPERBLOCK {
        return Err(Trouble::Refused("its superblock has a wrong checksum"));
    }
    if incompat & !INCOMPAT_KNOWN != 0 || flags & SEEDING != 0 {
        return Err(Trouble::Refused("it has features unknown here"));
    }
    let nodes = (4096..=65536).contains(&found.node_size) && found.node_size.is_power_of_two();
    if !nodes || found.chunk_level >= LEVEL_LIMIT || found.device == 0 {
        return Err(Trouble::Refused(
            "the numbers in its superblock contradict each other",
        ));
    }
    Ok(found)
}

/// The first 32 bytes are for the sum of the rest.
fn sum_fits(bytes: &[u8]) -> bool {
    let sum = bytes.get(32..).map(crc32c::crc32c);
    sum.is_some() && Fields(bytes).u32(0) == sum
}

fn chunks(
    source: &dyn BlockSource,
    raw: &[u8],
    found: &mut Filesystem,
) -> Result<ExtentMap, Trouble> {
    let superblock = superblock(raw)?;
    if superblock.device_bytes > source.size_bytes() {
        return Err(Trouble::Refused("it claims more than its partition has"));
    }
    let mut walk = Walk {
        source,
        superblock: &superblock,
        system: system_chunks(raw, superblock.device)?,
        chunks: Vec::new(),
        nodes: 0,
    };
    walk.node(superblock.chunk_root, superblock.chunk_level)?;
    let mut taken: Vec<Extent> = walk.chunks.iter().flat_map(|c| c.here.clone()).collect();
    let total: u64 = taken.iter().map(|extent| extent.len()).sum();
    taken.sort_unstable();
    let apart = taken.windows(2).all(|two| two[0].end() <= two[1].start());
    let inside = taken.iter().all(|e| e.end() <= superblock.device_bytes);
    // The device's own record counts what was allocated of it.
    if !apart || !inside || total != superblock.device_used {
        return Err(Trouble::Refused(
            "its chunks and its count of allocated bytes differ",
        ));
    }
    let size = source.size_bytes();
    taken.extend(Extent::between(0, RESERVED.min(size)));
    taken.extend(Extent::between(superblock.device_bytes, size));
    for copy in COPIES {
        taken.extend(Extent::between(copy, (copy + (64 << 10)).min(size)));
    }
    found.block_size = Fields(raw).u32(0x90).unwrap_or(4096);
    found.size_bytes = superblock.device_bytes;
    if superblock.log_root != 0 {
        found.state = State::Dirty(
            "it was not unmounted; what was fsynced lies in its chunks, which are kept whole"
                .into(),
        );
    }
    Ok(ExtentMap::from(taken))
}

/// Addresses of the filesystem, and what they take of this disk.
struct Chunk {
    start: u64,
    len: u64,
    profile: u64,
    here: Vec<Extent>,
}

/// The length of a chunk's item, and the chunk; `None` when it is damaged.
fn chunk(fields: Fields<'_>, start: u64, device: u64) -> Option<(usize, Chunk)> {
    let (len, kind) = (fields.u64(0)?, fields.u64(24)?);
    let (count, sub) = (fields.u16(44)?, fields.u16(46)?);
    let profile = kind & PROFILES;
    let stripes = u64::from(count);
    let parts = match profile {
        RAID0 => stripes,
        RAID10 => stripes.checked_div(sub.into())?,
        RAID5 => stripes.checked_sub(1)?,
        RAID6 => stripes.checked_sub(2)?,
        _ => 1,
    };
    let each = len.checked_div(parts).filter(|each| each * parts == len)?;
    let mut here = Vec::new();
    for n in 0..usize::from(count) {
        let at = 48 + n * 32;
        let (whose, offset) = (fields.u64(at)?, fields.u64(at + 8)?);
        if whose == device {
            here.push(Extent::new(offset, each)?);
        }
        // Only DUP has more than one stripe on a disk.
        if here.len() > 2 {
            return None;
        }
    }
    start.checked_add(len)?;
    let known = kind >> 11 == 0 && profile.count_ones() <= 1 && count > 0;
    let found = Chunk {
        start,
        len,
        profile,
        here,
    };
    known.then_some((48 + usize::from(count) * 32, found))
}

/// The chunks that hold the tree of chunks stand in the superblock, each after its key.
fn system_chunks(raw: &[u8], device: u64) -> Result<Vec<Chunk>, Trouble> {
    let fields = Fields(raw);
    let len = fields.u32(0xA0).map_or(0, |len| len.min(2048));
    let len = usize::try_from(len).expect("2048 at most");
    let list = Fields(fields.bytes(0x32B, len).unwrap_or_default());
    let (mut found, mut at) = (Vec::new(), 0);
    while at < len {
        let start = list
            .u64(at + 9)
            .filter(|_| list.u8(at + 8) == Some(CHUNK_ITEM));
        let item = list.0.get(at + 17..).map(Fields);
        let one = start
            .zip(item)
            .and_then(|(start, item)| chunk(item, start, device));
        let Some((length, one)) = one else {
            return Err(DAMAGED);
        };
        at += 17 + length;
        found.push(one);
    }
    Ok(found)
}

struct Walk<'a> {
    source: &'a dyn BlockSource,
    superblock: &'a Superblock,
    system: Vec<Chunk>,
    chunks: Vec<Chunk>,
    nodes: usize,
}

impl Walk<'_> {
    /// The level falls with each step, so that it ends.
    fn node(&mut self, logical: u64, level: u8) -> Result<(), Trouble> {
        self.nodes += 1;
        if self.nodes > NODE_LIMIT {
            return Err(DAMAGED);
        }
        let raw = self.read(logical)?;
        let fields = Fields(&raw);
        let count = fields
            .u32(96)
            .map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let entry = if level == 0 { ITEM } else { POINTER };
        if fields.u8(100) != Some(level) || count > (raw.len() - HEAD) / entry || count == 0 {
            return Err(DAMAGED);
        }
        for n in 0..count {
            let at = HEAD + n * entry;
            let number = |at: usize| fields.u64(at).unwrap_or(u64::MAX);
            if level > 0 {
                self.node(number(at + 17), level - 1)?;
            } else if fields.u8(at + 8) == Some(CHUNK_ITEM) {
                let place = |at: usize| fields.u32(at).and_then(|n| usize::try_from(n).ok());
                let item = place(at + 17)
                    .and_then(|offset| raw.get(HEAD.checked_add(offset)?..))
                    .and_then(|item| chunk(Fields(item), number(at + 9), self.superblock.device));
                let Some((_, one)) = item.filter(|_| self.chunks.len() < CHUNK_LIMIT) else {
                    return Err(DAMAGED);
                };
                if self
                    .chunks
                    .last()
                    .is_some_and(|last| last.start + last.len > one.start)
                {
                    return Err(DAMAGED);
                }
                self.chunks.push(one);
            }
        }
        Ok(())
    }

    /// A node by its address, from the first copy on this disk that is whole.
    fn read(&self, logical: u64) -> Result<Vec<u8>, Trouble> {
        let size = self.superblock.node_size;
        let holds = |chunk: &&Chunk| {
            logical
                .checked_sub(chunk.start)
                .is_some_and(|at| at.checked_add(size).is_some_and(|end| end <= chunk.len))
        };
        let Some(chunk) = self.system.iter().find(holds) else {
            return Err(DAMAGED);
        };
        if matches!(chunk.profile, RAID0 | RAID10 | RAID5 | RAID6) || chunk.here.is_empty() {
            return Err(Trouble::Refused(
                "its tree of chunks is spread over other disks",
            ));
        }
        for copy in &chunk.here {
            let raw = match read_vec(self.source, copy.start() + (logical - chunk.start), size) {
                Ok(raw) => raw,
                Err(ReadError::Gone(what)) => return Err(ReadError::Gone(what).into()),
                Err(_) => continue,
            };
            let fields = Fields(&raw);
            let id = fields.array::<16>(32);
            let ours = id.is_some_and(|id| self.superblock.ids.contains(&id));
            if sum_fits(&raw) && ours && fields.u64(48) == Some(logical) {
                return Ok(raw);
            }
        }
        Err(DAMAGED)
    }
}
