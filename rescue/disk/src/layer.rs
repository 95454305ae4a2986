//! Layers between a partition and its filesystems: LVM, Linux RAID, encryption. Each says which volumes it has
//! and where their bytes stand.
//!
//! One layer a file in `layer/`, one line in [`READERS`].

mod bitlocker;
mod cipher;
mod keys;
mod luks;
mod lvm;
mod mapping;
mod md;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use keys::{Keys, Limits, Secret};
pub use mapping::{Mapped, Mapping, Piece};

use crate::extent::{Extent, ExtentMap};
use crate::fs::{Filesystem, State};
use crate::layout::Content;
use crate::source::{BlockSource, ReadError};

/// A layer on a partition, a disk, or a volume of another layer. Offsets are from there: its carrier.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// As `blkid` names it: `LVM2_member`, `linux_raid_member`, `crypto_LUKS`, `BitLocker`.
    pub kind: String,
    /// What a person calls it where `kind` says less: `LUKS2`, `RAID1, metadata 1.2`.
    pub variant: Option<String>,
    pub uuid: Option<String>,
    /// The name of the volume group or of the array, the label of an encrypted volume.
    pub label: Option<String>,
    /// Of its carrier.
    pub size_bytes: u64,
    pub state: State,
    /// What the layer keeps for itself, and what stands before and behind everything it deals out.
    pub own: ExtentMap,
    pub volumes: Vec<Volume>,
    /// Why nothing is proven free, whatever the volumes say.
    pub whole: Option<String>,
}

/// What a layer offers to the one above it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    pub uuid: Option<String>,
    pub size_bytes: u64,
    /// What is stored together: with a part of it the rest is kept.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub granule: u32,
    pub mapping: Mapping,
    pub content: Content,
}

fn one() -> u32 {
    1
}

fn is_one(granule: &u32) -> bool {
    *granule == 1
}

impl Layer {
    /// Every byte of the carrier that is not proven free.
    pub fn used(&self) -> ExtentMap {
        if self.whole.is_some() {
            return ExtentMap::whole(self.size_bytes);
        }
        let volumes = self.volumes.iter().flat_map(Volume::used);
        let all: Vec<Extent> = self.own.iter().chain(volumes).collect();
        let carrier = Extent::new(0, self.size_bytes);
        let used = ExtentMap::from(all);
        carrier.map_or_else(ExtentMap::new, |carrier| used.within(carrier).collect())
    }

    /// Whether it has a key at all.
    pub fn is_encrypted(&self) -> bool {
        reader_of(&self.kind).is_some_and(|reader| reader.unlock.is_some())
    }

    /// Nothing but a key is missing to look into it.
    pub fn wants_key(&self) -> bool {
        let why = self.whole.as_deref().unwrap_or_default();
        self.state == State::Locked && why.starts_with("locked")
    }

    /// How it is opened again, to read the files in its volumes. `None` while it is locked.
    pub fn open(&self, source: &dyn BlockSource, keys: &Keys) -> Option<Opened> {
        let reader = reader_of(&self.kind)?;
        match reader.unlock {
            None => Some(Opened { decrypt: None }),
            Some(unlock) => {
                let mut again = self.clone();
                let decrypt = unlock(source, &mut again, keys).ok().flatten()?;
                Some(Opened {
                    decrypt: Some(decrypt),
                })
            }
        }
    }
}

impl Volume {
    /// A volume whose content is still to be looked at.
    pub fn unread(name: String, size_bytes: u64, mapping: Mapping) -> Volume {
        Volume::kept(name, size_bytes, mapping, String::new())
    }

    /// A volume whose content says nothing of what is free in it, and why.
    pub fn kept(name: String, size_bytes: u64, mapping: Mapping, why: String) -> Volume {
        Volume {
            name,
            uuid: None,
            size_bytes,
            granule: one(),
            mapping,
            content: Content::Unknown(why),
        }
    }

    pub(crate) fn is_unread(&self) -> bool {
        self.content == Content::Unknown(String::new())
    }

    /// Its bytes are all on this carrier.
    pub fn is_complete(&self) -> bool {
        self.mapping.is_complete(self.size_bytes)
    }

    /// What of it is not proven free, as offsets of the carrier, in no order.
    fn used(&self) -> Vec<Extent> {
        if self.content.whole().is_some() || !self.is_complete() {
            return self.mapping.everything().collect();
        }
        let used = self.content.used(self.size_bytes);
        let granule = u64::from(self.granule.max(1));
        self.mapping
            .outer(&used.aligned_out(granule, self.size_bytes))
    }
}

/// A layer whose volumes can be read.
pub struct Opened {
    decrypt: Option<Decrypt>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened")
    }
}

impl Opened {
    pub fn volume<'a>(
        &'a self,
        source: &'a dyn BlockSource,
        volume: &'a Volume,
    ) -> Box<dyn BlockSource + 'a> {
        let mapped = Mapped::new(source, &volume.mapping, volume.size_bytes);
        match &self.decrypt {
            None => Box::new(mapped),
            Some(decrypt) => decrypt(mapped),
        }
    }
}

/// Makes the plain bytes of a volume out of those that its mapping gives.
pub type Decrypt = Box<dyn for<'a> Fn(Mapped<'a>) -> Box<dyn BlockSource + 'a> + Send + Sync>;

/// Tries the keys. Where one fits it sets the layer's state and its volumes, whose content stays unknown, and
/// takes the reason for being whole away.
pub type Unlock = fn(&dyn BlockSource, &mut Layer, &Keys) -> Result<Option<Decrypt>, ReadError>;

/// One layer the program follows.
pub struct Reader {
    /// The kind that [`crate::fs::recognise`] gives it by its signature.
    pub kind: &'static str,
    /// Its volumes, their content not looked at. `Ok(None)`: it is not this layer. Doubt and damage are
    /// [`Layer::whole`], not an error.
    pub read: fn(&dyn BlockSource) -> Result<Option<Layer>, ReadError>,
    /// Only for encrypted layers, which [`Reader::read`] leaves locked and whole.
    pub unlock: Option<Unlock>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)
    }
}

pub const READERS: &[Reader] = &[lvm::READER, md::READER, luks::READER, bitlocker::READER];

/// The reader of what a signature was taken for.
pub fn reader_of(kind: &str) -> Option<&'static Reader> {
    READERS.iter().find(|reader| reader.kind == kind)
}

/// The layer that these bytes were taken for, with its volumes opened where a key fits.
pub(crate) fn read(
    source: &dyn BlockSource,
    found: &Filesystem,
    keys: &Keys,
) -> Result<Option<(Layer, Opened)>, ReadError> {
    let Some(reader) = reader_of(&found.kind) else {
        return Ok(None);
    };
    let Some(mut layer) = (reader.read)(source)? else {
        return Ok(None);
    };
    let decrypt = match reader.unlock {
        Some(unlock) => unlock(source, &mut layer, keys)?,
        None => None,
    };
    Ok(Some((layer, Opened { decrypt })))
}
