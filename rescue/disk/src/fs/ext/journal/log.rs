//! The ring of a journal and the passes over it.

use std::ops::ControlFlow;

use super::super::blocks::Run;
use super::super::checksum::crc32_be;
use super::super::groups::View;
use super::super::overlay::JournalCopy;
use super::block::{self, Kind, Tag};
use super::fast::Fast;
use super::{Replay, Shape, Sums, Trouble};
use crate::extent::Extent;

/// Most copies and most revoke records kept in memory, in each 512 Ki: a journal of 2 GiB with 4 KiB blocks.
pub(super) const RECORD_LIMIT: usize = 1 << 19;

const UNREADABLE: Trouble = Trouble::Refused("its journal cannot be read");
pub(super) const TOO_LARGE: Trouble =
    Trouble::Refused("its journal holds more than fits in memory");

pub(in super::super) struct Log<'a> {
    view: &'a View<'a>,
    runs: Vec<Run>,
    shape: Shape,
}

/// One step of a pass.
struct Step<'a> {
    sequence: u32,
    kind: Kind,
    block: &'a [u8],
    /// Of a descriptor: its tags, and where in the log the first copy lies.
    tags: &'a [Tag],
    copies_at: u64,
}

/// A copy met in the log, in the order of the log.
#[derive(Clone, Copy)]
struct Met {
    tag: Tag,
    at: u64,
    sequence: u32,
}

impl<'a> Log<'a> {
    pub fn open(view: &'a View<'a>, runs: Vec<Run>) -> Result<Log<'a>, Trouble> {
        let blocks = runs.last().map_or(0, |run| run.logical + run.count);
        let size = view.superblock.block_size;
        let place = place(&runs, 0).ok_or(UNREADABLE)?;
        let bytes = view.block(place)?.ok_or(UNREADABLE)?;
        let shape = Shape::parse(&bytes, size, blocks).map_err(Trouble::Refused)?;
        Ok(Log { view, runs, shape })
    }

    /// Nothing waits to be replayed.
    pub fn is_empty(&self) -> bool {
        self.shape.start == 0
    }

    pub fn remembers_failure(&self) -> Option<&'static str> {
        self.shape
            .failed
            .then_some("its journal remembers a failed write")
    }

    pub fn replay(&self) -> Result<Replay, Trouble> {
        let size = self.view.superblock.block_size;
        let (end, torn) = self.scan()?;
        let revoked = self.revoked(end)?;
        let copies = self.copies(end, &revoked)?;
        let fast = Fast::scan(self, end)?;
        let area = |run: &Run| Extent::new(run.physical * size, run.count * size);
        Ok(Replay {
            copies,
            fast: fast.ranges,
            area: self.runs.iter().filter_map(area).collect(),
            notes: torn.into_iter().chain(fast.note).collect(),
        })
    }

    /// Block `at` of the journal.
    pub fn block(&self, at: u64) -> Result<Vec<u8>, Trouble> {
        let place = place(&self.runs, at).ok_or(UNREADABLE)?;
        self.view.block(place)?.ok_or(UNREADABLE)
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(super) fn view(&self) -> &View<'a> {
        self.view
    }

    fn wrapped(&self, at: u64) -> u64 {
        let Shape { first, last, .. } = self.shape;
        first + (at - first) % (last - first)
    }

    /// Walks the log from its start and returns the sequence number it ended at: before `end`, where the log
    /// ends by itself, or where `visit` breaks. No log is longer than its ring.
    fn walk(
        &self,
        end: Option<u32>,
        visit: &mut dyn FnMut(Step<'_>) -> Result<ControlFlow<()>, Trouble>,
    ) -> Result<u32, Trouble> {
        let (mut at, mut sequence) = (self.shape.start, self.shape.sequence);
        let mut left = self.shape.last - self.shape.first;
        while left > 0 && end != Some(sequence) {
            let block = self.block(at)?;
            let Some(kind) = block::kind(&block, sequence) else {
                break;
            };
            let tags = if kind == Kind::Descriptor {
                self.shape.tags(&block)
            } else {
                Vec::new()
            };
            let Some(rest) = left.checked_sub(1 + tags.len() as u64) else {
                break;
            };
            left = rest;
            let copies_at = self.wrapped(at + 1);
            at = self.wrapped(at + 1 + tags.len() as u64);
            let step = Step {
                sequence,
                kind,
                block: &block,
                tags: &tags,
                copies_at,
            };
            if visit(step)?.is_break() {
                break;
            }
            if kind == Kind::Commit {
                sequence = sequence.wrapping_add(1);
            }
        }
        Ok(sequence)
    }

    /// Finds the first transaction that was not wholly committed, and says if it looks damaged.
    fn scan(&self) -> Result<(u32, Option<&'static str>), Trouble> {
        let mut last_time = 0;
        let mut suspect = false;
        let mut torn = None;
        let mut sum = !0;
        let end = self.walk(None, &mut |step| {
            match step.kind {
                Kind::Descriptor => {
                    suspect |= !self.shape.tail_fits(step.block);
                    sum = self.summed(sum, &step)?;
                    return Ok(ControlFlow::Continue(()));
                }
                Kind::Revoke => {
                    suspect |= !self.shape.tail_fits(step.block);
                    return Ok(ControlFlow::Continue(()));
                }
                Kind::Commit => {}
            }
            let time = block::commit_time(step.block);
            // An older time: a leftover of an earlier life of the journal, which simply ends it.
            let stale = time < last_time;
            if suspect && !stale {
                return Err(Trouble::Refused("a transaction in its journal has a wrong checksum"));
            }
            let fits = self.shape.commit_fits(step.block) && self.transaction_fits(sum, step.block);
            if suspect || !fits {
                torn = (!stale && !self.shape.async_commit).then_some(
                    "the last transaction in its journal is damaged and was left out, as a kernel does",
                );
                return Ok(ControlFlow::Break(()));
            }
            last_time = time;
            sum = !0;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((end, torn))
    }

    /// The sum of a transaction goes over its descriptors and copies.
    fn summed(&self, sum: u32, step: &Step<'_>) -> Result<u32, Trouble> {
        if self.shape.sums != Sums::Transactions {
            return Ok(sum);
        }
        let mut sum = crc32_be(sum, step.block);
        for n in 0..step.tags.len() as u64 {
            sum = crc32_be(sum, &self.block(self.wrapped(step.copies_at + n))?);
        }
        Ok(sum)
    }

    fn transaction_fits(&self, sum: u32, commit: &[u8]) -> bool {
        const CRC32: u8 = 1;
        self.shape.sums != Sums::Transactions
            || matches!(block::transaction_sum(commit), (0, 0, 0))
            || block::transaction_sum(commit) == (CRC32, 4, sum)
    }

    /// Blocks that were given up, each with the last transaction that said so (counted from the first), sorted.
    fn revoked(&self, end: u32) -> Result<Vec<(u64, u32)>, Trouble> {
        let mut revoked = Vec::new();
        self.walk(Some(end), &mut |step| {
            if step.kind == Kind::Revoke {
                let blocks = self.shape.revoked(step.block);
                let blocks = blocks.ok_or(Trouble::Refused(
                    "a revoke record in its journal is damaged",
                ))?;
                if revoked.len() + blocks.len() > RECORD_LIMIT {
                    return Err(TOO_LARGE);
                }
                let age = step.sequence.wrapping_sub(self.shape.sequence);
                revoked.extend(blocks.into_iter().map(|block| (block, age)));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        revoked.sort_unstable_by_key(|(block, age)| (*block, std::cmp::Reverse(*age)));
        revoked.dedup_by_key(|(block, _)| *block);
        Ok(revoked)
    }

    /// The newest copy of each block that was not given up in the same or a later transaction.
    fn copies(&self, end: u32, revoked: &[(u64, u32)]) -> Result<Vec<JournalCopy>, Trouble> {
        let mut met: Vec<Met> = Vec::new();
        self.walk(Some(end), &mut |step| {
            let age = step.sequence.wrapping_sub(self.shape.sequence);
            for (n, tag) in (0..).zip(step.tags) {
                let given_up = revoked.binary_search_by_key(&tag.block, |(block, _)| *block);
                if given_up.is_ok_and(|at| revoked[at].1 >= age) {
                    continue;
                }
                if met.len() == RECORD_LIMIT {
                    return Err(TOO_LARGE);
                }
                let at = self.wrapped(step.copies_at + n);
                met.push(Met {
                    tag: *tag,
                    at,
                    sequence: step.sequence,
                });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        // The sort keeps the order of the log among copies of one block; the last one counts.
        met.sort_by_key(|met| met.tag.block);
        met.reverse();
        met.dedup_by_key(|met| met.tag.block);
        met.reverse();
        met.iter().map(|met| self.checked(met)).collect()
    }

    fn checked(&self, met: &Met) -> Result<JournalCopy, Trouble> {
        let superblock = &self.view.superblock;
        if met.tag.block >= superblock.blocks {
            return Err(Trouble::Refused(
                "its journal holds a block from outside of it",
            ));
        }
        let place = place(&self.runs, met.at).ok_or(UNREADABLE)?;
        if self.shape.sums.seed().is_some() {
            let copy = self.block(met.at)?;
            if !self.shape.copy_fits(&met.tag, met.sequence, &copy) {
                return Err(Trouble::Refused(
                    "a block in its journal has a wrong checksum",
                ));
            }
        }
        Ok(JournalCopy {
            block: met.tag.block,
            at: place * superblock.block_size,
            escaped: met.tag.escaped,
        })
    }
}

/// The block of the filesystem in which block `at` of a file lies.
fn place(runs: &[Run], at: u64) -> Option<u64> {
    let after = runs.partition_point(|run| run.logical <= at);
    let run = runs.get(after.checked_sub(1)?)?;
    let inside = at - run.logical;
    (inside < run.count).then(|| run.physical + inside)
}
