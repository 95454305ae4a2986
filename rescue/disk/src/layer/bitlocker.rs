//! BitLocker: the volume is read through its cipher, and imaged as it stands: what comes back has the same keys.
//!
//! Facts: libyal, "BitLocker Drive Encryption (BDE) format specification"; Ferguson, "AES-CBC + Elephant diffuser";
//! Linux, Documentation/admin-guide/device-mapper/dm-crypt.rst (eboiv, elephant).

mod cipher;
mod conversion;
mod elephant;
mod entry;
mod metadata;
mod protector;

use std::sync::Arc;

use crate::extent::{Extent, ExtentMap};
use crate::fs::State;
use crate::layer::cipher::{Number, Plain, Sectors};
use crate::layer::{Decrypt, Keys, Layer, Mapping, Piece, Reader, Volume};
use crate::source::{BlockSource, ReadError, read_vec};
use metadata::Header;

pub const READER: Reader = Reader {
    kind: "BitLocker",
    read,
    unlock: Some(unlock),
};

const LOCKED: &str = "locked; with its recovery key or password only what is used would be imaged";

fn read(source: &dyn BlockSource) -> Result<Option<Layer>, ReadError> {
    let size_bytes = source.size_bytes();
    if size_bytes < 512 || !metadata::is_boot_sector(&read_vec(source, 0, 512)?) {
        return Ok(None);
    }
    let whole = match metadata::read(source)? {
        Ok(_) => LOCKED.into(),
        Err(why) => why,
    };
    Ok(Some(Layer {
        kind: "BitLocker".into(),
        variant: None,
        uuid: None,
        label: None,
        size_bytes,
        state: State::Locked,
        own: ExtentMap::whole(size_bytes),
        volumes: Vec::new(),
        whole: Some(whole),
    }))
}

/// A volume whose protection is suspended has its key beside it and needs none of ours.
fn unlock(
    source: &dyn BlockSource,
    layer: &mut Layer,
    keys: &Keys,
) -> Result<Option<Decrypt>, ReadError> {
    let Ok(header) = metadata::read(source)? else {
        return Ok(None);
    };
    let search = |budget: &mut u64| Ok(protector::found(&header, keys, budget));
    let key = keys.once(&header.checksum, search)?;
    let opened = key.and_then(|key| {
        let sectors = header.method.with_key(&key);
        let sectors = sectors.ok_or("its key has a wrong length")?;
        let volume =
            volume(&header).ok_or("its header says nothing sensible of where its data are")?;
        Ok((sectors, volume))
    });
    match opened {
        Err(why) => {
            layer.whole = Some(why);
            Ok(None)
        }
        Ok((sectors, volume)) => {
            layer.state = State::Unlocked;
            layer.whole = None;
            layer.own = ExtentMap::whole(layer.size_bytes);
            volume
                .mapping
                .everything()
                .for_each(|extent| layer.own.remove(extent));
            layer.volumes = vec![volume];
            Ok(Some(decrypt(sectors, &header)))
        }
    }
}

/// Its first bytes stand elsewhere, those of BitLocker itself read as zeros, and all others are in their places.
fn volume(header: &Header) -> Option<Volume> {
    let head = header.head();
    let mut rest = ExtentMap::whole(header.size_bytes);
    rest.remove(head);
    let zeros: Vec<Extent> = header.zeros().collect();
    zeros.iter().for_each(|extent| rest.remove(*extent));
    let mut pieces = vec![Piece::linear(head, header.stored.start())];
    pieces.extend(
        rest.iter()
            .map(|extent| Piece::linear(extent, extent.start())),
    );
    let mapping = Mapping::new(pieces)?.with_zeros(zeros)?;
    let name = format!("bitlocker-{}", header.id);
    let mut volume = Volume::unread(name, header.size_bytes, mapping);
    volume.granule = header.sector_size;
    Some(volume)
}

fn decrypt(cipher: Arc<dyn Sectors>, header: &Header) -> Decrypt {
    let (head, stored) = (header.head(), header.stored);
    let zeros: ExtentMap = header.zeros().collect();
    let clear = header.conversion.clear.clone();
    // A sector is numbered by where it stands.
    let number: Number = Arc::new(move |at| {
        let place = match head.contains(at) {
            true => stored.start() + at,
            false if zeros.contains(at) => return None,
            false => at,
        };
        (!clear.contains(place)).then_some(place)
    });
    let sector_size = header.sector_size;
    Box::new(move |source| {
        Box::new(Plain {
            cipher: Arc::clone(&cipher),
            source,
            sector_size,
            number: Arc::clone(&number),
        })
    })
}
