//! The files of a FAT filesystem. A node's number is the offset of its directory slot; 0 is the root.

use crate::extent::Extent;
use crate::fs::fat::boot::{Boot, Root};
use crate::fs::fat::chain::Chains;
use crate::fs::fat::name::{LongName, SLOT_BYTES, Short, Slot};
use crate::fs::tree::{Content, Each, Entry, Node, NodeId, NodeKind, Piece, Tree, TreeError};
use crate::source::{BlockSource, around, read_vec};

/// A directory has at most 65,536 slots.
pub const DIRECTORY_LIMIT: u64 = 65536 * SLOT_BYTES as u64;

pub struct FatTree<'a> {
    source: &'a dyn BlockSource,
    boot: Boot,
}

pub fn open<'a>(source: &'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError> {
    let boot = super::boot(source)?.ok_or(TreeError::Damaged("it has no FAT boot sector"))?;
    Ok(Box::new(FatTree { source, boot }))
}

impl Tree for FatTree<'_> {
    fn root(&self) -> NodeId {
        NodeId(0)
    }

    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError> {
        let mut long = LongName::default();
        scan(
            self.source,
            &self.boot,
            &self.directory(directory)?,
            &mut |at, slot| {
                match slot {
                    Slot::Long {
                        order,
                        checksum,
                        units,
                    } => long.push(order, checksum, units),
                    Slot::Short(short) if !short.is_dots => {
                        let entry = Entry {
                            name: long.take(&short).unwrap_or_else(|| short.name.clone()),
                            id: NodeId(at),
                            kind: kind(&short),
                        };
                        return each(entry).is_continue();
                    }
                    _ => long = LongName::default(),
                }
                true
            },
        )
    }

    fn node(&self, id: NodeId) -> Result<Node, TreeError> {
        if id == self.root() {
            let pieces = self.directory(id)?;
            return Ok(directory_node(pieces, None));
        }
        let short = self.slot(id)?;
        if short.is_directory {
            return Ok(directory_node(self.directory(id)?, short.modified));
        }
        let content = if short.size_bytes == 0 {
            Vec::new()
        } else {
            Chains::new(self.source, &self.boot).pieces(short.first_cluster, short.size_bytes)?
        };
        Ok(Node {
            kind: NodeKind::File,
            size_bytes: short.size_bytes,
            modified: short.modified,
            content: Content::Pieces(content),
        })
    }
}

impl FatTree<'_> {
    fn slot(&self, id: NodeId) -> Result<Short, TreeError> {
        let slot = read_vec(self.source, id.0, SLOT_BYTES as u64)?;
        let slot: [u8; SLOT_BYTES] = slot.try_into().expect("exactly that many bytes were read");
        match Slot::parse(&slot) {
            Slot::Short(short) => Ok(short),
            _ => Err(TreeError::Damaged("a directory entry is not there")),
        }
    }

    fn directory(&self, id: NodeId) -> Result<Vec<Piece>, TreeError> {
        if id == self.root() {
            return root(self.source, &self.boot);
        }
        let short = self.slot(id)?;
        if !short.is_directory {
            return Err(TreeError::Damaged("a directory is a file"));
        }
        Chains::new(self.source, &self.boot).pieces(short.first_cluster, DIRECTORY_LIMIT)
    }
}

/// The label in the root directory.
pub fn label(source: &dyn BlockSource, boot: &Boot) -> Option<String> {
    let mut found = None;
    let pieces = root(source, boot).ok()?;
    scan(source, boot, &pieces, &mut |_, slot| match slot {
        Slot::Label(label) => {
            found = Some(label).filter(|label| !label.is_empty());
            false
        }
        _ => true,
    })
    .ok()?;
    found
}

pub fn root(source: &dyn BlockSource, boot: &Boot) -> Result<Vec<Piece>, TreeError> {
    match boot.root {
        Root::Area(area) => Ok(area
            .map(|extent| Piece { at: 0, extent })
            .into_iter()
            .collect()),
        Root::Cluster(first) => Chains::new(source, boot).pieces(first, DIRECTORY_LIMIT),
    }
}

/// Shows every slot with its offset until there are no more or `visit` has enough.
pub fn scan(
    source: &dyn BlockSource,
    boot: &Boot,
    pieces: &[Piece],
    visit: &mut dyn FnMut(u64, Slot) -> bool,
) -> Result<(), TreeError> {
    let mut unread = None;
    for piece in pieces {
        for part in piece
            .extent
            .split_at_multiples(boot.cluster_bytes.max(1 << 16))
        {
            let more = around(source, part, &mut unread, &mut |start, bytes| {
                let slots = (start..)
                    .step_by(SLOT_BYTES)
                    .zip(bytes.chunks_exact(SLOT_BYTES));
                for (offset, slot) in slots {
                    let slot = slot.try_into().expect("chunks have exactly that size");
                    match Slot::parse(slot) {
                        Slot::End => return false,
                        slot => {
                            if !visit(offset, slot) {
                                return false;
                            }
                        }
                    }
                }
                true
            })?;
            if !more {
                return Ok(());
            }
        }
    }
    unread.map_or(Ok(()), |error| Err(TreeError::Read(error)))
}

fn kind(short: &Short) -> NodeKind {
    if short.is_directory {
        NodeKind::Directory
    } else {
        NodeKind::File
    }
}

fn directory_node(pieces: Vec<Piece>, modified: Option<i64>) -> Node {
    Node {
        kind: NodeKind::Directory,
        size_bytes: pieces.iter().map(|p: &Piece| Extent::len(p.extent)).sum(),
        modified,
        content: Content::Pieces(pieces),
    }
}
