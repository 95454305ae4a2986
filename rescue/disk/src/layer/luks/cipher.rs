//! The ciphers of LUKS volumes as dm-crypt names them, for reading only.
//!
//! Names and initial vectors: Linux, Documentation/admin-guide/device-mapper/dm-crypt.rst.

use std::sync::Arc;

use aes::cipher::{Array, BlockCipherEncrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use sha2::{Digest, Sha256};
use xts_mode::Xts128;
use zeroize::Zeroizing;

use crate::extent::Extent;
use crate::geometry::Geometry;
use crate::layer::Mapped;
use crate::source::{BlockSource, ReadError};

/// Initial vectors count in these, however large a sector of the volume is.
pub const SECTOR: u64 = 512;
/// At most this much is decrypted at once where the asker's own buffer does not fit.
const PIECE: u64 = 64 << 10;

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
    pub fn with_key(self, key: &[u8]) -> Option<Sectors> {
        let half = |size: usize| key.split_at_checked(size);
        let blocks: Box<dyn Blocks> = match (self.chain, key.len()) {
            (Chain::Xts, 32) => xts::<Aes128>(half(16)?)?,
            (Chain::Xts, 64) => xts::<Aes256>(half(32)?)?,
            (Chain::Cbc, 16) => Box::new(Cbc(Aes128::new_from_slice(key).ok()?)),
            (Chain::Cbc, 24) => Box::new(Cbc(Aes192::new_from_slice(key).ok()?)),
            (Chain::Cbc, 32) => Box::new(Cbc(Aes256::new_from_slice(key).ok()?)),
            _ => return None,
        };
        let essiv = match self.vector {
            Vector::Essiv => {
                let digest = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(key)));
                Some(Aes256::new_from_slice(&*digest).ok()?)
            }
            Vector::Plain | Vector::Plain64 => None,
        };
        Some(Sectors {
            blocks,
            vector: self.vector,
            essiv,
        })
    }
}

/// A cipher with its key: decrypts sectors by their numbers.
pub struct Sectors {
    blocks: Box<dyn Blocks>,
    vector: Vector,
    essiv: Option<Aes256>,
}

impl Sectors {
    /// Decrypts whole sectors of `size` bytes, the first of which has the number `first`, counted in 512 bytes.
    pub fn decrypt(&self, bytes: &mut [u8], size: u32, first: u64) {
        let step = u64::from(size) / SECTOR;
        let size = usize::try_from(size).expect("a sector is small");
        let mut number = first;
        for sector in bytes.chunks_exact_mut(size) {
            self.blocks.decrypt(sector, self.vector_of(number));
            number = number.wrapping_add(step);
        }
    }

    fn vector_of(&self, number: u64) -> [u8; 16] {
        let number = match self.vector {
            Vector::Plain => number & 0xFFFF_FFFF,
            Vector::Plain64 | Vector::Essiv => number,
        };
        let mut vector = [0; 16];
        vector[..8].copy_from_slice(&number.to_le_bytes());
        if let Some(cipher) = &self.essiv {
            let mut block = Array(vector);
            cipher.encrypt_block(&mut block);
            vector = block.0;
        }
        vector
    }
}

trait Blocks: Send + Sync {
    fn decrypt(&self, sector: &mut [u8], vector: [u8; 16]);
}

type Block = aes::cipher::consts::U16;

fn xts<C>((data, tweak): (&[u8], &[u8])) -> Option<Box<dyn Blocks>>
where
    C: KeyInit + Send + Sync + 'static,
    Xts128<C>: Blocks,
    C: aes::cipher::BlockSizeUser<BlockSize = Block>,
{
    let data = C::new_from_slice(data).ok()?;
    let tweak = C::new_from_slice(tweak).ok()?;
    Some(Box::new(Xts128::new(data, tweak)))
}

impl Blocks for Xts128<Aes128> {
    fn decrypt(&self, sector: &mut [u8], vector: [u8; 16]) {
        self.decrypt_sector(sector, Array(vector));
    }
}

impl Blocks for Xts128<Aes256> {
    fn decrypt(&self, sector: &mut [u8], vector: [u8; 16]) {
        self.decrypt_sector(sector, Array(vector));
    }
}

struct Cbc<C>(C);

impl<C> Blocks for Cbc<C>
where
    C: aes::cipher::BlockCipherDecrypt + aes::cipher::BlockSizeUser<BlockSize = Block>,
    C: Clone + Send + Sync,
{
    fn decrypt(&self, sector: &mut [u8], vector: [u8; 16]) {
        let mut chain = cbc::Decryptor::inner_iv_init(self.0.clone(), &Array(vector));
        let (blocks, _) = Array::slice_as_chunks_mut(sector);
        chain.decrypt_blocks(blocks);
    }
}

/// The plain bytes of a volume.
pub struct Plain<'a> {
    pub cipher: Arc<Sectors>,
    pub source: Mapped<'a>,
    pub sector_size: u32,
    /// Number of the volume's first sector, in 512 bytes.
    pub first: u64,
}

impl Plain<'_> {
    fn decrypt(&self, at: u64, bytes: &mut [u8]) {
        let number = self.first.wrapping_add(at / SECTOR);
        self.cipher.decrypt(bytes, self.sector_size, number);
    }

    /// Reads the sectors around what is asked for, a piece at a time.
    fn read_parts(&self, asked: Extent, buf: &mut [u8]) -> Result<(), ReadError> {
        let size = u64::from(self.sector_size);
        let all = asked
            .aligned_out(size, self.source.size_bytes())
            .expect("it lies inside the volume");
        for piece in all.split_at_multiples(PIECE) {
            let len = usize::try_from(piece.len()).expect("a piece is small");
            let mut bytes = vec![0; len];
            self.source.read_at(piece.start(), &mut bytes)?;
            self.decrypt(piece.start(), &mut bytes);
            let Some(part) = piece.intersect(asked) else {
                continue;
            };
            let index = |at: u64| usize::try_from(at).expect("it lies in the buffer");
            let (from, to) = (part.start() - piece.start(), part.end() - piece.start());
            let into = index(part.start() - asked.start())..index(part.end() - asked.start());
            buf[into].copy_from_slice(&bytes[index(from)..index(to)]);
        }
        Ok(())
    }
}

impl BlockSource for Plain<'_> {
    fn geometry(&self) -> Geometry {
        self.source.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let (len, size_bytes) = (buf.len() as u64, self.size_bytes());
        let Some(asked) = Extent::new(offset, len) else {
            return self.source.read_at(offset, buf);
        };
        if asked.end() > size_bytes {
            return Err(ReadError::BeyondEnd {
                offset,
                len,
                size_bytes,
            });
        }
        let size = u64::from(self.sector_size);
        let read = if offset.is_multiple_of(size) && len.is_multiple_of(size) {
            self.source
                .read_at(offset, buf)
                .map(|()| self.decrypt(offset, buf))
        } else {
            self.read_parts(asked, buf)
        };
        read.map_err(|error| match error {
            // A bad place beside what was asked for spoils the sector they share.
            ReadError::Unreadable(bad) => {
                ReadError::Unreadable(bad.intersect(asked).unwrap_or(asked))
            }
            other => other,
        })
    }
}
