//! Protectors: the master key of a volume, sealed with what a person has.

use aes::Aes256;
use ccm::aead::AeadInOut;
use ccm::aead::consts::{U12, U16};
use ccm::{Ccm, KeyInit};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::LOCKED;
use super::entry::{Value, entries};
use super::metadata::Header;
use crate::fields::Fields;
use crate::layer::keys::Key;
use crate::layer::{Keys, Secret};

/// Rounds of SHA-256 between a password and the key it makes.
const ROUNDS: u64 = 0x10_0000;
/// In front of a key that was sealed: its length and kind.
const KEY_HEAD: usize = 12;
/// Longest of what is sealed in real ones: two keys of 256 bits.
const SEALED_LIMIT: usize = KEY_HEAD + 64;

/// Bytes sealed by AES-CCM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    nonce: [u8; 12],
    tag: [u8; 16],
    bytes: Vec<u8>,
}

impl Sealed {
    pub fn read(data: &[u8]) -> Option<Sealed> {
        let (nonce, rest) = data.split_first_chunk()?;
        let (tag, bytes) = rest.split_first_chunk()?;
        (KEY_HEAD + 16..=SEALED_LIMIT)
            .contains(&bytes.len())
            .then(|| Sealed {
                nonce: *nonce,
                tag: *tag,
                bytes: bytes.to_vec(),
            })
    }

    /// The key in it, where this one opens it.
    fn open(&self, key: &[u8]) -> Option<Key> {
        let cipher = Ccm::<Aes256, U16, U12>::new_from_slice(key).ok()?;
        let mut bytes = Zeroizing::new(self.bytes.clone());
        let buffer = bytes.as_mut_slice().into();
        cipher
            .decrypt_inout_detached(&self.nonce.into(), &[], buffer, &self.tag.into())
            .ok()?;
        let whole = Fields(&bytes).u16(0).map(usize::from) == Some(bytes.len());
        whole.then(|| Key::new(bytes[KEY_HEAD..].to_vec()))
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protector {
    kind: Kind,
    master: Sealed,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    /// Protection is suspended: the key stands beside it.
    Clear(Vec<u8>),
    StartupKey,
    RecoveryKey([u8; 16]),
    Password([u8; 16]),
}

impl Protector {
    /// `None` for kinds that need another machine: TPM, smart card.
    pub fn read(data: &[u8]) -> Option<Protector> {
        let kind = Fields(data).u16(26)?;
        let inner = || data.get(28..).into_iter().flat_map(entries);
        let of = |value: Value| inner().find(|entry| entry.value == value);
        // Its method is in front of both.
        let salt = || of(Value::Stretch)?.data.get(4..20)?.try_into().ok();
        let kind = match kind {
            0 => Kind::Clear(of(Value::Key)?.data.get(4..)?.to_vec()),
            0x0200 => Kind::StartupKey,
            0x0800 => Kind::RecoveryKey(salt()?),
            0x2000 => Kind::Password(salt()?),
            _ => return None,
        };
        Some(Protector {
            kind,
            master: Sealed::read(of(Value::Sealed)?.data)?,
        })
    }

    /// What this secret is for this protector; the right one opens it.
    fn key(&self, secret: &Secret, budget: &mut u64) -> Result<Option<Key>, String> {
        let (salt, first) = match &self.kind {
            Kind::Clear(_) => return Ok(None),
            Kind::StartupKey => return Ok(startup_key(secret)),
            Kind::RecoveryKey(salt) => (salt, recovery_key(secret)),
            // What looks like a recovery key is none.
            Kind::Password(salt) => match recovery_key(secret) {
                Some(_) => return Ok(None),
                None => (salt, password(secret)),
            },
        };
        let Some(first) = first else { return Ok(None) };
        *budget = budget
            .checked_sub(ROUNDS)
            .ok_or("trying what was given takes too long; give fewer passphrases and key files")?;
        Ok(Some(stretched(&first, salt)))
    }
}

/// The key of the data, by the first secret that opens a protector.
pub fn found(header: &Header, keys: &Keys, budget: &mut u64) -> Result<Key, String> {
    let open = |protector: &Protector, key: &[u8]| {
        let master = protector.master.open(key)?;
        header.key.open(&master)
    };
    for protector in &header.protectors {
        if let Kind::Clear(key) = &protector.kind
            && let Some(key) = open(protector, key)
        {
            return Ok(key);
        }
    }
    for protector in &header.protectors {
        for secret in keys.iter() {
            let key = protector.key(secret, budget)?;
            if let Some(key) = key.and_then(|key| open(protector, &key)) {
                return Ok(key);
            }
        }
    }
    Err(if keys.is_empty() {
        LOCKED.into()
    } else {
        "locked; no password, recovery key or key file that was given opens it".into()
    })
}

/// The file that Windows makes for a USB stick: a header, and the key in an entry of an entry.
fn startup_key(secret: &Secret) -> Option<Key> {
    let Secret::KeyFile(bytes) = secret else {
        return None;
    };
    let outer = entries(bytes.get(48..)?).find(|entry| entry.value == Value::External)?;
    let key = entries(outer.data.get(24..)?).find(|entry| entry.value == Value::Key)?;
    key.data.get(4..).map(|key| Key::new(key.to_vec()))
}

/// Twice SHA-256 of its UTF-16.
fn password(secret: &Secret) -> Option<[u8; 32]> {
    let (Secret::Passphrase(bytes) | Secret::KeyFile(bytes)) = secret;
    let text = std::str::from_utf8(bytes).ok()?;
    let mut wide = Zeroizing::new(Vec::with_capacity(2 * text.len()));
    wide.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    Some(Sha256::digest(Sha256::digest(&*wide)).into())
}

/// SHA-256 of the number that eight groups of six digits hold, each 11 times its part. They may stand in a longer
/// text: the file that Windows saves, in UTF-16.
fn recovery_key(secret: &Secret) -> Option<[u8; 32]> {
    let (Secret::Passphrase(bytes) | Secret::KeyFile(bytes)) = secret;
    let text: Zeroizing<Vec<u8>> = bytes
        .iter()
        .copied()
        .filter(|byte| *byte != 0)
        .collect::<Vec<_>>()
        .into();
    let words = text.split(|byte| !byte.is_ascii_digit() && *byte != b'-');
    let mut keys = words.filter_map(|word| {
        let groups: Vec<&[u8]> = word.split(|byte| *byte == b'-').collect();
        let mut key = Zeroizing::new([0; 16]);
        if groups.len() != 8 {
            return None;
        }
        for (part, group) in key.chunks_exact_mut(2).zip(groups) {
            let digits = std::str::from_utf8(group)
                .ok()
                .filter(|digits| digits.len() == 6)?;
            let number: u32 = digits.parse().ok().filter(|n: &u32| n.is_multiple_of(11))?;
            part.copy_from_slice(&u16::try_from(number / 11).ok()?.to_le_bytes());
        }
        Some(Sha256::digest(*key).into())
    });
    keys.next()
}

/// The same digest over and over, each over the last one.
fn stretched(first: &[u8; 32], salt: &[u8; 16]) -> Key {
    let mut block = Zeroizing::new([0; 88]);
    block[32..64].copy_from_slice(first);
    block[64..80].copy_from_slice(salt);
    for round in 0..ROUNDS {
        block[80..].copy_from_slice(&round.to_le_bytes());
        let digest = Sha256::digest(*block);
        block[..32].copy_from_slice(&digest);
    }
    Key::new(block[..32].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(text: &str) -> Option<[u8; 32]> {
        recovery_key(&Secret::Passphrase(text.as_bytes().to_vec().into()))
    }

    #[test]
    fn a_recovery_key_is_found_in_the_text_that_windows_saves() {
        let groups = "000011-720885-000000-111111-222222-333333-444444-555555";
        let alone = key_of(groups).unwrap();
        let text = format!("\u{feff}Recovery Key:\r\n\r\n\t{groups}\r\n");
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(recovery_key(&Secret::KeyFile(wide.into())), Some(alone));
        assert_eq!(key_of(&format!("{groups}\n")), Some(alone));
        for wrong in [
            "000011-720896-000000-111111-222222-333333-444444-555555",
            "000012-720885-000000-111111-222222-333333-444444-555555",
            "000011-720885-000000-111111-222222-333333-444444",
            "11-720885-000000-111111-222222-333333-444444-555555",
            "",
        ] {
            assert_eq!(key_of(wrong), None, "{wrong}");
        }
    }
}
