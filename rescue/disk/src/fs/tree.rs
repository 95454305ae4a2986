//! The files of a filesystem, the same way for every one of them.

use std::fmt;
use std::ops::ControlFlow;

use crate::extent::Extent;
use crate::source::{BlockSource, ReadError};

/// A filesystem whose directories and files can be looked at. Nothing is cached without bound.
pub trait Tree {
    fn root(&self) -> NodeId;

    /// The entries of a directory, without `.` and `..`, in the order of the disk; at most [`ENTRY_LIMIT`].
    fn list(&self, directory: NodeId) -> Result<Vec<Entry>, TreeError>;

    fn node(&self, id: NodeId) -> Result<Node, TreeError>;
}

/// A filesystem's own number for a file: an inode, a file record, a directory slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub name: String,
    pub id: NodeId,
    pub kind: NodeKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeKind {
    File,
    Directory,
    Symlink,
    /// Device, pipe, socket, reparse point: nothing to read.
    Special,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub kind: NodeKind,
    pub size_bytes: u64,
    /// Seconds since 1970, where the filesystem records it.
    pub modified: Option<i64>,
    pub content: Content,
}

/// Where a file's bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// In the filesystem's own records: these bytes.
    Inline(Vec<u8>),
    /// In pieces, ascending by `at`; what no piece covers reads as zeros (sparse, or never written).
    Pieces(Vec<Piece>),
    /// Stored in a way that is not read here (compressed, encrypted); its extents on the volume are known.
    Opaque {
        why: &'static str,
        extents: Vec<Extent>,
    },
}

/// Bytes `at..at + extent.len()` of a file lie at `extent` of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    pub at: u64,
    pub extent: Extent,
}

impl Node {
    /// Where on the volume the file's bytes lie.
    pub fn extents(&self) -> Vec<Extent> {
        match &self.content {
            Content::Inline(_) => Vec::new(),
            Content::Pieces(pieces) => pieces.iter().map(|p| p.extent).collect(),
            Content::Opaque { extents, .. } => extents.clone(),
        }
    }

    /// Reads a small file whole; at most `limit` bytes of it.
    pub fn read(&self, source: &dyn BlockSource, limit: u64) -> Result<Vec<u8>, TreeError> {
        let size = self.size_bytes.min(limit);
        let length = usize::try_from(size)
            .map_err(|_| TreeError::Damaged("the file is larger than memory"))?;
        match &self.content {
            Content::Inline(bytes) => Ok(bytes.iter().copied().take(length).collect()),
            Content::Opaque { why, .. } => Err(TreeError::Unsupported(why)),
            Content::Pieces(pieces) => {
                let mut bytes = vec![0; length];
                for piece in pieces.iter().take_while(|p| p.at < size) {
                    let end = size.min(piece.at.saturating_add(piece.extent.len()));
                    let (from, to) = (index(piece.at), index(end));
                    source
                        .read_at(piece.extent.start(), &mut bytes[from..to])
                        .map_err(TreeError::Read)?;
                }
                Ok(bytes)
            }
        }
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("offsets here are below a length that fits in memory")
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TreeError {
    Read(ReadError),
    /// A structure contradicts itself; the text says which.
    Damaged(&'static str),
    /// A feature this reader does not follow.
    Unsupported(&'static str),
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::Read(error) => error.fmt(f),
            TreeError::Damaged(what) => write!(f, "the filesystem is damaged: {what}"),
            TreeError::Unsupported(what) => write!(f, "cannot be read here: {what}"),
        }
    }
}

impl std::error::Error for TreeError {}

impl From<ReadError> for TreeError {
    fn from(error: ReadError) -> TreeError {
        TreeError::Read(error)
    }
}

/// Most entries taken from one directory.
pub const ENTRY_LIMIT: usize = 1 << 18;
/// Deepest directory a walk enters.
pub const DEPTH_LIMIT: usize = 64;

/// Looks up a path of names, ASCII case ignored when `case` says so.
pub fn find(tree: &dyn Tree, path: &[&str], case: Case) -> Result<Option<NodeId>, TreeError> {
    let mut at = tree.root();
    for name in path {
        let same = |entry: &Entry| match case {
            Case::Exact => entry.name == *name,
            Case::Ignored => entry.name.eq_ignore_ascii_case(name),
        };
        match tree.list(at)?.into_iter().find(same) {
            Some(entry) => at = entry.id,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    Exact,
    Ignored,
}

/// A file met on a walk.
#[derive(Debug)]
pub struct Found<'a> {
    /// Names from the root, joined by `/`.
    pub path: &'a str,
    pub id: NodeId,
    pub node: &'a Node,
}

/// Visits every file below the root, depth first. A directory or a file that cannot be followed is reported
/// to `trouble` and left out; a directory is entered once, so a loop ends.
pub fn walk(
    tree: &dyn Tree,
    visit: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    trouble: &mut dyn FnMut(&str, TreeError),
) {
    let mut seen = std::collections::HashSet::from([tree.root()]);
    let mut stack = vec![(String::new(), tree.root(), 0usize)];
    while let Some((path, directory, depth)) = stack.pop() {
        let entries = match tree.list(directory) {
            Ok(entries) => entries,
            Err(error) => {
                trouble(&path, error);
                continue;
            }
        };
        for entry in entries {
            let path = if path.is_empty() {
                entry.name
            } else {
                format!("{path}/{}", entry.name)
            };
            match tree.node(entry.id) {
                Ok(node) => {
                    if visit(Found {
                        path: &path,
                        id: entry.id,
                        node: &node,
                    })
                    .is_break()
                    {
                        return;
                    }
                    if node.kind == NodeKind::Directory
                        && depth < DEPTH_LIMIT
                        && seen.insert(entry.id)
                    {
                        stack.push((path, entry.id, depth + 1));
                    }
                }
                Err(error) => trouble(&path, error),
            }
        }
    }
}
