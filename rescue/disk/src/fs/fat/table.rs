//! The file allocation table: which clusters hold something.

use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::State;
use crate::fs::fat::boot::{Boot, Width};
use crate::source::{BlockSource, ReadError};

/// A FAT has up to 1 GiB and is read in pieces of this size, which holds whole entries of every width.
const PIECE_BYTES: u64 = 3 << 18;
/// Most extents a used map keeps apart; beyond it, small gaps are taken as used.
const EXTENT_LIMIT: usize = 1 << 20;

/// What the copies of the FAT say together.
#[derive(Debug)]
pub struct Allocation {
    pub used: ExtentMap,
    /// What no copy that can be read tells of; used too.
    pub unknown: ExtentMap,
    pub copies_agree: bool,
    pub state: State,
    /// What could not be read.
    pub note: Option<String>,
}

/// A cluster is free only when every copy that can be read says so; where none can, it is used.
pub fn allocation(source: &dyn BlockSource, boot: &Boot) -> Result<Allocation, ReadError> {
    let bytes = boot.width.offset(boot.cluster_count + 1) + 4;
    let [mut runs, mut unknown] = [(); 2].map(|()| Runs::new(boot.cluster_bytes));
    let mut merge = Merge::new(source, boot);
    let mut state_found = State::Clean;
    let mut at = 0;
    let mut cluster = 0u32;
    while cluster < boot.cluster_count + 2 {
        let len = PIECE_BYTES.min(boot.fat_bytes - at).min(bytes - at);
        let (piece, lost) = merge.piece(at, len)?;
        if at == 0 {
            state_found = state(boot, &piece, &lost);
        }
        let there = u32::try_from(boot.width.entries_in(len)).expect("a piece is small");
        let end = cluster
            .saturating_add(there.max(1))
            .min(boot.cluster_count + 2);
        for (index, number) in (cluster..end).enumerate() {
            let Some(extent) = boot.cluster(number) else {
                continue;
            };
            let is_lost = !lost.is_empty() && lost.within(entry(boot, number, at)).next().is_some();
            if is_lost {
                unknown.push(extent);
            }
            if is_lost || boot.width.entry(&piece, index) != Some(0) {
                runs.push(extent);
            }
        }
        cluster = end;
        at += len;
    }
    Ok(Allocation {
        used: runs.map,
        unknown: unknown.map,
        copies_agree: merge.agree,
        state: state_found,
        note: merge.note(),
    })
}

/// The bytes of an entry in a piece that begins at `at`; one of 12 bits begins or ends inside of them.
fn entry(boot: &Boot, number: u32, at: u64) -> Extent {
    let [from, to] = [number, number + 1].map(|number| boot.width.offset(number) - at);
    let shared = u64::from(boot.width == Width::Fat12);
    Extent::between(from, to + shared).expect("an entry is not empty")
}

/// The bits of all copies together.
struct Merge<'a> {
    source: &'a dyn BlockSource,
    boot: &'a Boot,
    agree: bool,
    /// Bytes of one copy or another that could not be read, and of all of them.
    unread: u64,
    lost: u64,
}

impl<'a> Merge<'a> {
    fn new(source: &'a dyn BlockSource, boot: &'a Boot) -> Merge<'a> {
        Merge {
            source,
            boot,
            agree: true,
            unread: 0,
            lost: 0,
        }
    }

    /// A piece of the table, and what of it no copy could give.
    fn piece(&mut self, at: u64, len: u64) -> Result<(Vec<u8>, ExtentMap), ReadError> {
        // The first two entries are no clusters: their bits mean "clean" and may be cleared in one copy only.
        let flags = if at == 0 {
            self.boot.width.offset(2)
        } else {
            0
        };
        let flags = usize::try_from(flags.min(len)).expect("a piece is small");
        let length = usize::try_from(len).expect("a piece is small");
        let mut merged: Option<(Vec<u8>, ExtentMap)> = None;
        let mut bytes = vec![0; length];
        for copy in 0..self.boot.fat_count {
            let bad = self.copy(self.boot.fat(copy) + at, &mut bytes)?;
            self.unread += bad.total_bytes();
            let Some((into, lost)) = &mut merged else {
                merged = Some((bytes.clone(), bad));
                continue;
            };
            if bad.is_empty() && lost.is_empty() {
                self.agree &= into[flags..] == bytes[flags..];
                for (into, from) in into[..flags].iter_mut().zip(&bytes) {
                    *into &= from;
                }
                for (into, from) in into[flags..].iter_mut().zip(&bytes[flags..]) {
                    *into |= from;
                }
                continue;
            }
            for place in 0..length {
                let here = place as u64;
                let (own, other) = (bad.contains(here), lost.contains(here));
                match (own, other) {
                    (true, _) => {}
                    (false, true) => into[place] = bytes[place],
                    (false, false) if place < flags => into[place] &= bytes[place],
                    (false, false) => {
                        self.agree &= into[place] == bytes[place];
                        into[place] |= bytes[place];
                    }
                }
            }
            *lost = lost.intersection(&bad);
        }
        let (piece, lost) = merged.expect("there is at least one copy");
        self.lost += lost.total_bytes();
        Ok((piece, lost))
    }

    /// Fills `bytes`, and says which of them cannot be read.
    fn copy(&self, start: u64, bytes: &mut [u8]) -> Result<ExtentMap, ReadError> {
        let mut bad = ExtentMap::new();
        match self.source.read_at(start, bytes) {
            Ok(()) => return Ok(bad),
            Err(ReadError::Unreadable(_)) => {}
            Err(error) => return Err(error),
        }
        let shard = self.source.geometry().shard();
        let sector = usize::try_from(shard).expect("4 KiB at most");
        for (at, part) in (0u64..).step_by(sector).zip(bytes.chunks_mut(sector)) {
            match self.source.read_at(start + at, part) {
                Ok(()) => {}
                Err(ReadError::Unreadable(_)) => {
                    part.fill(0);
                    Extent::new(at, part.len() as u64)
                        .into_iter()
                        .for_each(|part| bad.insert(part));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bad)
    }

    fn note(&self) -> Option<String> {
        match (self.unread, self.lost) {
            (0, _) => None,
            (unread, 0) => Some(format!(
                "{unread} bytes of its tables cannot be read, the other copy was used"
            )),
            (_, lost) => Some(format!(
                "{lost} bytes of its table cannot be read in any copy"
            )),
        }
    }
}

/// The second entry's top bits are cleared while it is mounted, and after an I/O error.
fn state(boot: &Boot, piece: &[u8], lost: &ExtentMap) -> State {
    if lost.contains(0) {
        return State::Dirty("its table does not say whether it was unmounted".into());
    }
    let (clean, whole) = match boot.width {
        Width::Fat12 => (0, 0),
        Width::Fat16 => (0x8000, 0x4000),
        Width::Fat32 => (0x0800_0000, 0x0400_0000),
    };
    let flags = boot.width.entry(piece, 1).unwrap_or(u32::MAX);
    if flags & clean != clean || boot.mounted {
        State::Dirty("it was not unmounted".into())
    } else if flags & whole != whole {
        State::Dirty("it met errors of the disk".into())
    } else {
        State::Clean
    }
}

impl Width {
    /// The entry at this index of a piece that begins with a whole entry at an even index.
    pub fn entry(self, piece: &[u8], index: usize) -> Option<u32> {
        let fields = Fields(piece);
        match self {
            Width::Fat12 => {
                let pair = u32::from(fields.u16(index + index / 2)?);
                Some(if index.is_multiple_of(2) {
                    pair & 0xFFF
                } else {
                    pair >> 4
                })
            }
            Width::Fat16 => fields.u16(index * 2).map(u32::from),
            Width::Fat32 => fields.u32(index * 4).map(|entry| entry & 0x0FFF_FFFF),
        }
    }

    /// From here on a number ends a chain.
    pub fn end(self) -> u32 {
        match self {
            Width::Fat12 => 0xFF8,
            Width::Fat16 => 0xFFF8,
            Width::Fat32 => 0x0FFF_FFF8,
        }
    }
}

/// Collects clusters in ascending order in bounded memory: a table that alternates between used and free
/// makes the map coarser, never wrong.
struct Runs {
    map: ExtentMap,
    gap: u64,
}

impl Runs {
    fn new(cluster_bytes: u64) -> Runs {
        let gap = cluster_bytes / 2;
        Runs {
            map: ExtentMap::new(),
            gap,
        }
    }

    fn push(&mut self, extent: Extent) {
        let end = self.map.end();
        let near = end > 0 && extent.start() - end <= self.gap;
        let start = if near { end } else { extent.start() };
        self.map
            .insert(Extent::between(start, extent.end()).expect("a cluster is not empty"));
        while self.map.count() > EXTENT_LIMIT {
            self.gap *= 2;
            let finer = std::mem::take(&mut self.map);
            for extent in finer.iter() {
                let end = self.map.end();
                let near = end > 0 && extent.start() - end <= self.gap;
                let start = if near { end } else { extent.start() };
                self.map
                    .insert(Extent::between(start, extent.end()).expect("it held one before"));
            }
        }
    }
}
