//! Inodes: what a file is and where its forks say its bytes lie.

use super::group::View;
use super::superblock::Version;
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::fs::tree::NodeKind;
use crate::source::read_vec;

const BIG_TIME: u64 = 1 << 3;
const MANY_EXTENTS: u64 = 1 << 4;
/// Bytes of an inode before its forks.
const CORE_V4: usize = 100;
pub(super) const CORE_V5: usize = 176;

/// Pieces of a file that are kept; a piece is at most 2^21 blocks long.
const RUN_LIMIT: usize = 1 << 18;
/// `XFS_BTREE_MAXLEVELS`.
const LEVEL_LIMIT: u16 = 9;

/// How the data fork is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Storage {
    /// The bytes themselves.
    Local,
    Extents,
    Tree,
    /// A device number, or nothing.
    Other,
}

/// An inode that was checked and is in use.
#[derive(Debug)]
pub(super) struct Inode {
    pub number: u64,
    bytes: Vec<u8>,
}

/// `count` blocks of a file, from `logical` on, lie at byte `at` of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub logical: u64,
    pub at: u64,
    pub count: u64,
    /// Allocated, but reads as zeros.
    pub unwritten: bool,
}

impl View<'_> {
    pub fn inode(&self, number: u64) -> Result<Inode, Trouble> {
        let superblock = &self.superblock;
        let per_block = superblock.inodes_per_block_log;
        let place = superblock.place(number >> per_block, 1);
        let Some(place) = place else {
            return refused("an inode number is impossible");
        };
        let index = number & ((1 << per_block) - 1);
        let at = place + index * superblock.inode_size;
        let bytes = read_vec(&self.source, at, superblock.inode_size)?;
        let fields = Fields(&bytes);
        let inode = Inode {
            number,
            bytes: bytes.clone(),
        };
        let known = match (superblock.version, fields.u8(4)) {
            (Version::V4, Some(1 | 2)) => true,
            (Version::V5, Some(3)) => {
                self.check_sum(at, &bytes, 100)?;
                fields.be64(152) == Some(number) && fields.array(160) == Some(superblock.meta_uuid)
            }
            _ => false,
        };
        if !fields.starts_with(0, b"IN") || !known {
            return refused("an inode is not what it should be");
        }
        if inode.be16(2) == 0 {
            return refused("a name leads to a file that was deleted");
        }
        Ok(inode)
    }

    /// The data fork's runs, ascending and disjoint.
    pub fn runs(&self, inode: &Inode) -> Result<Vec<Run>, Trouble> {
        let fork = Fields(inode.fork());
        let mut runs = Runs {
            view: self,
            runs: Vec::new(),
        };
        match inode.storage() {
            Storage::Local | Storage::Other => {}
            Storage::Extents => {
                let count = usize::try_from(inode.extents()).unwrap_or(usize::MAX);
                if count > fork.0.len() / 16 {
                    return refused(DAMAGED);
                }
                runs.records(fork, 0, count)?;
            }
            Storage::Tree => {
                let (level, count) = (fork.be16(0).unwrap_or(0), fork.be16(2).unwrap_or(0));
                let room = fork.0.len().saturating_sub(4) / 16;
                let count = usize::from(count);
                if level == 0 || level > LEVEL_LIMIT || count > room {
                    return refused(DAMAGED);
                }
                for n in 0..count {
                    let child = fork.be64(4 + room * 8 + n * 8).unwrap_or(u64::MAX);
                    runs.node(inode.number, child, level - 1)?;
                }
            }
        }
        Ok(runs.runs)
    }
}

const DAMAGED: &str = "the extents of a file are damaged";

struct Runs<'a> {
    view: &'a View<'a>,
    runs: Vec<Run>,
}

impl Runs<'_> {
    /// `level` counts from the leaves and falls with each step, and a leaf adds to what ascends, so that it ends.
    fn node(&mut self, owner: u64, block: u64, level: u16) -> Result<(), Trouble> {
        let superblock = &self.view.superblock;
        let Some(at) = superblock.place(block, 1) else {
            return refused(DAMAGED);
        };
        let bytes = read_vec(&self.view.source, at, superblock.block_size)?;
        let fields = Fields(&bytes);
        let (head, magic): (usize, &[u8]) = match superblock.version {
            Version::V4 => (24, b"BMAP"),
            Version::V5 => (72, b"BMA3"),
        };
        let count = fields.be16(6).map_or(0, usize::from);
        let room = (bytes.len() - head) / 16;
        let real = fields.starts_with(0, magic) && fields.be16(4) == Some(level);
        if !real || count == 0 || count > room {
            return refused(DAMAGED);
        }
        if superblock.version == Version::V5 {
            self.view.check_sum(at, &bytes, 64)?;
            if fields.be64(24) != Some(at / 512) || fields.be64(56) != Some(owner) {
                return refused(DAMAGED);
            }
        }
        if level == 0 {
            return self.records(fields, head, count);
        }
        for n in 0..count {
            let child = fields.be64(head + room * 8 + n * 8).unwrap_or(u64::MAX);
            self.node(owner, child, level - 1)?;
        }
        Ok(())
    }

    /// A record has a flag, 54 bits of place in the file, 52 of place on the disk and 21 of length.
    fn records(&mut self, fields: Fields<'_>, from: usize, count: usize) -> Result<(), Trouble> {
        let superblock = &self.view.superblock;
        for n in 0..count {
            let word = |at: usize| fields.be64(from + n * 16 + at).unwrap_or(0);
            let (high, low) = (word(0), word(8));
            let (logical, count) = (high >> 9 & ((1 << 54) - 1), low & ((1 << 21) - 1));
            let start = (high & 0x1FF) << 43 | low >> 21;
            let follows = self
                .runs
                .last()
                .is_none_or(|last| last.logical + last.count <= logical);
            let fits = (logical + count).checked_mul(superblock.block_size);
            let Some(at) = superblock
                .place(start, count)
                .filter(|_| follows && fits.is_some())
            else {
                return refused(DAMAGED);
            };
            if self.runs.len() == RUN_LIMIT {
                return refused("a file is in more pieces than are kept in memory");
            }
            self.runs.push(Run {
                logical,
                at,
                count,
                unwritten: high >> 63 == 1,
            });
        }
        Ok(())
    }
}

impl Inode {
    fn be16(&self, at: usize) -> u16 {
        Fields(&self.bytes)
            .be16(at)
            .expect("an inode has at least 256 bytes")
    }

    fn be32(&self, at: usize) -> u32 {
        Fields(&self.bytes)
            .be32(at)
            .expect("an inode has at least 256 bytes")
    }

    fn be64(&self, at: usize) -> u64 {
        Fields(&self.bytes)
            .be64(at)
            .expect("an inode has at least 256 bytes")
    }

    fn flags2(&self) -> u64 {
        if self.bytes[4] == 3 {
            self.be64(120)
        } else {
            0
        }
    }

    pub fn kind(&self) -> NodeKind {
        match self.be16(2) & 0xF000 {
            0x8000 => NodeKind::File,
            0x4000 => NodeKind::Directory,
            0xA000 => NodeKind::Symlink,
            _ => NodeKind::Special,
        }
    }

    pub fn size(&self) -> u64 {
        self.be64(56)
    }

    /// Seconds since 1970. With big times it is nanoseconds since 2^31 seconds before that.
    pub fn modified(&self) -> i64 {
        if self.flags2() & BIG_TIME != 0 {
            let seconds = self.be64(40) / 1_000_000_000;
            return i64::try_from(seconds).expect("a 2^30th of a u64 fits") - (1 << 31);
        }
        self.be32(40).cast_signed().into()
    }

    fn extents(&self) -> u64 {
        match self.flags2() & MANY_EXTENTS {
            0 => self.be32(76).into(),
            _ => self.be64(24),
        }
    }

    pub fn storage(&self) -> Storage {
        match self.bytes[5] {
            1 => Storage::Local,
            2 => Storage::Extents,
            3 => Storage::Tree,
            _ => Storage::Other,
        }
    }

    /// The bytes of the data fork; an attribute fork may follow it.
    pub fn fork(&self) -> &[u8] {
        fork(&self.bytes)
    }
}

/// The place of the data fork in an inode.
pub(super) fn fork_range(bytes: &[u8]) -> std::ops::Range<usize> {
    let core = if bytes[4] == 3 { CORE_V5 } else { CORE_V4 };
    let end = match usize::from(bytes[82]) * 8 {
        0 => bytes.len(),
        offset => (core + offset).min(bytes.len()),
    };
    core..end
}

fn fork(bytes: &[u8]) -> &[u8] {
    &bytes[fork_range(bytes)]
}
