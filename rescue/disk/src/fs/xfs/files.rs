//! Directories and files, read under the replayed log.

use std::cell::Cell;

use super::directory;
use super::group::View;
use super::inode::{Inode, Run, Storage};
use super::log::{Ending, Log};
use super::overlay::Overlay;
use super::replay::{self, Wanted};
use super::superblock::{self, Superblock, Version};
use super::{Trouble, refused};
use crate::extent::Extent;
use crate::fs::tree::{Content, Each, Node, NodeId, NodeKind, Piece, Tree, TreeError};
use crate::source::{BlockSource, ReadError, read_vec};

/// `XFS_SYMLINK_MAXLEN`, and what stands before each block of a long target.
const LINK_LIMIT: u64 = 1024;
const LINK_HEAD: usize = 56;
/// What a run and an entry take of the budget, in bytes: as much as they cost to keep.
const COST: u64 = 64;

/// Opens the files even where the used map would not be given: with a log that cannot be replayed, as they stand
/// on the disk.
pub(super) fn open<'a>(source: &'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError> {
    let found = superblock::find(source)?.ok_or(TreeError::Damaged("it is not XFS"))?;
    let superblock = found.superblock(source).map_err(error)?;
    if superblock.features_unknown() {
        return Err(TreeError::Unsupported(
            "a filesystem with features unknown here",
        ));
    }
    let overlay = match replayed(source, &superblock) {
        Ok(overlay) => overlay,
        Err(Trouble::Read(ReadError::Gone(what))) => {
            return Err(TreeError::Read(ReadError::Gone(what)));
        }
        Err(_) => Overlay::none(source),
    };
    let budget = superblock.size_bytes().saturating_add(64 << 20);
    Ok(Box::new(Files {
        view: View::new(overlay, superblock),
        budget: Cell::new(budget),
    }))
}

fn replayed<'a>(
    source: &'a dyn BlockSource,
    superblock: &Superblock,
) -> Result<Overlay<'a>, Trouble> {
    let log = Log::open(source, superblock)?;
    match log.ending()? {
        Ending::Dirty(span) if superblock.version == Version::V5 => {
            let replay = replay::replay(&log, &span, superblock, Wanted::Files)?;
            Ok(Overlay::new(source, replay.pieces))
        }
        _ => Ok(Overlay::none(source)),
    }
}

fn error(trouble: Trouble) -> TreeError {
    match trouble {
        Trouble::Read(error) => TreeError::Read(error),
        Trouble::Refused(_) => TreeError::Damaged("one of its records is not what it should be"),
    }
}

/// The files of one filesystem.
struct Files<'a> {
    view: View<'a>,
    /// Bytes that may still be read on the way to files, so that what leads in circles ends.
    budget: Cell<u64>,
}

impl Tree for Files<'_> {
    fn root(&self) -> NodeId {
        NodeId(self.view.superblock.root_inode)
    }

    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError> {
        let inode = self.inode(directory)?;
        if inode.kind() != NodeKind::Directory {
            return Err(TreeError::Damaged("a directory is something else"));
        }
        let runs = self.runs(&inode)?;
        let spend = |bytes| self.spend(bytes);
        let kind = |id| {
            self.inode(id)
                .map_or(NodeKind::Special, |inode| inode.kind())
        };
        directory::list(&self.view, &inode, &runs, &spend, &kind, each)
    }

    fn node(&self, id: NodeId) -> Result<Node, TreeError> {
        let inode = self.inode(id)?;
        let kind = inode.kind();
        Ok(Node {
            kind,
            size_bytes: match kind {
                NodeKind::Special => 0,
                _ => inode.size(),
            },
            modified: Some(inode.modified()),
            content: self.content(&inode, kind)?,
        })
    }
}

impl Files<'_> {
    fn spend(&self, bytes: u64) -> Result<(), TreeError> {
        let left = self.budget.get().checked_sub(bytes);
        self.budget
            .set(left.ok_or(TreeError::Damaged("its files lead in circles"))?);
        Ok(())
    }

    fn inode(&self, id: NodeId) -> Result<Inode, TreeError> {
        self.spend(self.view.superblock.inode_size)?;
        self.view.inode(id.0).map_err(error)
    }

    fn runs(&self, inode: &Inode) -> Result<Vec<Run>, TreeError> {
        let runs = self.view.runs(inode).map_err(error)?;
        self.spend(runs.len() as u64 * COST)?;
        Ok(runs)
    }

    fn content(&self, inode: &Inode, kind: NodeKind) -> Result<Content, TreeError> {
        if kind == NodeKind::Special {
            return Ok(Content::Inline(Vec::new()));
        }
        if inode.storage() == Storage::Local {
            let length = usize::try_from(inode.size()).unwrap_or(usize::MAX);
            let bytes = inode.fork();
            return Ok(Content::Inline(bytes[..length.min(bytes.len())].to_vec()));
        }
        let runs = self.runs(inode)?;
        if kind == NodeKind::Symlink {
            return self
                .target(inode, &runs)
                .map(Content::Inline)
                .map_err(error);
        }
        let size = self.view.superblock.block_size;
        let written = runs.iter().filter(|run| !run.unwritten);
        let pieces = written.filter_map(|run| {
            Some(Piece {
                at: run.logical * size,
                extent: Extent::new(run.at, run.count * size)?,
            })
        });
        Ok(Content::Pieces(pieces.collect()))
    }

    /// A long target lies in blocks, with a head in each since version 5.
    fn target(&self, inode: &Inode, runs: &[Run]) -> Result<Vec<u8>, Trouble> {
        let superblock = &self.view.superblock;
        if inode.size() > LINK_LIMIT {
            return refused("a link is longer than there are");
        }
        let length = usize::try_from(inode.size()).expect("it is at most 1024");
        let mut target = Vec::new();
        for run in runs {
            let len = (run.count * superblock.block_size).min(4 * LINK_LIMIT);
            let bytes = read_vec(&self.view.source, run.at, len)?;
            // Blocks that lie together share one head.
            let text = match superblock.version {
                Version::V5 if bytes.starts_with(b"XSLM") => &bytes[LINK_HEAD..],
                Version::V5 => return refused("a link is not what it should be"),
                Version::V4 => &bytes,
            };
            target.extend(text.iter().take(length - target.len()));
        }
        Ok(target)
    }
}
