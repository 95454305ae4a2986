//! A buffer that direct I/O accepts.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Strictest alignment that a disk asks for.
const ALIGNMENT: usize = 4096;

/// Bytes whose first one lies at a multiple of 4096 in memory. Allocated once and reused.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// All zeros.
    pub fn new(len: usize) -> Buffer {
        let bytes = vec![0; len + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Buffer { bytes, start, len }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

/// True when every byte is zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // In blocks, so that data is told apart at its first few bytes and zeros are folded wide.
    let mut blocks = bytes.chunks_exact(512);
    blocks.all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
        && bytes.chunks_exact(512).remainder().iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_whatever_its_length() {
        for len in [1, 511, 4096, 1 << 20] {
            let mut buffer = Buffer::new(len);
            assert_eq!(buffer.as_ptr().align_offset(ALIGNMENT), 0);
            assert_eq!(buffer.len(), len);
            buffer.fill(1);
        }
    }

    #[test]
    fn one_byte_anywhere_is_not_zero() {
        for len in [1, 8, 511, 512, 513, 1300] {
            assert!(is_zero(&vec![0; len]));
            for at in 0..len {
                let mut bytes = vec![0; len];
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "{at} of {len}");
            }
        }
    }
}
