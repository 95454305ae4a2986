//! Files. At the root is a folder for each volume of the container, named as the volume is.

use std::ops::ControlFlow;

use super::container::Container;
use super::node::{Node as TreeNode, Shape};
use super::record::{About, Attribute, FileExtent, ID, ID_BITS, Inode, Name, attribute};
use super::volume::{self, Volume};
use super::{Trouble, refused, superblock};
use crate::extent::Extent;
use crate::fields::Fields;
use crate::fs::tree::{Content, Each, Entry, Node, NodeId, NodeKind, Piece, Tree, TreeError};
use crate::source::BlockSource;

/// The folder of the volumes.
const ROOT: NodeId = NodeId(u64::MAX);
/// The inode of a volume's root folder.
const TOP: u64 = 2;
/// Bits of a number for an inode, its mark for the system volume of a group among them; above are those for the volume.
const INODE_BITS: u32 = 57;
/// `UNIFIED_ID_SPACE_MARK` as the inode has it, and where it is kept here.
const MARK: u64 = 1 << 59;
const KEPT_MARK: u64 = 1 << 56;
/// Most pieces of one file: 24 MiB of them.
const PIECES: usize = 1 << 20;
/// What a record costs of the budget, beside the block it stands in.
const COST: u64 = 1;

const DAMAGED: &str = "one of its records is not what it should be";
const LINK: &[u8] = b"com.apple.fs.symlink";
const RESOURCES: &[u8] = b"com.apple.ResourceFork";

pub(super) fn open<'a>(source: &'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError> {
    let head = superblock::head(source)?.ok_or(TreeError::Damaged("it is not APFS"))?;
    let container = Container::open(source, &head).map_err(error)?;
    let volumes = volume::all(&container).map_err(error)?;
    Ok(Box::new(Files { container, volumes }))
}

fn error(trouble: Trouble) -> TreeError {
    match trouble {
        Trouble::Read(error) => TreeError::Read(error),
        Trouble::Refused(_) => TreeError::Damaged(DAMAGED),
    }
}

struct Files<'a> {
    container: Container<'a>,
    volumes: Vec<Volume>,
}

/// Where a file is: which of the volumes, and its inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    volume: usize,
    inode: u64,
}

impl Place {
    fn of(id: NodeId) -> Place {
        let kept = id.0 & ((1 << INODE_BITS) - 1);
        let mark = if kept & KEPT_MARK != 0 { MARK } else { 0 };
        Place {
            volume: usize::try_from(id.0 >> INODE_BITS).expect("seven bits fit"),
            inode: kept & !KEPT_MARK | mark,
        }
    }

    fn id(self) -> Result<NodeId, TreeError> {
        let plain = self.inode & !MARK;
        if plain >= KEPT_MARK {
            return Err(TreeError::Unsupported("a file has too large a number"));
        }
        let mark = if self.inode & MARK != 0 { KEPT_MARK } else { 0 };
        Ok(NodeId((self.volume as u64) << INODE_BITS | mark | plain))
    }
}

/// Takes the key and the value of a record and says whether it wants more.
type Take<'t> = &'t mut dyn FnMut(Fields<'_>, Fields<'_>) -> Result<ControlFlow<()>, Trouble>;

impl Tree for Files<'_> {
    fn root(&self) -> NodeId {
        ROOT
    }

    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError> {
        if directory == ROOT {
            return self.list_volumes(each);
        }
        let place = Place::of(directory);
        let volume = self.readable(place)?;
        if self.inode(place)?.kind != NodeKind::Directory {
            return Err(TreeError::Damaged("a folder is something else"));
        }
        let mut failed = None;
        let mut show = |key: Fields<'_>, value: Fields<'_>| {
            let Some(name) = Name::parse(key, value, volume.hashed) else {
                return refused("a name is damaged");
            };
            let place = Place {
                volume: place.volume,
                inode: name.inode,
            };
            match place.id() {
                Ok(id) => Ok(each(Entry {
                    name: name.shown,
                    id,
                    kind: name.kind,
                })),
                Err(error) => {
                    failed = Some(error);
                    Ok(ControlFlow::Break(()))
                }
            }
        };
        self.records(volume, place.inode, About::Name, &mut show)
            .map_err(error)?;
        failed.map_or(Ok(()), Err)
    }

    fn node(&self, id: NodeId) -> Result<Node, TreeError> {
        let place = Place::of(id);
        if id == ROOT || (place.inode == TOP && !self.volume(place)?.is_read()) {
            return Ok(Node {
                kind: NodeKind::Directory,
                size_bytes: 0,
                modified: None,
                content: Content::Inline(Vec::new()),
            });
        }
        let volume = self.readable(place)?;
        let inode = self.inode(place)?;
        let (size_bytes, content) = match inode.kind {
            NodeKind::File => self.content(volume, place.inode, &inode)?,
            NodeKind::Symlink => self.link(volume, place.inode)?,
            NodeKind::Directory | NodeKind::Special => (0, Content::Inline(Vec::new())),
        };
        Ok(Node {
            kind: inode.kind,
            size_bytes,
            modified: Some(inode.modified),
            content,
        })
    }
}

impl Files<'_> {
    fn list_volumes(&self, each: Each<'_>) -> Result<(), TreeError> {
        for (number, volume) in self.volumes.iter().enumerate() {
            let top = Place {
                volume: number,
                inode: TOP,
            };
            let entry = Entry {
                name: volume.folder(number),
                id: top.id()?,
                kind: NodeKind::Directory,
            };
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn volume(&self, place: Place) -> Result<&Volume, TreeError> {
        let volume = self.volumes.get(place.volume);
        volume.ok_or(TreeError::Damaged("a file is on no volume"))
    }

    fn readable(&self, place: Place) -> Result<&Volume, TreeError> {
        match self.volume(place)? {
            volume if volume.encrypted => Err(TreeError::Unsupported("the volume is encrypted")),
            volume if volume.sealed => Err(TreeError::Unsupported("the volume is sealed")),
            volume => Ok(volume),
        }
    }

    fn inode(&self, place: Place) -> Result<Inode, TreeError> {
        let mut found = None;
        let volume = self.volume(place)?;
        let mut take = |_: Fields<'_>, value: Fields<'_>| {
            found = Inode::parse(value);
            Ok(ControlFlow::Break(()))
        };
        self.records(volume, place.inode, About::Inode, &mut take)
            .map_err(error)?;
        found.ok_or(TreeError::Damaged("a file has no record"))
    }

    fn content(
        &self,
        volume: &Volume,
        inode: u64,
        record: &Inode,
    ) -> Result<(u64, Content), TreeError> {
        if !record.compressed {
            return Ok((
                record.size_bytes,
                Content::Pieces(self.pieces(volume, record.data)?),
            ));
        }
        let mut stream = None;
        self.attribute(volume, inode, RESOURCES, &mut |found| {
            if let Attribute::Stream(number) = found {
                stream = Some(number);
            }
        })?;
        let pieces = match stream {
            Some(number) => self.pieces(volume, number)?,
            None => Vec::new(),
        };
        let content = Content::Opaque {
            why: "it is compressed by macOS",
            extents: pieces.into_iter().map(|piece| piece.extent).collect(),
        };
        Ok((record.size_bytes, content))
    }

    fn link(&self, volume: &Volume, inode: u64) -> Result<(u64, Content), TreeError> {
        let mut target = Vec::new();
        self.attribute(volume, inode, LINK, &mut |found| {
            if let Attribute::Here(bytes) = found {
                target = bytes.strip_suffix(&[0]).unwrap_or(bytes).to_vec();
            }
        })?;
        Ok((target.len() as u64, Content::Inline(target)))
    }

    fn attribute(
        &self,
        volume: &Volume,
        inode: u64,
        wanted: &[u8],
        found: &mut dyn FnMut(Attribute<'_>),
    ) -> Result<(), TreeError> {
        let mut take = |key: Fields<'_>, value: Fields<'_>| match attribute(key, value) {
            None => refused("an attribute is damaged"),
            Some((name, here)) if name == wanted => {
                found(here);
                Ok(ControlFlow::Break(()))
            }
            Some(_) => Ok(ControlFlow::Continue(())),
        };
        self.records(volume, inode, About::Attribute, &mut take)
            .map_err(error)
    }

    fn pieces(&self, volume: &Volume, number: u64) -> Result<Vec<Piece>, TreeError> {
        let mut pieces: Vec<Piece> = Vec::new();
        let size = self.container.block_size();
        let mut take = |key: Fields<'_>, value: Fields<'_>| {
            let Some(found) = FileExtent::parse(key, value) else {
                return refused("an extent is damaged");
            };
            let end = pieces.last().map_or(0, |last| last.at + last.extent.len());
            let start = found.block.checked_mul(size);
            let extent = start.and_then(|start| Extent::new(start, found.len));
            match extent {
                _ if found.block == 0 || found.len == 0 => return Ok(ControlFlow::Continue(())),
                Some(extent)
                    if extent.end() <= self.container.size_bytes()
                        && found.at >= end
                        && found.at.checked_add(found.len).is_some() =>
                {
                    pieces.push(Piece {
                        at: found.at,
                        extent,
                    });
                }
                _ => return refused("an extent is damaged"),
            }
            match pieces.len() < PIECES {
                true => Ok(ControlFlow::Continue(())),
                false => refused("a file is in too many pieces"),
            }
        };
        self.records(volume, number, About::Extent, &mut take)
            .map_err(error)?;
        Ok(pieces)
    }

    /// Hands over the records of a number that tell of something, in their order.
    fn records(
        &self,
        volume: &Volume,
        number: u64,
        about: About,
        take: Take<'_>,
    ) -> Result<(), Trouble> {
        let wanted = (number & ID, about as u64);
        self.below(volume, (volume.root, None), wanted, take)
            .map(|_| ())
    }

    /// As [`Files::records`], below one node; its level goes down by one each time, so this ends.
    fn below(
        &self,
        volume: &Volume,
        (oid, level): (u64, Option<u16>),
        wanted: (u64, u64),
        take: Take<'_>,
    ) -> Result<ControlFlow<()>, Trouble> {
        let container = &self.container;
        let mapped = volume.omap.find(container, oid, container.superblock.xid)?;
        let Some(mapped) = mapped.filter(|mapped| mapped.size == container.block_size()) else {
            return refused("a node of a volume is not where it should be");
        };
        let bytes = container.remembered(mapped.place, &mut |bytes| {
            TreeNode::checked(bytes, oid, Shape::FILES).map(|_| ())
        })?;
        let Some(node) = TreeNode::parse(&bytes, Shape::FILES) else {
            return refused("a node of a volume is something else");
        };
        if level.is_some_and(|level| level != node.level) {
            return refused("the tree of a volume leads back into itself");
        }
        let first = first_of(&node, wanted)?;
        // The child before the first key that is not below may end with records that are wanted.
        let first = if node.is_leaf() {
            first
        } else {
            first.saturating_sub(1)
        };
        for nth in first..node.count {
            container.spend(COST)?;
            let (key, value) = node.record(nth)?;
            let rank = rank(key)?;
            if rank > wanted {
                return Ok(ControlFlow::Break(()));
            }
            let flow = match node.is_leaf() {
                true => take(Fields(key), Fields(value))?,
                false => {
                    let child = (node.child(nth)?, node.level.checked_sub(1));
                    self.below(volume, child, wanted, take)?
                }
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What the records of a tree of files are sorted by first: the number, then what they tell of.
fn rank(key: &[u8]) -> Result<(u64, u64), Trouble> {
    match Fields(key).u64(0) {
        Some(key) => Ok((key & ID, key >> ID_BITS)),
        None => refused("a key of a volume is cut off"),
    }
}

/// The first record whose key is not below the one wanted.
fn first_of(node: &TreeNode<'_>, wanted: (u64, u64)) -> Result<usize, Trouble> {
    let (mut from, mut to) = (0, node.count);
    while from < to {
        let middle = from + (to - from) / 2;
        match rank(node.record(middle)?.0)? < wanted {
            true => from = middle + 1,
            false => to = middle,
        }
    }
    Ok(from)
}
