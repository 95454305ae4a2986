//! `rescue ls`: the files of an image or a disk.

use std::io::{self, Write};
use std::ops::ControlFlow;

use disk::fs::tree::{Entry, Node, NodeKind, TreeError};
use disk::layer::Keys;
use disk::layout::Layout;
use disk::size::Size;
use disk::source::BlockSource;
use engine::clock;
use engine::files::{Files, Spot, list};
use engine::host::Host;
use engine::request::Origin;
use engine::unlock::{self, Trouble};
use image::reader::Reader;
use serde::Serialize;

use crate::words::Output;
use crate::{Exit, Streams};

/// A symbolic link that is longer is damaged.
const LINK_LIMIT: u64 = 4096;

pub fn run(
    from: &Origin,
    path: &str,
    keys: &Keys,
    output: &Output,
    streams: &mut Streams<'_>,
) -> Exit {
    let (source, layout) = match open(from, keys) {
        Ok(opened) => opened,
        Err((exit, sentence)) => return super::end(exit, &sentence, streams),
    };
    let files = Files {
        source: &*source,
        layout: &layout,
        keys,
    };
    let at_top = path.split('/').all(|name| matches!(name, "" | "."));
    let mut divided = layout.table.is_some();
    files.filesystems(&mut |place| divided |= !place.path.is_empty());
    if at_top && divided {
        return partitions(&files, output, streams);
    }
    let mut print = Printer {
        out: &mut *streams.out,
        form: if output.json { Form::Json } else { Form::Text },
        rows: 0,
        troubles: 0,
        failed: Ok(()),
    };
    let ended = files.at(path, |spot| print.all(&spot));
    let (troubles, failed) = (print.troubles, print.failed);
    match (ended, failed) {
        (Err(error), _) => super::end(Exit::Refused, &error.to_string(), streams),
        (_, Err(error)) => unwritten(&error, streams),
        (Ok(Err(error)), _) => super::end(Exit::Damage, &format!("{path}: {error}"), streams),
        _ if troubles > 0 => Exit::Damage,
        _ => Exit::Done,
    }
}

type Opened = (Box<dyn BlockSource>, Layout);

fn open(from: &Origin, keys: &Keys) -> Result<Opened, (Exit, String)> {
    match from {
        Origin::Image(place) => {
            let host = super::host();
            let refused = |text: String| (Exit::Refused, text);
            let opened = host.open_place(place, None);
            let opened = opened.map_err(|error| refused(error.to_string()))?;
            let reader = Reader::open(&*opened.store, &opened.name);
            let reader = reader.map_err(|error| refused(error.to_string()))?;
            let layout = unlock::layout(&reader, keys).map_err(|trouble| {
                let exit = match trouble {
                    Trouble::Read(_) => Exit::Damage,
                    Trouble::Locked(_) => Exit::Refused,
                };
                (exit, format!("{from}: {trouble}"))
            })?;
            Ok((Box::new(reader), layout))
        }
        Origin::Disk(name) => {
            let (disk, host) = super::one_disk(name)?;
            super::opened(&disk, &host, keys)
        }
    }
}

#[derive(Serialize)]
struct Row {
    name: String,
    kind: &'static str,
    size_bytes: Option<u64>,
    /// In UTC.
    modified: Option<String>,
    /// Of a symbolic link.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Why nothing more can be said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// Writes row by row: a directory may have more entries than fit in memory.
struct Printer<'a> {
    out: &'a mut dyn Write,
    form: Form,
    rows: u64,
    troubles: u64,
    failed: io::Result<()>,
}

impl Printer<'_> {
    /// The entries of a directory, or the one file.
    fn all(&mut self, spot: &Spot<'_>) -> Result<(), TreeError> {
        self.literal("[");
        let ended = if spot.node.kind == NodeKind::Directory {
            list(spot, &mut |entry: &Entry, node| {
                self.print(&match node {
                    Ok(node) => row(spot, &entry.name, &node),
                    Err(error) => unknown(entry, &error),
                })
            })
        } else {
            let _ = self.print(&row(spot, &spot.name, &spot.node));
            Ok(())
        };
        self.literal("\n]\n");
        ended
    }

    /// Of JSON alone.
    fn literal(&mut self, text: &str) {
        if self.form == Form::Json && self.failed.is_ok() {
            self.failed = self.out.write_all(text.as_bytes());
        }
    }

    fn print(&mut self, row: &Row) -> ControlFlow<()> {
        self.troubles += u64::from(row.trouble.is_some());
        let comma = if self.rows > 0 { "," } else { "" };
        self.rows += 1;
        self.failed = match self.form {
            Form::Text => writeln!(self.out, "{}", shown(row)),
            Form::Json => serde_json::to_string(row)
                .map_err(io::Error::from)
                .and_then(|text| write!(self.out, "{comma}\n  {text}")),
        };
        match self.failed {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

fn unknown(entry: &Entry, error: &TreeError) -> Row {
    Row {
        name: entry.name.clone(),
        kind: kind(entry.kind),
        size_bytes: None,
        modified: None,
        target: None,
        trouble: Some(error.to_string()),
    }
}

fn row(spot: &Spot<'_>, name: &str, node: &Node) -> Row {
    let target = (node.kind == NodeKind::Symlink)
        .then(|| node.read(spot.volume, LINK_LIMIT).ok())
        .flatten();
    Row {
        name: name.into(),
        kind: kind(node.kind),
        size_bytes: (node.kind == NodeKind::File).then_some(node.size_bytes),
        modified: node.modified.map(clock::told),
        target: target.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        trouble: None,
    }
}

fn kind(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Directory => "directory",
        NodeKind::Symlink => "symlink",
        NodeKind::Special => "special",
    }
}

fn shown(row: &Row) -> String {
    let size = row
        .size_bytes
        .map_or_else(|| "-".into(), |size| size.to_string());
    let when = row.modified.as_deref().unwrap_or("-");
    let mark = match row.kind {
        "directory" => "/",
        "special" => " (device, pipe or socket)",
        _ => "",
    };
    // A name from a disk cannot steer a terminal.
    let clean = |text: &str| text.replace(char::is_control, "\u{fffd}");
    let mut text = format!("{size:>14}  {when:<20}  {}{mark}", clean(&row.name));
    if let Some(target) = &row.target {
        text.push_str(&format!(" -> {}", clean(target)));
    }
    if let Some(trouble) = &row.trouble {
        text.push_str(&format!("  ({trouble})"));
    }
    text
}

#[derive(Serialize)]
struct Part {
    path: String,
    kind: String,
    label: Option<String>,
    size_bytes: u64,
}

/// What has files.
fn partitions(files: &Files<'_>, output: &Output, streams: &mut Streams<'_>) -> Exit {
    let mut parts = Vec::new();
    files.filesystems(&mut |place| {
        parts.push(Part {
            path: place.path.into(),
            kind: place.filesystem.kind.clone(),
            label: place.filesystem.label.clone(),
            size_bytes: place.source.size_bytes(),
        });
    });
    if output.json {
        return super::json(&parts, Exit::Done, streams);
    }
    for part in &parts {
        let size = Size(part.size_bytes).to_string();
        let label = part
            .label
            .as_ref()
            .map_or_else(String::new, |label| format!("  “{label}”"));
        let (path, kind) = (format!("{}/", part.path), &part.kind);
        let written = writeln!(streams.out, "{path:<12} {size:>9}  {kind}{label}");
        if let Err(error) = written {
            return unwritten(&error, streams);
        }
    }
    if parts.is_empty() {
        let sentence =
            "no filesystem whose files can be read is on it; `rescue disks` says what is";
        return super::end(Exit::Refused, sentence, streams);
    }
    Exit::Done
}

fn unwritten(error: &std::io::Error, streams: &mut Streams<'_>) -> Exit {
    let sentence = format!("standard output could not be written: {error}");
    super::end(Exit::Fault, &sentence, streams)
}
