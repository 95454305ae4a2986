//! From a passphrase to the key of a volume: key derivation, the split key material, the digest.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use sha1::Sha1;
use sha2::digest::{Digest, DynDigest};
use sha2::{Sha224, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::layer::keys::Limits;
use crate::size::Size;

/// A digest that LUKS headers name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub fn named(name: &str) -> Result<Hash, String> {
        match name {
            "sha1" => Ok(Hash::Sha1),
            "sha224" => Ok(Hash::Sha224),
            "sha256" => Ok(Hash::Sha256),
            "sha384" => Ok(Hash::Sha384),
            "sha512" => Ok(Hash::Sha512),
            other => Err(format!("the digest {other} is not supported")),
        }
    }

    pub fn hasher(self) -> Box<dyn DynDigest> {
        match self {
            Hash::Sha1 => Box::new(Sha1::new()),
            Hash::Sha224 => Box::new(Sha224::new()),
            Hash::Sha256 => Box::new(Sha256::new()),
            Hash::Sha384 => Box::new(Sha384::new()),
            Hash::Sha512 => Box::new(Sha512::new()),
        }
    }

    fn pbkdf2(self, secret: &[u8], salt: &[u8], iterations: u32, key: &mut [u8]) {
        match self {
            Hash::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(secret, salt, iterations, key),
            Hash::Sha224 => pbkdf2::pbkdf2_hmac::<Sha224>(secret, salt, iterations, key),
            Hash::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(secret, salt, iterations, key),
            Hash::Sha384 => pbkdf2::pbkdf2_hmac::<Sha384>(secret, salt, iterations, key),
            Hash::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(secret, salt, iterations, key),
        }
    }
}

/// How a passphrase is made into the key of a slot, or a key into its digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Derivation {
    Pbkdf2 {
        hash: Hash,
        iterations: u32,
        salt: Vec<u8>,
    },
    Argon2 {
        algorithm: Algorithm,
        passes: u32,
        memory_kib: u32,
        lanes: u32,
        salt: Vec<u8>,
    },
}

impl Derivation {
    /// `budget` is how many rounds may still be spent: one of PBKDF2, or one KiB in one pass of Argon2.
    pub fn derive(
        &self,
        secret: &[u8],
        len: usize,
        limits: &Limits,
        budget: &mut u64,
    ) -> Result<Zeroizing<Vec<u8>>, String> {
        *budget = budget.checked_sub(self.rounds(len)).ok_or(
            "its header asks for more time than any real one; unlock it with cryptsetup and copy what is in it",
        )?;
        let mut key = Zeroizing::new(vec![0; len]);
        match self {
            Derivation::Pbkdf2 {
                hash,
                iterations,
                salt,
            } => hash.pbkdf2(secret, salt, *iterations, &mut key),
            Derivation::Argon2 {
                algorithm,
                passes,
                memory_kib,
                lanes,
                salt,
            } => {
                let asked = u64::from(*memory_kib) << 10;
                if asked > limits.memory_bytes {
                    return Err(format!(
                        "its passphrase needs {} of memory, but only {} may be used here; unlock it on a machine with more",
                        Size(asked),
                        Size(limits.memory_bytes)
                    ));
                }
                let made = Params::new(*memory_kib, *passes, *lanes, Some(len));
                let params = made.map_err(|_| DAMAGED)?;
                let mut memory: Vec<Block> = Vec::new();
                memory
                    .try_reserve_exact(params.block_count())
                    .map_err(|_| format!("there are no {} of memory for its passphrase; unlock it on a machine with more", Size(asked)))?;
                memory.resize(params.block_count(), Block::new());
                Argon2::new(*algorithm, Version::V0x13, params)
                    .hash_password_into_with_memory(secret, salt, &mut key, &mut memory)
                    .map_err(|_| DAMAGED)?;
            }
        }
        Ok(key)
    }

    fn rounds(&self, len: usize) -> u64 {
        match self {
            Derivation::Pbkdf2 {
                hash, iterations, ..
            } => {
                let blocks = len.div_ceil(hash.hasher().output_size());
                u64::from(*iterations) * blocks as u64
            }
            Derivation::Argon2 {
                passes, memory_kib, ..
            } => u64::from(*passes) * u64::from(*memory_kib),
        }
    }
}

const DAMAGED: &str = "its header asks for a derivation that cannot be";

/// What a key's digest must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    pub derivation: Derivation,
    pub digest: Vec<u8>,
}

/// Merges key material that was split so that a deleted slot stays deleted (LUKS1 On-Disk Format, 2.4).
/// `material` holds `stripes` keys of `len` bytes.
pub fn merge(material: &[u8], len: usize, hash: Hash) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; len]);
    let mut stripes = material.chunks_exact(len).peekable();
    while let Some(stripe) = stripes.next() {
        for (byte, other) in key.iter_mut().zip(stripe) {
            *byte ^= other;
        }
        if stripes.peek().is_some() {
            diffuse(&mut key, hash);
        }
    }
    key
}

fn diffuse(key: &mut [u8], hash: Hash) {
    let mut digest = hash.hasher();
    for (number, part) in (0u32..).zip(key.chunks_mut(digest.output_size())) {
        digest.update(&number.to_be_bytes());
        digest.update(part);
        let mut whole = Zeroizing::new([0; 64]);
        let whole = &mut whole[..digest.output_size()];
        digest
            .finalize_into_reset(whole)
            .expect("the buffer has the digest's size");
        part.copy_from_slice(&whole[..part.len()]);
    }
}
