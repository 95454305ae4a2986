//! Reading volumes through AES, sector by sector.

use std::sync::Arc;

use aes::cipher::{Array, BlockCipherEncrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use xts_mode::Xts128;

use crate::extent::Extent;
use crate::geometry::Geometry;
use crate::layer::Mapped;
use crate::source::{BlockSource, ReadError};

/// At most this much is decrypted at once where the asker's own buffer does not fit.
const PIECE: u64 = 64 << 10;

/// AES in one chaining mode, with its key.
pub trait Blocks: Send + Sync {
    fn decrypt(&self, sector: &mut [u8], vector: [u8; 16]);
}

/// Two keys of the same length. `None` when the cipher has no keys of this length.
pub fn xts(key: &[u8]) -> Option<Box<dyn Blocks>> {
    let half = |size: usize| key.split_at_checked(size);
    match key.len() {
        32 => xts_of::<Aes128>(half(16)?),
        64 => xts_of::<Aes256>(half(32)?),
        _ => None,
    }
}

pub fn cbc(key: &[u8]) -> Option<Box<dyn Blocks>> {
    Some(match key.len() {
        16 => Box::new(Cbc(Aes128::new_from_slice(key).ok()?)),
        24 => Box::new(Cbc(Aes192::new_from_slice(key).ok()?)),
        32 => Box::new(Cbc(Aes256::new_from_slice(key).ok()?)),
        _ => return None,
    })
}

/// Encrypts single blocks: initial vectors that are not to be foreseen.
pub struct Vectors(Box<dyn Single>);

trait Single: Send + Sync {
    fn encrypt(&self, block: &mut Array<u8, Block>);
}

impl<C> Single for C
where
    C: BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = Block> + Send + Sync,
{
    fn encrypt(&self, block: &mut Array<u8, Block>) {
        self.encrypt_block(block);
    }
}

impl Vectors {
    /// `None` when the cipher has no keys of this length.
    pub fn new(key: &[u8]) -> Option<Vectors> {
        Some(Vectors(match key.len() {
            16 => Box::new(Aes128::new_from_slice(key).ok()?),
            32 => Box::new(Aes256::new_from_slice(key).ok()?),
            _ => return None,
        }))
    }

    pub fn encrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = Array(block);
        self.0.encrypt(&mut block);
        block.0
    }
}

type Block = aes::cipher::consts::U16;

fn xts_of<C>((data, tweak): (&[u8], &[u8])) -> Option<Box<dyn Blocks>>
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

/// Decrypts sectors by their numbers; what a number counts is the layer's affair.
pub trait Sectors: Send + Sync {
    fn decrypt(&self, sector: &mut [u8], number: u64);
}

/// The number of the sector at this offset of the volume. `None`: it is not encrypted.
pub type Number = Arc<dyn Fn(u64) -> Option<u64> + Send + Sync>;

/// The plain bytes of a volume.
pub struct Plain<'a> {
    pub cipher: Arc<dyn Sectors>,
    pub source: Mapped<'a>,
    pub sector_size: u32,
    pub number: Number,
}

impl Plain<'_> {
    /// Of whole sectors.
    fn decrypt(&self, at: u64, bytes: &mut [u8]) {
        let size = usize::try_from(self.sector_size).expect("a sector is small");
        let places = (at..).step_by(size);
        for (sector, at) in bytes.chunks_exact_mut(size).zip(places) {
            if let Some(number) = (self.number)(at) {
                self.cipher.decrypt(sector, number);
            }
        }
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
