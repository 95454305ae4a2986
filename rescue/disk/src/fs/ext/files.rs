//! Directories and files, read under the replayed journal.

use super::features;
use super::find::{self, Found, Origin};
use super::groups::{View, tolerate};
use super::inode::{Inode, ROOT, Storage};
use super::journal::{self, Trouble};
use super::overlay::Overlay;
use crate::extent::Extent;
use crate::fields::Fields;
use crate::fs::tree::{Content, Each, Entry, Node, NodeId, NodeKind, Piece, Tree, TreeError};
use crate::source::{BlockSource, ReadError, read_vec};

/// Opens the files even where the used map would not be given: by a backup of the superblock, without a journal
/// that cannot be replayed.
pub(super) fn open<'a>(source: &'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError> {
    let found = find::find_any(source)?.ok_or(TreeError::Damaged("it is not ext"))?;
    let superblock = found.superblock.clone().map_err(TreeError::Damaged)?;
    if found.names.kind == "jbd" || superblock.features.unknown_incompat() {
        return Err(TreeError::Unsupported(
            "a filesystem with features unknown here",
        ));
    }
    let disk = View::new(Overlay::none(source), superblock.clone());
    let Some(overlay) = replayed(source, &disk, &found)? else {
        return Ok(Box::new(Files(disk)));
    };
    let after = find::primary(&overlay)?.ok();
    let after = after
        .filter(|after| after.same_shape(&superblock))
        .unwrap_or(superblock);
    Ok(Box::new(Files(View::new(overlay, after))))
}

/// The disk under its journal, where that is to be replayed and can be.
fn replayed<'a>(
    source: &'a dyn BlockSource,
    disk: &View<'_>,
    found: &Found,
) -> Result<Option<Overlay<'a>>, ReadError> {
    if !disk.superblock.has(features::NEEDS_RECOVERY) && found.origin == Origin::Primary {
        return Ok(None);
    }
    let replay = match journal::open(disk) {
        Ok(Some(log)) if !log.is_empty() => log.replay(),
        Ok(_) => return Ok(None),
        Err(trouble) => Err(trouble),
    };
    match replay {
        Ok(replay) => {
            let size = disk.superblock.block_size;
            Ok(Some(Overlay::new(source, size, replay.copies)))
        }
        Err(Trouble::Refused(_)) => Ok(None),
        Err(Trouble::Read(error)) => Err(error),
    }
}

/// The files of one filesystem.
struct Files<'a>(View<'a>);

impl Tree for Files<'_> {
    fn root(&self) -> NodeId {
        NodeId(ROOT)
    }

    /// A damaged block costs its own entries only.
    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError> {
        let inode = self.0.inode(directory.0)?;
        if inode.kind() != NodeKind::Directory {
            return Err(TreeError::Damaged("a directory is something else"));
        }
        if inode.opaque().is_some() {
            return Err(TreeError::Unsupported(
                "a directory whose names are encrypted",
            ));
        }
        let mut listing = Listing {
            view: &self.0,
            each,
            given: 0,
            damaged: false,
            stopped: None,
        };
        if inode.storage() == Storage::Inline {
            // The number of the parent comes before the entries.
            listing.block(inode.body().get(4..).unwrap_or_default());
            listing.block(inode.inline_rest().unwrap_or_default());
        } else {
            listing.blocks(&inode)?;
        }
        match listing.stopped {
            Some(Stopped::Exhausted(error)) => Err(error),
            None if listing.damaged && listing.given == 0 => {
                Err(TreeError::Damaged("a directory cannot be followed"))
            }
            _ => Ok(()),
        }
    }

    fn node(&self, id: NodeId) -> Result<Node, TreeError> {
        let inode = self.0.inode(id.0)?;
        if inode.is_free() {
            return Err(TreeError::Damaged(
                "a name leads to a file that was deleted",
            ));
        }
        let kind = inode.kind();
        let content = self.content(&inode, kind)?;
        Ok(Node {
            kind,
            size_bytes: if kind == NodeKind::Special {
                0
            } else {
                inode.size()
            },
            modified: Some(inode.modified()),
            content,
        })
    }
}

impl Files<'_> {
    fn content(&self, inode: &Inode, kind: NodeKind) -> Result<Content, TreeError> {
        let size = self.0.superblock.block_size;
        let inside = |bytes: &[u8]| {
            let length = usize::try_from(inode.size()).unwrap_or(usize::MAX);
            Content::Inline(bytes[..length.min(bytes.len())].to_vec())
        };
        if kind == NodeKind::Special {
            return Ok(Content::Inline(Vec::new()));
        }
        if inode.storage() == Storage::Inline {
            let rest = inode.inline_rest().unwrap_or_default();
            return Ok(inside(&[inode.body(), rest].concat()));
        }
        if inode.is_fast_symlink(size) {
            return Ok(inside(inode.body()));
        }
        let mut pieces = Pieces {
            block_size: size,
            pieces: Vec::new(),
            altered: false,
        };
        for run in self.0.runs(inode)? {
            pieces.run(run.logical, run.physical, run.count, &self.0.source);
        }
        let altered = pieces
            .altered
            .then_some("its newest bytes lie altered in the journal");
        Ok(match inode.opaque().or(altered) {
            Some(why) => Content::Opaque {
                why,
                extents: pieces.pieces.iter().map(|piece| piece.extent).collect(),
            },
            None => Content::Pieces(pieces.pieces),
        })
    }
}

/// The pieces of a file on the disk, where blocks that are newer in the journal are read from there.
struct Pieces {
    block_size: u64,
    pieces: Vec<Piece>,
    altered: bool,
}

impl Pieces {
    fn run(&mut self, logical: u64, physical: u64, count: u64, overlay: &Overlay<'_>) {
        let size = self.block_size;
        let end = physical + count;
        let mut from = physical;
        for copy in overlay.copies_within(physical..end) {
            self.push(logical + (from - physical), from * size, copy.block - from);
            self.push(logical + (copy.block - physical), copy.at, 1);
            self.altered |= copy.escaped;
            from = copy.block + 1;
        }
        self.push(logical + (from - physical), from * size, end - from);
    }

    /// `count` blocks of the file lie at byte `at`.
    fn push(&mut self, logical: u64, at: u64, count: u64) {
        if let Some(extent) = Extent::new(at, count * self.block_size) {
            self.pieces.push(Piece {
                at: logical * self.block_size,
                extent,
            });
        }
    }
}

/// What an entry takes of the budget for following files, in bytes: for the time it takes.
const ENTRY_COST: u64 = 64;

/// Entries from the blocks of a directory. Index blocks look like one empty entry (kernel
/// documentation, "Hash Tree Directories"), so that all blocks are read the same way.
struct Listing<'a> {
    view: &'a View<'a>,
    each: Each<'a>,
    given: u64,
    damaged: bool,
    /// Why no more entries are wanted.
    stopped: Option<Stopped>,
}

enum Stopped {
    /// Whoever asked has enough.
    Enough,
    /// The budget is used up.
    Exhausted(TreeError),
}

impl Listing<'_> {
    fn blocks(&mut self, inode: &Inode) -> Result<(), TreeError> {
        let size = self.view.superblock.block_size;
        let end = inode.size().div_ceil(size);
        for run in self.view.runs(inode)? {
            for n in (0..run.count).take_while(|n| run.logical + n < end) {
                if self.stopped.is_some() {
                    return Ok(());
                }
                self.view.spend(size)?;
                let at = (run.physical + n) * size;
                match tolerate(read_vec(&self.view.source, at, size))? {
                    Some(block) => self.block(&block),
                    None => self.damaged = true,
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, block: &[u8]) {
        let fields = Fields(block);
        let mut at = 0;
        while at < block.len() && self.stopped.is_none() {
            let Some(length) = fields
                .u16(at + 4)
                .map(|stored| record_length(stored, block.len()))
            else {
                break;
            };
            if length < 8 || length % 4 != 0 || length > block.len() - at {
                self.damaged = true;
                return;
            }
            if let Some(entry) = self.entry(Fields(&block[at..at + length])) {
                self.give(entry);
            }
            at += length;
        }
    }

    fn give(&mut self, entry: Entry) {
        if let Err(error) = self.view.spend(ENTRY_COST) {
            self.stopped = Some(Stopped::Exhausted(error));
            return;
        }
        self.given += 1;
        if (self.each)(entry).is_break() {
            self.stopped = Some(Stopped::Enough);
        }
    }

    /// `None` for what is no name of a file: unused entries, checksums, `.` and `..`.
    fn entry(&self, fields: Fields<'_>) -> Option<Entry> {
        let id = NodeId(u64::from(fields.u32(0).filter(|inode| *inode != 0)?));
        let typed = self.view.superblock.has(features::FILETYPE);
        let name = fields.bytes(8, usize::from(fields.u8(6)?))?;
        if matches!(name, b"" | b"." | b"..") {
            return None;
        }
        let kind = match fields.u8(7).filter(|_| typed).unwrap_or(0) {
            0 => self
                .view
                .inode(id.0)
                .map_or(NodeKind::Special, |inode| inode.kind()),
            1 => NodeKind::File,
            2 => NodeKind::Directory,
            7 => NodeKind::Symlink,
            _ => NodeKind::Special,
        };
        Some(Entry {
            name: shown(name),
            id,
            kind,
        })
    }
}

/// Blocks of 64 KiB need more than 16 bits (`ext4_rec_len_from_disk` in the kernel).
fn record_length(stored: u16, block: usize) -> usize {
    match stored {
        0 | u16::MAX if block >= 1 << 16 => block,
        stored => usize::from(stored & 0xFFFC) | usize::from(stored & 3) << 16,
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
