//! Frames whose content is zeros: run-length blocks, so that a gibibyte takes 32 KiB.
//!
//! The window is 128 KiB, so that a stock decoder needs no large memory; a block cannot hold more.

use std::collections::BTreeMap;

use xxhash_rust::xxh64::Xxh64;

/// Largest content of one frame: the seekable format's own limit.
pub const RUN_LIMIT: u64 = 1 << 30;

const BLOCK: u64 = 128 << 10;

/// Magic number, frame header descriptor (content size in 4 bytes, checksum), window descriptor (2^17).
const START: [u8; 6] = [0x28, 0xB5, 0x2F, 0xFD, 0x84, 0x38];

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Makes such frames, and remembers the checksums: the XXH64 of a gibibyte takes 0.1 s.
#[derive(Default)]
pub struct ZeroFrames {
    hashed: BTreeMap<u64, Xxh64>,
}

impl ZeroFrames {
    /// Bytes of a frame with this content.
    pub fn frame_len(content: u64) -> u64 {
        START.len() as u64 + 4 + 4 * content.div_ceil(BLOCK).max(1) + 4
    }

    /// Appends the frame for `content` zeros, 1 to [`RUN_LIMIT`].
    pub fn write(&mut self, content: u64, out: &mut Vec<u8>) {
        let size = u32::try_from(content).expect("a run is at most 1 GiB");
        out.extend_from_slice(&START);
        out.extend_from_slice(&size.to_le_bytes());
        let mut left = content;
        while left > 0 {
            let block = left.min(BLOCK);
            left -= block;
            // RFC 8878, 3.1.1.2: last block, type 1 (run length), size, then the byte.
            let last = u64::from(left == 0);
            let header = (block << 3 | 1 << 1 | last).to_le_bytes();
            out.extend_from_slice(&[header[0], header[1], header[2], 0]);
        }
        out.extend_from_slice(&self.checksum(content).to_le_bytes()[..4]);
    }

    fn checksum(&mut self, content: u64) -> u64 {
        let (done, mut hash) = self
            .hashed
            .range(..=content)
            .next_back()
            .map_or((0, Xxh64::new(0)), |(done, hash)| (*done, hash.clone()));
        let mut left = content - done;
        while left > 0 {
            let piece = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            hash.update(&ZEROS[..piece]);
            left -= piece as u64;
        }
        let digest = hash.digest();
        if self.hashed.len() >= 1024 {
            self.hashed.clear();
        }
        self.hashed.insert(content, hash);
        digest
    }
}

/// Whether every byte is zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|piece| {
        let (words, rest) = piece.as_chunks::<8>();
        let any = words
            .iter()
            .fold(0, |any, word| any | u64::from_ne_bytes(*word));
        any == 0 && rest.iter().all(|byte| *byte == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_decoder_reads_zeros_from_them() {
        let mut frames = ZeroFrames::default();
        for content in [
            1,
            512,
            4096,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            5 * BLOCK + 7,
            64 << 20,
            1000,
        ] {
            let mut frame = Vec::new();
            frames.write(content, &mut frame);
            assert_eq!(frame.len() as u64, ZeroFrames::frame_len(content));
            let len = usize::try_from(content).unwrap();
            let decoded = zstd::bulk::decompress(&frame, len).unwrap();
            assert_eq!(decoded.len(), len);
            assert!(is_zero(&decoded));
        }
    }

    #[test]
    fn one_bit_anywhere_is_not_zero() {
        let mut bytes = vec![0; 10_001];
        assert!(is_zero(&bytes));
        for at in [0, 7, 4095, 4096, 9_999, 10_000] {
            bytes[at] = 16;
            assert!(!is_zero(&bytes));
            bytes[at] = 0;
        }
    }
}
