//! Feature bits: what a filesystem uses beyond the first ext2, and what that makes it.

use crate::fields::Fields;

/// A feature bit, in the word it lives in (kernel documentation, "Super Block").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Feature {
    Compat(u32),
    Incompat(u32),
    ReadOnly(u32),
}

pub(super) const HAS_JOURNAL: Feature = Feature::Compat(0x4);
pub(super) const SPARSE_SUPER2: Feature = Feature::Compat(0x200);
pub(super) const FILETYPE: Feature = Feature::Incompat(0x2);
pub(super) const NEEDS_RECOVERY: Feature = Feature::Incompat(NEEDS_RECOVERY_BIT);
pub(super) const JOURNAL_DEV: Feature = Feature::Incompat(0x8);
pub(super) const META_BG: Feature = Feature::Incompat(0x10);
pub(super) const BITS64: Feature = Feature::Incompat(0x80);
pub(super) const MMP: Feature = Feature::Incompat(0x100);
pub(super) const FLEX_BG: Feature = Feature::Incompat(0x200);
pub(super) const CSUM_SEED: Feature = Feature::Incompat(0x2000);
pub(super) const SPARSE_SUPER: Feature = Feature::ReadOnly(0x1);
pub(super) const GDT_CSUM: Feature = Feature::ReadOnly(0x10);
pub(super) const BIGALLOC: Feature = Feature::ReadOnly(0x200);
pub(super) const METADATA_CSUM: Feature = Feature::ReadOnly(0x400);

const NEEDS_RECOVERY_BIT: u32 = 0x4;
const ORPHAN_PRESENT_BIT: u32 = 0x1_0000;

/// filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline_data,
/// encrypt, casefold. Compression and dirdata never came into the kernel.
const INCOMPAT_KNOWN: u32 = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x3_E000;
/// sparse_super, large_file, btree_dir, huge_file, gdt_csum, dir_nlink, extra_isize, quota, bigalloc,
/// metadata_csum, readonly, project, shared_blocks, verity, orphan_present. Snapshots and replicas are not read here.
const READ_ONLY_KNOWN: u32 = 0x7F | 0x100 | 0x200 | 0x400 | 0x1_F000;

/// The three words of feature bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Features {
    pub compat: u32,
    pub incompat: u32,
    pub read_only: u32,
}

impl Features {
    /// From the bytes of a superblock; `None` when they are cut off.
    pub fn parse(fields: Fields<'_>) -> Option<Features> {
        Some(Features {
            compat: fields.u32(0x5C)?,
            incompat: fields.u32(0x60)?,
            read_only: fields.u32(0x64)?,
        })
    }

    pub fn has(self, feature: Feature) -> bool {
        match feature {
            Feature::Compat(bit) => self.compat & bit != 0,
            Feature::Incompat(bit) => self.incompat & bit != 0,
            Feature::ReadOnly(bit) => self.read_only & bit != 0,
        }
    }

    /// Features that a kernel which does not know them must not even read.
    pub fn unknown_incompat(self) -> bool {
        self.incompat & !INCOMPAT_KNOWN != 0
    }

    /// Features nobody told this reader about: they may change where free blocks are recorded.
    pub fn unknown(self) -> Option<String> {
        let incompat = self.incompat & !INCOMPAT_KNOWN;
        let read_only = self.read_only & !READ_ONLY_KNOWN;
        (incompat != 0 || read_only != 0).then(|| {
            format!(
                "it has features unknown here (incompat {incompat:#x}, read-only {read_only:#x})"
            )
        })
    }

    /// Without what a replay of the journal settles: the need for it, and orphans.
    pub fn lasting(self) -> Features {
        Features {
            incompat: self.incompat & !NEEDS_RECOVERY_BIT,
            read_only: self.read_only & !ORPHAN_PRESENT_BIT,
            ..self
        }
    }

    /// The rules of libblkid: a journal makes ext3, a feature that ext3 does not know makes ext4.
    pub fn kind(self, flags: u32) -> &'static str {
        const EXT2_INCOMPAT: u32 = 0x2 | 0x10;
        const EXT3_INCOMPAT: u32 = EXT2_INCOMPAT | NEEDS_RECOVERY_BIT;
        const EXT3_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
        const TEST_FILESYSTEM: u32 = 0x4;
        let journal = self.has(HAS_JOURNAL);
        let incompat = if journal {
            EXT3_INCOMPAT
        } else {
            EXT2_INCOMPAT
        };
        if self.has(JOURNAL_DEV) {
            "jbd"
        } else if self.incompat & !incompat != 0 || self.read_only & !EXT3_READ_ONLY != 0 {
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
}
