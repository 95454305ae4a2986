//! What is damaged of an image made good in memory, where it is read: the file stays as it is.
//!
//! Only the groups of the blocks that are read are looked at, one at a time: a few MiB, whatever the window's length.

use std::collections::BTreeSet;

use super::heal::{Group, read_blocks};
use super::sums::{Sums, sum};
use super::{BLOCK, ParityHead, Window};
use crate::error::ImageError;
use crate::store::ReadFile;

/// Gives what belongs in damaged places of one file.
pub struct Supply {
    head: ParityHead,
    /// Of the window that was asked for last, by its number.
    sums: Option<(u64, Sums)>,
}

impl Supply {
    pub fn new(head: ParityHead) -> Supply {
        Supply { head, sums: None }
    }

    /// Puts right what can be of `bytes`, which stand at `offset` of the file. Whether they are others now.
    pub fn put_right(
        &mut self,
        file: &dyn ReadFile,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<bool, ImageError> {
        let before = blake3::hash(bytes);
        let end = offset.saturating_add(bytes.len() as u64);
        let windows = self.head.parity.windows();
        for window in windows.skip_while(|window| window.start + window.len <= offset) {
            if window.start >= end {
                break;
            }
            self.in_window(file, &window, offset, bytes)?;
        }
        Ok(blake3::hash(bytes) != before)
    }

    fn in_window(
        &mut self,
        file: &dyn ReadFile,
        window: &Window,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), ImageError> {
        if self
            .sums
            .as_ref()
            .is_none_or(|(of, _)| *of != window.number)
        {
            // The old ones go first: there is room for those of one window.
            self.sums = None;
            let sums = Sums::read(file, self.head.head.id, window)?;
            self.sums = Some((window.number, sums));
        }
        let (_, sums) = self.sums.as_ref().expect("they were just read");
        for number in damaged(file, window, sums, offset, bytes.len() as u64)? {
            let group = Group::read(file, window, sums, number)?;
            for (nth, block) in group
                .decode(file, window, sums, number)?
                .unwrap_or_default()
            {
                put(window.start + nth * BLOCK as u64, &block, offset, bytes);
            }
        }
        Ok(())
    }
}

/// The groups in which a block that has a part in this place of the file is damaged, or may be.
fn damaged(
    file: &dyn ReadFile,
    window: &Window,
    sums: &Sums,
    offset: u64,
    len: u64,
) -> Result<BTreeSet<u64>, ImageError> {
    let first = offset.saturating_sub(window.start) / BLOCK as u64;
    let behind = (offset.saturating_add(len) - window.start).div_ceil(BLOCK as u64);
    let mut groups = BTreeSet::new();
    let mut block = vec![0; BLOCK];
    for nth in first..behind.min(window.blocks) {
        read_blocks(file, window, nth, &mut block)?;
        if sums.get(nth) != Some(sum(&block)) {
            groups.insert(nth % window.stride);
        }
    }
    Ok(groups)
}

/// The part of `block`, which stands at `at` of the file, that is in `bytes`.
fn put(at: u64, block: &[u8], offset: u64, bytes: &mut [u8]) {
    let first = at.max(offset);
    let end = (at + block.len() as u64).min(offset + bytes.len() as u64);
    if first >= end {
        return;
    }
    let place = |at: u64| usize::try_from(at).expect("it lies in memory");
    bytes[place(first - offset)..place(end - offset)]
        .copy_from_slice(&block[place(first - at)..place(end - at)]);
}
