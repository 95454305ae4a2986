//! Files as they were when they were last fsynced, where that was after the last checkpoint of F2FS.

use std::collections::{HashMap, HashSet};

use crate::fields::Fields;
use crate::fs::f2fs::checkpoint::Checkpoint;
use crate::fs::f2fs::superblock::Superblock;
use crate::fs::f2fs::{Trouble, forward};
use crate::source::BlockSource;

/// Nodes that are newer than the checkpoint, and names that it does not know.
#[derive(Debug, Default)]
pub struct Newer {
    /// The blocks of nodes.
    pub blocks: HashMap<u32, u32>,
    /// (Folder, inode), sorted; the name stands in the inode.
    names: Vec<(u32, u32)>,
}

impl Newer {
    pub fn read(
        source: &dyn BlockSource,
        superblock: &Superblock,
        checkpoint: &Checkpoint,
    ) -> Result<Newer, Trouble> {
        let (mut links, mut folders) = (Vec::new(), HashMap::new());
        forward::follow(source, superblock, checkpoint, &mut |link, bytes| {
            if link.is_fsynced() && link.is_named() {
                folders.extend(Fields(bytes).u32(84).map(|folder| (link.inode, folder)));
            }
            links.push(link);
            Ok(())
        })?;
        let (mut blocks, mut fsynced) = (HashMap::new(), HashSet::new());
        for link in links.into_iter().rev() {
            if link.is_fsynced() {
                fsynced.insert(link.inode);
            }
            // What was written behind that is not the file yet.
            if fsynced.contains(&link.inode) {
                blocks.entry(link.node).or_insert(link.block);
            }
        }
        let mut names: Vec<_> = folders
            .into_iter()
            .map(|(inode, folder)| (folder, inode))
            .collect();
        names.sort_unstable();
        Ok(Newer { blocks, names })
    }

    /// Files that were named in this folder.
    pub fn named_in(&self, folder: u32) -> impl Iterator<Item = u32> + '_ {
        let from = self
            .names
            .partition_point(|(in_folder, _)| *in_folder < folder);
        let of = self.names[from..]
            .iter()
            .take_while(move |(in_folder, _)| *in_folder == folder);
        of.map(|(_, inode)| *inode)
    }
}
