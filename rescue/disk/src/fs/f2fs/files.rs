//! Folders and files of F2FS: those of the checkpoint, with what was fsynced after it.

use std::ops::ControlFlow;

use crate::fs::f2fs::BLOCK;
use crate::fs::f2fs::content;
use crate::fs::f2fs::directory::{Entries, Name, shown};
use crate::fs::f2fs::inode::Inode;
use crate::fs::f2fs::nodes::Nodes;
use crate::fs::tree::{Content, Each, Entry, Node, NodeId, NodeKind, Tree, TreeError};
use crate::source::{BlockSource, ReadError};

/// What an entry takes of the budget, in bytes: for the time it takes.
const ENTRY_COST: u64 = 64;
/// Most files that are looked for among the names of one folder.
const ADDED_LIMIT: usize = 1 << 14;

pub fn open<'a>(source: &'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError> {
    Ok(Box::new(Files(Nodes::open(source)?)))
}

/// The files of one filesystem; a file's number is that of its inode.
struct Files<'a>(Nodes<'a>);

impl Tree for Files<'_> {
    fn root(&self) -> NodeId {
        NodeId(u64::from(self.0.superblock.root))
    }

    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError> {
        let inode = self.inode(directory)?;
        if inode.kind() != NodeKind::Directory {
            return Err(TreeError::Damaged("a directory is something else"));
        }
        if inode.is_encrypted() {
            return Err(TreeError::Unsupported(
                "a directory whose names are encrypted",
            ));
        }
        let mut listing = Listing {
            files: self,
            each,
            added: self.added(inode.number)?,
            given: 0,
            damaged: false,
        };
        let listed = match inode.inside() {
            Some(inside) => listing.names(Entries::of_inode(inside))?,
            None => listing.blocks(&content::of(&self.0, &inode)?)?,
        };
        if listed.is_continue() {
            listing.rest()?;
        }
        if listing.damaged && listing.given == 0 {
            return Err(TreeError::Damaged("a directory cannot be followed"));
        }
        Ok(())
    }

    fn node(&self, id: NodeId) -> Result<Node, TreeError> {
        let inode = self.inode(id)?;
        let kind = inode.kind();
        Ok(Node {
            kind,
            size_bytes: match kind {
                NodeKind::Special => 0,
                _ => inode.size_bytes(),
            },
            modified: inode.modified(),
            content: content::of(&self.0, &inode)?,
        })
    }
}

impl Files<'_> {
    fn inode(&self, id: NodeId) -> Result<Inode, TreeError> {
        let number = u32::try_from(id.0);
        let number = number.map_err(|_| TreeError::Damaged("a node's number is too high"))?;
        let block = self.0.node(number, number)?;
        Inode::parse(&self.0.superblock, number, block)
    }

    fn kind(&self, inode: u32) -> NodeKind {
        let inode = self.inode(NodeId(u64::from(inode)));
        inode.map_or(NodeKind::Special, |inode| inode.kind())
    }

    /// Files that were named in this folder after the checkpoint.
    fn added(&self, folder: u32) -> Result<Vec<Added>, TreeError> {
        let mut added = Vec::new();
        for number in self.0.newer.named_in(folder).take(ADDED_LIMIT) {
            match self.inode(NodeId(u64::from(number))) {
                Ok(inode) => added.extend(inode.name().map(|name| Added {
                    name: name.to_vec(),
                    inode: number,
                    kind: inode.kind(),
                })),
                Err(TreeError::Read(ReadError::Gone(what))) => {
                    return Err(ReadError::Gone(what).into());
                }
                Err(_) => {}
            }
        }
        added.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(added)
    }
}

struct Added {
    name: Vec<u8>,
    inode: u32,
    kind: NodeKind,
}

/// A damaged block costs its own entries only.
struct Listing<'a> {
    files: &'a Files<'a>,
    each: Each<'a>,
    /// By name; what is given takes the place of an older file of that name.
    added: Vec<Added>,
    given: u64,
    damaged: bool,
}

impl Listing<'_> {
    fn blocks(&mut self, content: &Content) -> Result<ControlFlow<()>, TreeError> {
        let Content::Pieces(pieces) = content else {
            return Err(TreeError::Unsupported("a directory that is compressed"));
        };
        for block in pieces
            .iter()
            .flat_map(|piece| piece.extent.split_at_multiples(BLOCK))
        {
            match self.files.0.block(block.start() / BLOCK) {
                Ok(bytes) => {
                    if self.names(Entries::of_block(&bytes))?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Err(TreeError::Read(error)) if !matches!(error, ReadError::Gone(_)) => {
                    self.damaged = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn names(&mut self, entries: Entries<'_>) -> Result<ControlFlow<()>, TreeError> {
        for name in entries.names() {
            self.files.0.spend(ENTRY_COST)?;
            let newer = self
                .added
                .binary_search_by(|added| added.name[..].cmp(name.bytes));
            if newer.is_ok() {
                continue;
            }
            if self.give(&name).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What was named after the checkpoint.
    fn rest(&mut self) -> Result<(), TreeError> {
        for added in std::mem::take(&mut self.added) {
            self.files.0.spend(ENTRY_COST)?;
            let name = Name {
                bytes: &added.name,
                inode: added.inode,
                kind: Some(added.kind),
            };
            if self.give(&name).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn give(&mut self, name: &Name<'_>) -> ControlFlow<()> {
        self.given += 1;
        (self.each)(Entry {
            name: shown(name.bytes),
            id: NodeId(u64::from(name.inode)),
            kind: name.kind.unwrap_or_else(|| self.files.kind(name.inode)),
        })
    }
}
