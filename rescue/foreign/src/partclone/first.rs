//! What is other in version 1 of partclone's format (its `src/partclone.h` and `src/checksum.c`): a longer header without a checksum, a byte for every block, and a checksum of the first byte of each block.

use std::io::{self, Read};

use disk::fields::Fields;

use super::Header;

/// Bytes of the header that follow what both versions are told apart by.
const REST: u64 = 64 + 4096 - super::HEADER as u64;
const BITMAP_END: &[u8; 8] = b"BiTmAgIc";
/// Bytes of the bitmap that are taken at once.
const BITMAP_READ: u64 = 64 << 10;

/// The rest of the header is empty.
pub fn header(fields: Fields<'_>, stream: &mut dyn Read) -> Option<Header> {
    io::copy(&mut stream.take(REST), &mut io::sink()).ok()?;
    Some(Header {
        is_first: true,
        block_bytes: fields.u32(36)?.into(),
        device_bytes: fields.u64(40)?,
        blocks: fields.u64(48)?,
        sum_bytes: 4,
        blocks_per_sum: 1,
        reseed: false,
        is_unchecked: false,
    })
}

/// As a bit for every block.
pub fn bitmap(stream: &mut dyn Read, blocks: u64) -> io::Result<Vec<u8>> {
    let mut bits = Vec::new();
    let mut left = blocks;
    while left > 0 {
        let len = left.min(BITMAP_READ);
        let mut bytes = vec![0; usize::try_from(len).expect("a piece fits in memory")];
        stream.read_exact(&mut bytes)?;
        let packed = bytes.chunks(8).map(|eight| {
            let bit = |(nth, byte): (usize, &u8)| u8::from(*byte == 1) << nth;
            eight.iter().enumerate().map(bit).sum::<u8>()
        });
        bits.extend(packed);
        left -= len;
    }
    let mut end = [0; 8];
    stream.read_exact(&mut end)?;
    match end == *BITMAP_END {
        true => Ok(bits),
        false => Err(io::Error::other("its bitmap is damaged")),
    }
}

/// The checksums, each over what came before too.
pub struct Sums {
    hasher: crc32fast::Hasher,
    /// Old 64-bit builds wrote eight bytes for each. The second block tells.
    width: Width,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    FirstBlock,
    Unknown,
    Narrow,
    Wide,
}

impl Sums {
    pub fn new() -> Sums {
        Sums {
            hasher: crc32fast::Hasher::new(),
            width: Width::FirstBlock,
        }
    }

    /// Reads what stands behind a block; false where it is not the block's.
    pub fn next(&mut self, block: &mut [u8], stream: &mut dyn Read) -> io::Result<bool> {
        let mut sum = word(stream)?;
        let mut is_good = self.is(block, sum);
        if !is_good && self.width == Width::Unknown {
            // As it is when the other half of the first checksum stands in front of it.
            let mut moved = block.get(4..).unwrap_or_default().to_vec();
            moved.extend(sum);
            if moved.len() == block.len() {
                let next = word(stream)?;
                is_good = self.is(&moved, next);
                if !is_good {
                    return Err(io::Error::other("its second block is damaged"));
                }
                block.copy_from_slice(&moved);
                (sum, self.width) = (next, Width::Wide);
            }
        }
        self.width = match self.width {
            Width::FirstBlock => Width::Unknown,
            Width::Unknown => Width::Narrow,
            known => known,
        };
        if self.width == Width::Wide {
            word(stream)?;
        }
        // The next one goes on from what was written.
        self.hasher = crc32fast::Hasher::new_with_initial(!u32::from_le_bytes(sum));
        Ok(is_good)
    }

    fn is(&self, block: &[u8], sum: [u8; 4]) -> bool {
        let mut hasher = self.hasher.clone();
        // The first byte again and again: so it was written, and so it is told.
        hasher.update(&vec![block.first().copied().unwrap_or(0); block.len()]);
        !hasher.finalize() == u32::from_le_bytes(sum)
    }
}

fn word(stream: &mut dyn Read) -> io::Result<[u8; 4]> {
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    Ok(word)
}
