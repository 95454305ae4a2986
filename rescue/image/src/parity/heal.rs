//! Finds the damaged blocks of a window by their checksums, and computes what stood in them.

use std::collections::{BTreeMap, BTreeSet};

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, RateDecoder};

use super::sums::{Sums, sum};
use super::{BLOCK, ParityHead, Window};
use crate::error::ImageError;
use crate::mend::read;
use crate::store::ReadFile;

/// Read at once.
const PIECE: usize = 1 << 20;

/// What became of the blocks of a window.
#[derive(Default, Debug)]
pub struct Healed {
    /// By their number in the window: what belongs there.
    pub blocks: BTreeMap<u64, Vec<u8>>,
    /// Damaged, and more than their parity can bring back.
    pub lost: BTreeSet<u64>,
}

/// Blocks by their number.
pub type Blocks = Vec<(u64, Vec<u8>)>;

/// The damaged blocks of each group.
#[derive(Default)]
pub struct Group {
    damaged: BTreeSet<u64>,
    /// Nothing says whether they are.
    unknown: BTreeSet<u64>,
}

impl ParityHead {
    pub fn heal(&self, file: &dyn ReadFile, window: &Window) -> Result<Healed, ImageError> {
        let sums = Sums::read(file, self.head.id, window)?;
        let mut healed = Healed::default();
        for (number, group) in damaged(file, window, &sums)? {
            match group.decode(file, window, &sums, number)? {
                Some(blocks) => healed.blocks.extend(blocks),
                None => healed.lost.extend(group.damaged),
            }
        }
        Ok(healed)
    }
}

impl Group {
    /// One group of a window.
    pub fn read(
        file: &dyn ReadFile,
        window: &Window,
        sums: &Sums,
        number: u64,
    ) -> Result<Group, ImageError> {
        let mut group = Group::default();
        let mut block = vec![0; BLOCK];
        for nth in (number..window.blocks).step_by(stride(window)) {
            read_blocks(file, window, nth, &mut block)?;
            group.note(nth, &block, sums);
        }
        Ok(group)
    }

    fn note(&mut self, nth: u64, block: &[u8], sums: &Sums) {
        match sums.get(nth) {
            Some(known) if known == sum(block) => {}
            Some(_) => _ = self.damaged.insert(nth),
            None => _ = self.unknown.insert(nth),
        }
    }

    /// What belongs in its damaged blocks; `None` when they are too many.
    pub fn decode(
        &self,
        file: &dyn ReadFile,
        window: &Window,
        sums: &Sums,
        number: u64,
    ) -> Result<Option<Blocks>, ImageError> {
        let all: BTreeSet<u64> = self.damaged.union(&self.unknown).copied().collect();
        match decode(file, window, sums, number, &all)? {
            // Those that nobody knows may be good.
            None if !self.damaged.is_empty() => decode(file, window, sums, number, &self.damaged),
            done => Ok(done),
        }
    }
}

fn stride(window: &Window) -> usize {
    usize::try_from(window.stride).expect("a window has at most 2^24 blocks")
}

fn damaged(
    file: &dyn ReadFile,
    window: &Window,
    sums: &Sums,
) -> Result<BTreeMap<u64, Group>, ImageError> {
    let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
    let mut buffer = vec![0; PIECE];
    let mut nth = 0;
    while nth < window.blocks {
        read_blocks(file, window, nth, &mut buffer)?;
        for block in buffer.chunks(BLOCK) {
            if nth == window.blocks {
                break;
            }
            // A group in which nothing is wrong takes no memory.
            if sums.get(nth).is_none_or(|known| known != sum(block)) {
                let group = groups.entry(nth % window.stride).or_default();
                group.note(nth, block, sums);
            }
            nth += 1;
        }
    }
    Ok(groups)
}

/// As many as fit in `buffer`, from block `nth`; zeros behind the window.
pub fn read_blocks(
    file: &dyn ReadFile,
    window: &Window,
    nth: u64,
    buffer: &mut [u8],
) -> Result<(), ImageError> {
    let from = nth * BLOCK as u64;
    let left = window.len.saturating_sub(from);
    let there = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
    let (inside, behind) = buffer.split_at_mut(there);
    behind.fill(0);
    Ok(read(file, window.start + from, inside)?)
}

/// The blocks of a group that are missing; `None` when they are too many, or what comes out is wrong.
fn decode(
    file: &dyn ReadFile,
    window: &Window,
    sums: &Sums,
    group: u64,
    missing: &BTreeSet<u64>,
) -> Result<Option<Blocks>, ImageError> {
    if missing.len() as u64 > window.rows {
        return Ok(None);
    }
    let rows = good_rows(file, window, sums, group)?;
    if missing.len() > rows.len() {
        return Ok(None);
    }
    let small = |number: u64| usize::try_from(number).expect("there are at most 1024");
    let failed = |error: reed_solomon_simd::Error| ImageError::Codec(error.to_string());
    let (columns, rows_of_code) = (small(window.columns), small(window.rows));
    let engine = DefaultEngine::new();
    let mut decoder =
        HighRateDecoder::new(columns, rows_of_code, BLOCK, engine, None).map_err(failed)?;
    let mut block = vec![0; BLOCK];
    for column in 0..window.columns {
        let nth = column * window.stride + group;
        if !missing.contains(&nth) {
            read_blocks(file, window, nth, &mut block)?;
            decoder
                .add_original_shard(small(column), &block)
                .map_err(failed)?;
        }
    }
    for (row, bytes) in rows.into_iter().take(missing.len()) {
        decoder
            .add_recovery_shard(small(row), &bytes)
            .map_err(failed)?;
    }
    let result = decoder.decode().map_err(failed)?;
    let mut blocks = Vec::new();
    for nth in missing {
        let Some(bytes) = result.restored_original(small(nth / window.stride)) else {
            return Ok(None);
        };
        if sums.get(*nth).is_some_and(|known| known != sum(bytes)) {
            return Ok(None);
        }
        blocks.push((*nth, bytes.to_vec()));
    }
    Ok(Some(blocks))
}

fn good_rows(
    file: &dyn ReadFile,
    window: &Window,
    sums: &Sums,
    group: u64,
) -> Result<Blocks, ImageError> {
    let mut rows = Vec::new();
    for row in 0..window.rows {
        let nth = row * window.stride + group;
        let mut block = vec![0; BLOCK];
        read(file, window.rows_at() + nth * BLOCK as u64, &mut block)?;
        if sums.get(window.blocks + nth) == Some(sum(&block)) {
            rows.push((row, block));
        }
    }
    Ok(rows)
}
