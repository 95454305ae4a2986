//! What was fsynced after the last checkpoint of F2FS: nodes that lead one to the next, from the place where the next
//! warm node would be written. A kernel that mounts it goes the same way (`fs/f2fs/recovery.c`).

use std::collections::HashSet;

use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::f2fs::checkpoint::Checkpoint;
use crate::fs::f2fs::superblock::Superblock;
use crate::fs::f2fs::{BLOCK, Trouble};
use crate::source::{BlockSource, read_vec};

/// Most nodes that are followed: 1 GiB of them.
const LIMIT: usize = 1 << 18;
/// Most runs of blocks that are kept at once: 2 MiB of them.
const RUN_LIMIT: usize = 1 << 18;
/// Few enough to be put into a map one by one, and most extents of a map that is put together anew.
const FEW: usize = 1 << 10;
const MANY: usize = 1 << 19;
/// What a node says of itself stands behind its numbers.
const FOOTER: usize = 4072;

/// A node that was written after the checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    pub block: u32,
    pub node: u32,
    pub inode: u32,
    marks: u32,
}

impl Link {
    /// The file was fsynced, and this was the last of its nodes then.
    pub fn is_fsynced(self) -> bool {
        self.marks & 2 != 0
    }

    /// An inode that brings its name along.
    pub fn is_named(self) -> bool {
        self.marks & 4 != 0 && self.node == self.inode
    }
}

/// Takes a node and its bytes.
pub type Each<'a> = &'a mut dyn FnMut(Link, &[u8]) -> Result<(), Trouble>;

/// The nodes in the order they were written, each shown to `each`; where the next would have been written.
pub fn follow(
    source: &dyn BlockSource,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
    each: Each<'_>,
) -> Result<Option<u64>, Trouble> {
    const CIRCLES: Trouble = Trouble::Refused("what was fsynced last leads in circles");
    let mut met = HashSet::new();
    let mut at = checkpoint
        .next_node(superblock)
        .ok_or(Trouble::Refused("its checkpoint contradicts itself"))?;
    loop {
        // The kernel ends there, too.
        if !superblock.in_main(at) {
            return Ok(None);
        }
        let bytes = read_vec(source, at * BLOCK, BLOCK)?;
        if !checkpoint.is_followed_by(&bytes) {
            return Ok(Some(at));
        }
        let fields = Fields(&bytes);
        let number = |place: usize| fields.u32(FOOTER + place).ok_or(CIRCLES);
        let link = Link {
            block: u32::try_from(at).map_err(|_| CIRCLES)?,
            node: number(0)?,
            inode: number(4)?,
            marks: number(8)?,
        };
        if met.len() == LIMIT {
            return Err(Trouble::Refused(
                "too much was fsynced since its last checkpoint",
            ));
        }
        if !met.insert(link.block) {
            return Err(CIRCLES);
        }
        each(link, &bytes)?;
        at = u64::from(number(20)?);
    }
}

/// What mounting it may make of the nodes behind the checkpoint, and what it looks at.
#[derive(Debug)]
pub struct Kept {
    pub nodes: u64,
    pub extents: ExtentMap,
}

pub fn kept(
    source: &dyn BlockSource,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
) -> Result<Kept, Trouble> {
    let (mut nodes, mut runs) = (0, Runs::default());
    let end = follow(source, superblock, checkpoint, &mut |link, bytes| {
        nodes += 1;
        runs.push(link.block)?;
        // Whatever can be the place of a block: more than what is one.
        for word in bytes[..FOOTER].chunks_exact(4) {
            let block = Fields(word).u32(0).unwrap_or(0);
            if superblock.in_main(u64::from(block)) {
                runs.push(block)?;
            }
        }
        Ok(())
    })?;
    // The node that ends them must be found again: another could go on from there.
    if let Some(end) = end.and_then(|end| u32::try_from(end).ok()) {
        runs.push(end)?;
    }
    let extents = runs.finish();
    Ok(Kept { nodes, extents })
}

impl Kept {
    pub fn into_map(self, mut map: ExtentMap) -> Result<ExtentMap, Trouble> {
        if self.extents.count() > FEW {
            let many = map.count() + self.extents.count() > MANY;
            return match many {
                true => Err(Trouble::Refused("what is used of it is in too many pieces")),
                false => Ok(map.union(&self.extents)),
            };
        }
        for extent in self.extents.iter() {
            map.insert(extent);
        }
        Ok(map)
    }
}

/// Blocks in any order, `(first, last)`.
#[derive(Debug, Default)]
struct Runs(Vec<(u32, u32)>);

impl Runs {
    fn push(&mut self, block: u32) -> Result<(), Trouble> {
        if let Some((_, last)) = self.0.last_mut()
            && last.checked_add(1) == Some(block)
        {
            *last = block;
            return Ok(());
        }
        if self.0.len() == RUN_LIMIT {
            self.merge();
            if self.0.len() > RUN_LIMIT / 2 {
                return Err(Trouble::Refused(
                    "what was fsynced last is in too many pieces",
                ));
            }
        }
        self.0.push((block, block));
        Ok(())
    }

    fn merge(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|next, run| {
            let joins = next.0 <= run.1.saturating_add(1);
            if joins {
                run.1 = run.1.max(next.1);
            }
            joins
        });
    }

    fn finish(mut self) -> ExtentMap {
        self.merge();
        let extent = |(first, last): &(u32, u32)| {
            Extent::between(u64::from(*first) * BLOCK, (u64::from(*last) + 1) * BLOCK)
        };
        self.0.iter().filter_map(extent).collect()
    }
}
