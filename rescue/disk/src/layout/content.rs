//! What stands on a partition, a disk or a volume: a filesystem, a layer with volumes of its own, or nobody knows.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::extent::{Extent, ExtentMap};
use crate::fs::{self, Filesystem, Used};
use crate::layer::{self, Keys, Layer, Opened, Volume};
use crate::source::{BlockSource, ReadError};
use crate::table;

/// Layers on layers that are followed: LVM on LUKS on RAID has three.
const DEPTH: u32 = 4;
/// Most extents of all volumes of one partition together: 16 MiB of them. Volumes beyond that are kept whole.
const EXTENTS: usize = 1 << 20;
/// Most volumes of one partition that are looked at, those on volumes of others too.
const VOLUMES: u32 = 4096;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    Filesystem(Filesystem),
    Layer(Box<Layer>),
    /// Nobody knows it, or its first bytes cannot be read; kept whole. The text says which.
    Unknown(String),
}

impl Content {
    /// What is not proven free of the `size_bytes` it stands on.
    pub fn used(&self, size_bytes: u64) -> Cow<'_, ExtentMap> {
        match self {
            Content::Filesystem(found) => match &found.used {
                Used::Map { extents, .. } => Cow::Borrowed(extents),
                Used::Whole(_) => Cow::Owned(ExtentMap::whole(size_bytes)),
            },
            Content::Layer(layer) => Cow::Owned(layer.used()),
            Content::Unknown(_) => Cow::Owned(ExtentMap::whole(size_bytes)),
        }
    }

    /// Why nothing of it is proven free.
    pub fn whole(&self) -> Option<&str> {
        match self {
            Content::Filesystem(found) => match &found.used {
                Used::Whole(why) => Some(why),
                Used::Map { .. } => None,
            },
            Content::Layer(layer) => layer.whole.as_deref(),
            Content::Unknown(why) => Some(why),
        }
    }

    /// Takes away every claim that something is free. The unknown stays as it is.
    pub(super) fn make_whole(&mut self, why: &str) {
        match self {
            Content::Filesystem(found) => found.used = Used::Whole(why.into()),
            Content::Layer(layer) => layer.whole = Some(why.into()),
            Content::Unknown(_) => {}
        }
    }

    /// Takes places that cannot be read into what is used.
    fn keep(&mut self, blind: &ExtentMap) {
        match self {
            Content::Filesystem(found) => found.keep(blind),
            Content::Layer(layer) => layer.own = layer.own.union(blind),
            Content::Unknown(_) => {}
        }
    }

    /// What could not be read and what was read instead, of every filesystem on it.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        let notes = self.filesystems().into_iter().flat_map(|f| &f.parts.notes);
        notes.map(String::as_str)
    }

    /// The filesystem, or all of those on the volumes of a layer.
    pub fn filesystems(&self) -> Vec<&Filesystem> {
        match self {
            Content::Filesystem(found) => vec![found],
            Content::Layer(layer) => layer
                .volumes
                .iter()
                .flat_map(|volume| volume.content.filesystems())
                .collect(),
            Content::Unknown(_) => Vec::new(),
        }
    }

    /// The layer it is, and those on its volumes.
    pub fn layers(&self) -> Vec<&Layer> {
        let Content::Layer(layer) = self else {
            return Vec::new();
        };
        let on_it = layer.volumes.iter().flat_map(|v| v.content.layers());
        std::iter::once(&**layer).chain(on_it).collect()
    }

    /// Visits each filesystem with its bytes, opened through the layers it stands on; `source` is what carries
    /// this content. Volumes that cannot be opened are passed over.
    pub fn visit(&self, source: &dyn BlockSource, keys: &Keys, visit: Visit<'_>) {
        self.visit_below(source, keys, &[], &|map| map, visit);
    }

    fn visit_below(
        &self,
        source: &dyn BlockSource,
        keys: &Keys,
        volumes: &[&str],
        inner: &dyn Fn(ExtentMap) -> ExtentMap,
        visit: Visit<'_>,
    ) {
        let layer = match self {
            Content::Unknown(_) => return,
            Content::Filesystem(filesystem) => {
                return visit(Visited {
                    source,
                    filesystem,
                    volumes,
                    inner,
                });
            }
            Content::Layer(layer) => layer,
        };
        let readable = |v: &&layer::Volume| v.is_complete() && !v.content.filesystems().is_empty();
        let mut readable = layer.volumes.iter().filter(readable).peekable();
        if readable.peek().is_none() {
            return;
        }
        let Some(opened) = layer.open(source, keys) else {
            return;
        };
        for volume in readable {
            let bytes = opened.volume(source, volume);
            let names: Vec<&str> = volumes.iter().copied().chain([&*volume.name]).collect();
            let inner = |map| volume.mapping.inner(&inner(map));
            volume
                .content
                .visit_below(bytes.as_ref(), keys, &names, &inner, visit);
        }
    }
}

/// A filesystem and where it stands.
pub struct Visited<'a> {
    pub source: &'a dyn BlockSource,
    pub filesystem: &'a Filesystem,
    /// Names of the volumes that lead to it, the outermost first.
    pub volumes: &'a [&'a str],
    /// What of a map over the outermost carrier is in the filesystem, as that counts.
    pub inner: &'a dyn Fn(ExtentMap) -> ExtentMap,
}

impl fmt::Debug for Visited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visited")
            .field("filesystem", &self.filesystem.kind)
            .field("volumes", &self.volumes)
            .finish_non_exhaustive()
    }
}

pub type Visit<'a> = &'a mut dyn FnMut(Visited<'_>);

/// What stands there. A disk that is gone is an error; a place that cannot be read is not.
pub(super) fn read(source: &dyn BlockSource, keys: &Keys) -> Result<Content, ReadError> {
    let mut look = Look {
        keys,
        extents: EXTENTS,
        volumes: VOLUMES,
    };
    look.at_depth(source, DEPTH)
}

/// One look at a partition, within the bounds of time and memory.
struct Look<'a> {
    keys: &'a Keys,
    extents: usize,
    volumes: u32,
}

impl Look<'_> {
    fn at_depth(&mut self, source: &dyn BlockSource, depth: u32) -> Result<Content, ReadError> {
        match self.content(source, depth) {
            Err(ReadError::Gone(what)) => Err(ReadError::Gone(what)),
            Err(error) => Ok(Content::Unknown(error.to_string())),
            found => found,
        }
    }

    fn content(&mut self, source: &dyn BlockSource, depth: u32) -> Result<Content, ReadError> {
        let Some(seen) = fs::look(source)? else {
            return Ok(Content::Unknown("no filesystem that is known here".into()));
        };
        let mut content = match layer::read(source, &seen.filesystem, self.keys)? {
            Some((mut layer, opened)) => {
                match depth.checked_sub(1) {
                    Some(depth) => self.fill(source, &mut layer, &opened, depth)?,
                    None => return Ok(Content::Unknown(DEEP.into())),
                }
                Content::Layer(Box::new(layer))
            }
            None => {
                let mut filesystem = seen.filesystem;
                fit(&mut filesystem, source.size_bytes());
                Content::Filesystem(filesystem)
            }
        };
        content.keep(&seen.blind);
        if let Some(doubt) = seen.doubt {
            content.make_whole(&doubt);
        }
        Ok(content)
    }

    /// Reads what is on each volume that its layer leaves to be read.
    fn fill(
        &mut self,
        source: &dyn BlockSource,
        layer: &mut Layer,
        opened: &Opened,
        depth: u32,
    ) -> Result<(), ReadError> {
        for volume in &mut layer.volumes {
            if volume.is_unread() {
                volume.content = self.volume(source, volume, opened, depth)?;
            }
        }
        Ok(())
    }

    fn volume(
        &mut self,
        source: &dyn BlockSource,
        volume: &Volume,
        opened: &Opened,
        depth: u32,
    ) -> Result<Content, ReadError> {
        if !volume.is_complete() {
            return Ok(Content::Unknown("a part of it is on another disk".into()));
        }
        let Some(volumes) = self.volumes.checked_sub(1) else {
            return Ok(Content::Unknown(MANY.into()));
        };
        self.volumes = volumes;
        let inner = opened.volume(source, volume);
        let mut content = match table::read(inner.as_ref()) {
            // A machine of its own lives on it; what else is there may be a remnant.
            Ok(Some(_)) => Content::Unknown("it has a partition table of its own".into()),
            Ok(None) => self.at_depth(inner.as_ref(), depth)?,
            Err(ReadError::Gone(what)) => return Err(ReadError::Gone(what)),
            Err(error) => Content::Unknown(error.to_string()),
        };
        match self
            .extents
            .checked_sub(content.used(volume.size_bytes).count())
        {
            Some(extents) => self.extents = extents,
            None => content.make_whole("its used bytes are in too many pieces"),
        }
        Ok(content)
    }
}

const DEEP: &str = "more layers stand on each other than are followed here";
const MANY: &str = "there are more volumes than are looked at here";

/// A filesystem that does not fit its partition proves nothing free; the tail behind a smaller one is kept.
fn fit(filesystem: &mut Filesystem, size_bytes: u64) {
    let Used::Map { extents, .. } = &mut filesystem.used else {
        return;
    };
    if filesystem.size_bytes > size_bytes || extents.end() > size_bytes {
        filesystem.used = Used::Whole(format!(
            "its filesystem has {} bytes, but there are {size_bytes}",
            filesystem.size_bytes.max(extents.end())
        ));
    } else if let Some(tail) = Extent::between(filesystem.size_bytes, size_bytes) {
        extents.insert(tail);
    }
}
