//! What is behind the last checkpoint, written by hand; `kernel.rs` has what a kernel wrote.

use disk::extent::{Extent, ExtentMap};
use disk::fs::State;
use disk::fs::tree::{Case, find};
use tempfile::NamedTempFile;

use crate::files::tree;
use crate::made::{open, read_at, write_at};
use crate::{
    BLOCK, MIB, change_checkpoint, filled, map, noise, number_at, pack, place, read, why_whole,
};

/// Marks of a node.
pub const FSYNCED: u32 = 2;
const NAMED: u32 = 4;

pub struct Behind {
    pub file: NamedTempFile,
    /// Blocks that are free, and the first of them where the next warm node belongs.
    pub free: Vec<u64>,
    /// What was used before.
    pub used: ExtentMap,
}

impl Behind {
    pub fn new() -> Behind {
        let file = filled(160 * MIB, &[]);
        let pack = pack(&file);
        let (segment, offset) = (
            number_at(&file, pack + 40),
            number_at(&file, pack + 70) & 0xFFFF,
        );
        let next = place(&file, 92) / BLOCK + segment * 512 + offset;
        let used = map(&read(&file));
        let end = 160 * MIB / BLOCK - 1024;
        let mut free = vec![next];
        let is_free = |block: &u64| {
            used.within(Extent::new(block * BLOCK, BLOCK).unwrap())
                .next()
                .is_none()
        };
        free.extend(
            (place(&file, 92) / BLOCK..end)
                .rev()
                .filter(is_free)
                .filter(|block| *block != next),
        );
        Behind { file, free, used }
    }

    /// A copy of the inode of this file with other numbers for its blocks, as it is after an fsync.
    pub fn inode(&self, at: u64, path: &[&str], marks: u32, blocks: &[u64], next: u64) -> u32 {
        let source = open(&self.file);
        let tree = tree(&source);
        let id = find(&*tree, path, Case::Exact).unwrap().unwrap();
        let number = u32::try_from(id.0).unwrap();
        let own = [number.to_le_bytes(), number.to_le_bytes()].concat();
        let main = place(&self.file, 92);
        let holds = |at: &u64| read_at(&self.file, at + 4072, 8) == own && self.used.contains(*at);
        let old = (main..160 * MIB - 4 * MIB)
            .step_by(4096)
            .find(holds)
            .unwrap();
        let mut inode = read_at(&self.file, old, 4096);
        let size = blocks.len() as u64 * BLOCK;
        inode[3] &= !2;
        inode[16..24].copy_from_slice(&size.to_le_bytes());
        for slot in 0..923 {
            let block = blocks.get(slot).copied().unwrap_or(0);
            let block = u32::try_from(block).unwrap();
            inode[360 + slot * 4..364 + slot * 4].copy_from_slice(&block.to_le_bytes());
        }
        self.put(at, &mut inode, marks, next);
        number
    }

    fn put(&self, at: u64, node: &mut [u8], marks: u32, next: u64) {
        node[4080..4084].copy_from_slice(&marks.to_le_bytes());
        node[4084..4092].copy_from_slice(&read_at(&self.file, pack(&self.file), 8));
        node[4092..].copy_from_slice(&u32::try_from(next).unwrap().to_le_bytes());
        write_at(&self.file, at * BLOCK, node);
    }

    fn content(&self, path: &[&str]) -> Vec<u8> {
        let source = open(&self.file);
        let tree = tree(&source);
        let id = find(&*tree, path, Case::Exact).unwrap().unwrap();
        tree.node(id).unwrap().read(&source, MIB).unwrap()
    }
}

fn blocks(of: &[u64]) -> ExtentMap {
    of.iter()
        .map(|block| Extent::new(block * BLOCK, BLOCK).unwrap())
        .collect()
}

#[test]
fn what_was_fsynced_after_the_last_checkpoint_is_used_and_read() {
    let behind = Behind::new();
    let (nodes, data, end) = (&behind.free[..2], &behind.free[10..40], behind.free[2]);
    for (block, bytes) in data.iter().zip(noise(99, 30).chunks(4096)) {
        write_at(&behind.file, block * BLOCK, bytes);
    }
    let path = ["one", "3", "file 13"];
    let before = behind.content(&path);
    // Written twice, fsynced once.
    behind.inode(nodes[0], &path, 0, &data[..10], nodes[1]);
    assert_eq!(behind.content(&path), before);
    behind.inode(nodes[1], &path, FSYNCED, data, end);
    let said =
        "it was not unmounted; what was fsynced after its last checkpoint was followed (2 nodes)";
    let filesystem = read(&behind.file);
    assert_eq!(filesystem.state, State::Dirty(said.into()));
    let used = map(&filesystem);
    for wanted in [&behind.used, &blocks(nodes), &blocks(data), &blocks(&[end])] {
        assert_eq!(wanted.difference(&used), ExtentMap::new());
    }
    assert!(
        !used.contains(behind.free[60] * BLOCK),
        "not all of it is used"
    );
    assert!(behind.content(&path) == noise(99, 30));
    // With the flag of an unmount gone the same: the last checkpoint was not one of an unmount.
    let flags = number_at(&behind.file, pack(&behind.file) + 132);
    let flags = u32::try_from(flags).unwrap() & !1 | 0x20;
    change_checkpoint(&behind.file, 132, &flags.to_le_bytes());
    assert_eq!(map(&read(&behind.file)), used);
}

#[test]
fn a_file_that_was_named_after_the_last_checkpoint_has_its_name() {
    let behind = Behind::new();
    let path = ["one", "3", "file 13"];
    let names = |new: &[u8], bytes: &str| {
        let number = behind.inode(behind.free[0], &path, FSYNCED | NAMED, &[], behind.free[1]);
        // As if its folder did not know it yet: another folder, another name.
        let source = open(&behind.file);
        let tree = tree(&source);
        let folder = find(&*tree, &["two", "1"], Case::Exact).unwrap().unwrap();
        let at = behind.free[0] * BLOCK;
        write_at(
            &behind.file,
            at + 84,
            &u32::try_from(folder.0).unwrap().to_le_bytes(),
        );
        write_at(
            &behind.file,
            at + 88,
            &u32::try_from(new.len()).unwrap().to_le_bytes(),
        );
        write_at(&behind.file, at + 92, new);
        let found = find(
            &*crate::files::tree(&source),
            &["two", "1", bytes],
            Case::Exact,
        )
        .unwrap();
        assert_eq!(found.unwrap().0, u64::from(number), "{bytes}");
        let mut all = Vec::new();
        let tree = crate::files::tree(&source);
        tree.entries(folder, &mut |entry| {
            all.push(entry.name);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        all
    };
    let before = names(b"new", "new").len();
    // It takes the place of one that has the name.
    let after = names(b"file 46", "file 46");
    assert_eq!(after.len() + 1, before);
    assert_eq!(after.iter().filter(|name| *name == "file 46").count(), 1);
}

#[test]
fn what_was_fsynced_last_and_leads_in_circles_is_kept_whole() {
    let behind = Behind::new();
    let path = ["one", "3", "file 13"];
    behind.inode(behind.free[0], &path, FSYNCED, &[], behind.free[1]);
    behind.inode(behind.free[1], &path, FSYNCED, &[], behind.free[0]);
    assert_eq!(
        why_whole(&behind.file),
        "what was fsynced last leads in circles"
    );
    // The files are those of the checkpoint.
    assert!(!behind.content(&path).is_empty());
}

#[test]
fn blocks_that_are_promised_and_not_written_are_no_contradiction() {
    let file = filled(160 * MIB, &[]);
    let used = map(&read(&file));
    let valid = number_at(&file, pack(&file) + 16);
    let change = |add: i64| {
        let valid = valid.checked_add_signed(add).unwrap();
        change_checkpoint(&file, 16, &valid.to_le_bytes());
    };
    change(100);
    // The segments that are being filled are kept as they are.
    let now = map(&read(&file));
    assert_eq!(used.difference(&now), ExtentMap::new());
    assert!(now.difference(&used).total_bytes() < 12 * MIB);
    change(-1);
    let why = "its segment information contradicts itself";
    assert_eq!(why_whole(&file), why);
    change(100);
    for at in [32, 144] {
        let number = u32::try_from(number_at(&file, pack(&file) + at)).unwrap();
        change_checkpoint(&file, at, &(number - 1).to_le_bytes());
        assert_eq!(why_whole(&file), why);
        change_checkpoint(&file, at, &number.to_le_bytes());
    }
}
