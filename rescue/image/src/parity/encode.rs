//! Computes the parity of a file and appends it, window after window, each read once from front to back.

use reed_solomon_simd::engine::{DefaultEngine, Engine, ShardsRefMut};

use super::sums::{Sums, sum};
use super::{BLOCK, BLOCKS_NAME, ParityHead, Window};
use crate::error::ImageError;
use crate::frame;
use crate::store::{Append, ReadFile};

/// The field is computed with in pieces of so many bytes.
const LANE: usize = 64;

/// Written at once.
const PIECE: usize = 1 << 20;

impl ParityHead {
    /// `file` is what was appended to `out` before: the protected bytes.
    pub fn append(&self, file: &dyn ReadFile, out: &mut dyn Append) -> Result<(), ImageError> {
        let mut memory = Memory::default();
        for window in self.parity.windows() {
            let mut frame = Vec::new();
            for len in window.heads() {
                self.build(out.len(), len, &mut frame);
                out.append(&frame)?;
            }
            let sums = memory.encode(file, &window)?;
            self.append_blocks(&window, &sums, &memory, out)?;
            for _ in 0..2 {
                self.build(out.len(), super::HEAD_FRAME, &mut frame);
                out.append(&frame)?;
            }
        }
        Ok(())
    }

    fn append_blocks(
        &self,
        window: &Window,
        sums: &Sums,
        memory: &Memory,
        out: &mut dyn Append,
    ) -> Result<(), ImageError> {
        let mut hash = blake3::Hasher::new();
        let mut front = vec![0; BLOCK];
        let len = window.frame_end() - window.frame();
        frame::put_front(BLOCKS_NAME, self.head.id, out.len(), len, &mut front);
        let mut packed = Vec::new();
        sums.put(self.head.id, window.number, &mut packed);
        let copies = window.copies() / 2;
        let rows = memory.rows(window);
        let repeat = || std::iter::repeat_n(packed.as_slice(), copies.try_into().unwrap_or(1));
        let parts = std::iter::once(front.as_slice()).chain(repeat());
        for part in parts.chain([rows]).chain(repeat()) {
            for piece in part.chunks(PIECE) {
                hash.update(piece);
                out.append(piece)?;
            }
        }
        out.append(hash.finalize().as_bytes())?;
        Ok(())
    }
}

/// For one window at a time.
#[derive(Default)]
struct Memory {
    /// As many columns as the code is large, one behind the other as in the file.
    columns: Vec<[u8; LANE]>,
    /// What came of the columns so far, and in the end the parity.
    rows: Vec<[u8; LANE]>,
}

impl Memory {
    /// The code is linear: columns are transformed in groups of its size, and what comes out is added up
    /// (Lin, Al-Naffouri, Han: FFT algorithm for binary extension finite fields, 2016; as in Leopard-RS).
    fn encode(&mut self, file: &dyn ReadFile, window: &Window) -> Result<Sums, ImageError> {
        let small = |number: u64| usize::try_from(number).expect("a window is in memory");
        let (size, columns) = (small(window.size()), small(window.columns));
        let stride = small(window.stride) * BLOCK;
        let lanes = stride / LANE;
        let engine = DefaultEngine::new();
        let mut sums = Sums::default();
        self.rows.clear();
        self.rows.resize(size * lanes, [0; LANE]);
        self.columns.clear();
        self.columns.resize(size * lanes, [0; LANE]);
        for first in (0..columns).step_by(size) {
            let from = (first * stride) as u64;
            let there = small((window.len - from).min((size * stride) as u64));
            let bytes = self.columns.as_flattened_mut();
            file.read_at(window.start + from, &mut bytes[..there])?;
            bytes[there..].fill(0);
            for block in bytes[..there.next_multiple_of(BLOCK)].chunks(BLOCK) {
                sums.push(sum(block));
            }
            let mut shards = ShardsRefMut::new(size, lanes, &mut self.columns);
            engine.ifft(&mut shards, 0, size, size, first + size);
            for (sum, column) in self.rows.iter_mut().zip(&self.columns) {
                for (sum, byte) in sum.iter_mut().zip(column) {
                    *sum ^= byte;
                }
            }
        }
        let mut shards = ShardsRefMut::new(size, lanes, &mut self.rows);
        engine.fft(&mut shards, 0, size, small(window.rows), 0);
        for block in self.rows(window).chunks(BLOCK) {
            sums.push(sum(block));
        }
        Ok(sums)
    }

    fn rows(&self, window: &Window) -> &[u8] {
        let len = window.rows * window.stride * BLOCK as u64;
        &self.rows.as_flattened()[..usize::try_from(len).expect("it is in memory")]
    }
}
