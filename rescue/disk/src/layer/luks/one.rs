//! LUKS1 (LUKS1 On-Disk Format, version 1.2.3).

use sha2::{Digest, Sha256};

use super::derive::{Derivation, Hash, Proof};
use super::slot::{Slot, Written};
use super::{Header, Payload, SECTOR};
use crate::extent::Extent;
use crate::fields::{Fields, text};
use crate::source::{BlockSource, ReadError, read_vec};

const LEN: u64 = 592;
const SLOTS_AT: usize = 208;
const SLOT_LEN: usize = 48;
const SLOTS: usize = 8;
const ACTIVE: u32 = 0x00AC_71F3;
const DIGEST_LEN: usize = 20;

pub fn read(source: &dyn BlockSource) -> Result<Result<Header, String>, ReadError> {
    if source.size_bytes() < LEN {
        return Ok(Err("its header is cut off".into()));
    }
    let bytes = read_vec(source, 0, LEN)?;
    Ok(parse(Fields(&bytes), source.size_bytes())
        .unwrap_or_else(|| Err("its header is damaged".into())))
}

/// `None` cannot come of a header of full length.
fn parse(fields: Fields<'_>, size_bytes: u64) -> Option<Result<Header, String>> {
    let start = u64::from(fields.be32(104)?) * SECTOR;
    let word = |at| fields.bytes(at, 32).map(text);
    let cipher = format!("{}-{}", word(8)?, word(40)?);
    if start == 0 {
        return Some(Err("its data stand apart from its header".into()));
    }
    let Some(payload) = Extent::between(start, size_bytes / SECTOR * SECTOR) else {
        return Some(Err("its data begin beyond its end".into()));
    };
    let hash = match Hash::named(&word(72)?) {
        Ok(hash) => hash,
        Err(why) => return Some(Err(why)),
    };
    let keep = Extent::between(LEN.next_multiple_of(SECTOR), start);
    let proof = Proof {
        derivation: Derivation::Pbkdf2 {
            hash,
            iterations: fields.be32(164)?,
            salt: fields.bytes(132, 32)?.to_vec(),
        },
        digest: fields.bytes(112, DIGEST_LEN)?.to_vec(),
    };
    let key_len = u64::from(fields.be32(108)?);
    let mut slots = Vec::new();
    for number in 0..SLOTS {
        let slot = Fields(fields.bytes(SLOTS_AT + number * SLOT_LEN, SLOT_LEN)?);
        if slot.be32(0)? != ACTIVE {
            continue;
        }
        let written = Written {
            derivation: Derivation::Pbkdf2 {
                hash,
                iterations: slot.be32(4)?,
                salt: slot.bytes(8, 32)?.to_vec(),
            },
            cipher: &cipher,
            area_key_len: key_len,
            key_len,
            stripes: u64::from(slot.be32(44)?),
            hash,
            area_start: u64::from(slot.be32(40)?) * SECTOR,
            proof: proof.clone(),
        };
        slots.push(match keep {
            Some(keep) => Slot::new(written, keep),
            None => Err("its data stand in its header".into()),
        });
    }
    Some(Ok(Header {
        checksum: Sha256::digest(fields.0).to_vec(),
        payload: Payload {
            extent: payload,
            cipher,
            sector_size: 512,
            first: 0,
        },
        slots,
    }))
}
