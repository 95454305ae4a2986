//! The journal of ReiserFS: a ring of transactions, each a list of blocks, the blocks, and the list's end.
//!
//! What is replayed is what `journal_read` of the kernel replays; where it would go on and the order of the
//! transactions says otherwise, nothing is believed.

use super::Trouble;
use super::superblock::Superblock;
use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::overlay::Pieces;
use crate::source::{BlockSource, read_vec};

const MAGIC: &[u8] = b"ReIsErLB";
/// What a list holds beside the numbers of blocks: three numbers before them, its magic behind them.
const AROUND: u64 = 24;
const SCANNED: u64 = 1 << 20;

pub enum Waiting {
    Nothing,
    Blocks(Replay),
}

/// What is on the disk once it is replayed.
pub struct Replay {
    pub pieces: Pieces,
    pub touched: ExtentMap,
    pub blocks: u64,
}

struct Journal<'a> {
    source: &'a dyn BlockSource,
    superblock: &'a Superblock,
}

/// The head of a list, which its end repeats.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    id: u32,
    len: u64,
}

struct Transaction {
    head: Head,
    mount: u32,
    list: Vec<u8>,
    end: Vec<u8>,
}

/// What a mount would replay.
pub fn waiting(source: &dyn BlockSource, superblock: &Superblock) -> Result<Waiting, Trouble> {
    let journal = Journal { source, superblock };
    let header = journal.header()?;
    let fields = Fields(&header);
    let number = |at| fields.u32(at).unwrap_or(0);
    if superblock.movable && number(28) != superblock.journal_magic {
        return Err(Trouble::Refused(
            "its journal is not the one it was made with",
        ));
    }
    let (last, start, mount) = (number(0), u64::from(number(4)), number(8));
    let damaged = Trouble::Refused("its journal is damaged");
    if last != 0 && start < superblock.journal_blocks {
        let id = last.checked_add(1).ok_or(damaged)?;
        return Ok(journal.replay(start, id, mount)?.0);
    }
    // Nothing was ever taken out of it: a kernel looks for the oldest transaction, which begins the journal then.
    let (found, end) = match journal.transaction(0)? {
        None => (Waiting::Nothing, 0),
        Some(first) if first.mount == mount => journal.replay(0, first.head.id, mount)?,
        Some(_) => return Err(damaged),
    };
    // There may be one more whose end was not written.
    if journal.holds_a_list(end + u64::from(end > 0))? {
        return Err(Trouble::Refused("its journal does not say where it begins"));
    }
    Ok(found)
}

impl Journal<'_> {
    /// What follows from `at` on, the first with this number; and the block behind the last.
    fn replay(&self, mut at: u64, mut id: u32, mount: u32) -> Result<(Waiting, u64), Trouble> {
        let mut replay = Replay {
            pieces: Pieces::default(),
            touched: ExtentMap::new(),
            blocks: 0,
        };
        let mut passed = 0;
        while let Some(found) = self.transaction(at)? {
            if found.head.id < id || found.mount < mount {
                break;
            }
            // A kernel replays what is newer than expected too, and what a later mount wrote tells of a lost header.
            if found.head.id != id || found.mount != mount {
                return Err(Trouble::Refused("its journal cannot be followed"));
            }
            passed += found.head.len + 2;
            if passed > self.superblock.journal_blocks {
                return Err(Trouble::Refused("its journal is longer than its place"));
            }
            self.take(at, &found, &mut replay)?;
            at = self.after(at, found.head.len + 2);
            let next = id.checked_add(1);
            id = next.ok_or(Trouble::Refused("its journal is damaged"))?;
        }
        let waiting = match replay.blocks {
            0 => Waiting::Nothing,
            _ => Waiting::Blocks(replay),
        };
        Ok((waiting, at))
    }

    fn block(&self, at: u64) -> Result<Vec<u8>, Trouble> {
        let size = u64::from(self.superblock.block_size);
        let at = self.superblock.at(self.superblock.journal + at);
        Ok(read_vec(self.source, at, size)?)
    }

    fn header(&self) -> Result<Vec<u8>, Trouble> {
        self.block(self.superblock.journal_blocks)
    }

    fn after(&self, at: u64, blocks: u64) -> u64 {
        (at + blocks) % self.superblock.journal_blocks
    }

    fn magic_at(&self) -> usize {
        self.superblock.block_size as usize - 12
    }

    /// True when there is the head of a transaction in this block or behind it.
    fn holds_a_list(&self, from: u64) -> Result<bool, Trouble> {
        let (size, first) = (self.superblock.block_size, self.superblock.journal);
        let end = self.superblock.at(first + self.superblock.journal_blocks);
        let whole = Extent::between(self.superblock.at(first + from), end);
        for piece in whole.iter().flat_map(|e| e.split_at_multiples(SCANNED)) {
            let bytes = read_vec(self.source, piece.start(), piece.len())?;
            let is_list = |block: &[u8]| Fields(block).starts_with(self.magic_at(), MAGIC);
            if bytes.chunks(size as usize).any(is_list) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `None` when there is none, or its end was not written.
    fn transaction(&self, at: u64) -> Result<Option<Transaction>, Trouble> {
        let list = self.block(at)?;
        let Some(head) = Head::of(&list)
            .filter(|head| (1..=self.superblock.longest_transaction).contains(&head.len))
        else {
            return Ok(None);
        };
        let end = self.block(self.after(at, head.len + 1))?;
        if Head::of(&end) != Some(head) {
            return Ok(None);
        }
        if !Fields(&list).starts_with(self.magic_at(), MAGIC) {
            return Err(Trouble::Refused("its journal cannot be followed"));
        }
        Ok(Some(Transaction {
            head,
            mount: Fields(&list).u32(8).unwrap_or(0),
            list,
            end,
        }))
    }

    fn take(&self, at: u64, found: &Transaction, replay: &mut Replay) -> Result<(), Trouble> {
        let size = u64::from(self.superblock.block_size);
        let in_list = (size - AROUND) / 4;
        if found.head.len > 2 * in_list {
            return Err(Trouble::Refused("its journal is damaged"));
        }
        for nth in 0..found.head.len {
            let (block, entry) = match nth.checked_sub(in_list) {
                None => (&found.list, 12 + 4 * nth),
                Some(more) => (&found.end, 8 + 4 * more),
            };
            let entry = usize::try_from(entry).ok();
            let number = entry.and_then(|entry| Fields(block).u32(entry));
            let inside = |block: &u64| {
                *block < self.superblock.blocks && !self.superblock.is_journal(*block)
            };
            let extent = number
                .map(u64::from)
                .filter(inside)
                .and_then(|block| Extent::new(self.superblock.at(block), size));
            let Some(extent) = extent else {
                return Err(Trouble::Refused("its journal writes where it must not"));
            };
            let bytes = self.block(self.after(at, 1 + nth))?;
            if !replay.pieces.put(extent.start(), &bytes) {
                return Err(Trouble::Refused(
                    "its journal is too long to be replayed in memory",
                ));
            }
            replay.touched.insert(extent);
            replay.blocks += 1;
        }
        Ok(())
    }
}

impl Head {
    fn of(block: &[u8]) -> Option<Head> {
        let fields = Fields(block);
        Some(Head {
            id: fields.u32(0)?,
            len: fields.u32(4)?.into(),
        })
    }
}
