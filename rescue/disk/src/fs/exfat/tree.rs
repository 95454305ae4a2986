//! The files of an exFAT filesystem.
//!
//! A node's number is the place of its first entry in units of 32 bytes, and in the lowest bit whether its directory
//! lies in a row: its other entries may be in the next cluster of it. 0 is the root.

use std::ops::ControlFlow;

use crate::extent::Extent;
use crate::fs::exfat::boot::{self, Boot};
use crate::fs::exfat::chain::{Allocation, Chains, Order, Work};
use crate::fs::exfat::directory::{self, DIRECTORY_LIMIT};
use crate::fs::exfat::entry::{self, FILE, File, SLOT_BYTES, Set, Slot};
use crate::fs::tree::{Content, Each, Entry, Node, NodeId, NodeKind, Piece, Tree, TreeError};
use crate::source::{BlockSource, read_vec};

pub struct ExfatTree<'a> {
    source: &'a dyn BlockSource,
    boot: Boot,
}

pub fn open<'a>(source: &'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError> {
    let region = boot::find(source)?;
    let boot = region.and_then(|region| region.boot);
    let boot = boot.ok_or(TreeError::Damaged("it has no boot sector of exFAT"))?;
    Ok(Box::new(ExfatTree { source, boot }))
}

impl Tree for ExfatTree<'_> {
    fn root(&self) -> NodeId {
        NodeId(0)
    }

    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError> {
        let directory = self.directory(directory)?;
        let pieces = self.pieces(directory)?;
        let mut met: Option<(u64, Set)> = None;
        let mut enough = false;
        let mut show = |(at, set): (u64, Set)| match set.name() {
            Some(name) => each(Entry {
                name,
                id: number(at, directory.order),
                kind: kind(set.is_directory()),
            }),
            None => ControlFlow::Continue(()),
        };
        let scanned = directory::scan(self.source, &pieces, &mut |at, slot| {
            match &mut met {
                Some((_, set)) if entry::is_secondary(slot) => set.0.push(*slot),
                _ => {
                    // Whatever is no secondary entry ends the set before it.
                    if let Some(set) = met.take()
                        && show(set).is_break()
                    {
                        enough = true;
                        return ControlFlow::Break(());
                    }
                    met = (slot[0] == FILE).then(|| (at, Set(vec![*slot])));
                }
            }
            let full = |set: &Set| set.0.len() > entry::secondary_count(&set.0[0]);
            if let Some(set) = met.take_if(|(_, set)| full(set))
                && show(set).is_break()
            {
                enough = true;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if let Some(set) = met.filter(|_| !enough) {
            let _ = show(set);
        }
        scanned
    }

    fn node(&self, id: NodeId) -> Result<Node, TreeError> {
        if id == self.root() {
            let pieces = self.pieces(directory::root(&self.boot))?;
            let size_bytes = pieces.iter().map(|p| p.extent.len()).sum();
            return Ok(Node {
                kind: NodeKind::Directory,
                size_bytes,
                modified: None,
                content: Content::Pieces(pieces),
            });
        }
        let file = self.file(id)?;
        let mut pieces = self.pieces(file.allocation)?;
        cut(&mut pieces, file.valid_bytes);
        Ok(Node {
            kind: kind(file.is_directory),
            size_bytes: file.allocation.size_bytes,
            modified: file.modified,
            content: Content::Pieces(pieces),
        })
    }
}

impl ExfatTree<'_> {
    fn pieces(&self, allocation: Allocation) -> Result<Vec<Piece>, TreeError> {
        Chains::new(self.source, &self.boot).pieces(allocation, &mut Work::default())
    }

    fn directory(&self, id: NodeId) -> Result<Allocation, TreeError> {
        if id == self.root() {
            return Ok(directory::root(&self.boot));
        }
        let file = self.file(id)?;
        if !file.is_directory {
            return Err(TreeError::Damaged("a directory is a file"));
        }
        Ok(Allocation {
            size_bytes: file.allocation.size_bytes.min(DIRECTORY_LIMIT),
            ..file.allocation
        })
    }

    fn file(&self, id: NodeId) -> Result<File, TreeError> {
        let order = match id.0 & 1 {
            0 => Order::Chained,
            _ => Order::Row,
        };
        let mut at = (id.0 >> 1).saturating_mul(SLOT_BYTES as u64);
        let mut set = Set(vec![self.slot(at)?]);
        for _ in 0..entry::secondary_count(&set.0[0]) {
            at = self.following(at, order)?;
            set.0.push(self.slot(at)?);
        }
        set.file()
    }

    fn slot(&self, at: u64) -> Result<Slot, TreeError> {
        let slot = read_vec(self.source, at, SLOT_BYTES as u64)?;
        Ok(slot.try_into().expect("exactly that many bytes were read"))
    }

    /// The place of the entry behind this one.
    fn following(&self, at: u64, order: Order) -> Result<u64, TreeError> {
        let outside = TreeError::Damaged("a directory entry lies outside the filesystem");
        let cluster = self.boot.cluster_at(at).ok_or(outside.clone())?;
        let next = at + SLOT_BYTES as u64;
        let ends = self.boot.cluster(cluster).is_some_and(|c| c.end() == next);
        if !ends || order == Order::Row {
            return Ok(next);
        }
        let chains = Chains::new(self.source, &self.boot);
        let cluster = chains.next(cluster, &mut Work::default())?;
        Ok(self.boot.cluster(cluster).ok_or(outside)?.start())
    }
}

fn number(at: u64, order: Order) -> NodeId {
    NodeId(at / SLOT_BYTES as u64 * 2 + u64::from(order == Order::Row))
}

fn kind(is_directory: bool) -> NodeKind {
    match is_directory {
        true => NodeKind::Directory,
        false => NodeKind::File,
    }
}

/// Leaves the first `valid` bytes: what was never written reads as zeros.
fn cut(pieces: &mut Vec<Piece>, valid: u64) {
    pieces.retain(|piece| piece.at < valid);
    if let Some(last) = pieces.last_mut() {
        let len = last.extent.len().min(valid - last.at);
        last.extent = Extent::new(last.extent.start(), len).expect("it begins before the end");
    }
}
