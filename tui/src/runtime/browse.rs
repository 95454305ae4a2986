//! The directories of an image or a disk, looked at without writing.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use disk::fs::tree::{Entry, NodeKind};
use disk::layer::Keys;
use disk::layout::Layout;
use disk::source::BlockSource;
use engine::clock;
use engine::files::{self, Files};
use engine::host::{Host, OpenPlace};
use engine::request::{DiskName, Origin};
use engine::unlock;
use image::reader::Reader;

use crate::screen::files::{FileKind, FileRow, Listing};

/// Nobody chooses among more; a directory full of files must not fill memory.
const MOST: usize = 5000;

/// What is being looked into, so that each directory need not open it anew.
#[derive(Clone, Default)]
pub struct Browser {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// What was begun before this changed is not kept.
    round: u64,
    opened: Option<Opened>,
}

struct Opened {
    from: Origin,
    source: Box<dyn BlockSource>,
    layout: Layout,
    /// Shown to this system as long as it is here.
    _place: Option<OpenPlace>,
}

impl Browser {
    /// Lets go of everything: a job may want it.
    pub fn close(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.round += 1;
        kept.opened = None;
    }

    /// The entries of a directory, or the sentence why not.
    pub fn list(&self, host: &dyn Host, from: &Origin, path: &str) -> Result<Listing, String> {
        let (round, opened) = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            (kept.round, kept.opened.take())
        };
        let opened = match opened.filter(|opened| opened.from == *from) {
            Some(opened) => opened,
            None => open(host, from)?,
        };
        let listed = listed(&opened, path);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.round == round {
            kept.opened = Some(opened);
        }
        listed
    }
}

fn open(host: &dyn Host, from: &Origin) -> Result<Opened, String> {
    let (source, place): (Box<dyn BlockSource>, _) = match from {
        Origin::Image(place) => {
            let place = host.open_place(place, None).map_err(|e| e.to_string())?;
            let reader = Reader::open(&*place.store, &place.name).map_err(|e| e.to_string())?;
            (Box::new(reader), Some(place))
        }
        Origin::Disk(name) => (disk(host, name)?, None),
    };
    let layout =
        unlock::layout(&*source, &Keys::default()).map_err(|why| format!("{from}: {why}"))?;
    Ok(Opened {
        from: from.clone(),
        source,
        layout,
        _place: place,
    })
}

fn disk(host: &dyn Host, name: &DiskName) -> Result<Box<dyn BlockSource>, String> {
    let found = host.find(name).map_err(|e| e.to_string())?;
    match found.as_slice() {
        [disk] => host.open_source(&disk.identity).map_err(|e| e.to_string()),
        [] => Err(format!("{name} is not there; connect it and look again")),
        _ => Err(format!(
            "{name} names {} disks; disconnect those that are not meant",
            found.len()
        )),
    }
}

fn listed(opened: &Opened, path: &str) -> Result<Listing, String> {
    let keys = Keys::default();
    let files = Files {
        source: &*opened.source,
        layout: &opened.layout,
        keys: &keys,
    };
    let mut roots = Vec::new();
    files.filesystems(&mut |place| {
        let label = place.filesystem.label.as_deref().unwrap_or_default();
        roots.push(FileRow {
            name: place.path.into(),
            kind: FileKind::Filesystem,
            size_bytes: Some(place.source.size_bytes()),
            about: format!("{} {label}", place.filesystem.kind),
        });
    });
    let divided = opened.layout.table.is_some() || roots.iter().any(|root| !root.name.is_empty());
    if path.is_empty() && divided {
        return match roots.is_empty() {
            true => Err("no filesystem whose files can be read is on it".into()),
            false => Ok((roots, None)),
        };
    }
    let found = files.at(path, |spot| {
        let mut rows = Vec::new();
        let mut more = None;
        let ended = files::list(&spot, &mut |entry, node| {
            if rows.len() == MOST {
                more = Some(format!(
                    "these are the first {MOST}; mark the directory to have all"
                ));
                return ControlFlow::Break(());
            }
            rows.push(row(entry, node.map_err(|error| error.to_string())));
            ControlFlow::Continue(())
        });
        // What was found is shown; the rest is said.
        let note = ended.err().map(|error| format!("{path}: {error}"));
        (rows, note.or(more))
    });
    found.map_err(|error| error.to_string())
}

fn row(entry: &Entry, node: Result<disk::fs::tree::Node, String>) -> FileRow {
    let (size_bytes, about) = match node {
        Ok(node) => (
            (node.kind == NodeKind::File).then_some(node.size_bytes),
            node.modified.map(when).unwrap_or_default(),
        ),
        Err(why) => (None, why),
    };
    FileRow {
        name: entry.name.clone(),
        kind: match entry.kind {
            NodeKind::File => FileKind::File,
            NodeKind::Directory => FileKind::Directory,
            NodeKind::Symlink => FileKind::Link,
            NodeKind::Special => FileKind::Special,
        },
        size_bytes,
        about,
    }
}

/// Without seconds, in UTC.
fn when(seconds: i64) -> String {
    let told = clock::told(seconds);
    told.get(..16)
        .map_or(told.clone(), |minutes| minutes.replace('T', " "))
}
