//! A key slot: the key of the volume, locked by one passphrase.

use zeroize::Zeroizing;

use super::cipher::{Cipher, SECTOR};
use super::derive::{Derivation, Hash, Proof, merge};
use crate::extent::Extent;
use crate::layer::keys::Limits;
use crate::source::{BlockSource, ReadError, read_vec};

/// Longest key there is: two of 256 bits.
const KEY_LIMIT: u64 = 64;
/// All programs split a key into 4000.
const STRIPES_LIMIT: u64 = 8192;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    derivation: Derivation,
    /// Of the key material and of the area it is in.
    cipher: Cipher,
    area_key_len: usize,
    key_len: usize,
    hash: Hash,
    area: Extent,
    material_len: usize,
    proof: Proof,
}

/// The numbers of a slot as a header has them.
#[derive(Debug)]
pub struct Written<'a> {
    pub derivation: Derivation,
    pub cipher: &'a str,
    pub area_key_len: u64,
    pub key_len: u64,
    pub stripes: u64,
    pub hash: Hash,
    pub area_start: u64,
    pub proof: Proof,
}

impl Slot {
    /// `keep` is where key material may stand.
    pub fn new(written: Written<'_>, keep: Extent) -> Result<Slot, String> {
        let cipher = Cipher::named(written.cipher)
            .ok_or_else(|| format!("the cipher {} is not supported", written.cipher))?;
        let fits = |len: u64| (1..=KEY_LIMIT).contains(&len);
        let stripes = (1..=STRIPES_LIMIT).contains(&written.stripes);
        if !fits(written.key_len) || !fits(written.area_key_len) || !stripes {
            return Err("a key slot is damaged".into());
        }
        let material = written.key_len * written.stripes;
        let area = Extent::new(written.area_start, material.next_multiple_of(SECTOR))
            .filter(|area| keep.covers(*area))
            .ok_or("a key slot is outside the header")?;
        let small = |len: u64| usize::try_from(len).expect("it was bounded");
        Ok(Slot {
            derivation: written.derivation,
            cipher,
            area_key_len: small(written.area_key_len),
            key_len: small(written.key_len),
            hash: written.hash,
            area,
            material_len: small(material),
            proof: written.proof,
        })
    }

    /// The key of the volume, when this secret opens the slot.
    pub fn open(
        &self,
        source: &dyn BlockSource,
        secret: &[u8],
        limits: &Limits,
        budget: &mut u64,
    ) -> Result<Result<Opening, String>, ReadError> {
        let mut material = Zeroizing::new(read_vec(source, self.area.start(), self.area.len())?);
        Ok(self.unlocked(&mut material, secret, limits, budget))
    }

    fn unlocked(
        &self,
        material: &mut [u8],
        secret: &[u8],
        limits: &Limits,
        budget: &mut u64,
    ) -> Result<Opening, String> {
        let key = self
            .derivation
            .derive(secret, self.area_key_len, limits, budget)?;
        let sectors = self
            .cipher
            .with_key(&key)
            .ok_or("a key slot has a key of a wrong length")?;
        sectors.decrypt_all(material);
        let key = merge(&material[..self.material_len], self.key_len, self.hash);
        let proof = &self.proof;
        let digest = proof
            .derivation
            .derive(&key, proof.digest.len(), limits, budget)?;
        Ok(if *digest == proof.digest && !digest.is_empty() {
            Opening::Key(key)
        } else {
            Opening::Wrong
        })
    }
}

pub enum Opening {
    Key(Zeroizing<Vec<u8>>),
    /// Another passphrase belongs to it.
    Wrong,
}

/// Never shows the key.
impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Opening::Key(_) => "key",
            Opening::Wrong => "wrong",
        })
    }
}
