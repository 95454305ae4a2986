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
