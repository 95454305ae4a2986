//! Two sides compared, byte by byte where digests do not settle it.

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};
use disk::table::edit::Patch;

use super::buffer::Buffer;
use super::digest::{Digests, digest};
use super::fetch::Fetch;
use super::meter::Meter;
use super::piece::{Piece, pieces};
use super::pipeline::{Stages, Stop, run};
use super::tuning::Tuning;
use crate::event::Cancel;

/// Differences are told in blocks of this length.
const BLOCK: u64 = 4096;

/// What is compared with what.
pub struct Compare<'a> {
    pub expected: Fetch<'a>,
    pub actual: Fetch<'a>,
    pub wanted: &'a ExtentMap,
    /// Known to be missing in the source: there is nothing to compare with.
    pub left_out: &'a ExtentMap,
    /// What was written, where that is remembered: spares reading the source again.
    pub digests: Option<&'a Digests>,
    pub tuning: Tuning,
    pub cancel: &'a Cancel,
}

#[derive(Default, Debug)]
pub struct Findings {
    pub equal_bytes: u64,
    pub different: ExtentMap,
    /// Could not be read on the expected side.
    pub unreadable: ExtentMap,
}

struct Slot {
    actual: Buffer,
    expected: Option<Buffer>,
    /// Could not be read on the actual side.
    missing: ExtentMap,
    unreadable: ExtentMap,
    different: ExtentMap,
}

impl Compare<'_> {
    pub fn run(&self, meter: &mut Meter<'_>) -> Result<Findings, Stop> {
        let mut findings = Findings::default();
        let stages = Stages {
            fetch: |piece: &Piece, slot: &mut Slot| {
                slot.missing = self.actual.piece(piece, &mut slot.actual)?;
                Ok(())
            },
            work: |piece: &Piece, slot: &mut Slot| self.settle(piece, slot),
        };
        let length = usize::try_from(self.tuning.piece_bytes).expect("a piece fits in memory");
        let slots = (0..self.tuning.slots).map(|_| Slot::new(length)).collect();
        run(
            pieces(self.wanted, self.tuning.piece_bytes),
            slots,
            self.tuning.threads,
            &stages,
            self.cancel,
            &mut |piece, slot| {
                let bytes = piece.wanted_bytes();
                meter.read_bytes += bytes;
                let wrong = slot.different.union(&slot.unreadable);
                findings.equal_bytes += bytes - wrong.total_bytes();
                slot.different
                    .iter()
                    .for_each(|e| findings.different.insert(e));
                for extent in slot.unreadable.iter() {
                    findings.unreadable.insert(extent);
                    meter.unreadable(extent);
                }
                meter.advance(bytes, piece.window.end());
                Ok(())
            },
        )?;
        Ok(findings)
    }

    fn settle(&self, piece: &Piece, slot: &mut Slot) -> Result<(), Stop> {
        slot.different = ExtentMap::new();
        slot.unreadable = ExtentMap::new();
        let known = self.digests.and_then(|digests| digests.of(piece));
        if slot.missing.is_empty()
            && known.is_some_and(|known| known == digest(piece, &slot.actual))
        {
            return Ok(());
        }
        let length = slot.actual.len();
        let expected = slot.expected.get_or_insert_with(|| Buffer::new(length));
        slot.unreadable = self.expected.piece(piece, expected)?;
        let blocks = piece
            .wanted
            .iter()
            .flat_map(|wanted| wanted.split_at_multiples(BLOCK));
        slot.different = blocks
            .filter(|block| expected[piece.place(*block)] != slot.actual[piece.place(*block)])
            .collect::<ExtentMap>()
            .union(&slot.missing)
            .difference(&slot.unreadable)
            .difference(self.left_out);
        Ok(())
    }
}

impl Slot {
    fn new(length: usize) -> Slot {
        Slot {
            actual: Buffer::new(length),
            expected: None,
            missing: ExtentMap::new(),
            unreadable: ExtentMap::new(),
            different: ExtentMap::new(),
        }
    }
}

/// A source as it stands on a larger disk: its bytes with the patches over them, zeros behind its end.
pub struct Patched<'a> {
    pub source: &'a dyn BlockSource,
    pub patches: &'a [Patch],
    pub size_bytes: u64,
}

impl BlockSource for Patched<'_> {
    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size_bytes,
            ..self.source.geometry()
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len = buf.len() as u64;
        let beyond = ReadError::BeyondEnd {
            offset,
            len,
            size_bytes: self.size_bytes,
        };
        let Some(asked) = Extent::new(offset, len) else {
            return if len == 0 { Ok(()) } else { Err(beyond) };
        };
        if asked.end() > self.size_bytes {
            return Err(beyond);
        }
        let inner =
            Extent::between(0, self.source.size_bytes()).and_then(|all| all.intersect(asked));
        let split = inner.map_or(0, |inner| index(inner.len()));
        if split > 0 {
            self.source.read_at(offset, &mut buf[..split])?;
        }
        buf[split..].fill(0);
        for patch in self.patches {
            let extent = Extent::new(patch.offset, patch.bytes.len() as u64);
            if let Some(common) = extent.and_then(|extent| extent.intersect(asked)) {
                let (from, to) = (
                    index(common.start() - patch.offset),
                    index(common.start() - offset),
                );
                let count = index(common.len());
                buf[to..to + count].copy_from_slice(&patch.bytes[from..from + count]);
            }
        }
        Ok(())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("it lies inside a buffer")
}

impl std::fmt::Debug for Patched<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Patched({} patches)", self.patches.len())
    }
}
