//! Clone and restore: the wanted bytes of a source onto a disk, its table last.

use std::sync::{Mutex, MutexGuard, PoisonError};

use disk::extent::{Extent, ExtentMap};
use disk::source::{BlockSink, WriteError};
use disk::table::edit::Patch;

use super::buffer::{Buffer, is_zero};
use super::digest::{Digest, Digests, digest};
use super::fetch::{Fetch, Fetched};
use super::meter::Meter;
use super::piece::{Piece, pieces};
use super::pipeline::{Stages, Stop, run};
use super::record::Record;
use super::tuning::Tuning;
use crate::event::{Cancel, Step};
use crate::request::Verification;

/// The bytes without which nothing on a disk is found: written last, zero until then.
const HEAD_BYTES: u64 = 1 << 20;
/// Zeros are looked for in steps of this length.
const LEAF: u64 = 64 << 10;

/// What is copied and how.
pub struct ToDisk<'a> {
    pub fetch: &'a dyn Fetch,
    pub wanted: &'a ExtentMap,
    pub source_bytes: u64,
    pub destination_bytes: u64,
    /// What stands elsewhere than in the source: the table of a larger disk.
    pub patches: &'a [Patch],
    /// As sentences name the destination.
    pub destination: &'a str,
    pub verification: Verification,
    pub tuning: Tuning,
    pub cancel: &'a Cancel,
}

struct Slot {
    buffer: Buffer,
    fetched: Fetched,
    /// The piece as it is written.
    left: Option<Piece>,
    leaves: Vec<(Extent, Fill)>,
    digest: Option<Digest>,
    written_bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    Zeros,
    Data,
}

/// What one run brought.
pub struct Copied {
    pub written: ExtentMap,
    pub digests: Digests,
}

/// The first MiB of the destination, held back until the end.
struct Head {
    extent: Extent,
    bytes: Buffer,
}

impl ToDisk<'_> {
    /// Everything but the sink's `finish`, which is the caller's: the sink outlives a stop, so that what it took
    /// can be made durable.
    pub fn copy(
        &self,
        sink: &dyn BlockSink,
        record: &mut Record<'_>,
        meter: &mut Meter<'_>,
    ) -> Result<Copied, Stop> {
        let head = self.blank_front(sink)?;
        let at_the_front = head.extent;
        let head = Mutex::new(head);
        let todo = todo(self.wanted, record, at_the_front);
        let wanted_bytes = self.wanted.total_bytes();
        meter.begin(Step::Copy, wanted_bytes, wanted_bytes - todo.total_bytes());
        let stages = Stages {
            fetch: |piece: &Piece, slot: &mut Slot| {
                slot.fetched = self.fetch.piece(piece, &mut slot.buffer)?;
                slot.left = piece.without(&slot.fetched.free);
                Ok(())
            },
            work: |_: &Piece, slot: &mut Slot| {
                self.look(slot);
                slot.written_bytes = self.told(write(sink, slot, &head))?;
                Ok(())
            },
        };
        let mut copied = Copied {
            written: ExtentMap::new(),
            digests: Digests::new(self.tuning.piece_bytes),
        };
        let mut commit = |piece: &Piece, slot: &mut Slot| {
            meter.read_bytes += piece.runs.iter().map(|r| r.len()).sum::<u64>();
            meter.written_bytes += slot.written_bytes;
            if let Some(left) = &slot.left {
                left.wanted
                    .iter()
                    .for_each(|extent| copied.written.insert(*extent));
                copied.digests.add(left, slot.digest);
            }
            let bad = &slot.fetched.bad;
            bad.iter().for_each(|bad| meter.unreadable(bad));
            // The head counts as done when it stands on the disk; what of it is bad stays known.
            record.add(&piece.wanted, bad);
            record.map.finished.remove(at_the_front);
            meter.advance(piece.wanted_bytes(), piece.window.end());
            self.told(record.checkpoint(sink, meter))
        };
        let pieces = pieces(&todo, self.tuning.piece_bytes);
        run(
            pieces,
            self.slots(),
            self.tuning.threads,
            &stages,
            self.cancel,
            &mut commit,
        )?;
        meter.begin(Step::Table, 0, 0);
        let head = head.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.told(self.table(sink, head))?;
        Ok(copied)
    }

    /// Whoever looks at a half-written disk finds nothing rather than half of something.
    fn blank_front(&self, sink: &dyn BlockSink) -> Result<Head, Stop> {
        let Some(head) = Head::of(self.destination_bytes) else {
            return Err(Stop::Fault(format!(
                "{} has no bytes; choose another destination",
                self.destination
            )));
        };
        self.told(sink.zero_at(0, head.extent.len()))?;
        self.told(sink.sync())?;
        Ok(head)
    }

    fn slots(&self) -> Vec<Slot> {
        let length = usize::try_from(self.tuning.piece_bytes).expect("a piece fits in memory");
        let slot = || Slot {
            buffer: Buffer::new(length),
            fetched: Fetched::default(),
            left: None,
            leaves: Vec::new(),
            digest: None,
            written_bytes: 0,
        };
        std::iter::repeat_with(slot)
            .take(self.tuning.slots)
            .collect()
    }

    /// Tells zeros from data, and what reading back must find.
    fn look(&self, slot: &mut Slot) {
        slot.leaves.clear();
        let Some(piece) = &slot.left else {
            return;
        };
        for leaf in piece
            .runs
            .iter()
            .flat_map(|run| run.split_at_multiples(LEAF))
        {
            let fill = match is_zero(&slot.buffer[piece.place(leaf)]) {
                true => Fill::Zeros,
                false => Fill::Data,
            };
            match slot.leaves.last_mut() {
                Some((last, kind)) if *kind == fill && last.end() == leaf.start() => {
                    *last =
                        Extent::between(last.start(), leaf.end()).expect("leaves are ascending");
                }
                _ => slot.leaves.push((leaf, fill)),
            }
        }
        slot.digest = match self.verification {
            Verification::ReadBack => Some(digest(piece, &slot.buffer)),
            Verification::Skip => None,
        };
    }

    /// The table at its new place, and the head as the very last.
    fn table(&self, sink: &dyn BlockSink, mut head: Head) -> Result<(), WriteError> {
        // The end of a larger disk may hold the backup of a table that was there before.
        let tail = self
            .destination_bytes
            .saturating_sub(HEAD_BYTES)
            .max(self.source_bytes)
            .max(head.extent.end());
        if let Some(tail) = Extent::between(tail, self.destination_bytes) {
            sink.zero_at(tail.start(), tail.len())?;
        }
        for patch in self.patches {
            let Some(extent) = Extent::new(patch.offset, patch.bytes.len() as u64) else {
                continue;
            };
            let inside = head.take(extent, &patch.bytes);
            if inside < patch.bytes.len() {
                sink.write_at(patch.offset + inside as u64, &patch.bytes[inside..])?;
            }
        }
        sink.sync()?;
        sink.write_at(0, &head.bytes)
    }

    fn told<T>(&self, written: Result<T, WriteError>) -> Result<T, Stop> {
        written.map_err(|error| {
            Stop::Fault(match error {
                WriteError::Full(_) => format!("{error}; free some space there and repeat the command: what was written is kept"),
                WriteError::Refused { .. } => format!("{}: {error}; the disk may be failing, use another destination", self.destination),
                WriteError::Gone(_) | WriteError::Fault(_) => error.to_string(),
            })
        })
    }
}

impl Head {
    fn of(destination_bytes: u64) -> Option<Head> {
        let extent = Extent::new(0, HEAD_BYTES.min(destination_bytes))?;
        let length = usize::try_from(extent.len()).expect("a MiB fits in memory");
        Some(Head {
            extent,
            bytes: Buffer::new(length),
        })
    }

    /// Keeps what of these bytes belongs to the head; says how many that are.
    fn take(&mut self, extent: Extent, bytes: &[u8]) -> usize {
        let Some(inside) = extent.intersect(self.extent) else {
            return 0;
        };
        let (start, end) = (index(inside.start()), index(inside.end()));
        self.bytes[start..end].copy_from_slice(&bytes[..end - start]);
        end - start
    }
}

/// What is still to be copied. The head always is; what could not be read waits until nothing else is left.
fn todo(wanted: &ExtentMap, record: &Record<'_>, head: Extent) -> ExtentMap {
    let mut done = record.map.finished.clone();
    done.remove(head);
    let mut tried = done.union(&record.map.bad);
    tried.remove(head);
    let untried = wanted.difference(&tried);
    if untried.end() <= head.end() {
        wanted.difference(&done)
    } else {
        untried
    }
}

/// Bytes that went to the sink.
fn write(sink: &dyn BlockSink, slot: &Slot, head: &Mutex<Head>) -> Result<u64, WriteError> {
    let mut written = 0;
    let Some(piece) = &slot.left else {
        return Ok(0);
    };
    for (extent, fill) in &slot.leaves {
        let bytes = &slot.buffer[piece.place(*extent)];
        let inside = lock(head).take(*extent, bytes);
        let Some(rest) = Extent::between(extent.start() + inside as u64, extent.end()) else {
            continue;
        };
        match fill {
            Fill::Zeros => sink.zero_at(rest.start(), rest.len())?,
            Fill::Data => {
                sink.write_at(rest.start(), &bytes[inside..])?;
                written += rest.len();
            }
        }
    }
    Ok(written)
}

/// Bytes in it are whole whatever panicked.
fn lock(head: &Mutex<Head>) -> MutexGuard<'_, Head> {
    head.lock().unwrap_or_else(PoisonError::into_inner)
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("the head fits in memory")
}
