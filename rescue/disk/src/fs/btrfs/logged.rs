//! What the log says of a subvolume's files: what was fsynced since the last commit. A kernel puts it into the
//! subvolume when it next mounts (`fs/btrfs/tree-log.c`); here it lies over it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};

use super::item::{
    self, DIR_INDEX, DIR_LOG_INDEX, INODE_EXTREF, INODE_ITEM, INODE_REF, Name, ROOT_ITEM,
};
use super::node::{Key, Owner, Pointer};
use super::volume::{ON, Volume, root_of};
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::fs::tree::NodeKind;

/// Most names of a log that are kept, and what each may take beside its bytes: 12 MiB of them.
const NAMES_LIMIT: usize = 1 << 16;
const SUBVOLUMES_LIMIT: usize = 1 << 10;

/// The log of one subvolume.
#[derive(Debug)]
pub(super) struct Logged {
    pub root: Pointer,
    /// What each directory has anew.
    names: BTreeMap<u64, Vec<Name>>,
    /// Where the names of an inode in a directory are in the log, they all are: without them none is left.
    references: BTreeSet<(u64, u64)>,
    /// What is in the log of a directory's index: nothing else is left there.
    ranges: BTreeMap<u64, Vec<RangeInclusive<u64>>>,
    kinds: BTreeMap<u64, NodeKind>,
    count: usize,
}

/// The logs of all subvolumes that have one.
pub(super) fn logs(volume: &Volume<'_>) -> Result<BTreeMap<u64, Logged>, Trouble> {
    let mut logs = BTreeMap::new();
    let Some(log) = volume.superblock.log_root else {
        return Ok(logs);
    };
    volume.items(log, Key::FIRST..=Key::LAST, &mut |key, item| {
        if key.kind == ROOT_ITEM {
            let root = root_of(item, Owner::LOG)?;
            if logs.insert(key.offset, Logged::at(root)).is_some() || logs.len() > SUBVOLUMES_LIMIT
            {
                return refused("its log is damaged");
            }
        }
        ON
    })?;
    for log in logs.values_mut() {
        volume.items(
            log.root,
            Key::FIRST..=Key::LAST,
            &mut |key, item| match log.take(key, item) {
                Some(()) if log.count < NAMES_LIMIT => ON,
                Some(()) => refused("its log has more names than are kept in memory"),
                None => refused("its log is damaged"),
            },
        )?;
    }
    Ok(logs)
}

impl Logged {
    fn at(root: Pointer) -> Logged {
        Logged {
            root,
            names: BTreeMap::new(),
            references: BTreeSet::new(),
            ranges: BTreeMap::new(),
            kinds: BTreeMap::new(),
            count: 0,
        }
    }

    fn take(&mut self, key: Key, item: Fields<'_>) -> Option<()> {
        match key.kind {
            INODE_ITEM => {
                self.count += 1;
                self.kinds.insert(key.object, item::inode(item)?.kind);
            }
            INODE_REF => self.references(key.object, Some(key.offset), item)?,
            INODE_EXTREF => self.references(key.object, None, item)?,
            DIR_INDEX => self.add(key.object, item::name(item)?),
            DIR_LOG_INDEX => {
                self.count += 1;
                let ranges = self.ranges.entry(key.object).or_default();
                ranges.push(key.offset..=item.u64(0)?);
            }
            _ => {}
        }
        Some(())
    }

    /// Names of an inode: all in one directory, or each with its own.
    fn references(&mut self, inode: u64, directory: Option<u64>, item: Fields<'_>) -> Option<()> {
        let kind = *self.kinds.get(&inode)?;
        let mut at = 0;
        while at < item.0.len() {
            let (parent, head) = match directory {
                Some(directory) => (directory, at + 8),
                None => (item.u64(at)?, at + 16),
            };
            let len = usize::from(item.u16(head)?);
            let raw = item.bytes(head + 2, len)?.to_vec();
            let target = Key::new(inode, INODE_ITEM, 0);
            self.references.insert((inode, parent));
            self.add(parent, Name { target, kind, raw });
            at = head + 2 + len;
        }
        Some(())
    }

    fn add(&mut self, directory: u64, name: Name) {
        self.count += 1;
        self.names.entry(directory).or_default().push(name);
    }

    /// What a directory has anew, each name once.
    pub fn names(&self, directory: u64) -> BTreeMap<&[u8], &Name> {
        let names = self.names.get(&directory).into_iter().flatten();
        names.map(|name| (name.raw.as_slice(), name)).collect()
    }

    /// Whether a name that is in the directory since the last commit was taken away after it.
    pub fn lost(&self, directory: u64, index: u64, name: &Name) -> bool {
        let ranges = self.ranges.get(&directory);
        let covered = ranges.is_some_and(|all| all.iter().any(|range| range.contains(&index)));
        covered || self.references.contains(&(name.target.object, directory))
    }
}

/// Ranges of a file whose bytes are in the log, ascending: what was there before is not the file's any more.
#[derive(Default, Debug)]
pub(super) struct Covered(BTreeMap<u64, u64>);

impl Covered {
    pub fn add(&mut self, from: u64, to: u64) {
        self.0.insert(from, to);
    }

    /// What of a range is left outside of them.
    pub fn outside(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut left = Vec::new();
        if from >= to {
            return left;
        }
        let mut at = from;
        let before = self.0.range(..=from).next_back();
        let inside = self.0.range((Bound::Excluded(from), Bound::Excluded(to)));
        for (&start, &end) in before.into_iter().chain(inside) {
            if start > at {
                left.push((at, start));
            }
            at = at.max(end);
        }
        if at < to {
            left.push((at, to));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_of_covered_ranges_is_every_other_byte() {
        let mut covered = Covered::default();
        covered.add(10, 20);
        covered.add(20, 25);
        covered.add(40, 50);
        for from in 0..60 {
            for to in from..60 {
                let left = covered.outside(from, to);
                for at in from..to {
                    let inside = (10..25).contains(&at) || (40..50).contains(&at);
                    let shown = left.iter().any(|(a, b)| (*a..*b).contains(&at));
                    assert_ne!(inside, shown, "{from}..{to} at {at}: {left:?}");
                }
            }
        }
    }
}
