//! Copying single files out of an image or a disk.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::Path;

use disk::extent::Extent;
use disk::fs::tree::{self, Content, Found, Node, NodeKind, TreeError};
use disk::layout::Layout;
use disk::size::Size;
use disk::source::{BlockSource, ReadError};

use super::Job;
use super::meter::Meter;
use super::names::{Names, shown};
use super::pipeline::Stop;
use crate::event::Step;
use crate::files::{Files, Spot};
use crate::report::{DamagedFile, Report, Verified};
use crate::request::Action;
use crate::transport::folder::{Filling, Folder, Made};

const BUFFER: usize = 1 << 20;
/// Where a read fails, smaller ones are tried down to this.
const SMALLEST: usize = 4096;
/// A symbolic link that is longer is damaged.
const LINK_LIMIT: u64 = 4096;
/// Most sentences of what went wrong.
const WARNED: usize = 20;

impl Job<'_> {
    pub fn extract(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let Action::Extract { paths, to, .. } = &self.plan.request.action else {
            return Err(Stop::Bug("this copies no files".into()));
        };
        let fault = |error: crate::host::HostError| Stop::Fault(error.0);
        let place = self.host.open_place(to, self.permits.first());
        let place = place.map_err(fault)?;
        let top = place.directory.clone();
        let top = top.ok_or_else(|| Stop::Bug("the destination is no directory".into()))?;
        self.see_store();
        let (source, layout): (Box<dyn BlockSource>, Layout) = match &self.plan.source {
            Some(disk) => (
                self.host.open_source(&disk.identity).map_err(fault)?,
                disk.layout.clone().map_err(Stop::Fault)?,
            ),
            None => {
                let reader = self.image_reader()?;
                let layout = Layout::read_with(&reader, self.keys());
                let layout = layout.map_err(|error| Stop::Fault(error.to_string()))?;
                (Box::new(reader), layout)
            }
        };
        let files = Files {
            source: &*source,
            layout: &layout,
            keys: self.keys(),
        };
        meter.begin(Step::Copy, 0, 0);
        let mut copy = Copy {
            job: self,
            folder: Folder::new(&top),
            title: place.store.describe(),
            meter,
            names: Names::default(),
            files: 0,
            directories: 0,
            before: 0,
            left_out: 0,
            warned: 0,
            buffer: vec![0; BUFFER],
        };
        let copied = paths.iter().try_for_each(|path| {
            let ended = files.at(path, |spot| copy.spot(&spot));
            ended.unwrap_or_else(|error| Err(Stop::Fault(error.to_string())))
        });
        copy.tell(report);
        let Copy { folder, meter, .. } = copy;
        copied?;
        meter.begin(Step::Flush, 0, 0);
        folder.sync().map_err(|error| {
            Stop::Fault(format!(
                "{}: what was copied may not have reached the disk: {error}; repeat the command",
                place.store.describe()
            ))
        })
    }
}

struct Copy<'a, 'm> {
    job: &'a Job<'a>,
    folder: Folder,
    title: String,
    meter: &'a mut Meter<'m>,
    /// What is not there whole.
    names: Names,
    files: u64,
    directories: u64,
    /// Files that an earlier run copied.
    before: u64,
    /// Devices, pipes, sockets.
    left_out: u64,
    warned: usize,
    buffer: Vec<u8>,
}

impl Copy<'_, '_> {
    /// A file, or a directory with everything below it.
    fn spot(&mut self, spot: &Spot<'_>) -> Result<(), Stop> {
        let place = self.folder.place(&spot.name);
        let place =
            place.map_err(|error| Stop::Fault(format!("{}: {error}", shown(&spot.name))))?;
        self.one(spot, &spot.name, &place, &spot.node)?;
        if spot.node.kind != NodeKind::Directory {
            return Ok(());
        }
        let below = Below {
            spot,
            inner: &*spot.tree,
        };
        let mut ended = Ok(());
        let shared = RefCell::new(self);
        tree::walk(
            &below,
            &mut |found| {
                ended = shared.borrow_mut().met(spot, &found);
                match ended {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            },
            &mut |path, error| {
                let path = format!("{}/{path}", spot.name);
                shared.borrow_mut().lost(spot, &path, None, 0, &error);
            },
        );
        ended
    }

    fn met(&mut self, spot: &Spot<'_>, found: &Found<'_>) -> Result<(), Stop> {
        let path = format!("{}/{}", spot.name, found.path);
        match self.folder.place(&path) {
            Ok(place) => self.one(spot, &path, &place, found.node),
            Err(error) => {
                self.lost(spot, &path, None, 0, &error);
                Ok(())
            }
        }
    }

    /// What stops the job is an error; what only this file lacks is noted.
    fn one(&mut self, spot: &Spot<'_>, path: &str, place: &Path, node: &Node) -> Result<(), Stop> {
        if self.job.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let made = match node.kind {
            NodeKind::Directory => {
                self.directories += 1;
                self.folder.directory(place).map(|_| ())
            }
            NodeKind::Symlink => self.link(spot, path, place, node),
            NodeKind::Special => {
                self.left_out += 1;
                Ok(())
            }
            NodeKind::File => match self.folder.file(place, node.size_bytes, node.modified) {
                Ok(Some(filling)) => self.fill(spot, path, node, filling)?,
                Ok(None) => {
                    self.before += 1;
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        match made {
            Ok(()) => Ok(()),
            Err(error) if is_of_the_place(&error) => Err(Stop::Fault(format!(
                "{}: {error}; make room or name another directory, the same command goes on with what is missing",
                self.title
            ))),
            Err(error) => {
                self.lost(spot, path, Some(node.size_bytes), node.size_bytes, &error);
                Ok(())
            }
        }
    }

    fn link(&mut self, spot: &Spot<'_>, path: &str, place: &Path, node: &Node) -> io::Result<()> {
        match node.read(spot.volume, LINK_LIMIT) {
            Ok(target) => {
                let made = self.folder.link(place, &String::from_utf8_lossy(&target))?;
                match made {
                    Made::New => self.files += 1,
                    Made::Before => self.before += 1,
                }
            }
            Err(error) => self.lost(spot, path, Some(node.size_bytes), node.size_bytes, &error),
        }
        Ok(())
    }

    /// The content; what cannot be read becomes zeros and is told.
    fn fill(
        &mut self,
        spot: &Spot<'_>,
        path: &str,
        node: &Node,
        filling: Filling,
    ) -> Result<io::Result<()>, Stop> {
        let mut lost_bytes = 0;
        match &node.content {
            Content::Inline(bytes) => {
                if let Err(error) = filling.write(bytes, 0) {
                    return Ok(Err(error));
                }
            }
            Content::Opaque { why, .. } => {
                let error = TreeError::Unsupported(why);
                self.lost(spot, path, Some(node.size_bytes), node.size_bytes, &error);
                return Ok(filling.discard());
            }
            Content::Pieces(pieces) => {
                for piece in pieces {
                    let end = node
                        .size_bytes
                        .min(piece.at.saturating_add(piece.extent.len()));
                    let Some(part) = Extent::between(piece.at, end) else {
                        continue;
                    };
                    match self.piece(spot.volume, part, piece.extent.start(), &filling)? {
                        Ok(lost) => lost_bytes += lost,
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
        }
        if let Err(error) = filling.finish() {
            return Ok(Err(error));
        }
        self.files += 1;
        if lost_bytes > 0 {
            let error = format!("{} could not be read and are zeros", Size(lost_bytes));
            self.lost(spot, path, Some(node.size_bytes), lost_bytes, &error);
        }
        Ok(Ok(()))
    }

    /// Copies `part` of a file, which is at `from` of the volume; returns how much of it cannot be read.
    fn piece(
        &mut self,
        volume: &dyn BlockSource,
        part: Extent,
        from: u64,
        filling: &Filling,
    ) -> Result<io::Result<u64>, Stop> {
        let (mut at, mut lost, mut step) = (part.start(), 0, BUFFER);
        while at < part.end() {
            if self.job.cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let len = usize::try_from(part.end() - at).map_or(step, |left| left.min(step));
            let buffer = &mut self.buffer[..len];
            match volume.read_at(from + (at - part.start()), buffer) {
                Ok(()) => {
                    if let Err(error) = filling.write(buffer, at) {
                        return Ok(Err(error));
                    }
                    self.meter.read_bytes += len as u64;
                    self.meter.written_bytes += len as u64;
                    step = (step * 2).min(BUFFER);
                }
                Err(ReadError::Gone(text)) => return Err(Stop::Fault(text)),
                Err(_) if len > SMALLEST => {
                    step = (len / 4).max(SMALLEST);
                    continue;
                }
                Err(_) => lost += len as u64,
            }
            at += len as u64;
        }
        Ok(Ok(lost))
    }

    fn lost(
        &mut self,
        spot: &Spot<'_>,
        path: &str,
        size_bytes: Option<u64>,
        lost_bytes: u64,
        why: &dyn std::fmt::Display,
    ) {
        let path = shown(path);
        if self.warned < WARNED {
            self.meter.warn(&format!("{path}: {why}"));
            self.warned += 1;
        }
        self.names.add(DamagedFile {
            partition: spot.partition,
            path,
            size_bytes,
            lost_bytes,
        });
    }

    fn tell(&mut self, report: &mut Report) {
        self.names.keep_the_worst();
        report.files = std::mem::take(&mut self.names.files);
        report.more_files = self.names.more;
        report.verified = Verified::NotDone {
            why: "files that are copied out are not read back".into(),
        };
        report.notes.push(format!(
            "{} files in {} directories copied into {}",
            self.files, self.directories, self.title
        ));
        if self.before > 0 {
            let text = format!("{} files were there already", self.before);
            report.notes.push(text);
        }
        if self.left_out > 0 {
            let text = format!("{} devices, pipes and sockets were left out", self.left_out);
            report.notes.push(text);
        }
    }
}

/// Every further file would fail the same way.
fn is_of_the_place(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
    ) || error.raw_os_error() == Some(nix::libc::EIO)
}

/// A tree from one of its directories on.
struct Below<'a> {
    spot: &'a Spot<'a>,
    inner: &'a dyn tree::Tree,
}

impl tree::Tree for Below<'_> {
    fn root(&self) -> tree::NodeId {
        self.spot.id
    }

    fn entries(&self, directory: tree::NodeId, each: tree::Each<'_>) -> Result<(), TreeError> {
        self.inner.entries(directory, each)
    }

    fn node(&self, id: tree::NodeId) -> Result<Node, TreeError> {
        self.inner.node(id)
    }
}
