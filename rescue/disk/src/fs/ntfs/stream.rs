//! The content of an attribute that lies in clusters of its own.

use super::boot::Boot;
use super::record::{Attribute, Body, Flags, Mapping};
use super::runs::{Run, runs};
use crate::extent::Extent;
use crate::fs::tree::{Piece, TreeError};
use crate::source::BlockSource;

/// Most runs followed in one attribute: 12 MiB of them.
const RUN_LIMIT: usize = 1 << 19;

/// Sizes in bytes: `initialized <= size <= allocated`; what lies behind `initialized` reads as zeros.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stream {
    pub size: u64,
    pub initialized: u64,
    pub flags: Flags,
    allocated: u64,
    cluster: u64,
    clusters: u64,
    /// Without gap from cluster 0.
    runs: Vec<Run>,
}

impl Stream {
    /// From the first part of an attribute.
    pub fn new(boot: &Boot, flags: Flags, mapping: Mapping<'_>) -> Result<Stream, TreeError> {
        let sizes = [mapping.initialized, mapping.size, mapping.allocated];
        if !sizes.is_sorted() {
            return Err(TreeError::Damaged(
                "the sizes of an attribute contradict each other",
            ));
        }
        let mut stream = Stream {
            size: mapping.size,
            initialized: mapping.initialized,
            flags,
            allocated: mapping.allocated,
            cluster: boot.cluster,
            clusters: boot.clusters,
            runs: Vec::new(),
        };
        stream.extend(mapping)?;
        Ok(stream)
    }

    /// Adds the part that follows.
    pub fn extend(&mut self, mapping: Mapping<'_>) -> Result<(), TreeError> {
        if mapping.first != self.mapped_clusters() {
            return Err(TreeError::Damaged("a part of an attribute is missing"));
        }
        for run in runs(mapping, self.clusters) {
            let run = run.map_err(TreeError::Damaged)?;
            if self.runs.len() >= RUN_LIMIT {
                return Err(TreeError::Unsupported(
                    "a file in more pieces than are followed",
                ));
            }
            self.runs.push(run);
        }
        Ok(())
    }

    fn mapped_clusters(&self) -> u64 {
        self.runs.last().map_or(0, Run::next)
    }

    /// How many of the bytes have a place or are a known hole.
    pub fn mapped_bytes(&self) -> u64 {
        self.mapped_clusters().saturating_mul(self.cluster)
    }

    /// All parts are there. To be asked when the last one was added.
    pub fn complete(self) -> Result<Stream, TreeError> {
        if self.mapped_bytes() == self.allocated {
            Ok(self)
        } else {
            Err(TreeError::Damaged("a part of an attribute is missing"))
        }
    }

    /// Every byte is stored as it is: no hole, nothing compressed or encrypted, no cluster twice as far as counts tell.
    pub fn is_plain(&self) -> bool {
        self.flags == Flags::default()
            && self.mapped_clusters() <= self.clusters
            && self.runs.iter().all(|run| run.place.is_some())
    }

    /// Where `from..to` of the attribute lies on the volume, ascending; holes are left out.
    pub fn pieces(&self, from: u64, to: u64) -> impl Iterator<Item = Piece> + '_ {
        let cluster = self.cluster;
        let start = self
            .runs
            .partition_point(|run| run.next().saturating_mul(cluster) <= from);
        self.runs[start..]
            .iter()
            .take_while(move |run| run.first.saturating_mul(cluster) < to)
            .filter_map(move |run| {
                // The place was checked to lie in the volume, whose size in bytes fits.
                let place = run.place? * cluster;
                let first = run.first.checked_mul(cluster)?;
                let (a, b) = (
                    first.max(from),
                    (first.saturating_add(run.len * cluster)).min(to),
                );
                Some(Piece {
                    at: a,
                    extent: Extent::between(place + (a - first), place + (b - first))?,
                })
            })
    }

    /// All its clusters.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        self.pieces(0, u64::MAX).map(|piece| piece.extent)
    }

    /// Fills `buf` from `offset` on, which has to lie inside with all of it.
    pub fn read_at(
        &self,
        source: &dyn BlockSource,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), TreeError> {
        let end = offset.checked_add(buf.len() as u64);
        let Some(end) = end.filter(|end| *end <= self.size && *end <= self.mapped_bytes()) else {
            return Err(TreeError::Damaged(
                "a record points behind the end of its file",
            ));
        };
        buf.fill(0);
        for piece in self.pieces(offset, end.min(self.initialized)) {
            let at = |position: u64| {
                usize::try_from(position - offset).expect("a piece lies inside the buffer")
            };
            let window = &mut buf[at(piece.at)..at(piece.at + piece.extent.len())];
            source.read_at(piece.extent.start(), window)?;
        }
        Ok(())
    }
}

/// What an attribute holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Resident(Vec<u8>),
    Stream(Stream),
}

impl Value {
    /// The first part of an attribute; more of a stream may follow.
    pub fn begin(boot: &Boot, attribute: &Attribute<'_>) -> Result<Value, TreeError> {
        Ok(match attribute.body {
            Body::Resident(bytes) => Value::Resident(bytes.to_vec()),
            Body::Mapped(mapping) => Value::Stream(Stream::new(boot, attribute.flags, mapping)?),
        })
    }

    pub fn complete(self) -> Result<Value, TreeError> {
        Ok(match self {
            Value::Resident(bytes) => Value::Resident(bytes),
            Value::Stream(stream) => Value::Stream(stream.complete()?),
        })
    }

    pub fn size(&self) -> u64 {
        match self {
            Value::Resident(bytes) => bytes.len() as u64,
            Value::Stream(stream) => stream.size,
        }
    }

    /// All of it, if it is at most `limit` long.
    pub fn read(&self, source: &dyn BlockSource, limit: u64) -> Result<Vec<u8>, TreeError> {
        if self.size() > limit {
            return Err(TreeError::Damaged("a record is longer than it can be"));
        }
        match self {
            Value::Resident(bytes) => Ok(bytes.clone()),
            Value::Stream(stream) => {
                let len = usize::try_from(stream.size).expect("it is below the limit");
                let mut bytes = vec![0; len];
                stream.read_at(source, 0, &mut bytes)?;
                Ok(bytes)
            }
        }
    }
}
