//! Everything on a disk in one tree, and which of its bytes are in use.

use serde::{Deserialize, Serialize};

use crate::extent::{Extent, ExtentMap};
use crate::fs::{self, Filesystem, Used};
use crate::geometry::Geometry;
use crate::source::{BlockSource, ReadError};
use crate::table::{self, Partition, Role, Table};
use crate::window::Window;

/// A disk as its own bytes describe it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Layout {
    pub geometry: Geometry,
    pub table: Option<Table>,
    /// In disk order; they cover the disk without gap or overlap, so that every byte has exactly one owner.
    pub regions: Vec<Region>,
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

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    Filesystem(Filesystem),
    /// Nobody knows it, or its first bytes cannot be read; kept whole. The text says which.
    Unknown(String),
}

impl Layout {
    /// Reads the table and every filesystem. Only a disk that cannot be read at all is an error; what is
    /// damaged or unknown is kept whole.
    pub fn read(source: &dyn BlockSource) -> Result<Layout, ReadError> {
        let geometry = source.geometry();
        let table = table::read(source)?;
        let regions = Extent::new(0, geometry.size_bytes)
            .map(|extent| Region {
                extent,
                owner: Owner::Disk(content(source, extent)),
            })
            .into_iter()
            .collect();
        Ok(Layout {
            geometry,
            table,
            regions,
            notes: Vec::new(),
        })
    }

    /// Every byte of the disk that is not proven free.
    pub fn used(&self) -> ExtentMap {
        let mut used = ExtentMap::new();
        for region in &self.regions {
            for extent in region.used().iter() {
                used.insert(extent);
            }
        }
        used
    }

    pub fn owner_of(&self, offset: u64) -> Option<&Region> {
        let at = self.regions.partition_point(|r| r.extent.end() <= offset);
        self.regions.get(at).filter(|r| r.extent.contains(offset))
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
    /// Used bytes of the region, as offsets of the disk.
    pub fn used(&self) -> ExtentMap {
        let inner = match &self.owner {
            Owner::Partition {
                content: Content::Filesystem(fs),
                ..
            }
            | Owner::Disk(Content::Filesystem(fs)) => &fs.used,
            _ => return ExtentMap::from(vec![self.extent]),
        };
        match inner {
            Used::Whole(_) => ExtentMap::from(vec![self.extent]),
            Used::Map { extents, .. } => extents.shifted(self.extent.start()),
        }
    }
}

fn content(source: &dyn BlockSource, extent: Extent) -> Content {
    let Some(window) = Window::new(source, extent) else {
        return Content::Unknown("it ends beyond the disk".into());
    };
    match fs::recognise(&window) {
        Ok(Some((_, filesystem))) => Content::Filesystem(filesystem),
        Ok(None) => Content::Unknown("no filesystem that is known here".into()),
        Err(error) => Content::Unknown(error.to_string()),
    }
}
