//! A disk of a ZFS pool is known by its labels. Where its free space is, only the whole pool can tell.
//!
//! ZFS on-disk specification (Sun, 2006), chapter 1: four labels of 256 KiB, two at each end; in each a list of names
//! and values at 16 KiB, in XDR, and a ring of überblocks from 128 KiB on.

use super::named::{bytes, whole};
use crate::fields::{Fields, text};
use crate::fs::Filesystem;
use crate::source::{BlockSource, ReadError};

const LABEL: u64 = 256 << 10;
const PAIRS: u64 = 16 << 10;
const PAIRS_LEN: u64 = 112 << 10;
const RING: u64 = 128 << 10;
/// The smallest überblock; larger sectors have larger ones.
const SLOT: usize = 1024;
/// The first byte of a list in this encoding.
const XDR: u8 = 1;
const MAGIC: u64 = 0x00BA_B10C;
const NUMBER: u32 = 8;
const STRING: u32 = 9;

pub(super) fn member(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let size = source.size_bytes() & !(LABEL - 1);
    let ends = [2, 1].map(|back| size.checked_sub(back * LABEL));
    for at in [Some(0), Some(LABEL)].into_iter().chain(ends).flatten() {
        match label(source, at) {
            Err(ReadError::Gone(what)) => return Err(ReadError::Gone(what)),
            // One that cannot be read has three others.
            Ok(None) | Err(_) => {}
            Ok(Some((name, pool))) => {
                let mut found = whole("zfs_member", source.size_bytes());
                found.label = Some(name).filter(|name| !name.is_empty());
                found.uuid = Some(pool.to_string());
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// The pool's name and its identity by the label at this place.
fn label(source: &dyn BlockSource, at: u64) -> Result<Option<(String, u64)>, ReadError> {
    // What is not even XDR is not read further: on a failing disk every read may take long.
    let begins = bytes(source, at + PAIRS, 1)?;
    if begins.as_deref() != Some(&[XDR]) {
        return Ok(None);
    }
    let ring = bytes(source, at + RING, LABEL - RING)?;
    if !ring.is_some_and(|ring| ring.chunks(SLOT).any(is_uberblock)) {
        return Ok(None);
    }
    let pairs = bytes(source, at + PAIRS, PAIRS_LEN)?;
    Ok(pairs.and_then(|pairs| names(Fields(&pairs))))
}

fn is_uberblock(slot: &[u8]) -> bool {
    let slot = Fields(slot);
    slot.u64(0) == Some(MAGIC) || slot.be64(0) == Some(MAGIC)
}

fn names(list: Fields<'_>) -> Option<(String, u64)> {
    // Behind the encoding, and the list's version and flags.
    let (mut at, mut name, mut pool) = (12, None, None);
    while name.is_none() || pool.is_none() {
        let size = list.be32(at)? as usize;
        let pair = Fields(list.bytes(at, size)?);
        let key_len = pair.be32(8)? as usize;
        let key = pair.bytes(12, key_len)?;
        let value = 12 + key_len.next_multiple_of(4);
        match (key, pair.be32(value)?) {
            (b"name", STRING) => {
                let len = pair.be32(value + 8)? as usize;
                name = Some(text(pair.bytes(value + 12, len)?));
            }
            (b"pool_guid", NUMBER) => pool = Some(pair.be64(value + 8)?),
            _ => {}
        }
        at += size;
    }
    name.zip(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        let mut pair = Vec::new();
        let padded = key.len().next_multiple_of(4);
        let size = u32::try_from(20 + padded + value.len()).unwrap();
        pair.extend([size.to_be_bytes(), size.to_be_bytes()].concat());
        pair.extend(u32::try_from(key.len()).unwrap().to_be_bytes());
        pair.extend(key.bytes());
        pair.resize(12 + padded, 0);
        pair.extend([kind.to_be_bytes(), 1u32.to_be_bytes()].concat());
        pair.extend(value);
        pair
    }

    #[test]
    fn a_list_gives_the_pools_name_and_a_cut_one_nothing() {
        let mut list = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        list.extend(pair("version", NUMBER, &5000u64.to_be_bytes()));
        list.extend(pair("name", STRING, b"\0\0\0\x04tank"));
        list.extend(pair("pool_guid", NUMBER, &77u64.to_be_bytes()));
        assert_eq!(names(Fields(&list)), Some(("tank".into(), 77)));
        for len in 0..list.len() {
            assert_eq!(names(Fields(&list[..len])), None, "{len}");
        }
        list[12..16].fill(0);
        assert_eq!(names(Fields(&list)), None);
    }
}
