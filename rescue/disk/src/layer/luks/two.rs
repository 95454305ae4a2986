//! LUKS2 (LUKS2 On-Disk Format Specification, version 1.1): two headers, each with its text in JSON.

use std::collections::BTreeMap;

use argon2::Algorithm;
use base64ct::{Base64, Encoding};
use serde::Deserialize;

use super::derive::{Derivation, Hash, Proof};
use super::slot::{Slot, Written};
use super::{Header, MAGIC, Payload, SECTOR};
use crate::extent::Extent;
use crate::fields::{Fields, text};
use crate::source::{BlockSource, ReadError, read_vec};

const BINARY_LEN: u64 = 4096;
const SECOND_MAGIC: &[u8] = b"SKUL\xba\xbe";
const CHECKSUM_AT: usize = 448;
const CHECKSUM_LEN: usize = 64;
/// Real ones have a few KiB; the space for them has up to 4 MiB.
const TEXT_LIMIT: usize = 256 << 10;
const SLOTS: usize = 32;

pub fn read(source: &dyn BlockSource) -> Result<Result<Header, String>, ReadError> {
    let (first, second) = match read_both(source)? {
        Ok(both) => both,
        Err(why) => return Ok(Err(why)),
    };
    let newest = match second {
        Some(second) if second.sequence > first.sequence => second,
        _ => first,
    };
    Ok(newest.parse(source.size_bytes()))
}

struct Text {
    checksum: Vec<u8>,
    sequence: u64,
    header_len: u64,
    json: Vec<u8>,
}

/// The second one only where it is whole. Without the first nobody knows what was written over it.
fn read_both(source: &dyn BlockSource) -> Result<Result<(Text, Option<Text>), String>, ReadError> {
    let Some(first) = Text::read(source, 0, MAGIC)? else {
        return Ok(Err(
            "its first header is damaged; `cryptsetup repair` brings it back on a copy".into(),
        ));
    };
    let second = Text::read(source, first.header_len, SECOND_MAGIC)?;
    let second = second.filter(|second| second.header_len == first.header_len);
    Ok(Ok((first, second)))
}

impl Text {
    /// `None`: it is not there, or its checksum is wrong.
    fn read(source: &dyn BlockSource, at: u64, magic: &[u8]) -> Result<Option<Text>, ReadError> {
        let size_bytes = source.size_bytes();
        if at
            .checked_add(BINARY_LEN)
            .is_none_or(|end| end > size_bytes)
        {
            return Ok(None);
        }
        let binary = read_vec(source, at, BINARY_LEN)?;
        let fields = Fields(&binary);
        let header_len = fields.be64(8).unwrap_or(0);
        let sized = header_len.is_power_of_two() && (0x4000..=0x40_0000).contains(&header_len);
        let placed = fields.be64(256) == Some(at) && at.saturating_add(header_len) <= size_bytes;
        if !fields.starts_with(0, magic) || fields.be16(6) != Some(2) || !sized || !placed {
            return Ok(None);
        }
        let mut whole = read_vec(source, at, header_len)?;
        let Ok(hash) = Hash::named(&fields.bytes(72, 32).map(text).unwrap_or_default()) else {
            return Ok(None);
        };
        whole[CHECKSUM_AT..CHECKSUM_AT + CHECKSUM_LEN].fill(0);
        let mut digest = hash.hasher();
        digest.update(&whole);
        let checksum = digest.finalize().to_vec();
        if !fields.starts_with(CHECKSUM_AT, &checksum) {
            return Ok(None);
        }
        let json = whole.split_off(4096);
        let end = json
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(json.len());
        Ok(Some(Text {
            checksum,
            sequence: fields.be64(16).unwrap_or(0),
            header_len,
            json: json[..end].to_vec(),
        }))
    }

    fn parse(&self, size_bytes: u64) -> Result<Header, String> {
        if self.json.len() > TEXT_LIMIT {
            return Err("the text of its header is longer than any real one".into());
        }
        let text: Json = serde_json::from_slice(&self.json)
            .map_err(|_| "the text of its header cannot be understood")?;
        text.refused()?;
        let payload = text.payload(size_bytes)?;
        let keep = Extent::between(2 * self.header_len, payload.extent.start())
            .ok_or("its data stand in its header")?;
        let slots = text.keyslots.values().map(|slot| slot.read());
        let slots = slots.zip(text.keyslots.keys()).map(|(written, name)| {
            let mut written = written?;
            written.proof = text.proof(name)?;
            Slot::new(written, keep)
        });
        Ok(Header {
            checksum: self.checksum.clone(),
            slots: slots.collect(),
            payload,
        })
    }
}

#[derive(Deserialize)]
struct Json {
    keyslots: BTreeMap<String, Keyslot>,
    segments: BTreeMap<String, Segment>,
    digests: BTreeMap<String, Digest>,
    config: Config,
}

#[derive(Deserialize)]
struct Keyslot {
    #[serde(rename = "type")]
    kind: String,
    key_size: Option<u64>,
    af: Option<Split>,
    area: Option<Area>,
    kdf: Option<Kdf>,
}

#[derive(Deserialize)]
struct Split {
    #[serde(rename = "type")]
    kind: String,
    stripes: u64,
    hash: String,
}

#[derive(Deserialize)]
struct Area {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    encryption: Option<String>,
    key_size: Option<u64>,
}

#[derive(Deserialize)]
struct Kdf {
    #[serde(rename = "type")]
    kind: String,
    salt: String,
    hash: Option<String>,
    iterations: Option<u32>,
    time: Option<u32>,
    memory: Option<u32>,
    cpus: Option<u32>,
}

#[derive(Deserialize)]
struct Segment {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    size: String,
    iv_tweak: Option<String>,
    encryption: Option<String>,
    sector_size: Option<u32>,
    integrity: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Deserialize)]
struct Digest {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    hash: Option<String>,
    iterations: Option<u32>,
    salt: Option<String>,
    digest: Option<String>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    requirements: Requirements,
}

#[derive(Default, Deserialize)]
struct Requirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

impl Json {
    /// What stands in the way of reading it at all.
    fn refused(&self) -> Result<(), String> {
        if let Some(needed) = self.config.requirements.mandatory.first() {
            return Err(if needed.contains("reencrypt") {
                "it is being encrypted anew; let cryptsetup finish that first".into()
            } else {
                let known: String = needed
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(60)
                    .collect();
                format!("it needs “{known}”, which is not supported")
            });
        }
        if self.keyslots.values().any(|slot| slot.kind == "reencrypt") {
            return Err("it is being encrypted anew; let cryptsetup finish that first".into());
        }
        if self.keyslots.len() > SLOTS {
            return Err("it has more key slots than there can be".into());
        }
        Ok(())
    }

    fn payload(&self, size_bytes: u64) -> Result<Payload, String> {
        let [segment] = &self.segments.values().collect::<Vec<_>>()[..] else {
            return Err("its data are in several segments, which are not supported".into());
        };
        if segment.kind != "crypt" || !segment.flags.is_empty() {
            return Err("its data are of a kind that is not supported".into());
        }
        if segment.integrity.is_some() {
            return Err("its data have integrity tags, which are not supported".into());
        }
        let damaged = "its header says nothing sensible of where its data are";
        let sector_size = segment.sector_size.unwrap_or(512);
        if !sector_size.is_power_of_two() || !(512..=4096).contains(&sector_size) {
            return Err(damaged.into());
        }
        let unit = u64::from(sector_size);
        let start: u64 = segment.offset.parse().map_err(|_| damaged)?;
        let end = match segment.size.as_str() {
            "dynamic" => size_bytes,
            size => size
                .parse::<u64>()
                .ok()
                .and_then(|size| start.checked_add(size))
                .filter(|end| *end <= size_bytes)
                .ok_or("its data reach beyond its end")?,
        };
        let len = end
            .checked_sub(start)
            .ok_or("its data begin beyond its end")?
            / unit
            * unit;
        let first: u64 = match &segment.iv_tweak {
            Some(tweak) => tweak.parse().map_err(|_| damaged)?,
            None => 0,
        };
        let placed = start.is_multiple_of(SECTOR);
        Ok(Payload {
            extent: Extent::new(start, len).filter(|_| placed).ok_or(damaged)?,
            cipher: segment.encryption.clone().unwrap_or_default(),
            sector_size,
            first,
        })
    }

    /// What proves the key of the data out of this slot.
    fn proof(&self, slot: &str) -> Result<Proof, String> {
        let mine = |digest: &&Digest| {
            let segment = self.segments.keys().next();
            let data = segment.is_some_and(|segment| digest.segments.contains(segment));
            data && digest.keyslots.iter().any(|name| name == slot)
        };
        let digest = self.digests.values().find(mine);
        let digest = digest.ok_or("a key slot is for other data")?;
        let (hash, iterations, salt, value) = match (
            &digest.hash,
            digest.iterations,
            &digest.salt,
            &digest.digest,
        ) {
            (Some(h), Some(i), Some(s), Some(d)) if digest.kind == "pbkdf2" => (h, i, s, d),
            _ => return Err("the digest of its key is not supported".into()),
        };
        let hash = Hash::named(hash)?;
        let digest = decoded(value)?;
        if digest.is_empty() || digest.len() > CHECKSUM_LEN {
            return Err(DAMAGED.into());
        }
        let salt = decoded(salt)?;
        Ok(Proof {
            derivation: Derivation::Pbkdf2 {
                hash,
                iterations,
                salt,
            },
            digest,
        })
    }
}

impl Keyslot {
    /// The proof is still to come.
    fn read(&self) -> Result<Written<'_>, String> {
        let (Some(key_len), Some(af), Some(area), Some(kdf)) =
            (self.key_size, &self.af, &self.area, &self.kdf)
        else {
            return Err(format!("{DAMAGED} or of a kind that is not supported"));
        };
        if self.kind != "luks2" || af.kind != "luks1" || area.kind != "raw" {
            return Err("a key slot is of a kind that is not supported".into());
        }
        let derivation = kdf.read()?;
        Ok(Written {
            proof: Proof {
                derivation: derivation.clone(),
                digest: Vec::new(),
            },
            derivation,
            cipher: area.encryption.as_deref().unwrap_or_default(),
            area_key_len: area.key_size.unwrap_or(key_len),
            key_len,
            stripes: af.stripes,
            hash: Hash::named(&af.hash)?,
            area_start: area.offset.parse().map_err(|_| DAMAGED)?,
        })
    }
}

impl Kdf {
    fn read(&self) -> Result<Derivation, String> {
        let salt = decoded(&self.salt)?;
        let algorithm = match self.kind.as_str() {
            "argon2i" => Algorithm::Argon2i,
            "argon2id" => Algorithm::Argon2id,
            "pbkdf2" => {
                let hash = self.hash.as_deref().ok_or(DAMAGED)?;
                return Ok(Derivation::Pbkdf2 {
                    hash: Hash::named(hash)?,
                    iterations: self.iterations.ok_or(DAMAGED)?,
                    salt,
                });
            }
            _ => return Err("the key derivation of a key slot is not supported".into()),
        };
        Ok(Derivation::Argon2 {
            algorithm,
            passes: self.time.ok_or(DAMAGED)?,
            memory_kib: self.memory.ok_or(DAMAGED)?,
            lanes: self.cpus.ok_or(DAMAGED)?,
            salt,
        })
    }
}

const DAMAGED: &str = "a key slot is damaged";

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    Base64::decode_vec(text).map_err(|_| DAMAGED.into())
}
