//! Bytes of a disk with what is known of them: which hold data, which are zeros, which are holes.

use std::sync::{Arc, Mutex, PoisonError};

use disk::extent::Extent;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError, WriteError};
use image::chunk::{Entry, Kind};
use image::reader::{Piece, Reader};
use image::states::{GRANULE, State, States};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allocation {
    Data,
    /// In use, and reads as zeros.
    Zero,
    /// Nothing uses it; reads as zeros.
    Hole,
}

/// From the asked byte up to `end`, all of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub end: u64,
    pub allocation: Allocation,
}

/// What a server serves.
pub trait Content: BlockSource {
    /// `offset` lies on the disk; the run's end is behind it.
    fn run_at(&self, offset: u64) -> Result<Run, ReadError>;

    fn is_writable(&self) -> bool {
        false
    }

    fn write_at(&self, _offset: u64, _data: &[u8]) -> Result<(), WriteError> {
        Err(WriteError::Fault("it is read-only".into()))
    }

    fn zero_at(&self, _offset: u64, _len: u64) -> Result<(), WriteError> {
        Err(WriteError::Fault("it is read-only".into()))
    }

    /// The bytes are of no use to anybody any more.
    fn trim(&self, _offset: u64, _len: u64) -> Result<(), WriteError> {
        Err(WriteError::Fault("it is read-only".into()))
    }
}

/// An image, read-only.
#[derive(Debug)]
pub struct OfImage {
    reader: Reader,
    /// Of the chunk that was asked for last.
    states: Mutex<Option<(u64, Arc<States>)>>,
}

impl OfImage {
    pub fn new(reader: Reader) -> OfImage {
        OfImage {
            reader,
            states: Mutex::default(),
        }
    }

    /// Of this part of the disk, what stands in chunks with data: without looking into any, so at least what is in use.
    pub fn data_bytes(&self, of: Extent) -> u64 {
        let pieces = self.reader.pieces().filter_map(Result::ok);
        let data = pieces.filter(|piece| match piece {
            Piece::Entry(entry) => entry.kind.has_content(),
            Piece::Lost(_) => true,
        });
        data.filter_map(|piece| Some(piece.extent().intersect(of)?.len()))
            .sum()
    }

    fn states(&self, entry: &Entry) -> Result<Option<Arc<States>>, ReadError> {
        let lock = || self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((offset, states)) = &*lock()
            && *offset == entry.offset
        {
            return Ok(Some(states.clone()));
        }
        let states = self.reader.states(entry).map_err(fault)?.map(Arc::new);
        if let Some(states) = &states {
            *lock() = Some((entry.offset, states.clone()));
        }
        Ok(states)
    }
}

impl BlockSource for OfImage {
    fn geometry(&self) -> Geometry {
        self.reader.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.reader.read_at(offset, buf)
    }
}

impl Content for OfImage {
    fn run_at(&self, offset: u64) -> Result<Run, ReadError> {
        let piece = self.reader.piece_at(offset).map_err(fault)?;
        let Some(Piece::Entry(entry)) = piece else {
            // Lost: reading it says so.
            let end = piece.map_or(self.size_bytes(), |piece| piece.extent().end());
            let allocation = Allocation::Data;
            return Ok(Run { end, allocation });
        };
        let whole = Run {
            end: entry.extent.end(),
            allocation: allocation(entry.kind, entry.kind.state()),
        };
        if !entry.has_states() {
            return Ok(whole);
        }
        let Some(states) = self.states(&entry)? else {
            return Ok(Run {
                allocation: Allocation::Data,
                ..whole
            });
        };
        let nth = usize::try_from((offset - entry.extent.start()) / GRANULE as u64);
        let nth = nth.expect("a chunk with states is one cell");
        let kind = |nth| {
            let state = states.get(nth);
            state.map(|state| allocation(entry.kind, state))
        };
        let Some(first) = kind(nth) else {
            return Ok(whole);
        };
        let next = (nth..states.count()).find(|nth| kind(*nth) != Some(first));
        let end = next.map(|next| entry.extent.start() + (next * GRANULE) as u64);
        Ok(Run {
            end: end.unwrap_or(entry.extent.end()),
            allocation: first,
        })
    }
}

fn allocation(kind: Kind, state: State) -> Allocation {
    match (state, kind) {
        (State::Free, _) => Allocation::Hole,
        (State::Kept, Kind::Data | Kind::Patched) => Allocation::Data,
        (State::Kept, _) => Allocation::Zero,
        // What could not be read is in use, and nobody knows that it is zeros.
        (State::Unreadable | State::NotTried, _) => Allocation::Data,
    }
}

fn fault(error: image::error::ImageError) -> ReadError {
    ReadError::Fault(error.to_string())
}
