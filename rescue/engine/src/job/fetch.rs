//! Reading a piece; what cannot be read is noted and left as zeros.

use std::time::{Duration, Instant};

use disk::extent::{Extent, ExtentMap};
use disk::source::{BlockSource, ReadError};

use super::piece::{Piece, gaps};
use super::pipeline::Stop;
use super::trouble::Trouble;
use crate::event::Cancel;
use crate::map::Status;

/// What is read again after a larger read failed, before single sectors are.
const SMALLER_READ: u64 = 64 << 10;

/// A healthy disk reads a piece in far less, and far faster.
const SLOW: Duration = Duration::from_secs(2);
const SLOW_BYTES_PER_SECOND: f64 = (256 << 10) as f64;

/// Where pieces come from: a disk or an image of one.
pub trait Fetch: Sync {
    /// Fills the runs of the piece in `buffer`, which is for its window.
    fn piece(&self, piece: &Piece, buffer: &mut [u8]) -> Result<Fetched, Stop>;
}

/// What is to be known of a piece beside its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fetched {
    /// Could not be read; zeros in the buffer.
    pub bad: ExtentMap,
    /// Turned out to be in use by nothing; zeros in the buffer.
    pub free: ExtentMap,
    /// Read as a whole without success; the passes find out what of it can be had. Zeros in the buffer.
    pub failed: ExtentMap,
    /// Not read, because the disk is in trouble. Zeros in the buffer.
    pub left: ExtentMap,
}

impl Fetched {
    /// What of it is not finished, for a map.
    pub fn marks(&self) -> [(&ExtentMap, Status); 3] {
        [
            (&self.bad, Status::Bad),
            (&self.failed, Status::NonTrimmed),
            (&self.left, Status::NonTried),
        ]
    }

    /// What the passes are to bring.
    pub fn open(&self) -> ExtentMap {
        self.failed.union(&self.left)
    }
}

/// Reads a disk. What a destination has behind the end of the disk reads as zeros.
pub struct FromDisk<'a> {
    source: &'a dyn BlockSource,
    size_bytes: u64,
    failure: Failure<'a>,
    cancel: &'a Cancel,
}

/// What is done about a read that failed.
enum Failure<'a> {
    /// Reads of these lengths follow, falling. What fails at the last is unreadable.
    Finer([u64; 2]),
    /// It is left alone, and so is the rest of the disk.
    Leave(&'a Trouble),
}

impl<'a> FromDisk<'a> {
    /// Goes down to the physical sector: a bad one costs one failed read of each length and no more.
    pub fn new(source: &'a dyn BlockSource, cancel: &'a Cancel) -> FromDisk<'a> {
        let geometry = source.geometry();
        let sector = geometry
            .physical_sector
            .max(geometry.logical_sector)
            .max(512);
        FromDisk {
            source,
            size_bytes: geometry.size_bytes,
            failure: Failure::Finer([SMALLER_READ, u64::from(sector)]),
            cancel,
        }
    }

    /// Raises the alarm at the first sign that the disk is failing, and then reads nothing more of it.
    pub fn until(
        trouble: &'a Trouble,
        source: &'a dyn BlockSource,
        cancel: &'a Cancel,
    ) -> FromDisk<'a> {
        FromDisk {
            failure: Failure::Leave(trouble),
            ..FromDisk::new(source, cancel)
        }
    }
}

impl Fetch for FromDisk<'_> {
    fn piece(&self, piece: &Piece, buffer: &mut [u8]) -> Result<Fetched, Stop> {
        let mut fetched = Fetched::default();
        for run in &piece.runs {
            let Some(there) = Extent::between(run.start(), run.end().min(self.size_bytes)) else {
                buffer[piece.place(*run)].fill(0);
                continue;
            };
            buffer[piece.place(*run)][usize_of(there.len())..].fill(0);
            match &self.failure {
                Failure::Finer(grains) => self.finer(piece, there, grains, buffer, &mut fetched)?,
                Failure::Leave(trouble) => {
                    self.carefully(piece, there, trouble, buffer, &mut fetched)?;
                }
            }
        }
        for gap in gaps(piece) {
            buffer[piece.place(gap)].fill(0);
        }
        Ok(fetched)
    }
}

impl FromDisk<'_> {
    fn finer(
        &self,
        piece: &Piece,
        run: Extent,
        grains: &[u64],
        buffer: &mut [u8],
        fetched: &mut Fetched,
    ) -> Result<(), Stop> {
        if self.read(piece, run, buffer)? {
            return Ok(());
        }
        // Around the gaps from here on: nobody wants a bad sector in free space tried.
        for wanted in within(piece, run) {
            self.smaller(piece, wanted, run, grains, buffer, &mut fetched.bad)?;
        }
        Ok(())
    }

    fn carefully(
        &self,
        piece: &Piece,
        run: Extent,
        trouble: &Trouble,
        buffer: &mut [u8],
        fetched: &mut Fetched,
    ) -> Result<(), Stop> {
        if trouble.is_raised() {
            buffer[piece.place(run)].fill(0);
            within(piece, run).for_each(|extent| fetched.left.insert(extent));
            return Ok(());
        }
        let begun = Instant::now();
        let range = piece.place(run);
        let into = match self.attempt(run, &mut buffer[range.clone()])? {
            Attempt::Read if !is_slow(run, begun.elapsed()) => return Ok(()),
            Attempt::Read => {
                trouble.raise();
                return Ok(());
            }
            Attempt::Unreadable => &mut fetched.failed,
            // It may come back: the passes wait for it.
            Attempt::Gone(_) => &mut fetched.left,
        };
        trouble.raise();
        buffer[range].fill(0);
        within(piece, run).for_each(|extent| into.insert(extent));
        Ok(())
    }

    /// Reads `extent` in parts of the first grain; `failed` is known to fail as a whole.
    fn smaller(
        &self,
        piece: &Piece,
        extent: Extent,
        failed: Extent,
        grains: &[u64],
        buffer: &mut [u8],
        bad: &mut ExtentMap,
    ) -> Result<(), Stop> {
        let Some((grain, finer)) = grains.split_first() else {
            buffer[piece.place(extent)].fill(0);
            bad.insert(extent);
            return Ok(());
        };
        for part in extent.split_at_multiples(*grain) {
            if part == failed || !self.read(piece, part, buffer)? {
                self.smaller(piece, part, part, finer, buffer, bad)?;
            }
        }
        Ok(())
    }

    /// False when the medium cannot give these bytes.
    fn read(&self, piece: &Piece, extent: Extent, buffer: &mut [u8]) -> Result<bool, Stop> {
        match self.attempt(extent, &mut buffer[piece.place(extent)])? {
            Attempt::Read => Ok(true),
            Attempt::Unreadable => Ok(false),
            Attempt::Gone(text) => Err(Stop::Fault(text)),
        }
    }

    fn attempt(&self, extent: Extent, into: &mut [u8]) -> Result<Attempt, Stop> {
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        match self.source.read_at(extent.start(), into) {
            Ok(()) => Ok(Attempt::Read),
            Err(ReadError::Unreadable(_)) => Ok(Attempt::Unreadable),
            Err(fault @ ReadError::Gone(_)) => Ok(Attempt::Gone(fault.to_string())),
            Err(fault) => Err(Stop::Fault(fault.to_string())),
        }
    }
}

/// How one read went.
enum Attempt {
    Read,
    Unreadable,
    /// The sentence about it.
    Gone(String),
}

/// What of a run is wanted.
fn within(piece: &Piece, run: Extent) -> impl Iterator<Item = Extent> + '_ {
    piece
        .wanted
        .iter()
        .filter_map(move |wanted| wanted.intersect(run))
}

fn is_slow(run: Extent, took: Duration) -> bool {
    took > SLOW && (run.len() as f64) < SLOW_BYTES_PER_SECOND * took.as_secs_f64()
}

fn usize_of(len: u64) -> usize {
    usize::try_from(len).expect("a run fits in memory")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use disk::geometry::Geometry;
    use disk::memory::{BadPlaces, MemorySource};

    use super::super::piece::pieces;
    use super::*;

    /// Notes every read.
    struct Watched<S>(S, Mutex<Vec<Extent>>);

    impl<S: BlockSource> BlockSource for Watched<S> {
        fn geometry(&self) -> Geometry {
            self.0.geometry()
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
            let extent = Extent::new(offset, buf.len() as u64).unwrap();
            self.1.lock().unwrap().push(extent);
            self.0.read_at(offset, buf)
        }
    }

    fn extent(start: u64, len: u64) -> Extent {
        Extent::new(start, len).unwrap()
    }

    fn watched(bad: &[Extent]) -> Watched<BadPlaces<MemorySource>> {
        let source = MemorySource::with_sectors(vec![7; 1 << 20], 512, 4096);
        let bad = bad.iter().copied().collect();
        Watched(BadPlaces { source, bad }, Mutex::default())
    }

    fn fetched(source: &dyn BlockSource, wanted: &[Extent]) -> (Vec<u8>, ExtentMap) {
        let wanted = wanted.iter().copied().collect();
        let piece = pieces(&wanted, 1 << 20).next().unwrap();
        let mut buffer = vec![9; 1 << 20];
        let cancel = Cancel::default();
        let fetched = FromDisk::new(source, &cancel)
            .piece(&piece, &mut buffer)
            .unwrap();
        (buffer, fetched.bad)
    }

    #[test]
    fn one_bad_sector_costs_its_physical_sector_and_three_failed_reads() {
        let source = watched(&[extent(100 << 10, 512)]);
        let (buffer, bad) = fetched(&source, &[extent(0, 1 << 20)]);
        let lost = extent(100 << 10, 4096);
        assert_eq!(bad, ExtentMap::from(vec![lost]));
        for (at, byte) in buffer.iter().enumerate() {
            assert_eq!(*byte, if lost.contains(at as u64) { 0 } else { 7 }, "{at}");
        }
        let reads = source.1.into_inner().unwrap();
        let failed = reads.iter().filter(|r| r.intersect(lost).is_some());
        assert_eq!(failed.count(), 3);
    }

    #[test]
    fn a_bad_sector_in_a_gap_costs_nothing_but_the_first_read() {
        let source = watched(&[extent(8192, 4096)]);
        let (buffer, bad) = fetched(&source, &[extent(0, 4096), extent(16384, 4096)]);
        assert_eq!(bad, ExtentMap::new());
        assert!(buffer[..4096].iter().all(|b| *b == 7));
        assert!(buffer[4096..16384].iter().all(|b| *b == 0));
        assert!(buffer[16384..20480].iter().all(|b| *b == 7));
        let reads = source.1.into_inner().unwrap();
        let touched = reads.iter().filter(|r| r.contains(8192)).count();
        assert_eq!(touched, 1);
    }
}
