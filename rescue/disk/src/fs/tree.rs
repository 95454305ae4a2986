//! The files of a filesystem, the same way for every one of them.

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;

use crate::extent::Extent;
use crate::source::{BlockSource, ReadError};

/// A filesystem whose directories and files can be looked at. Nothing is cached without bound.
pub trait Tree {
    fn root(&self) -> NodeId;

    /// Shows the entries of a directory one by one, without `.` and `..`, in the order of the disk, until there are
    /// no more or `each` has enough.
    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError>;

    fn node(&self, id: NodeId) -> Result<Node, TreeError>;
}

/// Takes an entry and says whether it wants more.
pub type Each<'a> = &'a mut dyn FnMut(Entry) -> ControlFlow<()>;

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
    /// There is more of it than a walk remembers.
    TooMany(&'static str),
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::Read(error) => error.fmt(f),
            TreeError::Damaged(what) => write!(f, "the filesystem is damaged: {what}"),
            TreeError::Unsupported(what) => write!(f, "cannot be read here: {what}"),
            TreeError::TooMany(what) => write!(f, "it was left out: {what}"),
        }
    }
}

impl std::error::Error for TreeError {}

impl From<ReadError> for TreeError {
    fn from(error: ReadError) -> TreeError {
        TreeError::Read(error)
    }
}

/// Deepest directory a walk enters.
pub const DEPTH_LIMIT: usize = 64;
/// Directories that a walk remembers, so that it enters each of them once: 28 MiB at most while its table grows.
const SEEN_LIMIT: usize = 7 << 18;
/// Memory for directories that were met and not entered yet.
const PENDING_LIMIT: usize = 8 << 20;

/// Looks up a path of names, ASCII case ignored when `case` says so.
pub fn find(tree: &dyn Tree, path: &[&str], case: Case) -> Result<Option<NodeId>, TreeError> {
    let mut at = tree.root();
    for name in path {
        let same = |entry: &Entry| match case {
            Case::Exact => entry.name == *name,
            Case::Ignored => entry.name.eq_ignore_ascii_case(name),
        };
        let mut found = None;
        tree.entries(at, &mut |entry| {
            if !same(&entry) {
                return ControlFlow::Continue(());
            }
            found = Some(entry.id);
            ControlFlow::Break(())
        })?;
        match found {
            Some(id) => at = id,
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
/// to `trouble` and left out; a directory is entered once, so a loop ends. Memory is bounded whatever is on the disk:
/// what would need more is reported and left out too.
pub fn walk(
    tree: &dyn Tree,
    visit: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    trouble: &mut dyn FnMut(&str, TreeError),
) {
    let mut pending = Pending::of(tree.root());
    let mut path = String::new();
    // Of the directories that lead to the one that is listed, the lengths of their paths.
    let mut lengths = Vec::new();
    while let Some(directory) = pending.pop() {
        lengths.truncate(directory.depth);
        path.truncate(lengths.last().copied().unwrap_or(0));
        join(&mut path, &directory.name);
        let own = path.len();
        lengths.push(own);
        let mut enough = false;
        let listed = tree.entries(directory.id, &mut |entry| {
            path.truncate(own);
            join(&mut path, &entry.name);
            let node = match tree.node(entry.id) {
                Ok(node) => node,
                Err(error) => {
                    trouble(&path, error);
                    return ControlFlow::Continue(());
                }
            };
            let found = Found {
                path: &path,
                id: entry.id,
                node: &node,
            };
            if visit(found).is_break() {
                enough = true;
                return ControlFlow::Break(());
            }
            if node.kind == NodeKind::Directory
                && let Err(error) = pending.push(entry, directory.depth + 1)
            {
                trouble(&path, error);
            }
            ControlFlow::Continue(())
        });
        if enough {
            return;
        }
        if let Err(error) = listed {
            path.truncate(own);
            trouble(&path, error);
        }
    }
}

fn join(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(name);
}

/// Directories that were met and are to be entered, the last one first.
struct Pending {
    list: Vec<Directory>,
    /// What the names in `list` take.
    bytes: usize,
    seen: HashSet<NodeId>,
}

struct Directory {
    name: Box<str>,
    id: NodeId,
    depth: usize,
}

impl Pending {
    fn of(root: NodeId) -> Pending {
        let name = "".into();
        let (id, depth) = (root, 0);
        Pending {
            list: vec![Directory { name, id, depth }],
            bytes: 0,
            seen: HashSet::from([root]),
        }
    }

    fn pop(&mut self) -> Option<Directory> {
        let directory = self.list.pop()?;
        self.bytes = self.bytes.saturating_sub(cost(&directory.name));
        Some(directory)
    }

    /// Nothing for one that was met before.
    fn push(&mut self, entry: Entry, depth: usize) -> Result<(), TreeError> {
        if depth > DEPTH_LIMIT {
            return Err(TreeError::TooMany("directories in directories"));
        }
        if self.bytes + cost(&entry.name) > PENDING_LIMIT {
            return Err(TreeError::TooMany("directories beside each other"));
        }
        if self.seen.len() >= SEEN_LIMIT && !self.seen.contains(&entry.id) {
            return Err(TreeError::TooMany("directories"));
        }
        if self.seen.insert(entry.id) {
            self.bytes += cost(&entry.name);
            self.list.push(Directory {
                name: entry.name.into(),
                id: entry.id,
                depth,
            });
        }
        Ok(())
    }
}

/// The name, what the allocator puts around it, and its place in the list.
fn cost(name: &str) -> usize {
    name.len() + 16 + size_of::<Directory>()
}
