//! Everything on a disk in one tree, and which of its bytes are in use.

mod classes;
mod content;
mod pieces;

use serde::{Deserialize, Serialize};

pub use classes::Classes;
pub use content::{Content, Visit, Visited};

use crate::extent::{Extent, ExtentMap};
use crate::geometry::Geometry;
use crate::layer::{Keys, Layer};
use crate::source::{BlockSource, ReadError, read_vec};
use crate::table::{self, Partition, Role, Table};
use crate::window::Window;

/// A disk as its own bytes describe it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Layout {
    pub geometry: Geometry,
    pub table: Option<Table>,
    /// In disk order; they cover the disk without gap or overlap, so that every byte has exactly one owner.
    pub regions: Vec<Region>,
    /// Beside the table's own notes: what is kept whole, and why.
    pub notes: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Region {
    pub extent: Extent,
    pub owner: Owner,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The partition table itself.
    Table,
    /// In no partition: boot loaders live here; kept whole.
    Gap,
    Partition {
        partition: Partition,
        content: Content,
    },
    /// A filesystem on the whole disk, without a table.
    Disk(Content),
}

impl Layout {
    /// Reads the table and every filesystem, without a key to anything that is encrypted.
    pub fn read(source: &dyn BlockSource) -> Result<Layout, ReadError> {
        Layout::read_with(source, &Keys::none())
    }

    /// Reads the table, every layer and every filesystem. Only a disk that cannot be read at all is an error;
    /// what is damaged, locked or unknown is kept whole.
    pub fn read_with(source: &dyn BlockSource, keys: &Keys) -> Result<Layout, ReadError> {
        let geometry = source.geometry();
        // A filesystem on the whole disk may have to be known to know that there is no table: it is read once.
        let mut alone = None;
        let table = table::read_asking(source, &mut || {
            let found = whole(source, keys)?;
            let known = !matches!(found, Content::Unknown(_));
            alone = Some(found);
            Ok(known)
        })?;
        let mut notes = Vec::new();
        let mut regions = match &table {
            Some(table) => divided(source, table, keys, &mut notes)?,
            None => {
                let content = alone.map_or_else(|| whole(source, keys), Ok)?;
                undivided(source, content, &mut notes)
            }
        };
        regions.sort_by_key(|r| r.extent);
        Ok(Layout {
            geometry,
            table,
            regions,
            notes,
        })
    }

    /// Every byte of the disk that is not proven free.
    pub fn used(&self) -> ExtentMap {
        let mut used = ExtentMap::new();
        for region in &self.regions {
            region.each_used(&mut |extent| used.insert(extent));
        }
        used
    }

    pub fn owner_of(&self, offset: u64) -> Option<&Region> {
        let at = self.regions.partition_point(|r| r.extent.end() <= offset);
        self.regions.get(at).filter(|r| r.extent.contains(offset))
    }

    /// Every layer that has a key, open or not.
    pub fn encrypted(&self) -> impl Iterator<Item = &Layer> {
        let contents = self.regions.iter().filter_map(Region::content);
        let layers = contents.flat_map(Content::layers);
        layers.filter(|layer| layer.is_encrypted())
    }

    pub fn partitions(&self) -> impl Iterator<Item = (&Partition, &Content)> {
        self.regions.iter().filter_map(|r| match &r.owner {
            Owner::Partition { partition, content } if partition.role != Role::Extended => {
                Some((partition, content))
            }
            _ => None,
        })
    }
}

impl Region {
    /// What stands there, where anything can.
    pub fn content(&self) -> Option<&Content> {
        match &self.owner {
            Owner::Partition { content, .. } | Owner::Disk(content) => Some(content),
            Owner::Table | Owner::Gap => None,
        }
    }

    /// Used bytes of the region, as offsets of the disk.
    pub fn used(&self) -> ExtentMap {
        let mut used = ExtentMap::new();
        self.each_used(&mut |extent| used.insert(extent));
        used
    }

    /// In ascending order; without a copy of a map that may have a million extents.
    fn each_used(&self, each: &mut dyn FnMut(Extent)) {
        let Some(content) = self.content() else {
            return each(self.extent);
        };
        let (start, len) = (self.extent.start(), self.extent.len());
        let used = content.used(len);
        let inside = Extent::new(0, len).into_iter();
        inside
            .flat_map(|inside| used.within(inside))
            .filter_map(|extent| extent.shifted(start))
            .for_each(each);
    }

    /// Visits each filesystem with its bytes, opened through the layers it stands on. `source` is the disk.
    pub fn visit(&self, source: &dyn BlockSource, keys: &Keys, visit: Visit<'_>) {
        if let (Some(content), Some(window)) = (self.content(), Window::new(source, self.extent)) {
            content.visit(&window, keys, visit);
        }
    }
}

/// Deals the bytes of the disk out: the table's own first, then the partitions in disk order, and what nobody
/// took is a gap. So no byte has two owners, whatever the table says.
fn divided(
    source: &dyn BlockSource,
    table: &Table,
    keys: &Keys,
    notes: &mut Vec<String>,
) -> Result<Vec<Region>, ReadError> {
    let mut free = ExtentMap::whole(source.size_bytes());
    let mut regions = Vec::new();
    let mut narrow = None;
    for extent in table.own.iter() {
        deal(&mut free, extent, &Owner::Table, &mut regions);
    }
    for partition in table.partitions.iter().filter(|p| p.role != Role::Extended) {
        let content = if free.covers(partition.extent) {
            content(source, partition.extent, keys)?
        } else if partition.extent.end() > source.size_bytes() {
            Content::Unknown("it ends beyond the disk".into())
        } else {
            // Looked at once only, so that a table of nothing but overlaps costs no more than the disk.
            Content::Unknown("it overlaps another partition or the table".into())
        };
        let content = believed(content, table, partition, notes);
        let owner = Owner::Partition {
            partition: partition.clone(),
            content,
        };
        deal(&mut free, partition.extent, &owner, &mut regions);
        // At once, so that many filesystems never lie in memory with all of their pieces.
        narrow = narrow.max(pieces::bound(&mut regions));
    }
    notes.extend(narrow.map(pieces::note));
    regions.extend(free.iter().map(|extent| Region {
        extent,
        owner: Owner::Gap,
    }));
    Ok(regions)
}

/// Gives what is still free of the extent to the owner.
fn deal(free: &mut ExtentMap, extent: Extent, owner: &Owner, regions: &mut Vec<Region>) {
    regions.extend(free.within(extent).map(|extent| Region {
        extent,
        owner: owner.clone(),
    }));
    free.remove(extent);
}

/// A filesystem or layer proves nothing free where the table that says where it is cannot be trusted.
fn believed(
    mut content: Content,
    table: &Table,
    partition: &Partition,
    notes: &mut Vec<String>,
) -> Content {
    let type_id = partition.type_id.as_str();
    // A layer of the kind that such a type announces says itself where its pieces are.
    let followed = LINUX_LAYERS.contains(&type_id) && matches!(content, Content::Layer(_));
    if LAYERED.contains(&type_id) && !followed {
        content.make_whole("by its type it is part of something larger");
    }
    if !table.trusted {
        content.make_whole("the partition table cannot be trusted");
    }
    let place = format!("partition {}", partition.number);
    note(&place, &content, notes);
    content
}

/// Says what is kept whole, of the unknown its own text does, and what was read from a backup.
fn note(place: &str, content: &Content, notes: &mut Vec<String>) {
    notes.extend(content.notes().map(|note| format!("{place}: {note}")));
    note_whole(place, content, notes);
}

fn note_whole(place: &str, content: &Content, notes: &mut Vec<String>) {
    if let (Content::Filesystem(_) | Content::Layer(_), Some(why)) = (content, content.whole()) {
        notes.push(format!("{place} is kept whole: {why}"));
        return;
    }
    if let Content::Layer(layer) = content {
        for volume in &layer.volumes {
            note_whole(
                &format!("volume {} on {place}", volume.name),
                &volume.content,
                notes,
            );
        }
    }
}

/// Types of partitions whose bytes may be pieces of a volume in any order, whatever they begin with: Windows
/// dynamic disks and storage spaces, LVM, Linux and Apple RAID, Core Storage.
const LAYERED: &[&str] = &[
    "42",
    "8E",
    "FD",
    "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3",
    "AF9B60A0-1431-4F62-BC68-3311714A69AD",
    "E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D",
    LINUX_LVM,
    LINUX_RAID,
    "52414944-0000-11AA-AA11-00306543ECAC",
    "53746F72-6167-11AA-AA11-00306543ECAC",
];
const LINUX_LVM: &str = "E6D6D379-F507-44C2-A23C-238F2A3DF928";
const LINUX_RAID: &str = "A19D880F-05FC-4D3B-A006-743F0F84911E";
/// Those of them whose layers are read here.
const LINUX_LAYERS: &[&str] = &["8E", "FD", LINUX_LVM, LINUX_RAID];

/// What stands on the whole disk.
fn whole(source: &dyn BlockSource, keys: &Keys) -> Result<Content, ReadError> {
    match Extent::new(0, source.size_bytes()) {
        Some(extent) => content(source, extent, keys),
        None => Ok(Content::Unknown("it is empty".into())),
    }
}

/// A disk without a table: one filesystem at most.
fn undivided(
    source: &dyn BlockSource,
    mut content: Content,
    notes: &mut Vec<String>,
) -> Vec<Region> {
    let Some(extent) = Extent::new(0, source.size_bytes()) else {
        return Vec::new();
    };
    let start = Extent::new(0, extent.len().min(512)).expect("the disk is not empty");
    if is_unreadable(source, start) {
        // A partition table may have been there; what looks like a filesystem may be a remnant.
        content.make_whole("the first sector of the disk cannot be read");
    }
    note("the disk", &content, notes);
    vec![Region {
        extent,
        owner: Owner::Disk(content),
    }]
}

fn is_unreadable(source: &dyn BlockSource, extent: Extent) -> bool {
    read_vec(source, extent.start(), extent.len()).is_err()
}

/// What stands there. A disk that is gone is an error; a place that cannot be read is not.
pub fn content(
    source: &dyn BlockSource,
    extent: Extent,
    keys: &Keys,
) -> Result<Content, ReadError> {
    match Window::new(source, extent) {
        Some(window) => content::read(&window, keys),
        None => Ok(Content::Unknown("it ends beyond the disk".into())),
    }
}
