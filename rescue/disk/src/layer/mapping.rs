//! Where the bytes of a volume stand in what carries it.

use serde::{Deserialize, Serialize};

use crate::extent::{Extent, ExtentMap};
use crate::geometry::Geometry;
use crate::source::{BlockSource, ReadError};

/// A stretch of a volume that is stored alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Piece {
    /// Bytes of the volume.
    pub extent: Extent,
    /// How many bytes stand in one column before it is the next one's turn; of no meaning with one column.
    pub stripe_bytes: u64,
    /// Where each column begins in the carrier. Each holds an equal share of the piece, in one run.
    pub columns: Vec<u64>,
}

impl Piece {
    /// All of it in one run.
    pub fn linear(extent: Extent, start: u64) -> Piece {
        Piece {
            extent,
            stripe_bytes: extent.len(),
            columns: vec![start],
        }
    }

    /// Striped over several runs. `None` when they do not share the piece in equal numbers of whole stripes or
    /// overflow.
    pub fn striped(extent: Extent, stripe_bytes: u64, columns: Vec<u64>) -> Option<Piece> {
        let count = u64::try_from(columns.len()).ok()?;
        let row = stripe_bytes.checked_mul(count).filter(|row| *row > 0)?;
        let fits = columns
            .iter()
            .all(|start| start.checked_add(extent.len()).is_some());
        (extent.len().is_multiple_of(row) && fits).then_some(Piece {
            extent,
            stripe_bytes,
            columns,
        })
    }

    /// How many of the first `length` bytes of the piece stand in this column: from its start on, in one run.
    fn share(&self, column: u64, length: u64) -> u64 {
        let row = self.stripe_bytes * self.columns.len() as u64;
        let inside = (length % row).saturating_sub(column * self.stripe_bytes);
        length / row * self.stripe_bytes + inside.min(self.stripe_bytes)
    }

    /// Where this part of the volume stands: one run in each column that has any of it.
    fn outer(&self, part: Extent) -> impl Iterator<Item = Extent> + '_ {
        let part = part.intersect(self.extent);
        self.columns
            .iter()
            .zip(0u64..)
            .filter_map(move |(start, column)| {
                let part = part?;
                let from = self.share(column, part.start() - self.extent.start());
                let to = self.share(column, part.end() - self.extent.start());
                Extent::between(start + from, start + to)
            })
    }

    /// The run at this offset of the volume: where it stands and how long it is at most.
    fn run(&self, offset: u64) -> (u64, u64) {
        let inside = offset - self.extent.start();
        let left = self.extent.end() - offset;
        let count = self.columns.len() as u64;
        let (stripe, within) = (inside / self.stripe_bytes, inside % self.stripe_bytes);
        let column =
            usize::try_from(stripe % count).expect("it is less than the number of columns");
        let at = self.columns[column] + stripe / count * self.stripe_bytes + within;
        match count {
            1 => (self.columns[0] + inside, left),
            _ => (at, left.min(self.stripe_bytes - within)),
        }
    }

    /// Which parts of the volume stand in this extent of the carrier.
    fn inner(&self, carrier: Extent, found: &mut Vec<Extent>) {
        let count = self.columns.len() as u64;
        let share = self.extent.len() / count;
        for (start, column) in self.columns.iter().zip(0u64..) {
            let Some(hit) = Extent::new(*start, share).and_then(|all| all.intersect(carrier))
            else {
                continue;
            };
            let (from, to) = (hit.start() - start, hit.end() - start);
            if count == 1 {
                found.extend(Extent::between(
                    self.extent.start() + from,
                    self.extent.start() + to,
                ));
                continue;
            }
            let run = Extent::between(from, to).into_iter();
            for part in run.flat_map(|run| run.split_at_multiples(self.stripe_bytes)) {
                let row = part.start() / self.stripe_bytes;
                let stripe = (row * count + column) * self.stripe_bytes;
                let at = self.extent.start() + stripe + part.start() % self.stripe_bytes;
                found.extend(Extent::new(at, part.len()));
            }
        }
    }
}

/// The whole of a volume: ascending, disjoint pieces. What is in none of them is on another disk.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mapping {
    pieces: Vec<Piece>,
    /// Bytes of the carrier that belong to the volume at places that cannot be told here: stripes whose
    /// neighbours are on other disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    loose: Vec<Extent>,
    /// Bytes of the volume that stand nowhere and are zeros. Ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    zeros: Vec<Extent>,
}

impl Mapping {
    /// The volume is one run of the carrier.
    pub fn run(start: u64, len: u64) -> Mapping {
        let whole = Extent::new(0, len).filter(|_| start.checked_add(len).is_some());
        Mapping {
            pieces: whole
                .map(|whole| Piece::linear(whole, start))
                .into_iter()
                .collect(),
            loose: Vec::new(),
            zeros: Vec::new(),
        }
    }

    /// `None` when the pieces do not ascend or overlap.
    pub fn new(pieces: Vec<Piece>) -> Option<Mapping> {
        Mapping::with_loose(pieces, Vec::new())
    }

    pub fn with_loose(pieces: Vec<Piece>, loose: Vec<Extent>) -> Option<Mapping> {
        let ascending = pieces
            .windows(2)
            .all(|pair| pair[0].extent.end() <= pair[1].extent.start());
        ascending.then_some(Mapping {
            pieces,
            loose,
            zeros: Vec::new(),
        })
    }

    /// `None` when they overlap each other or a piece.
    pub fn with_zeros(self, mut zeros: Vec<Extent>) -> Option<Mapping> {
        zeros.sort_unstable();
        let all = Mapping { zeros, ..self };
        let parts = all.parts();
        let apart = parts
            .windows(2)
            .all(|pair| pair[0].end() <= pair[1].start());
        apart.then_some(all)
    }

    /// What of the volume is told, in order.
    fn parts(&self) -> Vec<Extent> {
        let placed = self.pieces.iter().map(|piece| piece.extent);
        let mut parts: Vec<Extent> = placed.chain(self.zeros.iter().copied()).collect();
        parts.sort_unstable();
        parts
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Every byte of a volume of this size is on this carrier.
    pub fn is_complete(&self, size_bytes: u64) -> bool {
        let mut at = 0;
        for part in self.parts() {
            if part.start() != at {
                return false;
            }
            at = part.end();
        }
        at == size_bytes
    }

    /// Where all of the volume stands, in no order.
    pub fn everything(&self) -> impl Iterator<Item = Extent> + '_ {
        let placed = self
            .pieces
            .iter()
            .flat_map(|piece| piece.outer(piece.extent));
        placed.chain(self.loose.iter().copied())
    }

    /// Where these bytes of the volume stand.
    pub fn outer(&self, inner: &ExtentMap) -> Vec<Extent> {
        let mut found = Vec::new();
        for piece in &self.pieces {
            for part in inner.within(piece.extent) {
                found.extend(piece.outer(part));
            }
        }
        found
    }

    /// Which bytes of the volume stand in these extents of the carrier.
    pub fn inner(&self, outer: &ExtentMap) -> ExtentMap {
        let mut found = Vec::new();
        for piece in &self.pieces {
            for extent in outer.iter() {
                piece.inner(extent, &mut found);
            }
        }
        ExtentMap::from(found)
    }

    fn piece_at(&self, offset: u64) -> Option<&Piece> {
        let at = self
            .pieces
            .partition_point(|piece| piece.extent.end() <= offset);
        self.pieces
            .get(at)
            .filter(|piece| piece.extent.contains(offset))
    }
}

/// A volume read through its mapping. Errors name offsets of the volume.
pub struct Mapped<'a> {
    source: &'a dyn BlockSource,
    mapping: &'a Mapping,
    size_bytes: u64,
}

impl std::fmt::Debug for Mapped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mapped({} bytes)", self.size_bytes)
    }
}

impl<'a> Mapped<'a> {
    pub fn new(source: &'a dyn BlockSource, mapping: &'a Mapping, size_bytes: u64) -> Mapped<'a> {
        Mapped {
            source,
            mapping,
            size_bytes,
        }
    }

    fn read_run(&self, at: u64, start: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let run = Extent::new(start, buf.len() as u64);
        self.source
            .read_at(start, buf)
            .map_err(|error| match (error, run) {
                (ReadError::Unreadable(bad), Some(run)) => {
                    let bad = bad.intersect(run).unwrap_or(run);
                    let moved = Extent::new(at + (bad.start() - run.start()), bad.len());
                    ReadError::Unreadable(moved.expect("it lies inside the volume"))
                }
                (ReadError::BeyondEnd { len, .. }, _) => ReadError::BeyondEnd {
                    offset: at,
                    len,
                    size_bytes: self.size_bytes,
                },
                (other, _) => other,
            })
    }
}

impl BlockSource for Mapped<'_> {
    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size_bytes,
            ..self.source.geometry()
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len = buf.len() as u64;
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= self.size_bytes)
            .ok_or(ReadError::BeyondEnd {
                offset,
                len,
                size_bytes: self.size_bytes,
            })?;
        let (mut at, mut rest) = (offset, buf);
        while at < end {
            let zeros = self.mapping.zeros.iter().find(|zeros| zeros.contains(at));
            if let Some(zeros) = zeros {
                let len = zeros.end().min(end) - at;
                let len = usize::try_from(len).expect("it lies inside the buffer");
                let (now, later) = rest.split_at_mut(len);
                now.fill(0);
                at += len as u64;
                rest = later;
                continue;
            }
            let Some(piece) = self.mapping.piece_at(at) else {
                return Err(ReadError::Fault(format!(
                    "the bytes at {at} of the volume are on another disk"
                )));
            };
            let (start, len) = piece.run(at);
            let len = usize::try_from(len).map_or(rest.len(), |len| len.min(rest.len()));
            let (now, later) = rest.split_at_mut(len);
            self.read_run(at, start, now)?;
            at += len as u64;
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::memory::MemorySource;

    /// Pieces of 24 bytes behind each other, each in 1, 2 or 3 columns of stripes of 2 or 4 bytes.
    fn made(shapes: &[(usize, bool)]) -> Mapping {
        let mut carrier = 1000u64;
        let pieces = shapes.iter().zip(0u64..).map(|((count, wide), number)| {
            let extent = Extent::new(number * 24, 24).unwrap();
            let share = 24 / *count as u64;
            let columns: Vec<u64> = (0..*count)
                .map(|_| {
                    carrier -= share + 1;
                    carrier
                })
                .collect();
            match count {
                1 => Piece::linear(extent, columns[0]),
                _ => Piece::striped(extent, if *wide { 4 } else { 2 }, columns).unwrap(),
            }
        });
        Mapping::new(pieces.collect()).unwrap()
    }

    fn map_of(extent: Extent) -> ExtentMap {
        [extent].into_iter().collect()
    }

    proptest! {
        #[test]
        fn reading_and_both_directions_agree_byte_for_byte(shapes in proptest::collection::vec((1usize..4, proptest::bool::ANY), 1..6), start in 0u64..140, len in 1u64..60) {
            let bytes: Vec<u8> = (0..1000u32).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
            let disk = MemorySource::new(bytes.clone());
            let mapping = made(&shapes);
            let size = shapes.len() as u64 * 24;
            prop_assert!(mapping.is_complete(size));
            let volume = Mapped::new(&disk, &mapping, size);
            // One byte at a time says where each of them stands.
            let place = |at: u64| mapping.outer(&map_of(Extent::new(at, 1).unwrap()))[0].start();
            let Some(part) = Extent::new(start, len).and_then(|e| e.intersect(Extent::new(0, size).unwrap())) else {
                return Ok(());
            };
            let mut read = vec![0; usize::try_from(part.len()).unwrap()];
            volume.read_at(part.start(), &mut read).unwrap();
            let mut alone = Vec::new();
            for at in part.start()..part.end() {
                let there = place(at);
                alone.push(Extent::new(there, 1).unwrap());
                prop_assert_eq!(read[usize::try_from(at - part.start()).unwrap()], bytes[usize::try_from(there).unwrap()]);
                prop_assert_eq!(mapping.inner(&map_of(Extent::new(there, 1).unwrap())), map_of(Extent::new(at, 1).unwrap()));
            }
            let together = ExtentMap::from(mapping.outer(&map_of(part)));
            prop_assert_eq!(&together, &ExtentMap::from(alone));
            prop_assert_eq!(mapping.inner(&together), map_of(part));
            prop_assert_eq!(together.total_bytes(), part.len());
        }
    }

    #[test]
    fn zeros_stand_nowhere_and_are_read() {
        let disk = MemorySource::new(vec![1; 100]);
        let extent = |start, len| Extent::new(start, len).unwrap();
        let pieces = vec![
            Piece::linear(extent(0, 10), 50),
            Piece::linear(extent(14, 6), 70),
        ];
        let mapping = Mapping::new(pieces).unwrap();
        assert!(!mapping.is_complete(20));
        assert!(mapping.clone().with_zeros(vec![extent(9, 5)]).is_none());
        let mapping = mapping.with_zeros(vec![extent(10, 4)]).unwrap();
        assert!(mapping.is_complete(20));
        let mut read = [9; 20];
        Mapped::new(&disk, &mapping, 20)
            .read_at(0, &mut read)
            .unwrap();
        assert_eq!(read, [[1; 10].as_slice(), &[0; 4], &[1; 6]].concat()[..]);
        assert_eq!(mapping.outer(&map_of(extent(9, 5))), [extent(59, 1)]);
        assert_eq!(mapping.everything().count(), 2);
    }

    #[test]
    fn what_is_on_another_disk_is_not_read() {
        let disk = MemorySource::new(vec![1; 100]);
        let piece = Piece::linear(Extent::new(10, 10).unwrap(), 50);
        let mapping = Mapping::new(vec![piece]).unwrap();
        assert!(!mapping.is_complete(20));
        let volume = Mapped::new(&disk, &mapping, 20);
        assert!(volume.read_at(10, &mut [0; 10]).is_ok());
        assert!(volume.read_at(9, &mut [0; 2]).is_err());
        assert!(volume.read_at(19, &mut [0; 2]).is_err());
    }

    #[test]
    fn a_bad_place_is_named_by_its_offset_in_the_volume() {
        let disk = crate::memory::BadPlaces {
            source: MemorySource::new(vec![1; 100]),
            bad: map_of(Extent::new(55, 2).unwrap()),
        };
        let mapping = Mapping::run(50, 20);
        let volume = Mapped::new(&disk, &mapping, 20);
        let error = volume.read_at(0, &mut [0; 20]).unwrap_err();
        assert_eq!(error, ReadError::Unreadable(Extent::new(5, 2).unwrap()));
    }
}
