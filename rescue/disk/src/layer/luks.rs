//! LUKS: the volume is read through its cipher, and imaged as it stands: what comes back has the same keys.

mod cipher;
mod derive;
mod one;
mod slot;
mod two;

use std::sync::Arc;

use crate::extent::{Extent, ExtentMap};
use crate::fields::{Fields, text};
use crate::fs::State;
use crate::layer::cipher::{Number, Plain, Sectors};
use crate::layer::keys::Key;
use crate::layer::{Decrypt, Keys, Layer, Limits, Mapping, Reader, Secret, Volume};
use crate::source::{BlockSource, ReadError, read_vec};
use cipher::{Cipher, Keyed, SECTOR};
use slot::{Opening, Slot};

pub const READER: Reader = Reader {
    kind: "crypto_LUKS",
    read,
    unlock: Some(unlock),
};

const MAGIC: &[u8] = b"LUKS\xba\xbe";
const LOCKED: &str = "locked; with its passphrase only what is used would be imaged";

/// What both versions say.
#[derive(Debug)]
struct Header {
    /// Of all its bytes.
    checksum: Vec<u8>,
    payload: Payload,
    /// Those that cannot be used say why.
    slots: Vec<Result<Slot, String>>,
}

/// The encrypted bytes.
#[derive(Debug)]
struct Payload {
    extent: Extent,
    cipher: String,
    sector_size: u32,
    /// Number of the first sector, in 512 bytes.
    first: u64,
}

fn read(source: &dyn BlockSource) -> Result<Option<Layer>, ReadError> {
    let size_bytes = source.size_bytes();
    if size_bytes < 512 {
        return Ok(None);
    }
    let head = read_vec(source, 0, 512)?;
    let fields = Fields(&head);
    if !fields.starts_with(0, MAGIC) {
        return Ok(None);
    }
    let word = |at, len| {
        let word = fields.bytes(at, len).map(text);
        word.filter(|word| !word.is_empty())
    };
    let version = fields.be16(6).unwrap_or(0);
    let whole = match header(source, version)? {
        Ok(_) => LOCKED.into(),
        Err(why) => why,
    };
    Ok(Some(Layer {
        kind: "crypto_LUKS".into(),
        variant: Some(format!("LUKS{version}")),
        uuid: word(168, 40),
        label: word(24, 48).filter(|_| version == 2),
        size_bytes,
        state: State::Locked,
        own: ExtentMap::whole(size_bytes),
        volumes: Vec::new(),
        whole: Some(whole),
    }))
}

/// What stands in the way of unlocking it is a sentence.
fn header(source: &dyn BlockSource, version: u16) -> Result<Result<Header, String>, ReadError> {
    let found = match version {
        1 => one::read(source)?,
        2 => two::read(source)?,
        _ => Err(format!("LUKS{version} is not known here")),
    };
    Ok(found.and_then(Header::checked))
}

impl Header {
    fn checked(self) -> Result<Header, String> {
        let payload = &self.payload;
        let known = Cipher::named(&payload.cipher);
        let shown: String = payload.cipher.chars().take(60).collect();
        let shown = text(shown.as_bytes());
        if known.is_none() || known.is_some_and(|cipher| !cipher.has_sectors(payload.sector_size)) {
            return Err(format!("the cipher {shown} is not supported"));
        }
        match (self.slots.is_empty(), self.slots.iter().any(Result::is_ok)) {
            (true, _) => Err("it has no key slot in use".into()),
            (false, true) => Ok(self),
            (false, false) => {
                let first = self.slots.into_iter().find_map(Result::err);
                Err(first.unwrap_or_default())
            }
        }
    }
}

fn unlock(
    source: &dyn BlockSource,
    layer: &mut Layer,
    keys: &Keys,
) -> Result<Option<Decrypt>, ReadError> {
    let version = read_vec(source, 6, 2)?;
    let version = Fields(&version).be16(0).unwrap_or(0);
    let secrets = keys.iter().map(|secret| match secret {
        Secret::Passphrase(bytes) | Secret::KeyFile(bytes) => &bytes[..],
    });
    let secrets: Vec<&[u8]> = secrets.collect();
    let Ok(header) = header(source, version)? else {
        return Ok(None);
    };
    if secrets.is_empty() {
        return Ok(None);
    }
    let search = |budget: &mut u64| found(source, &header, &secrets, keys.limits(), budget);
    let key = keys.once(&header.checksum, search)?;
    let sectors = key.and_then(|key| {
        let cipher = Cipher::named(&header.payload.cipher);
        let sectors = cipher.and_then(|cipher| cipher.with_key(&key));
        sectors.ok_or("its key has a wrong length".into())
    });
    match sectors {
        Err(why) => {
            layer.whole = Some(why);
            Ok(None)
        }
        Ok(sectors) => {
            open(layer, &header.payload);
            Ok(Some(decrypt(sectors, &header.payload)))
        }
    }
}

/// The key of the volume, by the first secret that opens a slot.
fn found(
    source: &dyn BlockSource,
    header: &Header,
    secrets: &[&[u8]],
    limits: &Limits,
    budget: &mut u64,
) -> Result<Result<Key, String>, ReadError> {
    let mut trouble = None;
    for slot in header.slots.iter().flatten() {
        for secret in secrets {
            match slot.open(source, secret, limits, budget)? {
                Ok(Opening::Wrong) => {}
                Ok(Opening::Key(key)) => return Ok(Ok(key)),
                Err(why) => trouble = trouble.or(Some(why)),
            }
        }
    }
    let wrong = "locked; no passphrase or key file that was given opens it";
    Ok(Err(trouble.unwrap_or(wrong.into())))
}

fn open(layer: &mut Layer, payload: &Payload) {
    layer.state = State::Unlocked;
    layer.whole = None;
    layer.own = ExtentMap::whole(layer.size_bytes);
    layer.own.remove(payload.extent);
    let (start, len) = (payload.extent.start(), payload.extent.len());
    let name = match &layer.uuid {
        Some(uuid) => format!("luks-{uuid}"),
        None => "luks".into(),
    };
    let mut volume = Volume::unread(name, len, Mapping::run(start, len));
    volume.granule = payload.sector_size;
    layer.volumes = vec![volume];
}

fn decrypt(cipher: Keyed, payload: &Payload) -> Decrypt {
    let cipher: Arc<dyn Sectors> = Arc::new(cipher);
    let (sector_size, first) = (payload.sector_size, payload.first);
    let number: Number = Arc::new(move |at| Some(first.wrapping_add(at / SECTOR)));
    Box::new(move |source| {
        Box::new(Plain {
            cipher: Arc::clone(&cipher),
            source,
            sector_size,
            number: Arc::clone(&number),
        })
    })
}
