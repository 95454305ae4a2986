//! Two sides compared, byte by byte where digests do not settle it.

use disk::extent::{Extent, ExtentMap};
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
    pub expected: &'a dyn Fetch,
    /// Stand over what is expected: the table of a larger disk.
    pub patches: &'a [Patch],
    pub actual: &'a dyn Fetch,
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
                slot.missing = self.actual.piece(piece, &mut slot.actual)?.bad;
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
        let fetched = self.expected.piece(piece, expected)?;
        self.patch(piece, expected);
        slot.unreadable = fetched.bad;
        let blocks = piece
            .wanted
            .iter()
            .flat_map(|wanted| wanted.split_at_multiples(BLOCK));
        slot.different = blocks
            .filter(|block| expected[piece.place(*block)] != slot.actual[piece.place(*block)])
            .collect::<ExtentMap>()
            .union(&slot.missing)
            .difference(&fetched.free)
            .difference(&slot.unreadable)
            .difference(self.left_out);
        Ok(())
    }

    fn patch(&self, piece: &Piece, expected: &mut [u8]) {
        for patch in self.patches {
            let extent = Extent::new(patch.offset, patch.bytes.len() as u64);
            if let Some(common) = extent.and_then(|extent| extent.intersect(piece.window)) {
                let from = usize::try_from(common.start() - patch.offset)
                    .expect("it lies inside the patch");
                let to = piece.place(common);
                expected[to.clone()].copy_from_slice(&patch.bytes[from..from + to.len()]);
            }
        }
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
