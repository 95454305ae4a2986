//! Parity over the file itself, behind the root: what of it is damaged can be computed again.
//!
//! The protected bytes are cut into windows, a window into blocks of 4 KiB. Blocks that lie one *stride* apart form a
//! group of at most 1024, so that a lost run costs each group little. Every block has a checksum, which finds what is
//! damaged; so the Reed-Solomon code needs to fill in only what is known to be missing.

mod encode;
mod find;
mod heal;
mod outlook;
mod sums;
pub(crate) mod supply;

pub use heal::Healed;
pub use outlook::Outlook;

use disk::fields::Fields;

use crate::end::FrameRef;
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::{HEAD_LEN, Head};

pub const BLOCK: usize = 4 << 10;

/// Most blocks of the file in one group.
const COLUMNS: u64 = 1024;

/// Parity of one window in memory while it is computed, and as much again of the file.
const ROOM: u64 = 64 << 20;

/// Length of a head of parity but for what aligns the next frame.
const HEAD_FRAME: u64 = 4 << 10;

/// In percent of the file.
pub const MOST_PERCENT: u8 = 50;

/// The kind in the envelope of the blocks; those frames are longer than any that is read whole.
pub const BLOCKS_NAME: &[u8; 8] = b"rescPRTY";

/// What is protected and how strongly: all else follows from that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parity {
    /// The bytes of the file from its start to here; the first frame of parity begins here.
    pub protected: u64,
    /// 1 to [`MOST_PERCENT`].
    pub percent: u8,
}

/// One part of the file with its own parity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    pub number: u64,
    /// Where in the file it begins.
    pub start: u64,
    pub len: u64,
    /// Blocks; the last is filled up with zeros.
    pub blocks: u64,
    /// So many groups: block `n` is in group `n % stride`.
    pub stride: u64,
    /// Blocks of the file in a group.
    pub columns: u64,
    /// Blocks of parity of a group.
    pub rows: u64,
    /// Where its first frame begins.
    pub at: u64,
}

impl Parity {
    /// Rows for so many columns: the share that was asked for, and one for a run that does not begin with a block.
    fn rows(self, columns: u64) -> u64 {
        (columns * u64::from(self.percent)).div_ceil(100) + 1
    }

    fn window_len(self) -> u64 {
        let size = self.rows(COLUMNS).next_power_of_two();
        COLUMNS * (ROOM / BLOCK as u64 / size).max(1) * BLOCK as u64
    }

    pub fn windows(self) -> impl Iterator<Item = Window> {
        let mut at = self.protected;
        (0..self.protected.div_ceil(self.window_len())).map(move |number| {
            let window = self.window(number, at);
            at = window.end();
            window
        })
    }

    fn window(self, number: u64, at: u64) -> Window {
        let start = number * self.window_len();
        let len = (self.protected - start).min(self.window_len());
        let blocks = len.div_ceil(BLOCK as u64);
        let stride = blocks.div_ceil(COLUMNS);
        let columns = blocks.div_ceil(stride);
        Window {
            number,
            start,
            len,
            blocks,
            stride,
            columns,
            rows: self.rows(columns),
            at,
        }
    }

    /// All frames of parity.
    pub fn end(self) -> u64 {
        self.windows()
            .last()
            .map_or(self.protected, |window| window.end())
    }
}

impl Window {
    /// Size of the code: rows in a power of two.
    fn size(&self) -> u64 {
        self.rows.next_power_of_two()
    }

    /// Where its blocks of parity begin: at a multiple of a block.
    fn body(&self) -> u64 {
        (self.at + HEAD_FRAME).next_multiple_of(BLOCK as u64) + HEAD_FRAME + BLOCK as u64
    }

    /// Lengths of the two heads in front of the blocks.
    fn heads(&self) -> [u64; 2] {
        let aligned = (self.at + HEAD_FRAME).next_multiple_of(BLOCK as u64);
        [aligned - self.at, HEAD_FRAME]
    }

    /// Where the frame with the blocks begins; what is between its front and its blocks is zeros.
    fn frame(&self) -> u64 {
        self.body() - BLOCK as u64
    }

    /// Checksums of the blocks of the file, then of those of parity.
    fn sums(&self) -> u64 {
        self.blocks + self.rows * self.stride
    }

    /// Blocks full of them.
    fn sum_blocks(&self) -> u64 {
        self.sums().div_ceil(sums::IN_BLOCK)
    }

    /// How often they are there, half of that in front of the parity. Where a block of them is about more blocks than
    /// there are groups, its loss costs more.
    fn copies(&self) -> u64 {
        if self.stride >= 64 { 2 } else { 4 }
    }

    /// Where block `nth` of copy `copy` of the checksums is.
    fn sums_at(&self, copy: u64, nth: u64) -> u64 {
        let before = match copy < self.copies() / 2 {
            true => 0,
            false => self.rows * self.stride,
        };
        self.body() + (before + copy * self.sum_blocks() + nth) * BLOCK as u64
    }

    /// Where the parity is, row after row.
    fn rows_at(&self) -> u64 {
        self.body() + self.copies() / 2 * self.sum_blocks() * BLOCK as u64
    }

    fn blocks_len(&self) -> u64 {
        (self.rows * self.stride + self.copies() * self.sum_blocks()) * BLOCK as u64
    }

    fn frame_end(&self) -> u64 {
        self.body() + self.blocks_len() + 32
    }

    pub fn end(&self) -> u64 {
        self.frame_end() + 2 * HEAD_FRAME
    }

    /// The frames in the order of the file.
    pub fn frames(&self) -> impl Iterator<Item = u64> {
        let [first, second] = self.heads();
        let blocks = self.frame_end() - self.frame();
        [first, second, blocks, HEAD_FRAME, HEAD_FRAME].into_iter()
    }
}

/// What stands in front of and behind the parity of every window, so that no loss takes all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParityHead {
    pub head: Head,
    pub manifest: FrameRef,
    pub root: FrameRef,
    pub parity: Parity,
}

impl ParityHead {
    fn build(&self, offset: u64, len: u64, out: &mut Vec<u8>) {
        frame::build(FrameKind::Parity, self.head.id, offset, out, |out| {
            self.head.put(out);
            for place in [self.root, self.manifest] {
                place.put(out);
            }
            out.extend_from_slice(&self.parity.protected.to_le_bytes());
            out.extend_from_slice(&[self.parity.percent, 0, 0, 0, 0, 0, 0, 0]);
            let len = usize::try_from(len).expect("it is at most 8 KiB") - 32;
            out.resize(len, 0);
        });
    }

    /// From a frame that was found whole at `offset`; `None` when it says what cannot be.
    pub fn parse(frame: &[u8], offset: u64, image: &str) -> Result<Option<ParityHead>, ImageError> {
        let Some(opened) = frame::open(frame, offset).filter(|f| f.kind == FrameKind::Parity)
        else {
            return Ok(None);
        };
        let head = Head::parse(opened.body, opened.id, image)?;
        let fields = Fields(opened.body.get(HEAD_LEN..).unwrap_or_default());
        let read = || {
            let root = FrameRef::parse(fields, 0)?;
            let parity = Parity {
                protected: fields.u64(96)?,
                percent: fields.u8(104)?,
            };
            let end = root.offset.checked_add(u64::from(root.len))?;
            let plausible = (1..=MOST_PERCENT).contains(&parity.percent)
                && end == parity.protected
                && end <= offset
                && offset - end <= end.saturating_add(1 << 20);
            plausible.then_some(ParityHead {
                head,
                manifest: FrameRef::parse(fields, 48)?,
                root,
                parity,
            })
        };
        Ok(read())
    }
}
