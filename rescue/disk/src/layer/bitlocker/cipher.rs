//! The ciphers of BitLocker. Sectors are numbered by the place of their first byte.

use std::sync::Arc;

use super::elephant;
use crate::layer::cipher::{self, Blocks, Sectors, Vectors};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Method {
    chain: Chain,
    /// Bytes of one AES key.
    key_len: usize,
    sector_size: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Chain {
    Xts,
    Cbc,
    /// With Elephant on top.
    Diffused,
}

impl Method {
    /// By the number that a header has for it.
    pub fn numbered(number: u16, sector_size: u32) -> Result<Method, String> {
        let (chain, key_len) = match number {
            0x8000 => (Chain::Diffused, 16),
            0x8001 => (Chain::Diffused, 32),
            0x8002 => (Chain::Cbc, 16),
            0x8003 => (Chain::Cbc, 32),
            0x8004 => (Chain::Xts, 16),
            0x8005 => (Chain::Xts, 32),
            other => {
                return Err(format!(
                    "its encryption method {other:#06x} is not supported"
                ));
            }
        };
        Ok(Method {
            chain,
            key_len,
            sector_size,
        })
    }

    /// `None` when the key is not of the right length.
    pub fn with_key(self, key: &[u8]) -> Option<Arc<dyn Sectors>> {
        let first = key.get(..self.key_len)?;
        Some(match self.chain {
            Chain::Xts => Arc::new(Xts {
                blocks: cipher::xts(key.get(..2 * self.key_len)?)?,
                sector_size: u64::from(self.sector_size),
            }),
            Chain::Cbc => Arc::new(Cbc::new(first)?),
            Chain::Diffused => {
                // Both keys have room for the longer kind.
                let second = key.get(32..32 + self.key_len)?;
                Arc::new(Diffused {
                    cbc: Cbc::new(first)?,
                    tweak: Vectors::new(second)?,
                })
            }
        })
    }
}

struct Xts {
    blocks: Box<dyn Blocks>,
    sector_size: u64,
}

impl Sectors for Xts {
    fn decrypt(&self, sector: &mut [u8], place: u64) {
        self.blocks.decrypt(sector, block(place / self.sector_size));
    }
}

/// The initial vector is the place, encrypted with the same key.
struct Cbc {
    blocks: Box<dyn Blocks>,
    vectors: Vectors,
}

impl Cbc {
    fn new(key: &[u8]) -> Option<Cbc> {
        Some(Cbc {
            blocks: cipher::cbc(key)?,
            vectors: Vectors::new(key)?,
        })
    }
}

impl Sectors for Cbc {
    fn decrypt(&self, sector: &mut [u8], place: u64) {
        self.blocks
            .decrypt(sector, self.vectors.encrypt(block(place)));
    }
}

struct Diffused {
    cbc: Cbc,
    tweak: Vectors,
}

impl Sectors for Diffused {
    fn decrypt(&self, sector: &mut [u8], place: u64) {
        self.cbc.decrypt(sector, place);
        elephant::gather(sector);
        let first = block(place);
        let mut second = first;
        second[15] = 0x80;
        let key = [self.tweak.encrypt(first), self.tweak.encrypt(second)].concat();
        for (byte, other) in sector.iter_mut().zip(key.iter().cycle()) {
            *byte ^= other;
        }
    }
}

fn block(number: u64) -> [u8; 16] {
    let mut block = [0; 16];
    block[..8].copy_from_slice(&number.to_le_bytes());
    block
}
