//! The first bytes of a sealed file: which passphrases open it, and what they open.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{Key, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use disk::fields::Fields;
use zeroize::Zeroizing;

use crate::digest::{Digest, ImageId};
use crate::seal::block::{BLOCK, NONCE, SKIPPABLE};

const NAME: &[u8; 8] = b"rescKEYS";
const VERSION: u32 = 1;

/// A frame of keys; the file begins with two equal ones.
pub const FRAME: usize = 4096;
/// Behind both.
pub const FIRST_BLOCK: u64 = 2 * FRAME as u64;

/// Passphrases that one image may have.
pub const SLOTS: usize = 8;
const SLOT: usize = 160;
const SLOTS_AT: usize = 64;
const DIGEST_AT: usize = FRAME - 32;

/// What encrypts an image and all of its chain.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    pub fn from_bytes(bytes: [u8; 32]) -> DataKey {
        DataKey(Zeroizing::new(bytes))
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Tells whether it is that of a file, without opening anything.
    fn check(&self, id: ImageId) -> [u8; 16] {
        const CONTEXT: &str = "Rescue 2026-11 sealed image, check of a data key";
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(self.bytes()).update(&id.0);
        let mut check = [0; 16];
        hasher.finalize_xof().fill(&mut check);
        check
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// What deriving a key from a passphrase costs (RFC 9106).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    pub passes: u32,
    pub memory_kib: u32,
    pub lanes: u32,
}

impl Cost {
    /// The second of RFC 9106's recommendations: for machines with little memory.
    pub const USUAL: Cost = Cost {
        passes: 3,
        memory_kib: 64 << 10,
        lanes: 4,
    };

    /// A crafted file must not take all memory or all day.
    fn is_believed(self) -> bool {
        (1..=16).contains(&self.passes)
            && (1..=16).contains(&self.lanes)
            && (8 * self.lanes..=256 << 10).contains(&self.memory_kib)
    }

    fn derive(self, secret: &[u8], salt: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, String> {
        let failed = |error: argon2::Error| format!("no key can be derived: {error}");
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(failed)?);
        let mut key = Zeroizing::new([0; 32]);
        argon
            .hash_password_into(secret, salt, &mut *key)
            .map_err(failed)?;
        Ok(key)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotKind {
    Passphrase,
    /// Made by the program, to be written down.
    Recovery,
}

/// The data key as one passphrase opens it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    pub kind: SlotKind,
    pub cost: Cost,
    salt: [u8; 32],
    nonce: [u8; NONCE],
    /// And the tag.
    wrapped: [u8; 48],
}

/// 56 random bytes: salt and nonce.
pub type SlotChance = [u8; 32 + NONCE];

impl Slot {
    /// No two have the same.
    pub fn id(&self) -> Vec<u8> {
        self.salt.to_vec()
    }

    pub fn new(
        kind: SlotKind,
        cost: Cost,
        secret: &[u8],
        key: &DataKey,
        chance: &SlotChance,
    ) -> Result<Slot, String> {
        let (mut salt, mut nonce) = ([0; 32], [0; NONCE]);
        salt.copy_from_slice(&chance[..32]);
        nonce.copy_from_slice(&chance[32..]);
        let mut slot = Slot {
            kind,
            cost,
            salt,
            nonce,
            wrapped: [0; 48],
        };
        let (wrapped, tag) = slot.wrapped.split_at_mut(32);
        wrapped.copy_from_slice(key.bytes());
        let derived = cost.derive(secret, &salt)?;
        let cipher = cipher(&derived);
        let bound = bound(kind, cost, &salt);
        let made = cipher
            .encrypt_inout_detached(&XNonce::from(nonce), &bound, wrapped.into())
            .expect("a key is far below the cipher's limit");
        tag.copy_from_slice(&made);
        Ok(slot)
    }

    /// `None` where this is not the passphrase.
    pub fn open(&self, secret: &[u8]) -> Result<Option<DataKey>, String> {
        let derived = self.cost.derive(secret, &self.salt)?;
        let cipher = cipher(&derived);
        let (wrapped, tag) = self.wrapped.split_at(32);
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(wrapped);
        let tag: [u8; 16] = tag.try_into().expect("a tag has 16 bytes");
        let opened = cipher.decrypt_inout_detached(
            &XNonce::from(self.nonce),
            &bound(self.kind, self.cost, &self.salt),
            key.as_mut_slice().into(),
            &Tag::from(tag),
        );
        Ok(opened.is_ok().then(|| DataKey(key)))
    }

    fn put(&self, out: &mut Vec<u8>) {
        let end = out.len() + SLOT;
        out.push(number_of(self.kind));
        out.extend_from_slice(&[0; 3]);
        out.extend_from_slice(&self.cost.passes.to_le_bytes());
        out.extend_from_slice(&self.cost.memory_kib.to_le_bytes());
        out.extend_from_slice(&self.cost.lanes.to_le_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.wrapped);
        out.resize(end, 0);
    }

    fn read(fields: Fields<'_>, at: usize) -> Option<Slot> {
        let kind = match fields.u8(at)? {
            1 => SlotKind::Passphrase,
            2 => SlotKind::Recovery,
            _ => return None,
        };
        let cost = Cost {
            passes: fields.u32(at + 4)?,
            memory_kib: fields.u32(at + 8)?,
            lanes: fields.u32(at + 12)?,
        };
        let slot = Slot {
            kind,
            cost,
            salt: fields.array(at + 16)?,
            nonce: fields.array(at + 48)?,
            wrapped: fields.array(at + 72)?,
        };
        cost.is_believed().then_some(slot)
    }
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*key))
}

fn number_of(kind: SlotKind) -> u8 {
    match kind {
        SlotKind::Passphrase => 1,
        SlotKind::Recovery => 2,
    }
}

fn bound(kind: SlotKind, cost: Cost, salt: &[u8; 32]) -> [u8; 48] {
    let mut bound = [0; 48];
    bound[0] = number_of(kind);
    bound[4..8].copy_from_slice(&cost.passes.to_le_bytes());
    bound[8..12].copy_from_slice(&cost.memory_kib.to_le_bytes());
    bound[12..16].copy_from_slice(&cost.lanes.to_le_bytes());
    bound[16..].copy_from_slice(salt);
    bound
}

/// A frame of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    /// Of the sealed file.
    pub id: ImageId,
    check: [u8; 16],
    /// At most [`SLOTS`].
    pub slots: Vec<Slot>,
}

impl Keys {
    pub fn new(id: ImageId, key: &DataKey, slots: Vec<Slot>) -> Keys {
        Keys {
            id,
            check: key.check(id),
            slots,
        }
    }

    pub fn is_for(&self, key: &DataKey) -> bool {
        key.check(self.id) == self.check
    }

    pub fn build(&self) -> Vec<u8> {
        let size = u32::try_from(FRAME - 8).expect("a frame of keys is 4 KiB");
        let block = u32::try_from(BLOCK).expect("a block is 64 KiB");
        let count = u32::try_from(self.slots.len()).expect("there are few slots");
        let mut out = Vec::with_capacity(FRAME);
        out.extend_from_slice(&SKIPPABLE.to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(NAME);
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&block.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.check);
        self.slots.iter().for_each(|slot| slot.put(&mut out));
        out.resize(DIGEST_AT, 0);
        let digest = Digest::of(&out);
        out.extend_from_slice(&digest.0);
        out
    }

    /// `None` for anything that is not whole.
    pub fn read(frame: &[u8]) -> Option<Result<Keys, Newer>> {
        let fields = Fields(frame);
        let ours = claims_to_be(frame) && frame.len() >= FRAME;
        if !ours || Digest::of(&frame[..DIGEST_AT]).0 != fields.array(DIGEST_AT)? {
            return None;
        }
        if fields.u32(32)? != VERSION || usize::try_from(fields.u32(36)?).ok()? != BLOCK {
            return Some(Err(Newer));
        }
        let count = usize::try_from(fields.u32(40)?).ok()?;
        let slots = (0..count.min(SLOTS)).filter_map(|n| Slot::read(fields, SLOTS_AT + n * SLOT));
        Some(Ok(Keys {
            id: ImageId(fields.array(16)?),
            check: fields.array(48)?,
            slots: slots.collect(),
        }))
    }
}

/// Sealed by a newer version of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Newer;

/// Whether these may be the first bytes of one of which only a part was written: the rest is zeros.
pub fn may_be_torn(bytes: &[u8]) -> bool {
    let mut front = [0; 16];
    front[..4].copy_from_slice(&SKIPPABLE.to_le_bytes());
    let size = u32::try_from(FRAME - 8).expect("a frame of keys is 4 KiB");
    front[4..8].copy_from_slice(&size.to_le_bytes());
    front[8..].copy_from_slice(NAME);
    let mut pairs = bytes.iter().zip(front);
    pairs.all(|(byte, wanted)| *byte == wanted || *byte == 0)
}

/// Whether these are the first bytes of a frame of keys, whole or not.
pub fn claims_to_be(bytes: &[u8]) -> bool {
    let fields = Fields(bytes);
    fields.u32(0) == Some(SKIPPABLE) && fields.starts_with(8, NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost {
        passes: 1,
        memory_kib: 8,
        lanes: 1,
    };

    #[test]
    fn a_slot_opens_with_its_passphrase_alone() {
        let key = DataKey::from_bytes([9; 32]);
        let slot = |word: &[u8], n| Slot::new(SlotKind::Passphrase, CHEAP, word, &key, &[n; 56]);
        let keys = Keys::new(
            ImageId([3; 16]),
            &key,
            vec![slot(b"one", 1).unwrap(), slot(b"two", 2).unwrap()],
        );
        let frame = keys.build();
        assert_eq!(frame.len(), FRAME);
        assert_eq!(Keys::read(&frame), Some(Ok(keys.clone())));
        assert!(keys.is_for(&key));
        assert!(!keys.is_for(&DataKey::from_bytes([8; 32])));
        let opened = keys.slots[1].open(b"two").unwrap().unwrap();
        assert_eq!(opened.bytes(), key.bytes());
        assert!(keys.slots[1].open(b"one").unwrap().is_none());
        assert!(!frame.windows(32).any(|bytes| bytes == key.bytes()));
    }

    #[test]
    fn a_flipped_bit_or_a_cost_without_bound_is_not_believed() {
        let key = DataKey::from_bytes([9; 32]);
        let slot = Slot::new(SlotKind::Recovery, CHEAP, b"x", &key, &[1; 56]).unwrap();
        let costly = Slot {
            cost: Cost {
                memory_kib: 1 << 30,
                ..CHEAP
            },
            ..slot.clone()
        };
        let frame = Keys::new(ImageId([3; 16]), &key, vec![costly, slot]).build();
        assert_eq!(Keys::read(&frame).unwrap().unwrap().slots.len(), 1);
        for bit in (0..FRAME * 8).step_by(97) {
            let mut bent = frame.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Keys::read(&bent), None, "bit {bit}");
        }
        assert_eq!(Keys::read(&frame[..100]), None);
    }
}
