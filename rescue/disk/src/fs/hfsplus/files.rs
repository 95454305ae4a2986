//! Folders and files, read under the replayed journal. A node's number is where its record is in the catalog.

use super::catalog::{self, Private, ROOT_FOLDER, ROOT_PARENT};
use super::fork::Fork;
use super::header::{self, Header};
use super::journal::Journal;
use super::node::{Btree, Kind};
use super::overlay::Overlay;
use super::volume::{Place, Volume, Which};
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::fs::tree::{Content, Each, Entry, Node, NodeId, NodeKind, Piece, Tree, TreeError};
use crate::source::{BlockSource, ReadError};

/// From 1904 to 1970.
const EPOCH: i64 = 2_082_844_800;
/// `UF_COMPRESSED`, in the flags an owner may set.
const COMPRESSED: u8 = 0x20;
/// `kHFSHasLinkChainMask`.
const LINK_CHAIN: u16 = 0x20;
/// What an entry costs of the budget, in bytes.
const COST: u64 = 64;

/// Opens the files even where the used map would not be given: with a journal that cannot be replayed, as they
/// stand on the disk.
pub(super) fn open<'a>(source: &'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError> {
    let sector = header::primary(source)?.ok_or(TreeError::Damaged("it is not HFS+"))?;
    let header = Header::parse(source, &sector).map_err(error)?;
    let volume = match replayed(source, &header) {
        Ok(Some(volume)) => volume,
        Err(Trouble::Read(ReadError::Gone(what))) => {
            return Err(TreeError::Read(ReadError::Gone(what)));
        }
        Ok(None) | Err(_) => Volume::new(Overlay::none(source), header),
    };
    let files = Files::of(volume).map_err(error)?;
    Ok(Box::new(files))
}

fn replayed<'a>(
    source: &'a dyn BlockSource,
    header: &Header,
) -> Result<Option<Volume<'a>>, Trouble> {
    let journal = Journal::open(source, header)?;
    let Some(journal) = journal.as_ref().and_then(Journal::waiting) else {
        return Ok(None);
    };
    let volume = Volume::replayed(source, journal.replay()?.pieces)?;
    Ok(volume.header.same_shape(header).then_some(volume))
}

fn error(trouble: Trouble) -> TreeError {
    match trouble {
        Trouble::Read(error) => TreeError::Read(error),
        Trouble::Refused(_) => TreeError::Damaged("one of its records is not what it should be"),
    }
}

/// The files of one volume.
struct Files<'a> {
    volume: Volume<'a>,
    catalog: Btree,
    root: Place,
    /// The folders of the files and the folders behind hard links.
    private: [Option<u32>; 2],
}

/// What the catalog says of a file or a folder.
struct Record(Vec<u8>);

impl Tree for Files<'_> {
    fn root(&self) -> NodeId {
        id(self.root)
    }

    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError> {
        let record = self.record(place(directory)?).map_err(error)?;
        let folder = record
            .folder()
            .ok_or(TreeError::Damaged("a folder is something else"))?;
        let mut show = |place, name: &[u8], data: &[u8]| {
            self.volume.spend(COST)?;
            let record = Record(data.to_vec());
            let hidden = folder == ROOT_FOLDER && Private::of(name).is_some();
            if hidden || record.kind().is_none() {
                return Ok(true);
            }
            // A link whose target is not there is still an entry.
            let (place, record) = match self.target(&record) {
                Ok(Some(target)) => target,
                Ok(None) => (place, record),
                Err(Trouble::Read(error)) => return Err(Trouble::Read(error)),
                Err(Trouble::Refused(_)) => (place, record),
            };
            let entry = Entry {
                name: catalog::file_name(name),
                id: id(place),
                kind: record.kind().unwrap_or(NodeKind::Special),
            };
            Ok(each(entry).is_continue())
        };
        catalog::children(&self.volume, &self.catalog, folder, &mut show).map_err(error)
    }

    fn node(&self, id: NodeId) -> Result<Node, TreeError> {
        let record = self.record(place(id)?).map_err(error)?;
        let Some(kind) = record.kind() else {
            return Err(TreeError::Damaged("a file has no record"));
        };
        if record.link().is_some() {
            return Err(TreeError::Damaged("a hard link leads nowhere"));
        }
        let (size_bytes, content) = match kind {
            NodeKind::File | NodeKind::Symlink => self.content(&record).map_err(error)?,
            NodeKind::Directory | NodeKind::Special => (0, Content::Inline(Vec::new())),
        };
        Ok(Node {
            kind,
            size_bytes,
            modified: record.modified(),
            content,
        })
    }
}

impl<'a> Files<'a> {
    fn of(volume: Volume<'a>) -> Result<Files<'a>, Trouble> {
        let catalog = volume.catalog()?;
        let mut root = None;
        catalog::children(&volume, &catalog, ROOT_PARENT, &mut |place, _, data| {
            let record = Record(data.to_vec());
            root = (record.folder() == Some(ROOT_FOLDER)).then_some(place);
            Ok(root.is_none())
        })?;
        let Some(root) = root else {
            return refused("it has no root folder");
        };
        let mut private = [None; 2];
        catalog::children(&volume, &catalog, ROOT_FOLDER, &mut |_, name, data| {
            if let Some(kind) = Private::of(name) {
                private[kind as usize] = Record(data.to_vec()).folder();
            }
            Ok(private.contains(&None))
        })?;
        Ok(Files {
            volume,
            catalog,
            root,
            private,
        })
    }

    fn record(&self, place: Place) -> Result<Record, Trouble> {
        let node = self.volume.node(&self.catalog, place.node)?;
        match node.record(place.index.into()) {
            Some(record) if node.kind == Kind::Leaf => Ok(Record(record.data().to_vec())),
            _ => refused("a record of its catalog is not there"),
        }
    }

    /// What a hard link leads to; `None` for what is no link.
    fn target(&self, record: &Record) -> Result<Option<(Place, Record)>, Trouble> {
        let Some((kind, number)) = record.link() else {
            return Ok(None);
        };
        let Some(folder) = self.private[kind as usize] else {
            return refused("a hard link leads nowhere");
        };
        let name = kind.target(number);
        let Some(place) = catalog::find(&self.volume, &self.catalog, folder, &name)? else {
            return refused("a hard link leads nowhere");
        };
        Ok(Some((place, self.record(place)?)))
    }

    fn content(&self, record: &Record) -> Result<(u64, Content), Trouble> {
        let (Some(number), Some(data), Some(resource)) =
            (record.number(), record.fork(88), record.fork(168))
        else {
            return refused("a record of its catalog is cut off");
        };
        let (fork, which) = match record.compressed() {
            true => (resource, Which::Resource),
            false => (data, Which::Data),
        };
        let stream = self.volume.stream(&fork, number, which)?;
        let pieces = stream.pieces().map(|(at, extent)| Piece { at, extent });
        self.volume.spend(COST * stream.pieces().count() as u64)?;
        let content = match which {
            Which::Data => Content::Pieces(pieces.collect()),
            Which::Resource => Content::Opaque {
                why: "it is compressed by macOS",
                extents: pieces.map(|piece| piece.extent).collect(),
            },
        };
        Ok((stream.size_bytes, content))
    }
}

impl Record {
    fn fields(&self) -> Fields<'_> {
        Fields(&self.0)
    }

    /// `None` for a thread, which only leads back to a name.
    fn kind(&self) -> Option<NodeKind> {
        let fields = self.fields();
        match fields.be16(0)? {
            1 => Some(NodeKind::Directory),
            2 => Some(match fields.be16(42)? & 0xF000 {
                0xA000 => NodeKind::Symlink,
                0x1000 | 0x2000 | 0x6000 | 0xC000 => NodeKind::Special,
                _ => NodeKind::File,
            }),
            _ => None,
        }
    }

    fn number(&self) -> Option<u32> {
        self.fields().be32(8)
    }

    fn folder(&self) -> Option<u32> {
        (self.kind()? == NodeKind::Directory).then(|| self.number())?
    }

    fn fork(&self, at: usize) -> Option<Fork> {
        Fork::parse(self.fields().bytes(at, Fork::LEN)?)
    }

    fn modified(&self) -> Option<i64> {
        let seconds = self.fields().be32(16).filter(|seconds| *seconds != 0)?;
        Some(i64::from(seconds) - EPOCH)
    }

    fn compressed(&self) -> bool {
        let flags = self.fields().u8(41).unwrap_or(0);
        flags & COMPRESSED != 0 && self.fork(88).is_some_and(|data| data.size_bytes == 0)
    }

    /// Of a hard link, where its target is and the number in its name.
    fn link(&self) -> Option<(Private, u32)> {
        let fields = self.fields();
        if fields.be16(0)? != 2 {
            return None;
        }
        let kind = match fields.bytes(48, 8)? {
            b"hlnkhfs+" => Private::Files,
            b"fdrpMACS" if fields.be16(2)? & LINK_CHAIN != 0 => Private::Folders,
            _ => return None,
        };
        Some((kind, fields.be32(44)?))
    }
}

fn id(place: Place) -> NodeId {
    NodeId(u64::from(place.node) << 16 | u64::from(place.index))
}

fn place(id: NodeId) -> Result<Place, TreeError> {
    let node = u32::try_from(id.0 >> 16);
    Ok(Place {
        node: node.map_err(|_| TreeError::Damaged("a file has no record"))?,
        index: u16::try_from(id.0 & 0xFFFF).expect("sixteen bits fit"),
    })
}
