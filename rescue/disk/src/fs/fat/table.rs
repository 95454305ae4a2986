//! The file allocation table: which clusters hold something, and what follows a cluster.

use std::cell::RefCell;

use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::State;
use crate::fs::fat::boot::{Boot, Width};
use crate::fs::tree::{Piece, TreeError};
use crate::source::{BlockSource, ReadError};

/// A FAT has up to 1 GiB and is read in pieces of this size, which holds whole entries of every width.
const PIECE_BYTES: u64 = 3 << 18;
/// Most extents a used map keeps apart; beyond it, small gaps are taken as used.
const EXTENT_LIMIT: usize = 1 << 20;
/// Most pieces of one file.
const PIECE_LIMIT: usize = 1 << 20;

/// What the copies of the FAT say together.
#[derive(Debug)]
pub struct Allocation {
    pub used: ExtentMap,
    pub copies_agree: bool,
    pub state: State,
}

/// A cluster is free only when every copy that can be read says so; where none can, it is used.
pub fn allocation(source: &dyn BlockSource, boot: &Boot) -> Result<Allocation, ReadError> {
    let bytes = boot.width.offset(boot.cluster_count + 1) + 4;
    let mut runs = Runs::new(boot.cluster_bytes);
    let mut allocation = Allocation {
        used: ExtentMap::new(),
        copies_agree: true,
        state: State::Clean,
    };
    let mut at = 0;
    let mut cluster = 0u32;
    while cluster < boot.cluster_count + 2 {
        let len = PIECE_BYTES.min(boot.fat_bytes - at).min(bytes - at);
        let piece = merged_piece(source, boot, at, len, &mut allocation.copies_agree)?;
        if at == 0 {
            allocation.state = state(boot, piece.as_deref().unwrap_or(&[]));
        }
        let there = u32::try_from(boot.width.entries_in(len)).expect("a piece is small");
        let end = cluster
            .saturating_add(there.max(1))
            .min(boot.cluster_count + 2);
        for (index, number) in (cluster..end).enumerate() {
            let taken = piece
                .as_deref()
                .is_none_or(|piece| boot.width.entry(piece, index) != Some(0));
            if let Some(extent) = boot.cluster(number).filter(|_| taken) {
                runs.push(extent);
            }
        }
        cluster = end;
        at += len;
    }
    allocation.used = runs.map;
    Ok(allocation)
}

/// The bits of all copies together; `None` when no copy can be read here.
fn merged_piece(
    source: &dyn BlockSource,
    boot: &Boot,
    at: u64,
    len: u64,
    agree: &mut bool,
) -> Result<Option<Vec<u8>>, ReadError> {
    let length = usize::try_from(len).expect("a piece is small");
    let mut merged: Option<Vec<u8>> = None;
    let mut bytes = vec![0; length];
    for copy in 0..boot.fat_count {
        match source.read_at(boot.fat(copy) + at, &mut bytes) {
            Ok(()) => {}
            Err(ReadError::Unreadable(_)) => {
                *agree = false;
                continue;
            }
            Err(error) => return Err(error),
        }
        let Some(merged) = &mut merged else {
            merged = Some(bytes.clone());
            continue;
        };
        // The first two entries are no clusters: their bits mean "clean" and may be cleared in one copy only.
        let flags = if at == 0 { boot.width.offset(2) } else { 0 };
        let flags = usize::try_from(flags.min(len)).expect("a piece is small");
        *agree &= merged[flags..] == bytes[flags..];
        for (into, from) in merged[..flags].iter_mut().zip(&bytes) {
            *into &= from;
        }
        for (into, from) in merged[flags..].iter_mut().zip(&bytes[flags..]) {
            *into |= from;
        }
    }
    Ok(merged)
}

/// The second entry's top bits are cleared while it is mounted, and after an I/O error.
fn state(boot: &Boot, piece: &[u8]) -> State {
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
    fn entry(self, piece: &[u8], index: usize) -> Option<u32> {
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
    fn end(self) -> u32 {
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

/// Follows chains. Keeps the last piece of the table it read.
pub struct Chains<'a> {
    source: &'a dyn BlockSource,
    boot: &'a Boot,
    window: RefCell<(u64, Vec<u8>)>,
}

impl<'a> Chains<'a> {
    pub fn new(source: &'a dyn BlockSource, boot: &'a Boot) -> Chains<'a> {
        Chains {
            source,
            boot,
            window: RefCell::new((0, Vec::new())),
        }
    }

    /// The pieces of a chain, at most `limit` bytes of it.
    pub fn pieces(&self, first: u32, limit: u64) -> Result<Vec<Piece>, TreeError> {
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut at, mut cluster) = (0, first);
        // Brent: a chain that meets a cluster remembered at a power of two runs in a circle.
        let (mut remembered, mut steps, mut power) = (0, 0u64, 1u64);
        while at < limit {
            let extent = self.boot.cluster(cluster).ok_or(TreeError::Damaged(
                "a chain of clusters leaves the filesystem",
            ))?;
            let full = pieces.len() == PIECE_LIMIT;
            match pieces.last_mut() {
                Some(last) if last.extent.end() == extent.start() => {
                    last.extent =
                        Extent::new(last.extent.start(), last.extent.len() + extent.len())
                            .expect("both lie inside the filesystem");
                }
                _ if full => {
                    return Err(TreeError::Unsupported(
                        "a file in more than a million pieces",
                    ));
                }
                _ => pieces.push(Piece { at, extent }),
            }
            at += extent.len();
            if cluster == remembered {
                return Err(TreeError::Damaged("a chain of clusters runs in a circle"));
            }
            steps += 1;
            if steps == power {
                (remembered, steps, power) = (cluster, 0, power * 2);
            }
            cluster = self.next(cluster)?;
            if cluster >= self.boot.width.end() {
                break;
            }
        }
        Ok(pieces)
    }

    fn next(&self, cluster: u32) -> Result<u32, TreeError> {
        let even = cluster & !1;
        let at = self.boot.width.offset(even);
        let start = at / WINDOW_BYTES * WINDOW_BYTES;
        let mut window = self.window.borrow_mut();
        if window.1.is_empty() || window.0 != start {
            let len = WINDOW_BYTES.min(self.boot.fat_bytes - start);
            window.1 = self.read(start, len)?;
            window.0 = start;
        }
        let within = usize::try_from(at - start).expect("it lies inside a window");
        self.boot
            .width
            .entry(
                &window.1[within.min(window.1.len())..],
                usize::from(cluster != even),
            )
            .ok_or(TreeError::Damaged("the file allocation table is too short"))
    }

    /// From the copy that counts, or from another when that one cannot be read.
    fn read(&self, start: u64, len: u64) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; usize::try_from(len).expect("a window is small")];
        let active = self.boot.active_fat;
        let others = (0..self.boot.fat_count).filter(|copy| *copy != active);
        let mut first = None;
        for copy in std::iter::once(active).chain(others) {
            match self.source.read_at(self.boot.fat(copy) + start, &mut bytes) {
                Ok(()) => return Ok(bytes),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.expect("there is at least one copy"))
    }
}

/// Pairs of 12-bit entries never cross it.
const WINDOW_BYTES: u64 = 3 << 14;
