//! The used map: every group's bitmap, with what cannot be trusted taken whole.

use std::fmt;

use super::features;
use super::groups::{Doubt, View};
use super::superblock::Superblock;
use super::tables::Tables;
use crate::extent::{Extent, ExtentMap};
use crate::fs::bits::Bits;
use crate::fs::gather::Gather;
use crate::source::{BlockSource, ReadError};

/// Most groups looked at: 512 TiB of 4 KiB blocks.
const GROUP_LIMIT: u64 = 1 << 22;

#[derive(Debug)]
pub(super) struct Mapped {
    pub extents: ExtentMap,
    pub metadata: ExtentMap,
    /// Groups of which nothing is believed.
    pub unknown: ExtentMap,
    pub doubts: Doubts,
}

/// Maps what `now` shows. `before` is the disk without its journal replayed: what is used there stays used, for
/// a journal may also be thrown away (a kernel does so when the superblock does not ask for recovery).
/// `more` is used whatever the bitmaps say. The text of the inner error says why nothing is proven free.
pub(super) fn map(
    now: &View<'_>,
    before: Option<&View<'_>>,
    more: Vec<Extent>,
) -> Result<Result<Mapped, String>, ReadError> {
    let superblock = &now.superblock;
    if superblock.groups > GROUP_LIMIT {
        return Ok(Err(format!(
            "its {} groups are more than are looked at",
            superblock.groups
        )));
    }
    let Some(tables) = Tables::read(now, more)? else {
        return Ok(Err(
            "its tables are too scattered to be kept in memory".into()
        ));
    };
    let mut doubts = Doubts::default();
    let mut gather = Gather::new(superblock.block_size);
    gather.push(0, superblock.first_data_block * superblock.block_size);
    let mut free = 0;
    let mut unknown = ExtentMap::new();
    for group in 0..superblock.groups {
        let mut bits = match group_bits(now, group, &tables, &mut doubts)? {
            Ok(bits) => bits,
            Err(doubt) => {
                doubts.add(doubt);
                if let Some(group) = superblock.group_extent(group) {
                    unknown.insert(group);
                }
                Bits::new(superblock.group_clusters(group), true)
            }
        };
        free += bits.free();
        tables.mark_more(superblock, group, &mut bits);
        if let Some(before) = before {
            merge_before(before, group, &mut bits)?;
        }
        for (from, to) in bits.used_runs() {
            let [from, to] = [from, to].map(|at| superblock.cluster_start(group, at));
            gather.push(from * superblock.block_size, to * superblock.block_size);
        }
    }
    if doubts.whole_groups() >= superblock.groups {
        return Ok(Err(doubts.to_string()));
    }
    // With bigalloc a cluster may hang over the end, so that a count in blocks is not exact; while it is mounted
    // the superblock's count is not kept up.
    let kept = superblock.cluster_blocks == 1 && !superblock.has(features::NEEDS_RECOVERY);
    if kept && before.is_none() && doubts.is_empty() && free != superblock.free_blocks {
        doubts.total = Some((free, superblock.free_blocks));
    }
    gather.push(superblock.size_bytes(), now.source.size_bytes());
    Ok(Ok(Mapped {
        extents: gather.finish(),
        metadata: tables.metadata(superblock),
        unknown,
        doubts,
    }))
}

impl Superblock {
    fn group_extent(&self, group: u64) -> Option<Extent> {
        let start = self.group_start(group) * self.block_size;
        Extent::new(start, self.group_blocks(group) * self.block_size)
    }

    fn group_clusters(&self, group: u64) -> u64 {
        self.group_blocks(group).div_ceil(self.cluster_blocks)
    }

    /// First block of a group's cluster, or the end of the group.
    fn cluster_start(&self, group: u64, cluster: u64) -> u64 {
        let inside = (cluster * self.cluster_blocks).min(self.group_blocks(group));
        self.group_start(group) + inside
    }
}

fn group_bits(
    view: &View<'_>,
    group: u64,
    tables: &Tables,
    doubts: &mut Doubts,
) -> Result<Result<Bits, Doubt>, ReadError> {
    let superblock = &view.superblock;
    let clusters = superblock.group_clusters(group);
    let descriptor = match view.descriptor(group)? {
        Ok(descriptor) => descriptor,
        Err(doubt) => return Ok(Err(doubt)),
    };
    let backup = descriptor.free_clusters.is_none();
    // A group that a backup calls unwritten may have been written since, and its bitmap with it.
    let written = match backup && descriptor.never_written {
        true => view
            .bitmap_unchecked(&descriptor)?
            .is_none_or(|bits| bits.iter().any(|b| *b != 0)),
        false => !descriptor.never_written,
    };
    if !written {
        // Without flex_bg a group's tables lie in the group itself.
        if !tables.complete && superblock.has(features::FLEX_BG) {
            return Ok(Err(Doubt::Neighbour));
        }
        let mut bits = Bits::new(clusters, false);
        tables.mark(superblock, group, &mut bits);
        // A group that has lost blocks since was written to, whatever its flag says.
        let same = Some(bits.free()) == descriptor.free_clusters;
        doubts.backups += u64::from(backup);
        return Ok(if same || backup {
            Ok(bits)
        } else {
            Err(Doubt::Descriptor)
        });
    }
    let mut bits = match view.bitmap(&descriptor)? {
        Ok(bytes) => Bits::from_bytes(&bytes, clusters),
        Err(doubt) => return Ok(Err(doubt)),
    };
    let free = bits.free();
    tables.mark(superblock, group, &mut bits);
    if bits.free() != free {
        // It calls the filesystem's own blocks free: some other block, or one that was never written.
        return Ok(Err(Doubt::Bitmap));
    }
    doubts.backups += u64::from(backup);
    let counted = backup || Some(free) == descriptor.free_clusters;
    match (counted, descriptor.inodes_possible) {
        (true, true) => {}
        (true, false) => doubts.inodes += 1,
        (false, true) => doubts.counts += 1,
        (false, false) => return Ok(Err(Doubt::Descriptor)),
    }
    Ok(Ok(bits))
}

/// Adds what the unreplayed disk calls used. Its sums are not asked for: after a crash its records are of
/// different ages, and they can only add here.
fn merge_before(before: &View<'_>, group: u64, bits: &mut Bits) -> Result<(), ReadError> {
    let Ok(descriptor) = before.descriptor(group)? else {
        return Ok(());
    };
    if !descriptor.never_written
        && let Some(bytes) = before.bitmap_unchecked(&descriptor)?
    {
        bits.merge(&Bits::from_bytes(
            &bytes,
            before.superblock.group_clusters(group),
        ));
    }
    Ok(())
}

/// What did not add up, in numbers of groups. Each group that is not believed is in the map whole.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Doubts {
    unreadable: u64,
    descriptors: u64,
    bitmaps: u64,
    neighbours: u64,
    /// Groups whose descriptor was read from a backup.
    backups: u64,
    /// Groups whose bitmap is believed but whose inodes cannot be where their descriptor says.
    inodes: u64,
    /// Groups whose bitmap, which is believed, has another count than their descriptor.
    counts: u64,
    /// Free blocks counted, and as the superblock says.
    total: Option<(u64, u64)>,
}

impl Doubts {
    fn add(&mut self, doubt: Doubt) {
        *match doubt {
            Doubt::Unreadable => &mut self.unreadable,
            Doubt::Descriptor => &mut self.descriptors,
            Doubt::Bitmap => &mut self.bitmaps,
            Doubt::Neighbour => &mut self.neighbours,
        } += 1;
    }

    fn whole_groups(&self) -> u64 {
        self.unreadable + self.descriptors + self.bitmaps + self.neighbours
    }

    /// Something could not be read.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable + self.backups > 0
    }

    pub fn is_empty(&self) -> bool {
        *self == Doubts::default()
    }
}

impl fmt::Display for Doubts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = [
            (self.unreadable, "whose records cannot be read"),
            (self.descriptors, "whose descriptor is damaged"),
            (self.bitmaps, "whose bitmap is damaged"),
            (self.neighbours, "that may hold tables of a damaged one"),
            (self.backups, "whose descriptor was read from a backup"),
            (self.inodes, "whose table of inodes is nowhere"),
            (self.counts, "whose bitmap and count of free blocks differ"),
        ];
        let mut join = "";
        for (count, what) in groups.into_iter().filter(|(count, _)| *count > 0) {
            let noun = if count == 1 { "group" } else { "groups" };
            write!(f, "{join}{count} {noun} {what}")?;
            join = ", ";
        }
        if let Some((counted, said)) = self.total {
            write!(
                f,
                "{join}{counted} blocks are free but its superblock says {said}"
            )?;
        }
        Ok(())
    }
}
