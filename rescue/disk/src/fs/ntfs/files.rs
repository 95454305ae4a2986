//! The files of a volume. A node's number is its reference: record number and sequence number.

use std::ops::ControlFlow;

use super::boot;
use super::index::{self, Name};
use super::mft::{DATA, Volume};
use super::record::{Body, Record, Reference, What};
use super::reparse::{self, Reparse};
use super::stream::{Stream, Value};
use crate::extent::Extent;
use crate::fields::Fields;
use crate::fs::tree::{Content, Each, Entry, Node, NodeId, NodeKind, Tree, TreeError};
use crate::source::BlockSource;

const ROOT_RECORD: u64 = 5;
const STANDARD: u32 = 0x10;
const REPARSE: u32 = 0xC0;
const OVERLAY: What = What {
    kind: DATA,
    name: "WofCompressedData",
};
/// As large as the data of a reparse point gets.
const REPARSE_LIMIT: u64 = 16 << 10;
/// Attributes of a file: its content has to be fetched first ([MS-FSCC] 2.6).
const OFFLINE: u32 = 0x1000 | 0x40_0000;
const NAMES_A_DIRECTORY: u32 = 0x1000_0000;

pub(super) struct Files<'a>(Volume<'a>);

pub(super) fn open<'a>(source: &'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError> {
    let found = boot::find_any(source)?.ok_or(TreeError::Damaged("it has no boot sector"))?;
    let boot = found.boot.map_err(TreeError::Damaged)?;
    Ok(Box::new(Files(Volume::open(source, boot)?)))
}

impl Tree for Files<'_> {
    fn root(&self) -> NodeId {
        ROOT
    }

    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError> {
        entries(&self.0, directory, each)
    }

    fn node(&self, id: NodeId) -> Result<Node, TreeError> {
        node(&self.0, id)
    }
}

/// Its sequence number never changes.
pub(super) const ROOT: NodeId = NodeId(ROOT_RECORD << 48 | ROOT_RECORD);

pub(super) fn entries(
    volume: &Volume<'_>,
    directory: NodeId,
    each: Each<'_>,
) -> Result<(), TreeError> {
    let reference = Reference(directory.0);
    let record = volume.file(reference)?;
    if !record.is_directory() {
        return Err(TreeError::Damaged("a file is taken for a directory"));
    }
    index::names(volume, &record, reference.number(), &mut |name| {
        if name.file.number() == reference.number() {
            return ControlFlow::Continue(());
        }
        each(Entry {
            kind: kind(&name),
            id: NodeId(name.file.0),
            name: name.text,
        })
    })
}

/// The first bytes of a file in the root, its name's case ignored; `None` where there is none.
pub(super) fn start_of(
    volume: &Volume<'_>,
    name: &str,
    len: u64,
) -> Result<Option<Vec<u8>>, TreeError> {
    let mut found = None;
    entries(volume, ROOT, &mut |entry| {
        if !entry.name.eq_ignore_ascii_case(name) {
            return ControlFlow::Continue(());
        }
        found = Some(entry.id);
        ControlFlow::Break(())
    })?;
    found
        .map(|id| node(volume, id)?.read(volume.source, len))
        .transpose()
}

fn kind(name: &Name) -> NodeKind {
    let plain = if name.attributes & NAMES_A_DIRECTORY != 0 {
        NodeKind::Directory
    } else {
        NodeKind::File
    };
    if name.attributes & reparse::ATTRIBUTE != 0 {
        Reparse::of(name.tag).kind(plain)
    } else {
        plain
    }
}

pub(super) fn node(volume: &Volume<'_>, id: NodeId) -> Result<Node, TreeError> {
    let reference = Reference(id.0);
    let record = volume.file(reference)?;
    let file = File {
        volume,
        number: reference.number(),
        standard: standard(&record)?,
        record,
    };
    let (kind, size_bytes, content) = file.content()?;
    Ok(Node {
        kind,
        size_bytes,
        modified: file.standard.modified,
        content,
    })
}

/// What $STANDARD_INFORMATION says.
#[derive(Clone, Copy, Default)]
struct Standard {
    modified: Option<i64>,
    attributes: u32,
}

fn standard(record: &Record<Vec<u8>>) -> Result<Standard, TreeError> {
    let found = record.find(What::unnamed(STANDARD));
    let Some(Body::Resident(bytes)) = found.map_err(TreeError::Damaged)?.map(|a| a.body) else {
        return Ok(Standard::default());
    };
    let fields = Fields(bytes);
    Ok(Standard {
        modified: fields.u64(8).map(unix_seconds),
        attributes: fields.u32(32).unwrap_or(0),
    })
}

/// From 100 ns since 1601.
fn unix_seconds(time: u64) -> i64 {
    const EPOCH: i64 = 11_644_473_600;
    i64::try_from(time / 10_000_000).expect("it is below 2^63") - EPOCH
}

struct File<'v> {
    volume: &'v Volume<'v>,
    number: u64,
    standard: Standard,
    record: Record<Vec<u8>>,
}

impl File<'_> {
    fn value(&self, what: What) -> Result<Option<Value>, TreeError> {
        self.volume.value(&self.record, self.number, what)
    }

    fn content(&self) -> Result<(NodeKind, u64, Content), TreeError> {
        let reparse = match self.value(What::unnamed(REPARSE))? {
            Some(value) => value.read(self.volume.source, REPARSE_LIMIT)?,
            None => Vec::new(),
        };
        let tag = Fields(&reparse).u32(0).map(Reparse::of);
        if tag == Some(Reparse::Link) {
            let target = reparse::target(&reparse)
                .ok_or(TreeError::Damaged("a link leads nowhere"))?
                .into_bytes();
            let size = target.len() as u64;
            return Ok((NodeKind::Symlink, size, Content::Inline(target)));
        }
        if self.record.is_directory() {
            let (size, content) = stored(self.value(index::BLOCKS)?);
            return Ok((NodeKind::Directory, size, content));
        }
        let (size, content) = stored(self.value(What::unnamed(DATA))?);
        let content = match tag {
            Some(Reparse::Overlay) => {
                let mut extents = self.extents(OVERLAY)?;
                extents.extend(self.extents(What::unnamed(DATA))?);
                Content::Opaque {
                    why: "compressed by Windows (overlay filter)",
                    extents,
                }
            }
            Some(Reparse::Cloud) if self.standard.attributes & OFFLINE != 0 => Content::Opaque {
                why: "its content is in the cloud",
                extents: self.extents(What::unnamed(DATA))?,
            },
            Some(Reparse::Other) => Content::Opaque {
                why: "only the program that stored it can put it together",
                extents: self.extents(What::unnamed(DATA))?,
            },
            _ => content,
        };
        let kind = tag.map_or(NodeKind::File, |tag| tag.kind(NodeKind::File));
        Ok((kind, size, content))
    }

    fn extents(&self, what: What) -> Result<Vec<Extent>, TreeError> {
        Ok(match self.value(what)? {
            Some(Value::Stream(stream)) => stream.extents().collect(),
            Some(Value::Resident(_)) | None => Vec::new(),
        })
    }
}

/// Size and content of an attribute.
fn stored(value: Option<Value>) -> (u64, Content) {
    match value {
        None => (0, Content::Inline(Vec::new())),
        Some(Value::Resident(bytes)) => (bytes.len() as u64, Content::Inline(bytes)),
        Some(Value::Stream(stream)) => (stream.size, clusters(&stream)),
    }
}

fn clusters(stream: &Stream) -> Content {
    let opaque = |why| Content::Opaque {
        why,
        extents: stream.extents().collect(),
    };
    if stream.flags.encrypted() {
        opaque("encrypted by Windows (EFS)")
    } else if stream.flags.compressed() {
        opaque("compressed by NTFS")
    } else {
        Content::Pieces(stream.pieces(0, stream.initialized).collect())
    }
}
