//! Sealing images: with which key, and which passphrases open it.

use image::seal::{Cost, DataKey, Keyring, Seal, Slot, SlotKind, words};
use zeroize::Zeroizing;

use crate::random;

/// A key that nobody had before, behind the passphrase that was given last.
pub fn new_seal(keyring: &Keyring) -> Result<Seal, String> {
    let secret = keyring.newest().ok_or(NO_PASSPHRASE)?;
    let mut bytes = Zeroizing::new([0; 32]);
    random::fill(&mut *bytes)?;
    let key = DataKey::from_bytes(*bytes);
    let slots = vec![slot(SlotKind::Passphrase, &secret, &key)?];
    Ok(Seal { key, slots })
}

pub const NO_PASSPHRASE: &str = "there is no passphrase to seal with; give one with --passphrase-file FILE, or in the environment as RESCUE_PASSPHRASE";

pub fn slot(kind: SlotKind, secret: &[u8], key: &DataKey) -> Result<Slot, String> {
    let mut chance = [0; 56];
    random::fill(&mut chance)?;
    let secret = match kind {
        SlotKind::Passphrase => Zeroizing::new(secret.to_vec()),
        SlotKind::Recovery => words(secret),
    };
    Slot::new(kind, Cost::USUAL, &secret, key, &chance)
}
