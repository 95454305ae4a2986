//! The story of an image: JSON that can be read without reading the chunks.

use std::collections::BTreeMap;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{Basis, State, Used};
use disk::geometry::Geometry;
use disk::layer::Volume;
use disk::layout::{Content, Layout, Owner};
use disk::table::{Scheme, Table};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{Digest, ImageId};
use crate::error::ImageError;
use crate::states as image_state;

/// Longest list of unreadable places that is written out; the state maps of the chunks hold all of them.
const PLACES_LIMIT: usize = 20_000;

/// Longest JSON that is written or believed: in memory it may become 16 times as large.
const JSON_LIMIT: usize = 2 << 20;

/// Everything may be missing; what is not known is ignored on reading, so that fields can be added.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Name and version of the program that wrote it.
    pub program: String,
    pub id: ImageId,
    pub disk: DiskStory,
    pub table: Option<TableStory>,
    pub regions: Vec<RegionStory>,
    pub layout_notes: Vec<String>,
    pub left_out: Vec<LeftOut>,
    /// Every sector was kept, used or not.
    pub exact: bool,
    /// The chunks stand in disk order, so that the decompressed stream is the disk.
    pub in_disk_order: bool,
    pub level: i32,
    pub chunk_size: u32,
    pub used_bytes: u64,
    pub unreadable: Places,
    /// What of the disk is not finished, in the states of GNU ddrescue's map files (`-` bad sector, `?` non-tried);
    /// everything else is finished, or used by nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub map: Vec<MapPiece>,
    /// What the disk said of its own health when the plan was made, and when the image was finished.
    pub smart_before: Option<Value>,
    pub smart_after: Option<Value>,
    /// RFC 3339, UTC.
    pub started: Option<String>,
    pub ended: Option<String>,
    pub bytes_read: u64,
    pub bytes_per_second: f64,
    /// How often the job was interrupted and gone on with.
    pub resumed: u32,
    /// By name of what was hashed.
    pub digests: BTreeMap<String, String>,
    pub parent: Option<Parent>,
    /// The images whose place it has taken: it reads as they did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stands_for: Vec<Parent>,
    pub note: Option<String>,
    pub warnings: Vec<String>,
}

/// What the disk says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskStory {
    pub path: Option<String>,
    pub model: Option<String>,
    pub vendor: Option<String>,
    pub serial: Option<String>,
    pub wwn: Option<String>,
    pub firmware: Option<String>,
    pub transport: Option<String>,
    pub fingerprint: Option<String>,
    pub size_bytes: u64,
    pub logical_sector: u32,
    pub physical_sector: u32,
    /// Operating systems found on it.
    pub systems: Vec<String>,
}

/// The partition table in readable form, and its first bytes as they are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TableStory {
    /// `gpt` or `mbr`.
    pub scheme: String,
    pub id: String,
    pub sector_size: u32,
    pub notes: Vec<String>,
    pub raw: Vec<Raw>,
}

/// Bytes of the disk, as hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Raw {
    pub offset: u64,
    pub hex: String,
}

impl Raw {
    /// At most the first 64 KiB of `bytes`.
    pub fn new(offset: u64, bytes: &[u8]) -> Raw {
        let hex = bytes
            .iter()
            .take(64 << 10)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Raw { offset, hex }
    }
}

/// A part of the disk that has one owner.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RegionStory {
    pub start: u64,
    pub len: u64,
    /// `table`, `gap`, `partition` or `disk`.
    pub owner: String,
    pub partition: Option<PartitionStory>,
    /// What stands on it; of a layer its kind, UUID and label.
    pub filesystem: Option<FilesystemStory>,
    /// Of a layer. Manifests of older versions have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeStory>,
    pub used_bytes: u64,
    /// Why all of it was kept, or from what the used part is known.
    pub kept: String,
}

/// A volume of a layer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeStory {
    pub name: String,
    pub uuid: Option<String>,
    pub size_bytes: u64,
    pub filesystem: Option<FilesystemStory>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeStory>,
    pub kept: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionStory {
    pub number: u32,
    pub type_id: String,
    pub type_name: Option<String>,
    pub uuid: Option<String>,
    pub name: Option<String>,
    pub attributes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FilesystemStory {
    pub kind: String,
    pub variant: Option<String>,
    pub label: Option<String>,
    pub uuid: Option<String>,
    pub block_size: u32,
    pub size_bytes: u64,
    /// `clean`, `dirty: …`, `hibernated` or `locked`.
    pub state: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LeftOut {
    /// The rule: `swap: pagefile.sys`.
    pub what: String,
    pub why: String,
    /// Manifests of older versions do not say.
    #[serde(skip_serializing_if = "is_zero")]
    pub files: u64,
    pub bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(files: &u64) -> bool {
    *files == 0
}

/// Places of the disk, the first of them one by one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Places {
    pub count: u64,
    pub bytes: u64,
    /// Start and length; not all of them when there are very many.
    pub extents: Vec<Extent>,
}

impl From<&ExtentMap> for Places {
    fn from(map: &ExtentMap) -> Places {
        Places {
            count: map.count() as u64,
            bytes: map.total_bytes(),
            extents: map.iter().take(PLACES_LIMIT).collect(),
        }
    }
}

/// Start, length and state of a part of the disk.
pub type MapPiece = (u64, u64, char);

/// Puts what of it is not finished at the end of a map that grows upwards, as far as it may grow.
pub(crate) fn add_to_map(map: &mut Vec<MapPiece>, state: image_state::State, extent: Extent) {
    let letter = match state {
        image_state::State::Kept | image_state::State::Free => return,
        image_state::State::Unreadable => '-',
        image_state::State::NotTried => '?',
    };
    if let Some((start, len, last)) = map.last_mut()
        && *last == letter
        && *start + *len == extent.start()
    {
        *len += extent.len();
    } else if map.len() < PLACES_LIMIT {
        map.push((extent.start(), extent.len(), letter));
    }
}

/// The image that holds what this one leaves out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Parent {
    pub id: ImageId,
    pub index: Digest,
    pub name: String,
}

impl Manifest {
    /// With sizes, table and regions filled in from what was found on the disk; the rest is the caller's.
    pub fn describe(layout: &Layout) -> Manifest {
        let regions: Vec<RegionStory> = layout.regions.iter().map(region).collect();
        Manifest {
            disk: DiskStory::sized(layout.geometry),
            table: layout.table.as_ref().map(table),
            used_bytes: regions.iter().map(|region| region.used_bytes).sum(),
            regions,
            layout_notes: layout.notes.clone(),
            in_disk_order: true,
            ..Manifest::default()
        }
    }

    pub(crate) fn pack(&self) -> Result<Vec<u8>, ImageError> {
        let json = self.json()?;
        let packed =
            zstd::bulk::compress(&json, 9).map_err(|error| ImageError::Codec(error.to_string()))?;
        let len = u32::try_from(json.len()).expect("it is at most 2 MiB");
        let mut body = len.to_le_bytes().to_vec();
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&packed);
        Ok(body)
    }

    /// An image is not lost because its story is long: the longest parts are left out, and that is said.
    fn json(&self) -> Result<Vec<u8>, ImageError> {
        let mut story = self.clone();
        for shorten in SHORTEN {
            let json =
                serde_json::to_vec(&story).map_err(|error| ImageError::Codec(error.to_string()))?;
            if json.len() <= JSON_LIMIT {
                return Ok(json);
            }
            let lost = shorten(&mut story);
            story
                .warnings
                .push(format!("the manifest was too long: {lost} left out"));
        }
        Err(ImageError::Codec("the manifest is too long".into()))
    }

    /// Text in it cannot steer a terminal. `None` when it is not what [`Manifest::pack`] makes.
    pub(crate) fn unpack(body: &[u8]) -> Option<Manifest> {
        let (len, packed) = body.split_at_checked(8)?;
        let len = usize::try_from(u32::from_le_bytes([len[0], len[1], len[2], len[3]])).ok()?;
        if len > JSON_LIMIT {
            return None;
        }
        let json = zstd::bulk::decompress(packed, len).ok()?;
        let mut value: Value = serde_json::from_slice(&json).ok()?;
        clean(&mut value);
        serde_json::from_value(value).ok()
    }
}

impl DiskStory {
    pub fn sized(geometry: Geometry) -> DiskStory {
        DiskStory {
            size_bytes: geometry.size_bytes,
            logical_sector: geometry.logical_sector,
            physical_sector: geometry.physical_sector,
            ..DiskStory::default()
        }
    }
}

fn table(table: &Table) -> TableStory {
    TableStory {
        scheme: match table.scheme {
            Scheme::Gpt => "gpt",
            Scheme::Mbr => "mbr",
        }
        .to_owned(),
        id: table.id.clone(),
        sector_size: table.sector_size,
        notes: table.notes.clone(),
        raw: Vec::new(),
    }
}

fn region(region: &disk::layout::Region) -> RegionStory {
    let (owner, partition, content) = match &region.owner {
        Owner::Table => ("table", None, None),
        Owner::Gap => ("gap", None, None),
        Owner::Disk(content) => ("disk", None, Some(content)),
        Owner::Partition { partition, content } => ("partition", Some(partition), Some(content)),
    };
    RegionStory {
        start: region.extent.start(),
        len: region.extent.len(),
        owner: owner.to_owned(),
        partition: partition.map(|partition| PartitionStory {
            number: partition.number,
            type_id: partition.type_id.clone(),
            type_name: partition.type_name.clone(),
            uuid: partition.uuid.clone(),
            name: partition.name.clone(),
            attributes: partition.attributes,
        }),
        filesystem: content.and_then(filesystem),
        volumes: content.map(volumes).unwrap_or_default(),
        used_bytes: region.used().total_bytes(),
        kept: kept(content),
    }
}

fn filesystem(content: &Content) -> Option<FilesystemStory> {
    let found = match content {
        Content::Unknown(_) => return None,
        Content::Filesystem(found) => found,
        Content::Layer(layer) => {
            return Some(FilesystemStory {
                kind: layer.kind.clone(),
                variant: layer.variant.clone(),
                label: layer.label.clone(),
                uuid: layer.uuid.clone(),
                block_size: 512,
                size_bytes: layer.size_bytes,
                state: State::to_string(&layer.state),
            });
        }
    };
    Some(FilesystemStory {
        kind: found.kind.clone(),
        variant: found.variant.clone(),
        label: found.label.clone(),
        uuid: found.uuid.clone(),
        block_size: found.block_size,
        size_bytes: found.size_bytes,
        state: State::to_string(&found.state),
    })
}

fn volumes(content: &Content) -> Vec<VolumeStory> {
    let Content::Layer(layer) = content else {
        return Vec::new();
    };
    let volume = |volume: &Volume| VolumeStory {
        name: volume.name.clone(),
        uuid: volume.uuid.clone(),
        size_bytes: volume.size_bytes,
        filesystem: filesystem(&volume.content),
        volumes: volumes(&volume.content),
        kept: kept(Some(&volume.content)),
    };
    layer.volumes.iter().map(volume).collect()
}

fn kept(content: Option<&Content>) -> String {
    match content {
        None => "whole".to_owned(),
        Some(Content::Unknown(why)) => format!("whole: {why}"),
        Some(Content::Layer(layer)) => match &layer.whole {
            Some(why) => format!("whole: {why}"),
            None => "what it keeps for itself, and what is kept of its volumes".to_owned(),
        },
        Some(Content::Filesystem(found)) => match &found.used {
            Used::Whole(why) => format!("whole: {why}"),
            Used::Map { basis, .. } => match basis {
                Basis::Records => "what its own records call used",
                Basis::Replayed => {
                    "what its records call used, before and after a replay of its journal"
                }
                Basis::Union => "what any of its records calls used",
            }
            .to_owned(),
        },
    }
}

/// What a manifest that is too long loses, one after the other; the last step makes it empty but for the disk.
const SHORTEN: &[fn(&mut Manifest) -> &'static str] = &[
    |story| {
        story.unreadable.extents.clear();
        story.map.clear();
        "the list of unreadable places is"
    },
    |story| {
        (story.smart_before, story.smart_after) = (None, None);
        "the disk's health is"
    },
    |story| {
        story.table = None;
        "the partition table is"
    },
    |story| {
        let (program, disk) = (
            std::mem::take(&mut story.program),
            std::mem::take(&mut story.disk),
        );
        *story = Manifest {
            program,
            id: story.id,
            disk,
            ..Manifest::default()
        };
        "everything but the disk is"
    },
    |_| "nothing more is",
];

/// Replaces control characters in every text.
fn clean(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(char::is_control) => {
            *text = text.replace(char::is_control, "\u{fffd}");
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        _ => {}
    }
}
