//! Clone and restore: the wanted bytes of a source onto a disk, its table last.

use disk::extent::{Extent, ExtentMap};
use disk::source::{BlockSink, WriteError};
use disk::table::edit::Patch;

use super::buffer::{Buffer, is_zero};
use super::digest::{Digest, Digests, digest};
use super::fetch::{Fetch, Fetched};
use super::front::{FRONT_BYTES, Front};
use super::meter::Meter;
use super::piece::{Piece, pieces};
use super::pipeline::{Stages, Stop, run};
use super::record::Record;
use super::trouble::Trouble;
use super::tuning::Tuning;
use crate::event::{Cancel, Step};
use crate::request::Verification;

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
    /// Raised by `fetch`; nothing is begun after that.
    pub trouble: &'a Trouble,
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

impl ToDisk<'_> {
    /// What can be read at full speed. Where the source is in trouble, what was not brought stays open in the record.
    pub fn copy(
        &self,
        sink: &dyn BlockSink,
        front: &Front,
        record: &mut Record<'_>,
        meter: &mut Meter<'_>,
    ) -> Result<Copied, Stop> {
        let todo = todo(self.wanted, record, front.extent);
        let wanted_bytes = self.wanted.total_bytes();
        meter.begin(Step::Copy, wanted_bytes, wanted_bytes - todo.total_bytes());
        let stages = Stages {
            fetch: |piece: &Piece, slot: &mut Slot| {
                slot.fetched = self.fetch.piece(piece, &mut slot.buffer)?;
                slot.left = piece.without(&slot.fetched.free.union(&slot.fetched.open()));
                Ok(())
            },
            work: |_: &Piece, slot: &mut Slot| {
                self.look(slot);
                slot.written_bytes = self.told(write(sink, slot, front))?;
                Ok(())
            },
        };
        let mut copied = Copied {
            written: ExtentMap::new(),
            digests: Digests::new(self.tuning.piece_bytes),
        };
        let mut commit = |piece: &Piece, slot: &mut Slot| {
            let fetched = &slot.fetched;
            let open = fetched.open();
            meter.read_bytes +=
                piece.runs.iter().map(|r| r.len()).sum::<u64>() - open.total_bytes();
            meter.written_bytes += slot.written_bytes;
            if let Some(left) = &slot.left {
                left.wanted
                    .iter()
                    .for_each(|extent| copied.written.insert(*extent));
                copied.digests.add(left, slot.digest);
            }
            fetched.bad.iter().for_each(|bad| meter.unreadable(bad));
            record.add(&piece.wanted, fetched);
            meter.advance(
                piece.wanted_bytes() - open.total_bytes(),
                piece.window.end(),
            );
            self.told(record.checkpoint(sink, meter))
        };
        let pieces = pieces(&todo, self.tuning.piece_bytes);
        run(
            pieces.take_while(|_| !self.trouble.is_raised()),
            self.slots(),
            self.tuning.threads,
            &stages,
            self.cancel,
            &mut commit,
        )?;
        Ok(copied)
    }

    /// The table, and the front as the very last. The sink's `finish` is the caller's: the sink outlives a stop, so
    /// that what it took can be made durable.
    pub fn end(
        &self,
        sink: &dyn BlockSink,
        front: Front,
        meter: &mut Meter<'_>,
    ) -> Result<(), Stop> {
        meter.begin(Step::Table, 0, 0);
        self.told(self.table(sink, front))
    }

    /// Whoever looks at a half-written disk finds nothing rather than half of something.
    pub fn blank_front(&self, sink: &dyn BlockSink) -> Result<Front, Stop> {
        let Some(front) = Front::of(self.destination_bytes) else {
            return Err(Stop::Fault(format!(
                "{} has no bytes; choose another destination",
                self.destination
            )));
        };
        self.told(sink.zero_at(0, front.extent.len()))?;
        self.told(sink.sync())?;
        Ok(front)
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
    fn table(&self, sink: &dyn BlockSink, front: Front) -> Result<(), WriteError> {
        // The end of a larger disk may hold the backup of a table that was there before.
        let tail = self
            .destination_bytes
            .saturating_sub(FRONT_BYTES)
            .max(self.source_bytes)
            .max(front.extent.end());
        if let Some(tail) = Extent::between(tail, self.destination_bytes) {
            sink.zero_at(tail.start(), tail.len())?;
        }
        for patch in self.patches {
            let Some(extent) = Extent::new(patch.offset, patch.bytes.len() as u64) else {
                continue;
            };
            let inside = front.take(extent, &patch.bytes);
            if inside < patch.bytes.len() {
                sink.write_at(patch.offset + inside as u64, &patch.bytes[inside..])?;
            }
        }
        sink.sync()?;
        sink.write_at(0, &front.into_bytes())
    }

    /// As the user reads it.
    pub fn told<T>(&self, written: Result<T, WriteError>) -> Result<T, Stop> {
        written.map_err(|error| {
            Stop::Fault(match error {
                WriteError::Full(_) => format!("{error}; free some space there and repeat the command: what was written is kept"),
                WriteError::Refused { .. } => format!("{}: {error}; the disk may be failing, use another destination", self.destination),
                WriteError::Gone(_) | WriteError::Fault(_) => error.to_string(),
            })
        })
    }
}

/// What is still to be copied. What could not be read waits until nothing else is left but the front, which always is.
fn todo(wanted: &ExtentMap, record: &Record<'_>, front: Extent) -> ExtentMap {
    let done = &record.map.finished;
    let untried = wanted.difference(&done.union(&record.map.bad));
    if untried.end() <= front.end() {
        wanted.difference(done)
    } else {
        untried
    }
}

/// Bytes that went to the sink.
fn write(sink: &dyn BlockSink, slot: &Slot, front: &Front) -> Result<u64, WriteError> {
    let mut written = 0;
    let Some(piece) = &slot.left else {
        return Ok(0);
    };
    for (extent, fill) in &slot.leaves {
        let bytes = &slot.buffer[piece.place(*extent)];
        let inside = front.take(*extent, bytes);
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
