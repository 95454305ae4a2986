//! Writing a disk or an image as an image of another program, and reading it back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use disk::source::BlockSource;
use foreign::write::{Kind, Out, Writer};

mod block_map;
mod directory;

use super::Job;
use super::buffer::Buffer;
use super::compare::Compare;
use super::digest::{Digest, Digests, digest};
use super::fetch::{Fetch, Fetched, FromDisk};
use super::from_image::FromImage;
use super::meter::Meter;
use super::piece::{Piece, pieces};
use super::pipeline::{Stages, Stop, run};
use crate::event::Step;
use crate::host::HostError;
use crate::new_file;
use crate::random;
use crate::report::{Report, Verified};
use crate::request::{Action, Format, Verification};

const LEAF: u64 = 64 << 10;

struct Slot {
    buffer: Buffer,
    fetched: Fetched,
    left: Option<Piece>,
    digest: Option<Digest>,
}

impl Job<'_> {
    pub fn export(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let Action::Export { format, .. } = &self.plan.request.action else {
            return Err(Stop::Bug("this exports nothing".into()));
        };
        let permit = self.permits.first();
        let permit = permit.ok_or_else(|| Stop::Bug("this may write no file".into()))?;
        if *format == Format::Clonezilla {
            return self.export_directory(permit, meter, report);
        }
        let file = new_file::create(permit).map_err(fault)?;
        let ended = self.reading(|fetch, geometry| match format {
            Format::File(kind) => self.export_from(fetch, geometry, *kind, &file, meter, report),
            Format::Bmap => self.block_map_from(fetch, geometry, &file, meter, report),
            Format::Clonezilla => Err(Stop::Bug("a directory is no file".into())),
        });
        match ended {
            Ok(()) => new_file::publish(permit, file).map_err(fault),
            Err(stop) => {
                new_file::abandon(permit);
                Err(stop)
            }
        }
    }

    /// Gives what is exported, opened, to `work`.
    fn reading(
        &self,
        work: impl FnOnce(&dyn Fetch, Geometry) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        match &self.plan.source {
            Some(disk) => {
                let source = self.host.open_source(&disk.identity).map_err(fault)?;
                work(&FromDisk::new(&*source, self.cancel), source.geometry())
            }
            None => {
                let reader = self.image_reader()?;
                work(&FromImage::new(&reader, self.cancel), reader.geometry())
            }
        }
    }

    fn export_from(
        &self,
        fetch: &dyn Fetch,
        geometry: Geometry,
        kind: Kind,
        file: &File,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let out = Box::new(Written(
            file.try_clone().map_err(|error| self.writing(&error))?,
        ));
        let writer = Writer::new(kind, geometry, ids()?, out);
        let mut copied = Copied {
            written: ExtentMap::new(),
            digests: Digests::new(self.tuning.piece_bytes),
        };
        let all = self.fill(fetch, writer, &mut copied, meter, report)?;
        meter.begin(Step::Flush, 0, 0);
        all.finish().map_err(|error| self.writing(&error))?;
        file.sync_all().map_err(|error| self.writing(&error))?;
        report.verified = match self.plan.request.options.verification {
            Verification::Skip => Verified::NotDone {
                why: "it was not asked for".into(),
            },
            Verification::ReadBack => {
                self.read_export(fetch, kind, file, &copied, meter, report)?
            }
        };
        Ok(())
    }

    /// Everything but the end of the file.
    fn fill<P: Put>(
        &self,
        fetch: &dyn Fetch,
        mut writer: P,
        copied: &mut Copied,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<P, Stop> {
        let wanted = &self.plan.used;
        meter.begin(Step::Copy, wanted.total_bytes(), 0);
        let verification = self.plan.request.options.verification;
        let stages = Stages {
            fetch: |piece: &Piece, slot: &mut Slot| {
                slot.fetched = fetch.piece(piece, &mut slot.buffer)?;
                slot.left = piece.without(&slot.fetched.free);
                Ok(())
            },
            work: |_: &Piece, slot: &mut Slot| {
                let left = slot
                    .left
                    .as_ref()
                    .filter(|_| verification == Verification::ReadBack);
                slot.digest = left.map(|left| digest(left, &slot.buffer));
                Ok(())
            },
        };
        let mut commit = |piece: &Piece, slot: &mut Slot| {
            meter.read_bytes += piece.runs.iter().map(|run| run.len()).sum::<u64>();
            for bad in slot.fetched.bad.iter() {
                meter.unreadable(bad);
                report.unreadable.insert(bad);
            }
            let written = copied.put(slot, &mut writer);
            meter.written_bytes += written.map_err(|error| self.writing(&error))?;
            meter.advance(piece.wanted_bytes(), piece.window.end());
            Ok(())
        };
        let length = usize::try_from(self.tuning.piece_bytes).expect("a piece fits in memory");
        run(
            pieces(wanted, self.tuning.piece_bytes),
            (0..self.tuning.slots).map(|_| Slot::new(length)).collect(),
            self.tuning.threads,
            &stages,
            self.cancel,
            &mut commit,
        )?;
        Ok(writer)
    }

    /// The finished file, opened as any image of another program.
    fn read_export(
        &self,
        fetch: &dyn Fetch,
        kind: Kind,
        file: &File,
        copied: &Copied,
        meter: &mut Meter<'_>,
        report: &Report,
    ) -> Result<Verified, Stop> {
        let raw = Written(file.try_clone().map_err(|error| self.writing(&error))?);
        let written: Box<dyn BlockSource> = match kind {
            Kind::Raw => Box::new(raw),
            _ => {
                let file: foreign::File = Arc::new(raw);
                let opened = foreign::open(&file, &Alone);
                let opened = opened.map_err(|error| Stop::Fault(error.to_string()))?;
                let opened =
                    opened.ok_or_else(|| Stop::Bug("what was written is no image".into()))?;
                opened.source
            }
        };
        self.compare_export(fetch, &*written, copied, meter, report)
    }

    fn compare_export(
        &self,
        fetch: &dyn Fetch,
        written: &dyn BlockSource,
        copied: &Copied,
        meter: &mut Meter<'_>,
        report: &Report,
    ) -> Result<Verified, Stop> {
        meter.begin(Step::Verify, copied.written.total_bytes(), 0);
        let read = meter.read_bytes;
        let compare = Compare {
            expected: fetch,
            patches: &[],
            actual: &FromDisk::new(written, self.cancel),
            wanted: &copied.written,
            left_out: &report.unreadable,
            digests: Some(&copied.digests),
            tuning: self.tuning,
            cancel: self.cancel,
        };
        let findings = compare.run(meter)?;
        meter.read_bytes = read;
        Ok(match findings.different.is_empty() {
            true => Verified::Equal {
                bytes: findings.equal_bytes,
            },
            false => Verified::Different {
                extents: findings.different,
            },
        })
    }

    fn writing(&self, error: &io::Error) -> Stop {
        let path = self.plan.new_file.as_ref().map(|file| file.path.display());
        let path = path.map_or_else(String::new, |path| path.to_string());
        Stop::Fault(match error.kind() {
            io::ErrorKind::StorageFull => format!(
                "there is no room left for {path}; free some space there or name another place"
            ),
            _ => format!("{path} cannot be written: {error}; name another place"),
        })
    }
}

/// Takes the parts of a disk, ascending.
trait Put: Send {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// What of a piece it takes: short gaps too, as zeros.
    fn parts(left: &Piece) -> &[Extent] {
        &left.runs
    }
}

impl Put for Writer {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Writer::put(self, offset, bytes)
    }
}

struct Copied {
    written: ExtentMap,
    digests: Digests,
}

impl Copied {
    /// Bytes that went to the writer.
    fn put<P: Put>(&mut self, slot: &Slot, writer: &mut P) -> io::Result<u64> {
        let Some(left) = &slot.left else {
            return Ok(0);
        };
        let mut written = 0;
        let leaves = P::parts(left).iter();
        for leaf in leaves.flat_map(|run| run.split_at_multiples(LEAF)) {
            writer.put(leaf.start(), &slot.buffer[left.place(leaf)])?;
            written += leaf.len();
        }
        let wanted = left.wanted.iter();
        wanted.for_each(|extent| self.written.insert(*extent));
        self.digests.add(left, slot.digest);
        Ok(written)
    }
}

impl Slot {
    fn new(length: usize) -> Slot {
        Slot {
            buffer: Buffer::new(length),
            fetched: Fetched::default(),
            left: None,
            digest: None,
        }
    }
}

/// Of the file, its content and the disk in it.
fn ids() -> Result<[[u8; 16]; 3], Stop> {
    let id = || random::id().map(|id| id.0);
    let all = id().and_then(|first| Ok([first, id()?, id()?]));
    all.map_err(Stop::Fault)
}

/// The file that is written.
struct Written(File);

impl Out for Written {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn end(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

impl BlockSource for Written {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.0.metadata().map_or(0, |found| found.len()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), disk::source::ReadError> {
        let read = self.0.read_exact_at(buf, offset);
        read.map_err(|_| match Extent::new(offset, buf.len() as u64) {
            Some(extent) => disk::source::ReadError::Unreadable(extent),
            None => disk::source::ReadError::Fault("nothing was asked for".into()),
        })
    }
}

/// It is one file.
struct Alone;

impl foreign::Folder for Alone {
    fn open(&self, name: &str) -> Result<foreign::File, String> {
        Err(format!("{name} is no part of it"))
    }

    fn names(&self) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

fn fault(error: HostError) -> Stop {
    Stop::Fault(error.0)
}
