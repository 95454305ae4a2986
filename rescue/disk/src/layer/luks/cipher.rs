//! The ciphers of LUKS volumes as dm-crypt names them, for reading only.
//!
//! Names and initial vectors: Linux, Documentation/admin-guide/device-mapper/dm-crypt.rst.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::layer::cipher::{self, Blocks, Sectors, Vectors};

/// Initial vectors count in these, however large a sector of the volume is.
pub const SECTOR: u64 = 512;
/// A cipher whose name is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cipher {
    chain: Chain,
    vector: Vector,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Chain {
    Xts,
    Cbc,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Vector {
    /// 32 bits of the sector's number.
    Plain,
    /// 64 bits of it.
    Plain64,
    /// The number, encrypted with the digest of the key.
    Essiv,
}

impl Cipher {
    /// `aes-xts-plain64` and its like.
    pub fn named(name: &str) -> Option<Cipher> {
        let (chain, vector) = match name {
            "aes-xts-plain" => (Chain::Xts, Vector::Plain),
            "aes-xts-plain64" => (Chain::Xts, Vector::Plain64),
            "aes-cbc-plain" => (Chain::Cbc, Vector::Plain),
            "aes-cbc-plain64" => (Chain::Cbc, Vector::Plain64),
            "aes-cbc-essiv:sha256" => (Chain::Cbc, Vector::Essiv),
            _ => return None,
        };
        Some(Cipher { chain, vector })
    }

    /// Whether a volume may have sectors of this size. In CBC a part of a larger one cannot be read alone.
    pub fn has_sectors(self, size: u32) -> bool {
        u64::from(size) == SECTOR || self.chain == Chain::Xts
    }

    /// `None` when the cipher has no keys of this length.
    pub fn with_key(self, key: &[u8]) -> Option<Keyed> {
        let blocks = match self.chain {
            Chain::Xts => cipher::xts(key)?,
            Chain::Cbc => cipher::cbc(key)?,
        };
        let essiv = match self.vector {
            Vector::Essiv => {
                let digest = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(key)));
                Some(Vectors::new(&*digest)?)
            }
            Vector::Plain | Vector::Plain64 => None,
        };
        Some(Keyed {
            blocks,
            vector: self.vector,
            essiv,
        })
    }
}

/// A cipher with its key. Sectors are numbered in 512 bytes, however large they are.
pub struct Keyed {
    blocks: Box<dyn Blocks>,
    vector: Vector,
    essiv: Option<Vectors>,
}

impl Keyed {
    /// Decrypts whole sectors of 512 bytes, the first of which has the number 0.
    pub fn decrypt_all(&self, bytes: &mut [u8]) {
        for (sector, number) in bytes.chunks_exact_mut(512).zip(0..) {
            self.decrypt(sector, number);
        }
    }
}

impl Sectors for Keyed {
    fn decrypt(&self, sector: &mut [u8], number: u64) {
        let number = match self.vector {
            Vector::Plain => number & 0xFFFF_FFFF,
            Vector::Plain64 | Vector::Essiv => number,
        };
        let mut vector = [0; 16];
        vector[..8].copy_from_slice(&number.to_le_bytes());
        if let Some(cipher) = &self.essiv {
            vector = cipher.encrypt(vector);
        }
        self.blocks.decrypt(sector, vector);
    }
}
