//! A sealed file that is read as the image in it.
//!
//! A block that is damaged or not ours is zeros: what stands in it is found damaged by the image's own digests, and
//! made good by its parity.

use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::seal::block::{self, BLOCK, FRONT, FileKey, ROOM};
use crate::seal::keys::FIRST_BLOCK;
use crate::store::{ReadFile, StoreError};

/// Blocks that stay opened.
const KEPT: usize = 4;
/// So many damaged blocks in a row are passed in a search.
const LOOK_AHEAD: u64 = 1 << 14;
/// And so many where each is read whole.
const FEW: u64 = 64;

pub struct Reading {
    file: Box<dyn ReadFile>,
    key: FileKey,
    blocks: u64,
    /// Of the image.
    len: u64,
    /// What had no block yet when this was opened; it ends where the image ends.
    tail: Zeroizing<Vec<u8>>,
    kept: Mutex<Vec<Arc<Block>>>,
    /// What is damaged of the container itself.
    notes: Vec<String>,
}

/// An opened one.
struct Block {
    number: u64,
    start: u64,
    content: Zeroizing<Vec<u8>>,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.content.len() as u64
    }
}

impl Reading {
    pub fn open(
        file: Box<dyn ReadFile>,
        key: FileKey,
        tail: Zeroizing<Vec<u8>>,
        mut notes: Vec<String>,
    ) -> Result<Reading, StoreError> {
        let stored = file.len().saturating_sub(FIRST_BLOCK);
        let blocks = stored / BLOCK as u64;
        if !stored.is_multiple_of(BLOCK as u64) {
            notes.push(
                "its last block is not whole: the file was cut, or something was added".into(),
            );
        }
        let mut reading = Reading {
            file,
            key,
            blocks,
            len: 0,
            tail,
            kept: Mutex::default(),
            notes,
        };
        let end = reading.end()?;
        reading.len = end + reading.tail.len() as u64;
        Ok(reading)
    }

    /// Where the last good block ends: damaged ones behind it were never durable, or nobody knows how full they were.
    fn end(&self) -> Result<u64, StoreError> {
        let first = self.blocks.saturating_sub(FEW);
        for number in (first..self.blocks).rev() {
            if let Some(block) = self.block(number)? {
                return Ok(block.end());
            }
        }
        Ok(first * ROOM as u64)
    }

    /// Where a cut at `offset` of the image falls: the blocks in front of it, where the last of them ends, and what of
    /// the next one is in front of the cut.
    pub fn cut(&self, offset: u64) -> Result<(u64, u64, Zeroizing<Vec<u8>>), StoreError> {
        let none = Zeroizing::new(Vec::new());
        if offset == 0 {
            return Ok((0, 0, none));
        }
        let block = self.at(offset - 1)?;
        let Some(block) = block.filter(|block| offset <= block.end()) else {
            return Err(StoreError::Fault(format!(
                "the block of a sealed file in front of {offset} is damaged; remove the file and begin again"
            )));
        };
        if offset == block.end() {
            return Ok((block.number + 1, block.end(), none));
        }
        let len = usize::try_from(offset - block.start).expect("a block is 64 KiB");
        let front = Zeroizing::new(block.content[..len].to_vec());
        Ok((block.number, block.start, front))
    }

    fn place(number: u64) -> u64 {
        FIRST_BLOCK + number * BLOCK as u64
    }

    /// `None` for a block that is damaged or not ours.
    fn block(&self, number: u64) -> Result<Option<Arc<Block>>, StoreError> {
        let found = self.kept(|block| block.number == number);
        if found.is_some() {
            return Ok(found);
        }
        let mut bytes = Zeroizing::new(vec![0; BLOCK]);
        match self.file.read_at(Reading::place(number), &mut bytes) {
            Ok(()) => {}
            Err(StoreError::Unreadable { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let Some(opened) = self.key.open(number, &mut bytes) else {
            return Ok(None);
        };
        // Blocks that a search could not find in order are not believed: each has at most so much in front of it.
        if opened.start > number * ROOM as u64 {
            return Ok(None);
        }
        bytes.truncate(opened.len);
        let block = Arc::new(Block {
            number,
            start: opened.start,
            content: bytes,
        });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(Arc::clone(&block));
        Ok(Some(block))
    }

    fn kept(&self, wanted: impl Fn(&Block) -> bool) -> Option<Arc<Block>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|block| wanted(block)).cloned()
    }

    /// Where the first good block from `number` on says that it begins, and which that is.
    fn start_from(&self, number: u64, proven: bool) -> Result<Option<(u64, u64)>, StoreError> {
        for number in number..self.blocks.min(number.saturating_add(LOOK_AHEAD)) {
            let start = match proven {
                true => self.block(number)?.map(|block| block.start),
                false => self.claimed(number)?,
            };
            if let Some(start) = start {
                return Ok(Some((number, start)));
            }
        }
        Ok(None)
    }

    /// As the front of a block says, which nothing has proven.
    fn claimed(&self, number: u64) -> Result<Option<u64>, StoreError> {
        let mut front = [0; FRONT];
        match self.file.read_at(Reading::place(number), &mut front) {
            Ok(()) => Ok(block::start_of(&front).filter(|start| *start <= number * ROOM as u64)),
            Err(StoreError::Unreadable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last good block that begins at or in front of `offset`.
    fn at(&self, offset: u64) -> Result<Option<Arc<Block>>, StoreError> {
        let has_it = |block: &Block| (block.start..block.end()).contains(&offset);
        if let Some(block) = self.kept(has_it) {
            return Ok(Some(block));
        }
        // Whoever reads on finds what he wants in the next one.
        if let Some(before) = self.kept(|block| block.end() == offset)
            && before.number + 1 < self.blocks
            && let Some(block) = self.block(before.number + 1)?
            && has_it(&block)
        {
            return Ok(Some(block));
        }
        match self.search(offset, false)? {
            Some(block) if has_it(&block) => Ok(Some(block)),
            // A front that lies leads astray; what the blocks prove does not.
            _ => self.search(offset, true),
        }
    }

    fn search(&self, offset: u64, proven: bool) -> Result<Option<Arc<Block>>, StoreError> {
        // A block is full at most, so none in front of this one can have it.
        let mut low = offset / ROOM as u64;
        let mut high = self.blocks;
        let mut best: Option<(u64, u64)> = None;
        let mut halving = false;
        while low < high {
            let guess = match best {
                _ if halving => low + (high - low) / 2,
                None => low,
                // Most blocks are full: then this is the one.
                Some((number, start)) => number + (offset - start) / ROOM as u64,
            };
            let probe = guess.clamp(low, high - 1);
            let found = self.start_from(probe, proven)?;
            match found.filter(|(number, start)| *number < high && *start <= offset) {
                Some((number, start)) => {
                    best = Some((number, start));
                    low = number + 1;
                }
                None => high = probe,
            }
            halving = best.is_some() && !halving;
        }
        match best {
            Some((number, _)) => self.block(number),
            None => Ok(None),
        }
    }

    /// Where the good blocks go on behind what is lost at `offset`; `wanted` bytes are of interest.
    fn lost_until(
        &self,
        offset: u64,
        before: Option<&Block>,
        wanted: u64,
    ) -> Result<u64, StoreError> {
        let next = before.map_or(0, |block| block.number + 1);
        let next = next.max(offset / ROOM as u64);
        let most = FEW + 4 * (wanted / ROOM as u64);
        for number in next..self.blocks.min(next + most) {
            if let Some(block) = self.block(number)?
                && block.start > offset
            {
                return Ok(block.start);
            }
        }
        Ok(u64::MAX)
    }
}

impl ReadFile for Reading {
    fn len(&self) -> u64 {
        self.len
    }

    fn missing(&self) -> Vec<String> {
        self.file
            .missing()
            .into_iter()
            .chain(self.notes.clone())
            .collect()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(StoreError::Unreadable {
                offset,
                len: buf.len() as u64,
                text: format!(
                    "a sealed image ends at {} bytes; it was cut short; copy it again from where it came from",
                    self.len
                ),
            });
        }
        let tail_at = self.len - self.tail.len() as u64;
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let take = |room: u64, rest: &[u8]| {
                usize::try_from(room).unwrap_or(usize::MAX).min(rest.len())
            };
            let len = if at >= tail_at {
                let from = usize::try_from(at - tail_at).expect("the tail is in memory");
                rest.copy_from_slice(&self.tail[from..from + rest.len()]);
                rest.len()
            } else {
                let block = self.at(at)?;
                match block.as_ref().filter(|block| at < block.end()) {
                    Some(block) => {
                        let from = usize::try_from(at - block.start).expect("a block is 64 KiB");
                        let len = take(block.end() - at, rest);
                        rest[..len].copy_from_slice(&block.content[from..from + len]);
                        len
                    }
                    None => {
                        let room = take(tail_at - at, rest);
                        let until = self.lost_until(at, block.as_deref(), room as u64)?;
                        let len = take(until.min(tail_at) - at, rest);
                        rest[..len].fill(0);
                        len
                    }
                }
            };
            at += len as u64;
            rest = &mut rest[len..];
        }
        Ok(())
    }
}
