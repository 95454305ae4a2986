//! Memory that direct I/O takes: page-aligned, whole blocks.

/// The kernel wants the memory of direct I/O aligned to at most a page, on every driver.
pub const MEMORY_ALIGNMENT: usize = 4096;

/// Largest piece that is copied through a [`Bounce`] at once.
pub const PIECE: u64 = 1 << 20;

/// Zeroed bytes that begin at a multiple of [`MEMORY_ALIGNMENT`].
#[derive(Debug)]
pub struct Bounce {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Bounce {
    /// `len` is at most [`PIECE`] and two blocks.
    pub fn new(len: u64) -> Bounce {
        let len = usize::try_from(len).expect("a piece fits in memory");
        let bytes = vec![0; len + MEMORY_ALIGNMENT];
        let start = bytes.as_ptr().addr().wrapping_neg() % MEMORY_ALIGNMENT;
        Bounce { bytes, start, len }
    }

    pub fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    pub fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

/// Whether direct I/O can go straight to or from this memory at this offset.
pub fn is_aligned(memory: &[u8], offset: u64, block: u32) -> bool {
    let block = u64::from(block);
    memory.as_ptr().addr().is_multiple_of(MEMORY_ALIGNMENT)
        && offset.is_multiple_of(block)
        && (memory.len() as u64).is_multiple_of(block)
}
