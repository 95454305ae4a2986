//! Where the blocks of a file are: in its inode or in a B-tree, for most files by numbers that are translated.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Trouble;
use super::superblock::Superblock;
use crate::fields::Fields;
use crate::fs::bits::Bits;
use crate::source::{BlockSource, read_vec};

const INODE_AT: usize = 56;
const ROOT_BYTES: usize = 56;
const LARGE: u8 = 1;
const IN_INODE: u64 = 6;
const ROOT_CHILDREN: usize = 3;
const DEEPEST: u8 = 14;
/// Blocks held, of 64 KiB at most.
const HELD: usize = 32;

/// Reads blocks of segments, and remembers of which.
pub struct Blocks<'a> {
    pub source: &'a dyn BlockSource,
    superblock: &'a Superblock,
    held: VecDeque<(u64, Rc<Vec<u8>>)>,
    pub touched: Bits,
}

impl<'a> Blocks<'a> {
    pub fn new(source: &'a dyn BlockSource, superblock: &'a Superblock) -> Blocks<'a> {
        Blocks {
            source,
            superblock,
            held: VecDeque::new(),
            touched: Bits::new(superblock.segments, false),
        }
    }

    pub fn block(&mut self, number: u64) -> Result<Rc<Vec<u8>>, Trouble> {
        if let Some((_, block)) = self.held.iter().find(|(held, _)| *held == number) {
            return Ok(Rc::clone(block));
        }
        if !self.superblock.holds(number) {
            return Err(Trouble::Refused("a block of its records has no place"));
        }
        let segment = self.superblock.segment_of(number);
        self.touched.mark(segment, segment + 1);
        let size = self.superblock.block();
        let block = Rc::new(read_vec(self.source, number * size, size)?);
        self.held.truncate(HELD - 1);
        self.held.push_front((number, Rc::clone(&block)));
        Ok(block)
    }
}

/// The file that says on which block of the disk a virtual number is. Its own are not virtual.
pub struct Translation {
    map: BlockMap,
    /// Entries in a block, and in a group, which begins with a block of bits.
    per_block: u64,
    per_group: u64,
    /// Groups that a block of descriptors before them speaks of.
    groups: u64,
    entry: u64,
}

impl Translation {
    pub fn of(superblock: &Superblock, inode: &[u8]) -> Result<Translation, Trouble> {
        let block = superblock.block();
        Ok(Translation {
            map: BlockMap::of(inode)?,
            per_block: block / superblock.translation_bytes,
            per_group: block * 8,
            groups: block / 4,
            entry: superblock.translation_bytes,
        })
    }

    fn translate(&self, number: u64, blocks: &mut Blocks) -> Result<u64, Trouble> {
        let lost = Trouble::Refused("its address translation has no place for its records");
        let (group, inside) = (number / self.per_group, number % self.per_group);
        let group_blocks = self.per_group.div_ceil(self.per_block) + 1;
        let descriptor = (group / self.groups).checked_mul(self.groups * group_blocks + 1);
        let bits = descriptor.and_then(|at| at.checked_add(1 + group % self.groups * group_blocks));
        let at = bits.and_then(|at| at.checked_add(1 + inside / self.per_block));
        let at = at.ok_or(lost.clone())?;
        let block = self.map.place(at, None, blocks)?.ok_or(lost.clone())?;
        let block = blocks.block(block)?;
        let entry = inside % self.per_block * self.entry;
        let entry = usize::try_from(entry).expect("it lies within a block");
        let place = Fields(&block).u64(entry);
        place.filter(|place| *place != 0).ok_or(lost)
    }
}

/// The root of a file's map of blocks.
pub struct BlockMap(Vec<u8>);

/// A node of a B-tree.
struct Node<'a> {
    fields: Fields<'a>,
    keys_at: usize,
    /// Children that it has room for.
    room: usize,
    children: usize,
}

impl BlockMap {
    pub fn of(inode: &[u8]) -> Result<BlockMap, Trouble> {
        let root = Fields(inode).bytes(INODE_AT, ROOT_BYTES);
        Ok(BlockMap(root.ok_or(damaged())?.to_vec()))
    }

    /// The block of the disk that holds this block of the file; `None` for a hole.
    pub fn place(
        &self,
        key: u64,
        translation: Option<&Translation>,
        blocks: &mut Blocks,
    ) -> Result<Option<u64>, Trouble> {
        let root = Fields(&self.0);
        let translated = |pointer: u64, blocks: &mut Blocks| match translation {
            Some(translation) => translation.translate(pointer, blocks),
            None => Ok(pointer),
        };
        if root.u8(0).ok_or(damaged())? & LARGE == 0 {
            let at = key.checked_add(1).filter(|_| key < IN_INODE);
            let at = at.and_then(|at| usize::try_from(at * 8).ok());
            let pointer = at.and_then(|at| root.u64(at)).filter(|p| *p != 0);
            return pointer.map(|p| translated(p, blocks)).transpose();
        }
        let mut level = root.u8(1).ok_or(damaged())?;
        if !(1..DEEPEST).contains(&level) {
            return Err(damaged());
        }
        let mut held = None;
        loop {
            let node = Node::of(root, held.as_deref(), level).ok_or(damaged())?;
            let Some(pointer) = node.child(key, level).ok_or(damaged())? else {
                return Ok(None);
            };
            let place = translated(pointer, blocks)?;
            level -= 1;
            if level == 0 {
                return Ok(Some(place));
            }
            held = Some(blocks.block(place)?);
        }
    }
}

impl<'a> Node<'a> {
    /// The root, or a block below it.
    fn of(root: Fields<'a>, block: Option<&'a Vec<u8>>, level: u8) -> Option<Node<'a>> {
        let (fields, keys_at, room) = match block {
            None => (root, 8, ROOT_CHILDREN),
            Some(block) => (Fields(block), 16, (block.len() - 16) / 16),
        };
        let children = usize::from(fields.u16(2)?);
        let is_root = fields.u8(0)? & LARGE != 0;
        let sound =
            fields.u8(1)? == level && is_root == block.is_none() && (1..=room).contains(&children);
        sound.then_some(Node {
            fields,
            keys_at,
            room,
            children,
        })
    }

    /// The pointer on the way to this key, `Some(None)` when there is none.
    fn child(&self, key: u64, level: u8) -> Option<Option<u64>> {
        let key_of = |index: usize| self.fields.u64(self.keys_at + index * 8);
        let (mut low, mut high) = (0, self.children);
        while low < high {
            let middle = (low + high) / 2;
            if key_of(middle)? <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(index) = low.checked_sub(1) else {
            return Some(None);
        };
        if level == 1 && key_of(index)? != key {
            return Some(None);
        }
        let pointer = self.fields.u64(self.keys_at + (self.room + index) * 8)?;
        (pointer != 0).then_some(Some(pointer))
    }
}

fn damaged() -> Trouble {
    Trouble::Refused("the tree of a file of its records is damaged")
}
