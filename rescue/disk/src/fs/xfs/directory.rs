//! The names in a directory: in its inode, or in blocks; the indices beside them are not needed.

use super::group::View;
use super::inode::{Inode, Run, Storage};
use super::superblock::{Version, sum_fits};
use crate::fields::Fields;
use crate::fs::tree::{Each, Entry, NodeId, NodeKind, TreeError};
use crate::source::{BlockSource, ReadError};

/// Names end here, indices begin (`XFS_DIR2_LEAF_OFFSET`).
const NAMES_END: u64 = 32 << 30;
/// What an entry takes of the budget, in bytes: for the time it takes.
const COST: u64 = 64;
const UNUSED: u16 = 0xFFFF;

pub(super) type Spend<'a> = &'a dyn Fn(u64) -> Result<(), TreeError>;
pub(super) type KindOf<'a> = &'a dyn Fn(NodeId) -> NodeKind;

/// A damaged block costs its own entries only.
pub(super) fn list(
    view: &View<'_>,
    inode: &Inode,
    runs: &[Run],
    spend: Spend<'_>,
    kind: KindOf<'_>,
    each: Each<'_>,
) -> Result<(), TreeError> {
    let mut listing = Listing {
        view,
        owner: inode.number,
        spend,
        kind,
        each,
        given: 0,
        damaged: false,
        enough: false,
    };
    match inode.storage() {
        Storage::Local => listing.short(Fields(inode.fork()))?,
        _ => listing.blocks(runs)?,
    }
    if listing.damaged && listing.given == 0 {
        return Err(TreeError::Damaged("a directory cannot be followed"));
    }
    Ok(())
}

struct Listing<'a> {
    view: &'a View<'a>,
    owner: u64,
    spend: Spend<'a>,
    kind: KindOf<'a>,
    each: Each<'a>,
    given: u64,
    damaged: bool,
    /// Whoever asked wants no more.
    enough: bool,
}

impl Listing<'_> {
    /// Inode numbers have 8 bytes where one of them needs that many, else 4.
    fn short(&mut self, fields: Fields<'_>) -> Result<(), TreeError> {
        let count = fields.u8(0).unwrap_or(0);
        let width = if fields.u8(1).unwrap_or(0) > 0 { 8 } else { 4 };
        let typed = usize::from(self.view.superblock.file_types);
        let mut at = 2 + width;
        for _ in 0..count {
            if self.enough {
                break;
            }
            let len = fields.u8(at).map_or(0, usize::from);
            let number = at + 3 + len + typed;
            let id = match width {
                4 => fields.be32(number).map(u64::from),
                _ => fields.be64(number),
            };
            let name = fields.bytes(at + 3, len).filter(|_| len > 0);
            let (Some(name), Some(id)) = (name, id) else {
                self.damaged = true;
                return Ok(());
            };
            self.entry(name, id, fields.u8(number - 1))?;
            at = number + width;
        }
        Ok(())
    }

    fn blocks(&mut self, runs: &[Run]) -> Result<(), TreeError> {
        let superblock = &self.view.superblock;
        let size = superblock.block_size;
        let per_directory_block = 1 << superblock.directory_block_log;
        for run in runs {
            // A block of the directory begins in this run, and may go on in the next.
            let first = run.logical.next_multiple_of(per_directory_block);
            for logical in
                (first..run.logical + run.count).step_by(1 << superblock.directory_block_log)
            {
                if logical * size >= NAMES_END || self.enough {
                    return Ok(());
                }
                (self.spend)(per_directory_block * size)?;
                match self.block(runs, logical, per_directory_block) {
                    Ok(Some(block)) => self.names(&block)?,
                    Ok(None) => self.damaged = true,
                    Err(ReadError::Gone(what)) => return Err(ReadError::Gone(what).into()),
                    Err(_) => self.damaged = true,
                }
            }
        }
        Ok(())
    }

    /// One block of the directory; `None` when it is not whole or not what was written.
    fn block(&self, runs: &[Run], from: u64, count: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let size = self.view.superblock.block_size;
        let length = usize::try_from(size).expect("64 KiB at most");
        let mut bytes = Vec::new();
        let mut changed = false;
        for logical in from..from + count {
            let after = runs.partition_point(|run| run.logical <= logical);
            let run = after.checked_sub(1).map(|at| runs[at]);
            let Some(run) = run.filter(|run| logical - run.logical < run.count) else {
                return Ok(None);
            };
            let at = run.at + (logical - run.logical) * size;
            let filled = bytes.len();
            bytes.resize(filled + length, 0);
            self.view.source.read_at(at, &mut bytes[filled..])?;
            changed |= self.view.source.changed(at, size);
        }
        let fields = Fields(&bytes);
        let whole = match self.view.superblock.version {
            Version::V4 => true,
            Version::V5 => fields.be64(40) == Some(self.owner) && (changed || sum_fits(&bytes, 4)),
        };
        Ok(whole.then_some(bytes))
    }

    fn names(&mut self, block: &[u8]) -> Result<(), TreeError> {
        let fields = Fields(block);
        let (head, alone) = match (self.view.superblock.version, &block[..4]) {
            (Version::V4, b"XD2B") => (16, true),
            (Version::V4, b"XD2D") => (16, false),
            (Version::V5, b"XDB3") => (64, true),
            (Version::V5, b"XDD3") => (64, false),
            _ => {
                self.damaged = true;
                return Ok(());
            }
        };
        // A directory of one block has its index at the end of it: 8 bytes an entry, and their number.
        let index = match fields.be32(block.len() - 8) {
            Some(count) if alone => u64::from(count) * 8 + 8,
            _ => 0,
        };
        let end = usize::try_from(index)
            .ok()
            .and_then(|index| block.len().checked_sub(index));
        let Some(end) = end else {
            self.damaged = true;
            return Ok(());
        };
        let typed = usize::from(self.view.superblock.file_types);
        let mut at = head;
        while at < end && !self.enough {
            let length = match fields.be16(at) {
                Some(UNUSED) => fields.be16(at + 2).map_or(0, usize::from),
                _ => (9 + fields.u8(at + 8).map_or(0, usize::from) + typed + 2).next_multiple_of(8),
            };
            if length < 8 || length % 8 != 0 || length > end - at {
                self.damaged = true;
                return Ok(());
            }
            let name = fields.u8(at + 8).map_or(0, usize::from);
            let (name, id) = (fields.bytes(at + 9, name), fields.be64(at));
            if let (Some(name), Some(id)) = (name, id)
                && fields.be16(at) != Some(UNUSED)
            {
                self.entry(name, id, fields.u8(at + 9 + name.len()))?;
            }
            at += length;
        }
        Ok(())
    }

    fn entry(&mut self, name: &[u8], id: u64, kind: Option<u8>) -> Result<(), TreeError> {
        if matches!(name, b"" | b"." | b"..") {
            return Ok(());
        }
        (self.spend)(COST)?;
        let id = NodeId(id);
        let kind = match kind.filter(|_| self.view.superblock.file_types) {
            None | Some(0) => (self.kind)(id),
            Some(1) => NodeKind::File,
            Some(2) => NodeKind::Directory,
            Some(7) => NodeKind::Symlink,
            Some(_) => NodeKind::Special,
        };
        self.given += 1;
        let name = shown(name);
        self.enough = (self.each)(Entry { name, id, kind }).is_break();
        Ok(())
    }
}

/// A name that can be printed and joined with `/`; what cannot is replaced.
fn shown(name: &[u8]) -> String {
    let printable = |c: char| {
        if c.is_control() || c == '/' {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    String::from_utf8_lossy(name)
        .chars()
        .map(printable)
        .collect()
}
