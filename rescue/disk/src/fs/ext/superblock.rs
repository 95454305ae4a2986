//! The superblock: the shape of the filesystem, what it is called, and where its other superblocks stand.

use super::checksum::{crc16, crc32c};
use super::groups::tolerate;
use crate::fields::{self, Fields};
use crate::source::{BlockSource, ReadError, read_vec};

/// A feature bit, in the word it lives in (kernel documentation, "Super Block").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Feature {
    Compat(u32),
    Incompat(u32),
    ReadOnly(u32),
}

const HAS_JOURNAL: Feature = Feature::Compat(0x4);
pub(super) const SPARSE_SUPER2: Feature = Feature::Compat(0x200);
pub(super) const FILETYPE: Feature = Feature::Incompat(0x2);
pub(super) const NEEDS_RECOVERY: Feature = Feature::Incompat(NEEDS_RECOVERY_BIT);
const JOURNAL_DEV: Feature = Feature::Incompat(0x8);
pub(super) const META_BG: Feature = Feature::Incompat(0x10);
const BITS64: Feature = Feature::Incompat(0x80);
pub(super) const MMP: Feature = Feature::Incompat(0x100);
pub(super) const FLEX_BG: Feature = Feature::Incompat(0x200);
const CSUM_SEED: Feature = Feature::Incompat(0x2000);
pub(super) const SPARSE_SUPER: Feature = Feature::ReadOnly(0x1);
const GDT_CSUM: Feature = Feature::ReadOnly(0x10);
const BIGALLOC: Feature = Feature::ReadOnly(0x200);
const METADATA_CSUM: Feature = Feature::ReadOnly(0x400);

const NEEDS_RECOVERY_BIT: u32 = 0x4;
const ORPHAN_PRESENT_BIT: u32 = 0x1_0000;

/// filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline_data,
/// encrypt, casefold. Compression and dirdata never came into the kernel.
const INCOMPAT_KNOWN: u32 = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x3_E000;
/// sparse_super, large_file, btree_dir, huge_file, gdt_csum, dir_nlink, extra_isize, quota, bigalloc,
/// metadata_csum, readonly, project, shared_blocks, verity, orphan_present. Snapshots and replicas are not read here.
const READ_ONLY_KNOWN: u32 = 0x7F | 0x100 | 0x200 | 0x400 | 0x1_F000;

const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK_LEN: u64 = 1024;
const MAGIC: u16 = 0xEF53;

/// What a person calls the filesystem; readable even where its shape is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Names {
    pub kind: &'static str,
    pub label: Option<String>,
    pub uuid: Option<String>,
}

/// How descriptors and bitmaps are protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Checksums {
    None,
    /// `uninit_bg`: a CRC16 over each descriptor, begun with the UUID.
    Descriptors(u16),
    /// `metadata_csum`: CRC32C over everything, begun with this seed.
    Metadata(u32),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum JournalPlace {
    None,
    Inode(u64),
    /// On another device.
    External,
}

/// A superblock whose shape was checked: no division by zero, no overflow and no absurd size can come from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub block_size: u64,
    /// Blocks that share one bit of the bitmap: 1 without bigalloc.
    pub cluster_blocks: u64,
    pub blocks: u64,
    pub first_data_block: u64,
    pub blocks_per_group: u64,
    pub groups: u64,
    pub inodes: u64,
    pub inodes_per_group: u64,
    pub inode_size: u64,
    pub descriptor_size: u64,
    pub reserved_gdt_blocks: u64,
    pub first_meta_group: u64,
    pub backup_groups: [u64; 2],
    pub free_blocks: u64,
    pub state: u16,
    pub mmp_block: u64,
    pub journal: JournalPlace,
    pub checksums: Checksums,
    /// The copy of the superblock behind which the descriptors are read.
    pub copy_at: u64,
    features: Features,
}

/// The three words of feature bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Features {
    compat: u32,
    incompat: u32,
    read_only: u32,
}

impl Features {
    fn has(self, feature: Feature) -> bool {
        match feature {
            Feature::Compat(bit) => self.compat & bit != 0,
            Feature::Incompat(bit) => self.incompat & bit != 0,
            Feature::ReadOnly(bit) => self.read_only & bit != 0,
        }
    }
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
    let why = match Superblock::parse(&primary) {
        Ok(superblock) => {
            return Ok(Some(Found {
                names,
                superblock: Ok(superblock),
                origin: Origin::Primary,
            }));
        }
        Err(why) => why,
    };
    let uuid = Fields(&primary).array::<16>(0x68);
    let found = backup(source, uuid, Origin::Damaged(why))?;
    Ok(Some(found.unwrap_or(Found {
        names,
        superblock: Err(why),
        origin: Origin::Primary,
    })))
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
            kind: kind(Raw(fields).features().ok()?, fields.u32(0x160)?),
            label: (!label.is_empty()).then_some(label),
            uuid: (uuid != [0; 16]).then(|| hyphenated(&uuid)),
        })
    }
}

/// The rules of libblkid: a journal makes ext3, a feature that ext3 does not know makes ext4.
fn kind(features: Features, flags: u32) -> &'static str {
    const EXT2_INCOMPAT: u32 = 0x2 | 0x10;
    const EXT3_INCOMPAT: u32 = EXT2_INCOMPAT | NEEDS_RECOVERY_BIT;
    const EXT3_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
    const TEST_FILESYSTEM: u32 = 0x4;
    let journal = features.has(HAS_JOURNAL);
    let incompat = if journal {
        EXT3_INCOMPAT
    } else {
        EXT2_INCOMPAT
    };
    if features.has(JOURNAL_DEV) {
        "jbd"
    } else if features.incompat & !incompat != 0 || features.read_only & !EXT3_READ_ONLY != 0 {
        if flags & TEST_FILESYSTEM != 0 {
            "ext4dev"
        } else {
            "ext4"
        }
    } else if journal {
        "ext3"
    } else {
        "ext2"
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

impl Superblock {
    /// The text of an error says what is impossible about it.
    fn parse(bytes: &[u8]) -> Result<Superblock, &'static str> {
        Raw(Fields(bytes)).superblock()
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    /// Features that a kernel which does not know them must not even read.
    pub fn unknown_incompat(&self) -> bool {
        self.features.incompat & !INCOMPAT_KNOWN != 0
    }

    /// Features nobody told this reader about: they may change where free blocks are recorded.
    pub fn unknown_features(&self) -> Option<String> {
        let incompat = self.features.incompat & !INCOMPAT_KNOWN;
        let read_only = self.features.read_only & !READ_ONLY_KNOWN;
        (incompat != 0 || read_only != 0).then(|| {
            format!(
                "it has features unknown here (incompat {incompat:#x}, read-only {read_only:#x})"
            )
        })
    }

    pub fn size_bytes(&self) -> u64 {
        self.blocks * self.block_size
    }

    pub fn inode_table_blocks(&self) -> u64 {
        (self.inodes_per_group * self.inode_size).div_ceil(self.block_size)
    }

    /// True when both describe the same division into groups.
    pub fn same_shape(&self, other: &Superblock) -> bool {
        let shape = |s: &Superblock| {
            [
                s.block_size,
                s.cluster_blocks,
                s.blocks,
                s.first_data_block,
                s.blocks_per_group,
                s.inodes_per_group,
                s.inode_size,
                s.descriptor_size,
                s.reserved_gdt_blocks,
                s.first_meta_group,
                s.backup_groups[0],
                s.backup_groups[1],
            ]
        };
        // A replay ends the need for recovery and may settle orphans; no other feature may differ.
        let features = |s: &Superblock| Features {
            incompat: s.features.incompat & !NEEDS_RECOVERY_BIT,
            read_only: s.features.read_only & !ORPHAN_PRESENT_BIT,
            ..s.features
        };
        shape(self) == shape(other)
            && self.checksums == other.checksums
            && features(self) == features(other)
    }
}

const SHORT: &str = "the superblock is cut off";

/// The bytes of a superblock, not yet believed.
#[derive(Clone, Copy)]
struct Raw<'a>(Fields<'a>);

impl Raw<'_> {
    fn u16(self, at: usize) -> Result<u64, &'static str> {
        self.0.u16(at).map(u64::from).ok_or(SHORT)
    }

    fn u32(self, at: usize) -> Result<u32, &'static str> {
        self.0.u32(at).ok_or(SHORT)
    }

    fn wide(self, at: usize) -> Result<u64, &'static str> {
        self.u32(at).map(u64::from)
    }

    fn superblock(self) -> Result<Superblock, &'static str> {
        let features = self.features()?;
        self.check_sum(features)?;
        let (block_size, cluster_blocks) = self.sizes(features)?;
        let bits64 = features.has(BITS64);
        let high = |at| if bits64 { self.wide(at) } else { Ok(0) };
        let blocks = self.wide(0x4)? | high(0x150)? << 32;
        if blocks.checked_mul(block_size).is_none() {
            return Err("it has more blocks than bytes can be counted");
        }
        let first_data_block = self.wide(0x14)?;
        if first_data_block > 1 || first_data_block >= blocks {
            return Err("its first block is impossible");
        }
        let blocks_per_group = self.blocks_per_group(block_size, cluster_blocks)?;
        let (inode_size, inodes_per_group) = self.inodes(block_size)?;
        let descriptor_size = self.descriptor_size(bits64)?;
        let groups = (blocks - first_data_block).div_ceil(blocks_per_group);
        let first_meta_group = self.wide(0x104)?;
        if features.has(META_BG) && first_meta_group > groups.div_ceil(block_size / descriptor_size)
        {
            return Err("its first meta group is impossible");
        }
        let reserved_gdt_blocks = self.u16(0xCE)?;
        if reserved_gdt_blocks > block_size / 4 {
            return Err("it reserves more descriptor blocks than it can");
        }
        Ok(Superblock {
            block_size,
            cluster_blocks,
            blocks,
            first_data_block,
            blocks_per_group,
            groups,
            inodes: self.wide(0x0)?,
            inodes_per_group,
            inode_size,
            descriptor_size,
            reserved_gdt_blocks,
            first_meta_group,
            backup_groups: [self.wide(0x24C)?, self.wide(0x250)?],
            free_blocks: self.wide(0xC)? | high(0x158)? << 32,
            state: self.0.u16(0x3A).ok_or(SHORT)?,
            mmp_block: self.0.u64(0x168).ok_or(SHORT)?,
            journal: self.journal(features)?,
            checksums: self.checksums(features)?,
            copy_at: SUPERBLOCK_AT / block_size,
            features,
        })
    }

    fn features(self) -> Result<Features, &'static str> {
        Ok(Features {
            compat: self.u32(0x5C)?,
            incompat: self.u32(0x60)?,
            read_only: self.u32(0x64)?,
        })
    }

    fn check_sum(self, features: Features) -> Result<(), &'static str> {
        let summed = self.0.bytes(0, 0x3FC).ok_or(SHORT)?;
        if features.has(METADATA_CSUM) && crc32c(!0, summed) != self.u32(0x3FC)? {
            return Err("the checksum of its superblock is wrong");
        }
        Ok(())
    }

    /// Block size in bytes, and blocks in a cluster.
    fn sizes(self, features: Features) -> Result<(u64, u64), &'static str> {
        let log = self.u32(0x18)?;
        if log > 6 {
            return Err("its block size is impossible");
        }
        // s_log_cluster_size means something only with bigalloc (kernel documentation, "Super Block").
        if !features.has(BIGALLOC) {
            return Ok((1024 << log, 1));
        }
        match self.u32(0x1C)?.checked_sub(log) {
            Some(ratio) if ratio + log <= 20 => Ok((1024 << log, 1 << ratio)),
            _ => Err("its cluster size is impossible"),
        }
    }

    fn blocks_per_group(self, block_size: u64, cluster_blocks: u64) -> Result<u64, &'static str> {
        let (blocks, clusters) = (self.wide(0x20)?, self.wide(0x24)?);
        let clusters = if cluster_blocks == 1 {
            blocks
        } else {
            clusters
        };
        let possible = (8..=block_size * 8).contains(&clusters) && clusters % 8 == 0;
        if !possible || clusters * cluster_blocks != blocks {
            return Err("its groups have an impossible size");
        }
        Ok(blocks)
    }

    /// Inode size in bytes, inodes in a group.
    fn inodes(self, block_size: u64) -> Result<(u64, u64), &'static str> {
        let size = match self.u32(0x4C)? {
            0 => 128,
            _ => self.u16(0x58)?,
        };
        let per_group = self.wide(0x28)?;
        if !(128..=block_size).contains(&size) || !size.is_power_of_two() {
            return Err("its inodes have an impossible size");
        }
        if !(1..=block_size * 8).contains(&per_group) {
            return Err("its groups have an impossible number of inodes");
        }
        Ok((size, per_group))
    }

    fn descriptor_size(self, bits64: bool) -> Result<u64, &'static str> {
        if !bits64 {
            return Ok(32);
        }
        let size = self.u16(0xFE)?;
        let possible = (64..=1024).contains(&size) && size.is_power_of_two();
        possible
            .then_some(size)
            .ok_or("its descriptors have an impossible size")
    }

    fn journal(self, features: Features) -> Result<JournalPlace, &'static str> {
        Ok(match (features.has(HAS_JOURNAL), self.wide(0xE0)?) {
            (false, _) => JournalPlace::None,
            (true, 0) => JournalPlace::External,
            (true, inode) => JournalPlace::Inode(inode),
        })
    }

    fn checksums(self, features: Features) -> Result<Checksums, &'static str> {
        let uuid = self.0.bytes(0x68, 16).ok_or(SHORT)?;
        Ok(if features.has(METADATA_CSUM) {
            let stored = features.has(CSUM_SEED);
            Checksums::Metadata(if stored {
                self.u32(0x270)?
            } else {
                crc32c(!0, uuid)
            })
        } else if features.has(GDT_CSUM) {
            Checksums::Descriptors(crc16(!0, uuid))
        } else {
            Checksums::None
        })
    }
}
