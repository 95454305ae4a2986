//! A filesystem as far as it lies on this disk: nodes by their addresses, items by their keys.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::{ControlFlow, RangeInclusive};
use std::rc::Rc;

use super::chunk::{CHUNK_ITEM, Chunks};
use super::item::ROOT_ITEM;
use super::node::{self, Key, Node, Owner, Pointer};
use super::superblock::Superblock;
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::source::{BlockSource, ReadError};

/// Nodes that are kept: 2 MiB of the largest.
const KEPT: usize = 32;

pub(super) struct Volume<'a> {
    pub source: &'a dyn BlockSource,
    pub superblock: Superblock,
    pub chunks: Chunks,
    kept: RefCell<VecDeque<(Pointer, Rc<Node>)>>,
    /// Nodes that were read from their second copy.
    pub seconds: Cell<u64>,
}

/// What a walk meets.
pub(super) enum Met<'a> {
    /// A node, by its address, before its children or items.
    Node(u64),
    Item(Key, Fields<'a>),
}

/// Whether to go on.
pub(super) type Flow = Result<ControlFlow<()>, Trouble>;
pub(super) const ON: Flow = Ok(ControlFlow::Continue(()));

impl<'a> Volume<'a> {
    /// Reads the tree of chunks by the chunks that the superblock lists.
    pub fn open(
        source: &'a dyn BlockSource,
        superblock: Superblock,
    ) -> Result<Volume<'a>, Trouble> {
        let system = Volume {
            source,
            chunks: Chunks::system(&superblock)?,
            superblock,
            kept: RefCell::default(),
            seconds: Cell::default(),
        };
        let mut chunks = Chunks::default();
        let device = system.superblock.device.id;
        let root = system.superblock.chunk_root;
        system.items(root, Key::FIRST..=Key::LAST, &mut |key, item| {
            if key.kind == CHUNK_ITEM {
                chunks.push(item, key.offset, device)?;
            }
            ON
        })?;
        chunks.taken(&system.superblock)?;
        Ok(Volume { chunks, ..system })
    }

    /// Shows the items of a tree between two keys, in order, until `each` has enough.
    pub fn items(
        &self,
        root: Pointer,
        keys: RangeInclusive<Key>,
        each: &mut dyn FnMut(Key, Fields<'_>) -> Flow,
    ) -> Result<(), Trouble> {
        self.walk(root, keys, &mut |met| match met {
            Met::Item(key, item) => each(key, item),
            Met::Node(_) => ON,
        })
    }

    /// As [`Volume::items`], with the nodes on the way to them.
    pub fn walk(
        &self,
        root: Pointer,
        keys: RangeInclusive<Key>,
        visit: &mut dyn FnMut(Met<'_>) -> Flow,
    ) -> Result<(), Trouble> {
        let mut walk = Walk {
            volume: self,
            keys,
            last: None,
            visit,
        };
        walk.node(root, None).map(|_| ())
    }

    /// Where a tree begins, by the tree of roots.
    pub fn root(&self, id: u64, owner: Owner) -> Result<Option<Pointer>, Trouble> {
        let keys = Key::new(id, ROOT_ITEM, 0)..=Key::new(id, ROOT_ITEM, u64::MAX);
        let mut found = None;
        self.items(self.superblock.root, keys, &mut |_, item| {
            found = Some(root_of(item, owner)?);
            ON
        })?;
        Ok(found)
    }

    /// A node from the first copy of it on this disk that is whole.
    fn node(&self, pointer: Pointer) -> Result<Rc<Node>, Trouble> {
        let mut kept = self.kept.borrow_mut();
        if let Some(at) = kept.iter().position(|(known, _)| *known == pointer) {
            let (_, node) = &kept[at];
            return Ok(Rc::clone(node));
        }
        let mut trouble = None;
        for copy in 0..2 {
            let read = match self.read(pointer.logical, self.superblock.node_size, copy) {
                Ok(Some(raw)) => node::parse(raw, pointer, &self.superblock),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            match read {
                Ok(node) => {
                    self.seconds.set(self.seconds.get() + u64::from(copy > 0));
                    let node = Rc::new(node);
                    kept.truncate(KEPT - 1);
                    kept.push_front((pointer, Rc::clone(&node)));
                    return Ok(node);
                }
                Err(Trouble::Read(ReadError::Gone(what))) => {
                    return Err(ReadError::Gone(what).into());
                }
                Err(other) => trouble = trouble.or(Some(other)),
            }
        }
        Err(trouble.unwrap_or(Trouble::Elsewhere))
    }

    /// Bytes by their address, from the first or the second copy here; `None` where this disk has no such copy.
    fn read(&self, logical: u64, len: u64, copy: usize) -> Result<Option<Vec<u8>>, Trouble> {
        let Some((_, chunk)) = self.chunks.find(logical, len) else {
            return refused("a node of its trees lies in no chunk");
        };
        let size = usize::try_from(len).expect("a node has 64 KiB at most");
        let mut bytes = vec![0; size];
        let (mut rest, mut at) = (bytes.as_mut_slice(), logical - chunk.start);
        while !rest.is_empty() {
            let (mut copies, run) = chunk.copies(at);
            let Some(place) = copies.nth(copy) else {
                return Ok(None);
            };
            let run = run.min(rest.len() as u64);
            let (piece, tail) = rest.split_at_mut(usize::try_from(run).expect("it is in the node"));
            self.source.read_at(place, piece)?;
            (rest, at) = (tail, at + run);
        }
        Ok(Some(bytes))
    }
}

/// Where the tree of this `ROOT_ITEM` begins.
pub(super) fn root_of(item: Fields<'_>, owner: Owner) -> Result<Pointer, Trouble> {
    let pointer = || {
        Some(Pointer {
            logical: item.u64(176)?,
            level: item.u8(238).filter(|level| *level < 8)?,
            generation: item.u64(160)?,
            owner,
        })
    };
    pointer().ok_or(Trouble::Refused("the root of a tree is damaged".into()))
}

struct Walk<'a> {
    volume: &'a Volume<'a>,
    keys: RangeInclusive<Key>,
    last: Option<Key>,
    visit: &'a mut dyn FnMut(Met<'_>) -> Flow,
}

impl Walk<'_> {
    /// The level falls with each step, and the keys ascend over the whole tree: a walk ends, and meets nothing twice.
    fn node(&mut self, pointer: Pointer, first: Option<Key>) -> Flow {
        let node = self.volume.node(pointer)?;
        let is_root = first.is_none();
        if !is_root && (node.count == 0 || first != Some(node.key(0))) {
            return refused("a node of its trees does not begin as its parent says");
        }
        if (self.visit)(Met::Node(pointer.logical))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        for n in 0..node.count {
            let key = node.key(n);
            let next = (n + 1 < node.count).then(|| node.key(n + 1));
            if key > *self.keys.end() {
                return Ok(ControlFlow::Break(()));
            }
            let before = match node.level {
                0 => key < *self.keys.start(),
                _ => next.is_some_and(|next| next <= *self.keys.start()),
            };
            if before {
                continue;
            }
            let flow = match node.level {
                0 => self.item(&node, n, key)?,
                level => {
                    let (logical, generation) = node.child(n);
                    let child = Pointer {
                        logical,
                        level: level - 1,
                        generation,
                        owner: pointer.owner,
                    };
                    self.node(child, Some(key))?
                }
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        ON
    }

    fn item(&mut self, node: &Node, n: usize, key: Key) -> Flow {
        if self.last.is_some_and(|last| last >= key) {
            return refused("a tree is out of order");
        }
        self.last = Some(key);
        match node.item(n) {
            Some(item) => (self.visit)(Met::Item(key, item)),
            None => refused("an item lies outside of its node"),
        }
    }
}
