//! The trees of the log: what was fsynced since the last commit. No record of used addresses has them yet.

use super::item::{EXTENT_DATA, ROOT_ITEM};
use super::node::{Key, Owner, Pointer};
use super::volume::{Met, ON, Volume, root_of};
use super::{Trouble, refused};
use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;

const REGULAR: u8 = 1;
const PREALLOCATED: u8 = 2;
/// Most extents of a log that are kept: 4 MiB of them.
const LIMIT: usize = 1 << 18;

/// The addresses of the log's nodes, and of the bytes of the files in it.
pub(super) fn used(volume: &Volume<'_>, log: Pointer) -> Result<ExtentMap, Trouble> {
    let mut found = Addresses {
        volume,
        list: Vec::new(),
    };
    let mut trees = Vec::new();
    volume.walk(log, Key::FIRST..=Key::LAST, &mut |met| {
        match met {
            Met::Node(at) => found.add(at, volume.superblock.node_size)?,
            Met::Item(key, item) if key.kind == ROOT_ITEM && trees.len() < LIMIT => {
                trees.push(root_of(item, Owner::LOG)?);
            }
            Met::Item(..) => return refused("its log is damaged"),
        }
        ON
    })?;
    for tree in trees {
        volume.walk(tree, Key::FIRST..=Key::LAST, &mut |met| {
            match met {
                Met::Node(at) => found.add(at, volume.superblock.node_size)?,
                Met::Item(key, item) if key.kind == EXTENT_DATA => found.file(item)?,
                Met::Item(..) => {}
            }
            ON
        })?;
    }
    Ok(ExtentMap::from(found.list))
}

struct Addresses<'a> {
    volume: &'a Volume<'a>,
    list: Vec<Extent>,
}

impl Addresses<'_> {
    fn file(&mut self, item: Fields<'_>) -> Result<(), Trouble> {
        let kind = item.u8(20);
        let place = match kind {
            Some(0) => return Ok(()),
            Some(REGULAR | PREALLOCATED) => item.u64(21).zip(item.u64(29)),
            _ => None,
        };
        match place {
            // A hole.
            Some((0, _)) => Ok(()),
            Some((start, len)) => self.add(start, len),
            None => refused("its log is damaged"),
        }
    }

    fn add(&mut self, start: u64, len: u64) -> Result<(), Trouble> {
        let extent = Extent::new(start, len);
        let inside = self.volume.chunks.find(start, len).is_some();
        let Some(extent) = extent.filter(|_| inside) else {
            return refused("its log leads out of its chunks");
        };
        if let Some(last) = self.list.last_mut()
            && last.end() == start
            && let Some(both) = Extent::between(last.start(), extent.end())
        {
            *last = both;
            return Ok(());
        }
        if self.list.len() == LIMIT {
            return refused("its log has more extents than are kept in memory");
        }
        self.list.push(extent);
        Ok(())
    }
}
