//! Directories and files. A subvolume and a snapshot are directories where their names are.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::content::Gathered;
use super::item::{
    self, DIR_INDEX, Data, EXTENT_DATA, INODE_ITEM, Inode, Name, ROOT_ITEM, ROOT_REF,
};
use super::logged::{self, Covered, Logged};
use super::node::{Key, Owner, Pointer};
use super::volume::{Flow, ON, Volume};
use super::{Trouble, refused, superblock};
use crate::fields::Fields;
use crate::fs::tree::{Content, Each, Entry, Node, NodeId, NodeKind, Tree, TreeError};
use crate::source::{BlockSource, ReadError};

/// The subvolume that all others are in, and the inode of each one's top directory.
const TOP: u64 = 5;
const TOP_INODE: u64 = 256;
/// What a kernel shows where the name of a subvolume was copied into a snapshot: an empty directory.
const EMPTY_INODE: u64 = 2;
/// Bits of a number for an inode; the rest is for its subvolume.
const INODE_BITS: u32 = 40;

/// Most extents of a file that is in the log.
const LOGGED_LIMIT: usize = 1 << 17;

/// Opens the files as the last commit left them, with what was fsynced after it.
pub(super) fn open<'a>(source: &'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError> {
    let first = superblock::first(source)?.ok_or(TreeError::Damaged("it is not btrfs"))?;
    let (superblock, _) = superblock::newest(source, &first).map_err(error)?;
    let volume = Volume::open(source, superblock).map_err(error)?;
    // A log that cannot be read takes none of the files along that were committed before it.
    let logs = match logged::logs(&volume) {
        Err(Trouble::Read(ReadError::Gone(what))) => return Err(ReadError::Gone(what).into()),
        logs => logs.unwrap_or_default(),
    };
    let files = Files {
        volume,
        logs,
        last: Cell::new(None),
    };
    files.subvolume(TOP)?;
    Ok(Box::new(files))
}

pub(super) fn error(trouble: Trouble) -> TreeError {
    match trouble {
        Trouble::Read(error) => TreeError::Read(error),
        Trouble::Elsewhere => TreeError::Unsupported("its trees lie on other disks too"),
        Trouble::Refused(_) => TreeError::Damaged("one of its records is not what it should be"),
    }
}

/// The files of one filesystem.
struct Files<'a> {
    volume: Volume<'a>,
    /// By subvolume.
    logs: BTreeMap<u64, Logged>,
    /// The subvolume asked for last.
    last: Cell<Option<(u64, Pointer)>>,
}

/// Where a file is: its subvolume and its inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    subvolume: u64,
    inode: u64,
}

impl Place {
    fn of(id: NodeId) -> Place {
        Place {
            subvolume: id.0 >> INODE_BITS,
            inode: id.0 & ((1 << INODE_BITS) - 1),
        }
    }

    fn id(self) -> Result<NodeId, TreeError> {
        let fits = self.subvolume >> (u64::BITS - INODE_BITS) == 0 && self.inode >> INODE_BITS == 0;
        match fits {
            true => Ok(NodeId(self.subvolume << INODE_BITS | self.inode)),
            false => Err(TreeError::Unsupported(
                "more than 16 million subvolumes or 1 trillion files",
            )),
        }
    }
}

impl Tree for Files<'_> {
    fn root(&self) -> NodeId {
        NodeId(TOP << INODE_BITS | TOP_INODE)
    }

    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError> {
        let place = Place::of(directory);
        if place.inode == EMPTY_INODE {
            return Ok(());
        }
        if self.inode(place)?.kind != NodeKind::Directory {
            return Err(TreeError::Damaged("a directory is something else"));
        }
        let log = self.logs.get(&place.subvolume);
        let mut anew = log.map_or_else(BTreeMap::new, |log| log.names(place.inode));
        let mut failed = None;
        self.items(place, DIR_INDEX, &mut |key, item| {
            let Some(name) = item::name(item) else {
                return refused("a name is damaged");
            };
            let lost = log.is_some_and(|log| log.lost(place.inode, key.offset, &name));
            // One name leads to one thing; the log's is the newer one.
            if lost || anew.contains_key(name.raw.as_slice()) {
                return ON;
            }
            match self.entry(place, &name) {
                Ok(entry) => Ok(each(entry)),
                Err(error) => {
                    failed = Some(error);
                    Ok(ControlFlow::Break(()))
                }
            }
        })?;
        failed.map_or(Ok(()), Err)?;
        // A name in the log may be of something that was never fsynced.
        anew.retain(|_, name| name.target.kind != INODE_ITEM || self.is_there(place, name));
        for name in anew.into_values() {
            if each(self.entry(place, name)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn node(&self, id: NodeId) -> Result<Node, TreeError> {
        let place = Place::of(id);
        if place.inode == EMPTY_INODE {
            return Ok(Node {
                kind: NodeKind::Directory,
                size_bytes: 0,
                modified: None,
                content: Content::Inline(Vec::new()),
            });
        }
        let inode = self.inode(place)?;
        Ok(Node {
            kind: inode.kind,
            size_bytes: match inode.kind {
                NodeKind::Special => 0,
                _ => inode.size,
            },
            modified: Some(inode.modified),
            content: match inode.kind {
                NodeKind::File | NodeKind::Symlink => self.content(place, inode.size)?,
                _ => Content::Inline(Vec::new()),
            },
        })
    }
}

impl Files<'_> {
    fn subvolume(&self, id: u64) -> Result<Pointer, TreeError> {
        if let Some((_, root)) = self.last.get().filter(|(known, _)| *known == id) {
            return Ok(root);
        }
        let owner = Owner::Shared;
        let root = self.volume.root(id, owner).map_err(error)?;
        let root = root.ok_or(TreeError::Damaged("a subvolume is missing"))?;
        self.last.set(Some((id, root)));
        Ok(root)
    }

    /// The items of one kind that an inode has in the subvolume.
    fn items(&self, place: Place, kind: u8, each: EachItem<'_>) -> Result<(), TreeError> {
        let root = self.subvolume(place.subvolume)?;
        self.items_in(root, place.inode, kind, each)
    }

    fn items_in(
        &self,
        root: Pointer,
        inode: u64,
        kind: u8,
        each: EachItem<'_>,
    ) -> Result<(), TreeError> {
        let keys = Key::new(inode, kind, 0)..=Key::new(inode, kind, u64::MAX);
        self.volume.items(root, keys, each).map_err(error)
    }

    fn inode(&self, place: Place) -> Result<Inode, TreeError> {
        let logged = self.logged(place)?;
        if let Some(inode) = logged.filter(Inode::is_all) {
            return Ok(inode);
        }
        let committed = self.inode_in(self.subvolume(place.subvolume)?, place.inode)?;
        committed
            .or(logged)
            .ok_or(TreeError::Damaged("a file is missing"))
    }

    /// What the log has of an inode.
    fn logged(&self, place: Place) -> Result<Option<Inode>, TreeError> {
        let log = self.logs.get(&place.subvolume);
        log.map_or(Ok(None), |log| self.inode_in(log.root, place.inode))
    }

    fn inode_in(&self, root: Pointer, inode: u64) -> Result<Option<Inode>, TreeError> {
        let mut found = None;
        self.items_in(root, inode, INODE_ITEM, &mut |_, item| {
            match item::inode(item) {
                Some(inode) => found = Some(inode),
                None => return refused("a file is damaged"),
            }
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    fn is_there(&self, directory: Place, name: &Name) -> bool {
        let inode = name.target.object;
        self.inode(Place { inode, ..directory }).is_ok()
    }

    fn entry(&self, directory: Place, name: &Name) -> Result<Entry, TreeError> {
        Ok(Entry {
            name: name.shown(),
            id: self.target(directory, name)?.id()?,
            kind: name.kind,
        })
    }

    fn target(&self, directory: Place, name: &Name) -> Result<Place, TreeError> {
        let (subvolume, child) = (directory.subvolume, name.target.object);
        match name.target.kind {
            INODE_ITEM => Ok(Place {
                subvolume,
                inode: child,
            }),
            ROOT_ITEM if self.refers(directory, name)? => Ok(Place {
                subvolume: child,
                inode: TOP_INODE,
            }),
            ROOT_ITEM => Ok(Place {
                subvolume,
                inode: EMPTY_INODE,
            }),
            _ => Err(TreeError::Damaged("a name leads nowhere")),
        }
    }

    /// A subvolume knows the one directory that it is in.
    fn refers(&self, directory: Place, name: &Name) -> Result<bool, TreeError> {
        let key = Key::new(directory.subvolume, ROOT_REF, name.target.object);
        let mut found = false;
        let roots = self.volume.superblock.root;
        let look = self.volume.items(roots, key..=key, &mut |_, item| {
            found = item::refers(item, directory.inode, &name.raw);
            ON
        });
        look.map_err(error)?;
        Ok(found)
    }

    fn content(&self, place: Place, size: u64) -> Result<Content, TreeError> {
        let mut gathered = Gathered::new(&self.volume, size);
        if let Some(log) = self.logs.get(&place.subvolume)
            && self.logged(place)?.is_some_and(|inode| inode.is_all())
        {
            for (at, data) in self.with_log(place, log)? {
                gathered.add(at, data)?;
            }
            return gathered.finish();
        }
        let mut failed = None;
        self.items(place, EXTENT_DATA, &mut |key, item| {
            let Some(data) = item::data(item) else {
                return refused(EXTENT_DAMAGED);
            };
            match gathered.add(key.offset, data) {
                Ok(()) => ON,
                Err(error) => {
                    failed = Some(error);
                    Ok(ControlFlow::Break(()))
                }
            }
        })?;
        failed.map_or(Ok(()), Err)?;
        gathered.finish()
    }

    /// The extents of a file, those of its log in the place of what was there before.
    fn with_log(&self, place: Place, log: &Logged) -> Result<Vec<(u64, Data)>, TreeError> {
        let sector = self.volume.superblock.sector_size;
        let (mut found, mut covered) = (Vec::new(), Covered::default());
        self.items_in(log.root, place.inode, EXTENT_DATA, &mut |key, item| {
            let parts = item::data(item).zip(item::span(item, sector));
            let Some((data, span)) = parts.filter(|_| found.len() < LOGGED_LIMIT) else {
                return refused(EXTENT_DAMAGED);
            };
            let Some(end) = key.offset.checked_add(span) else {
                return refused(EXTENT_DAMAGED);
            };
            covered.add(key.offset, end);
            found.push((key.offset, data));
            ON
        })?;
        self.items(place, EXTENT_DATA, &mut |key, item| {
            let parts = item::data(item).zip(item::span(item, sector));
            let Some((data, span)) = parts.filter(|_| found.len() < LOGGED_LIMIT) else {
                return refused(EXTENT_DAMAGED);
            };
            let Some(end) = key.offset.checked_add(span) else {
                return refused(EXTENT_DAMAGED);
            };
            for (from, to) in covered.outside(key.offset, end) {
                let part = data.part(from - key.offset, to - from);
                found.push((from, part));
            }
            ON
        })?;
        found.sort_unstable_by_key(|(at, _)| *at);
        Ok(found)
    }
}

const EXTENT_DAMAGED: &str = "an extent of a file is damaged";
type EachItem<'a> = &'a mut dyn FnMut(Key, Fields<'_>) -> Flow;
