//! Where the bytes of a file of F2FS lie.

use crate::extent::Extent;
use crate::fields::Fields;
use crate::fs::f2fs::BLOCK;
use crate::fs::f2fs::inode::Inode;
use crate::fs::f2fs::nodes::Nodes;
use crate::fs::tree::{Content, NodeKind, Piece, TreeError};

/// Most pieces kept of one file: 12 MiB of them, and as much again for who asks.
const PIECE_LIMIT: usize = 1 << 19;
/// Numbers of a node that is no inode.
const NUMBERS: usize = 1018;
/// Numbers that are none of a block: nothing, promised and not written, compressed from here on.
const HOLE: u32 = 0;
const PROMISED: u32 = u32::MAX;
const COMPRESSED: u32 = u32::MAX - 1;

pub fn of(nodes: &Nodes<'_>, inode: &Inode) -> Result<Content, TreeError> {
    if inode.kind() == NodeKind::Special {
        return Ok(Content::Inline(Vec::new()));
    }
    let opaque = |why, extents| Content::Opaque { why, extents };
    let kept_itself = inode
        .inside()
        .filter(|_| inode.kind() != NodeKind::Directory);
    if let Some(inside) = kept_itself {
        if inode.is_encrypted() {
            return Ok(opaque("it is encrypted", Vec::new()));
        }
        let size = usize::try_from(inode.size_bytes()).ok();
        let bytes = size.and_then(|size| inside.get(..size));
        let bytes = bytes.ok_or(TreeError::Damaged("a small file is larger than its inode"))?;
        return Ok(Content::Inline(bytes.to_vec()));
    }
    let mut gathered = Gathered {
        nodes,
        inode,
        pieces: Vec::new(),
        at: 0,
        total: 0,
        compressed: false,
    };
    if inode.inside().is_none() {
        gathered.all()?;
    }
    let why = match (inode.is_encrypted(), gathered.compressed) {
        (true, _) if inode.kind() != NodeKind::Directory => "it is encrypted",
        (_, true) => "it is compressed",
        _ => return Ok(Content::Pieces(gathered.pieces)),
    };
    let extents = gathered.pieces.iter().map(|piece| piece.extent).collect();
    Ok(opaque(why, extents))
}

struct Gathered<'a> {
    nodes: &'a Nodes<'a>,
    inode: &'a Inode,
    pieces: Vec<Piece>,
    /// The block of the file that comes next.
    at: u64,
    /// Blocks in all pieces.
    total: u64,
    compressed: bool,
}

impl Gathered<'_> {
    fn all(&mut self) -> Result<(), TreeError> {
        self.numbers(self.inode.numbers())?;
        for (node, depth) in self.inode.nodes().zip([0, 0, 1, 1, 2]) {
            self.node(node, depth)?;
        }
        Ok(())
    }

    /// A node that leads to blocks, `depth` nodes further down.
    fn node(&mut self, number: u32, depth: u32) -> Result<(), TreeError> {
        let after = self.at + self.blocks_of(NUMBERS) * (NUMBERS as u64).pow(depth);
        if number == 0 {
            self.at = after;
            return Ok(());
        }
        let bytes = self.nodes.node(number, self.inode.number)?;
        let numbers = &bytes[..NUMBERS * 4];
        if depth == 0 {
            self.numbers(numbers)?;
        } else {
            for number in numbers.chunks_exact(4) {
                self.node(Fields(number).u32(0).unwrap_or(0), depth - 1)?;
            }
        }
        self.at = after;
        Ok(())
    }

    /// Whole clusters only, where blocks are compressed together.
    fn blocks_of(&self, numbers: usize) -> u64 {
        let cluster = self.inode.cluster_blocks().unwrap_or(1);
        (numbers / cluster * cluster) as u64
    }

    fn numbers(&mut self, numbers: &[u8]) -> Result<(), TreeError> {
        let after = self.at + self.blocks_of(numbers.len() / 4);
        for number in numbers.chunks_exact(4) {
            if self.at == after {
                break;
            }
            match Fields(number).u32(0).unwrap_or(HOLE) {
                HOLE | PROMISED => {}
                COMPRESSED => self.compressed = true,
                block => self.push(u64::from(block))?,
            }
            self.at += 1;
        }
        Ok(())
    }

    fn push(&mut self, block: u64) -> Result<(), TreeError> {
        let superblock = &self.nodes.superblock;
        if !superblock.in_main(block) {
            return Err(TreeError::Damaged(
                "a file has blocks outside of the filesystem",
            ));
        }
        // No block belongs to a file twice, so a loop in its nodes is found here.
        self.total += 1;
        if self.total > superblock.blocks {
            return Err(TreeError::Damaged(
                "a file has more blocks than the filesystem",
            ));
        }
        let (at, start) = (self.at * BLOCK, block * BLOCK);
        if let Some(last) = self.pieces.last_mut()
            && last.at + last.extent.len() == at
            && last.extent.end() == start
        {
            let longer = Extent::between(last.extent.start(), start + BLOCK);
            last.extent = longer.expect("it becomes longer");
            return Ok(());
        }
        if self.pieces.len() == PIECE_LIMIT {
            return Err(TreeError::Unsupported("a file is in too many pieces"));
        }
        let extent = Extent::new(start, BLOCK).expect("a block is not empty");
        self.pieces.push(Piece { at, extent });
        Ok(())
    }
}
