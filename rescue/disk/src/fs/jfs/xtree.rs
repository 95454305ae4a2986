//! The places of a file's blocks: the B+tree of extents in its inode.

use super::Trouble;
use super::superblock::{BLOCK, INODES, Superblock, place};
use crate::fields::Fields;
use crate::source::{BlockSource, read_vec};

const INODE: u64 = 512;
const ROOT_AT: usize = 224;
const ENTRY: usize = 16;
/// The header has the room of so many entries.
const FIRST: u16 = 2;
const LEAF: u8 = 2;
const INTERNAL: u8 = 4;
const NOT_RECORDED: u8 = 8;
/// The aggregate's own inodes belong to this fileset.
const AGGREGATE: u32 = 1;
const MOST_EXTENTS: usize = 1 << 16;
const MOST_PAGES: usize = 1 << 12;
const DEEPEST: u32 = 8;

/// A run of a file's blocks. All in blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Within the file.
    pub from: u64,
    pub start: u64,
    pub count: u64,
}

/// Where a file of the aggregate has its blocks.
#[derive(Debug, Default)]
pub struct Runs {
    /// Ascending in the file, not overlapping there.
    pub runs: Vec<Run>,
    /// The blocks of the tree itself.
    pub pages: Vec<u64>,
}

impl Runs {
    /// Of one of the aggregate's inodes.
    pub fn of(
        source: &dyn BlockSource,
        superblock: &Superblock,
        number: u32,
    ) -> Result<Runs, Trouble> {
        let raw = read_vec(source, INODES + u64::from(number) * INODE, INODE)?;
        let fields = Fields(&raw);
        if (fields.u32(4), fields.u32(8)) != (Some(AGGREGATE), Some(number)) {
            return Err(damaged());
        }
        let mut found = Runs::default();
        let root = fields.bytes(ROOT_AT, 288).ok_or_else(damaged)?;
        found.follow(source, superblock, root, 0)?;
        let in_order = found.runs.windows(2).all(|two| match two {
            [first, second] => first.from + first.count <= second.from,
            _ => false,
        });
        if in_order { Ok(found) } else { Err(damaged()) }
    }

    /// The block on the disk that holds this block of the file.
    pub fn block(&self, number: u64) -> Option<u64> {
        let behind = self.runs.partition_point(|run| run.from <= number);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let inside = number - run.from;
        (inside < run.count).then(|| run.start + inside)
    }

    fn follow(
        &mut self,
        source: &dyn BlockSource,
        superblock: &Superblock,
        page: &[u8],
        depth: u32,
    ) -> Result<(), Trouble> {
        let fields = Fields(page);
        let kind = fields.u8(16).ok_or_else(damaged)?;
        let behind = fields.u16(18).ok_or_else(damaged)?;
        if depth > DEEPEST || behind < FIRST || usize::from(behind) * ENTRY > page.len() {
            return Err(damaged());
        }
        for index in FIRST..behind {
            let at = usize::from(index) * ENTRY;
            let run = entry(fields, at, superblock).ok_or_else(damaged)?;
            match kind & (LEAF | INTERNAL) {
                LEAF if self.runs.len() < MOST_EXTENTS => self.runs.push(run),
                INTERNAL if self.pages.len() < MOST_PAGES => {
                    self.pages.push(run.start);
                    let child = read_vec(source, run.start * BLOCK, BLOCK)?;
                    self.follow(source, superblock, &child, depth + 1)?;
                }
                _ => return Err(damaged()),
            }
        }
        Ok(())
    }
}

/// An entry, which lies within the filesystem.
fn entry(fields: Fields, at: usize, superblock: &Superblock) -> Option<Run> {
    let high = u64::from(fields.u8(at + 3)?);
    let (start, count) = place(fields, at + 8)?;
    let inside = start.checked_add(count)? <= superblock.blocks && count > 0;
    let recorded = fields.u8(at)? & NOT_RECORDED == 0;
    (inside && recorded).then_some(Run {
        from: high << 32 | u64::from(fields.u32(at + 4)?),
        start,
        count,
    })
}

fn damaged() -> Trouble {
    Trouble::Refused("the inode of its block allocation map is damaged")
}
