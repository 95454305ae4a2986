//! An image: the wanted chunks of a disk, compressed, in disk order.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use disk::extent::{Extent, ExtentMap};
use image::codec::{Encoded, Encoder};
use image::error::ImageError;
use image::head::Head;
use image::reader::Reader;
use image::states::{State, States};
use image::writer::Writer;

use super::buffer::Buffer;
use super::fetch::{Fetch, Fetched};
use super::meter::Meter;
use super::piece::{Piece, pieces};
use super::pipeline::{Stages, Stop, run};
use super::trouble::Trouble;
use super::tuning::Tuning;
use crate::event::{Cancel, Step};
use crate::map::Map;

/// What a power cut may cost an image that is written at full speed.
const COMMIT: Duration = Duration::from_secs(10);

/// What is written and how.
pub struct ToStore<'a> {
    pub fetch: &'a dyn Fetch,
    pub wanted: &'a ExtentMap,
    /// Of what is wanted, what `fetch` makes up as zeros.
    pub left_out: &'a ExtentMap,
    pub level: i32,
    /// Raised by `fetch`; nothing is begun after that.
    pub trouble: &'a Trouble,
    pub tuning: Tuning,
    pub cancel: &'a Cancel,
}

struct Slot {
    buffer: Buffer,
    fetched: Fetched,
    encoded: Encoded,
}

impl ToStore<'_> {
    /// From where the writer stands to the end of the disk, or to where the disk is in trouble. `map` is told
    /// of every piece.
    pub fn write(
        &self,
        writer: &mut Writer<'_>,
        map: &mut Map,
        meter: &mut Meter<'_>,
    ) -> Result<(), Stop> {
        let (head, parent) = (*writer.head(), writer.parent());
        let todo = self.todo(writer);
        let wanted_bytes = self.to_read(self.wanted);
        meter.begin(Step::Copy, wanted_bytes, wanted_bytes - self.to_read(&todo));
        let encoders = Mutex::new(Vec::new());
        let stages = Stages {
            fetch: |piece: &Piece, slot: &mut Slot| {
                slot.fetched = self.fetch.piece(piece, &mut slot.buffer)?;
                clear_around(piece, &mut slot.buffer);
                Ok(())
            },
            work: |piece: &Piece, slot: &mut Slot| {
                self.encode(&encoders, &head, parent, piece, slot)
            },
        };
        let mut saved = Instant::now();
        let mut commit = |piece: &Piece, slot: &mut Slot| {
            free_up_to(writer, piece.window.start()).map_err(fault)?;
            let before = writer.stored_bytes();
            writer.append(&mut slot.encoded).map_err(fault)?;
            meter.written_bytes += writer.stored_bytes() - before;
            let open = slot.fetched.open().total_bytes();
            map.add(&piece.wanted, &slot.fetched.marks());
            let (read, done) = self.counted(piece, open);
            meter.read_bytes += read;
            slot.fetched
                .bad
                .iter()
                .for_each(|bad| meter.unreadable(bad));
            if saved.elapsed() >= self.tuning.checkpoint.min(COMMIT) {
                writer.checkpoint().map_err(fault)?;
                saved = Instant::now();
            }
            meter.advance(done, piece.window.end());
            Ok(())
        };
        let copied = run(
            pieces(&todo, u64::from(head.chunk_size)).take_while(|_| !self.trouble.is_raised()),
            self.slots(&head),
            self.tuning.threads,
            &stages,
            self.cancel,
            &mut commit,
        );
        if copied.is_err() {
            // What is there is kept for the next run; the store may be the very thing that failed.
            let _ = writer.checkpoint();
        }
        copied?;
        match self.trouble.is_raised() {
            true => Ok(()),
            false => free_up_to(writer, head.geometry.size_bytes).map_err(fault),
        }
    }

    /// Bytes of a piece that were read, and those of them that were wanted; `open` is what of it is still to come.
    fn counted(&self, piece: &Piece, open: u64) -> (u64, u64) {
        let not_read = open + self.made_up(piece.wanted.iter().copied());
        let runs = piece.runs.iter().map(|run| run.len()).sum::<u64>();
        let wanted = piece.wanted_bytes();
        (
            runs.saturating_sub(not_read),
            wanted.saturating_sub(not_read),
        )
    }

    fn to_read(&self, map: &ExtentMap) -> u64 {
        map.total_bytes() - self.made_up(map.iter())
    }

    /// Bytes of these that nobody reads.
    fn made_up(&self, extents: impl Iterator<Item = Extent>) -> u64 {
        let left = extents.flat_map(|extent| self.left_out.within(extent));
        left.map(Extent::len).sum()
    }

    fn todo(&self, writer: &Writer<'_>) -> ExtentMap {
        let size = writer.head().geometry.size_bytes;
        match Extent::between(writer.at(), size) {
            Some(rest) => self.wanted.within(rest).collect(),
            None => ExtentMap::new(),
        }
    }

    fn slots(&self, head: &Head) -> Vec<Slot> {
        let length = usize::try_from(head.chunk_size).expect("a chunk fits in memory");
        let slot = || Slot {
            buffer: Buffer::new(length),
            fetched: Fetched::default(),
            encoded: Encoded::default(),
        };
        std::iter::repeat_with(slot)
            .take(self.tuning.slots)
            .collect()
    }

    fn encode(
        &self,
        encoders: &Mutex<Vec<Encoder>>,
        head: &Head,
        parent: Option<&Reader>,
        piece: &Piece,
        slot: &mut Slot,
    ) -> Result<(), Stop> {
        let start = piece.window.start();
        let cell = Extent::new(start, head.cell_len(start)).expect("a piece lies on the disk");
        let wanted: ExtentMap = piece.wanted.iter().copied().collect();
        let mut states = States::of(cell, &wanted, &slot.fetched.bad);
        for extent in slot.fetched.open().iter() {
            states.set(cell, extent, State::NotTried);
        }
        let kept = encoders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut encoder = match kept {
            Some(encoder) => encoder,
            None => Encoder::new(self.level).map_err(fault)?,
        };
        let content = &slot.buffer[piece.place(cell)];
        let encoded = encoder.encode_over(parent, start, content, &states, &mut slot.encoded);
        encoders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(encoder);
        encoded.map_err(fault)
    }
}

/// What lies between the runs is in no filesystem's use: zeros.
fn clear_around(piece: &Piece, buffer: &mut [u8]) {
    let mut at = piece.window.start();
    let ends = piece.runs.iter().map(|run| (run.start(), run.end()));
    for (start, end) in ends.chain([(piece.window.end(), piece.window.end())]) {
        if let Some(between) = Extent::between(at, start) {
            buffer[piece.place(between)].fill(0);
        }
        at = end;
    }
}

fn free_up_to(writer: &mut Writer<'_>, end: u64) -> Result<(), ImageError> {
    match Extent::between(writer.at(), end) {
        Some(extent) => writer.free(extent),
        None => Ok(()),
    }
}

fn fault(error: ImageError) -> Stop {
    Stop::Fault(error.to_string())
}
