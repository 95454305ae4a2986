//! The log replayed in memory: the newest bytes of what it changes, and all places it touches.

use std::collections::HashMap;

use super::item::{self, Buffer, Change, Inode, Kind};
use super::log::{Log, Span};
use super::logged::{self, Put};
use super::overlay::{PIECE, Pieces};
use super::superblock::{Superblock, Version};
use super::transaction::{self, Step};
use super::{Trouble, refused};
use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::source::{BlockSource, read_vec};

/// Most buffers given up, and most extents touched, that are remembered.
const LIMIT: usize = 1 << 16;
const TOO_LARGE: &str = "its log is too large to be replayed in memory";
const DAMAGED: &str = "its log holds something that is damaged or unknown here";

/// Types of buffers that tell of free space (`enum xfs_blft`): those of before there were types, trees, the
/// headers of a group but the AGI, the superblock.
const FREE_SPACE: &[u16] = &[0, 4, 5, 6, 18];

/// Those that tell of files, but for the indices of directories: trees, inodes, links, blocks of names.
const FILES: &[u16] = &[0, 4, 8, 9, 10, 11, 18];

/// What a replay is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    FreeSpace,
    Files,
}

#[derive(Debug)]
pub(super) struct Replay {
    pub pieces: Pieces,
    /// What the replay reads or writes, and what it goes on to free.
    pub touched: ExtentMap,
    pub items: u64,
}

pub(super) fn replay(
    log: &Log<'_>,
    span: &Span,
    superblock: &Superblock,
    wanted: Wanted,
) -> Result<Replay, Trouble> {
    let committed = transaction::committed(log, span)?;
    let mut cancels = Cancels::default();
    transaction::each(log, span, &committed, &mut |_, step| match step {
        Step::Item { item, .. } => match item::change(item) {
            Some(Change::Buffer(buffer)) if buffer.kind == Kind::Cancel => {
                cancels.add(buffer.extent)
            }
            Some(_) => Ok(()),
            None => refused(DAMAGED),
        },
        Step::Commit => Ok(()),
    })?;
    let mut replaying = Replaying {
        source: log.source(),
        superblock,
        wanted,
        cancels,
        ended: HashMap::new(),
        pieces: Pieces::default(),
        touched: Touched::default(),
        items: 0,
    };
    // The log itself is read by every replay.
    replaying.touched.add(log.extent)?;
    transaction::each(log, span, &committed, &mut |number, step| match step {
        Step::Item { item, lsn } => match item::change(item) {
            Some(change) => replaying.apply(number, &change, lsn),
            None => refused(DAMAGED),
        },
        Step::Commit => {
            for extent in replaying.ended.remove(&number).unwrap_or_default() {
                replaying.cancels.end(extent);
            }
            Ok(())
        }
    })?;
    Ok(Replay {
        pieces: replaying.pieces,
        touched: replaying.touched.finish(),
        items: replaying.items,
    })
}

/// Buffers that were given up later in the log, and how often.
#[derive(Default)]
struct Cancels(HashMap<Extent, u32>);

impl Cancels {
    fn add(&mut self, extent: Extent) -> Result<(), Trouble> {
        if self.0.len() == LIMIT {
            return refused(TOO_LARGE);
        }
        *self.0.entry(extent).or_default() += 1;
        Ok(())
    }

    fn end(&mut self, extent: Extent) {
        if let Some(count) = self.0.get_mut(&extent) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&extent);
            }
        }
    }
}

#[derive(Default)]
struct Touched {
    extents: ExtentMap,
    fresh: Vec<Extent>,
}

impl Touched {
    fn add(&mut self, extent: Extent) -> Result<(), Trouble> {
        self.fresh.push(extent);
        if self.fresh.len() >= LIMIT {
            self.gather();
            if self.extents.count() >= LIMIT {
                return refused(TOO_LARGE);
            }
        }
        Ok(())
    }

    fn gather(&mut self) {
        let fresh = ExtentMap::from(std::mem::take(&mut self.fresh));
        self.extents = self.extents.union(&fresh);
    }

    fn finish(mut self) -> ExtentMap {
        self.gather();
        self.extents
    }
}

struct Replaying<'a> {
    source: &'a dyn BlockSource,
    superblock: &'a Superblock,
    wanted: Wanted,
    cancels: Cancels,
    /// Buffers given up by transactions that were not ended yet: a transaction gives up after all else.
    ended: HashMap<usize, Vec<Extent>>,
    pieces: Pieces,
    touched: Touched,
    items: u64,
}

impl Replaying<'_> {
    fn apply(&mut self, number: usize, change: &Change<'_>, lsn: u64) -> Result<(), Trouble> {
        self.items += 1;
        match change {
            Change::Buffer(buffer) => self.buffer(number, buffer, lsn),
            Change::Inode(inode) => self.inode(inode, lsn),
            Change::Free(runs) => runs.iter().try_for_each(|(block, count)| {
                let place = self.superblock.place(*block, *count);
                match place.and_then(|at| Extent::new(at, count * self.superblock.block_size)) {
                    Some(extent) => self.touched.add(extent),
                    None => refused(DAMAGED),
                }
            }),
            Change::Other => Ok(()),
        }
    }

    /// Remembers the blocks that a buffer lies in.
    fn touch(&mut self, extent: Extent) -> Result<(), Trouble> {
        let size = self.superblock.size_bytes();
        if extent.end() > size {
            return refused(DAMAGED);
        }
        match extent.aligned_out(self.superblock.block_size, size) {
            Some(extent) => self.touched.add(extent),
            None => refused(DAMAGED),
        }
    }

    fn buffer(&mut self, number: usize, buffer: &Buffer<'_>, lsn: u64) -> Result<(), Trouble> {
        self.touch(buffer.extent)?;
        if buffer.kind == Kind::Cancel {
            self.ended.entry(number).or_default().push(buffer.extent);
            return Ok(());
        }
        let Kind::Typed(kind) = buffer.kind else {
            return Ok(());
        };
        let followed = match self.wanted {
            Wanted::FreeSpace => FREE_SPACE.contains(&kind),
            Wanted::Files => FILES.contains(&kind),
        };
        if !followed || self.cancels.0.contains_key(&buffer.extent) || self.newer(buffer, lsn)? {
            return Ok(());
        }
        for (at, bytes) in &buffer.regions {
            let at = buffer.extent.start() + at;
            debug_assert!(at.is_multiple_of(PIECE));
            if !self.pieces.put(at, bytes) {
                return refused(TOO_LARGE);
            }
        }
        Ok(())
    }

    /// True when the disk already has what the log wanted to write, or something younger.
    fn newer(&self, buffer: &Buffer<'_>, lsn: u64) -> Result<bool, Trouble> {
        if self.superblock.version == Version::V4 {
            return Ok(false);
        }
        let bytes = read_vec(self.source, buffer.extent.start(), buffer.extent.len())?;
        let there = written_lsn(&bytes, self.superblock);
        Ok(there.is_some_and(|there| there != 0 && there != u64::MAX && there >= lsn))
    }

    fn inode(&mut self, inode: &Inode<'_>, lsn: u64) -> Result<(), Trouble> {
        self.touch(inode.cluster)?;
        if self.wanted != Wanted::Files || self.cancels.0.contains_key(&inode.cluster) {
            return Ok(());
        }
        let size = self.superblock.inode_size;
        let at = inode.cluster.start() + inode.at;
        if inode.at + size > inode.cluster.len() || !at.is_multiple_of(PIECE) {
            return refused(DAMAGED);
        }
        let mut bytes = read_vec(self.source, at, size)?;
        self.pieces.patch(at, &mut bytes);
        match logged::put(inode, lsn, &mut bytes) {
            Some(Put::Older) => Ok(()),
            Some(Put::Done) if self.pieces.put(at, &bytes) => Ok(()),
            Some(Put::Done) => refused(TOO_LARGE),
            None => refused(DAMAGED),
        }
    }
}

/// When a block of metadata was last written, as it says itself; its kind is told by its magic number
/// (`xlog_recover_get_buf_lsn`).
fn written_lsn(bytes: &[u8], superblock: &Superblock) -> Option<u64> {
    let fields = Fields(bytes);
    let magic: [u8; 4] = fields.array(0)?;
    // Where the block says when it was written, and whose it is.
    let (lsn, id) = match &magic {
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => (24, 32),
        b"BMA3" => (32, 40),
        b"XAGF" => (208, 64),
        b"XAFL" => (24, 8),
        b"XAGI" => (320, 296),
        b"XSLM" | b"XARM" => (48, 16),
        b"XDB3" | b"XDD3" | b"XDF3" => (16, 24),
        b"XFSB" => (240, 32),
        _ => match fields.be16(8)? {
            0x3DFF | 0x3DF1 | 0x3EBE | 0x3BEE => (24, 32),
            _ => return None,
        },
    };
    let whose: [u8; 16] = fields.array(id)?;
    let own = match &magic {
        b"XFSB" => superblock.uuid,
        _ => superblock.meta_uuid,
    };
    (whose == own).then(|| fields.be64(lsn)).flatten()
}
