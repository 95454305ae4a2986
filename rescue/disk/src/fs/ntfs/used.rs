//! The used map: the volume's own bitmap, and where that is not enough, every run of every file with it.

use super::mft::{DATA, Volume, is_fatal, is_unreadable, length};
use super::record::{Body, Record, What, mend};
use super::runs::runs;
use super::stream::Value;
use crate::extent::{Extent, ExtentMap};
use crate::fs::bits::Bits;
use crate::fs::gather::Gather;
use crate::fs::tree::TreeError;
use crate::source::{BlockSource, ReadError};

const BITMAP_RECORD: u64 = 6;
/// What is read at once of the bitmap and of the file table; a multiple of every record's length.
const PIECE: u64 = 1 << 20;
/// Most extents kept that the bitmap calls free: 4 MiB of them.
const STRAY_LIMIT: usize = 1 << 18;

/// What the bitmap says.
#[derive(Debug)]
pub(super) struct Mapped {
    pub extents: ExtentMap,
    /// Bytes of the bitmap that could not be read; their clusters are in the map.
    pub unreadable: u64,
    /// Those clusters.
    pub unknown: ExtentMap,
    /// The boot sectors, the file table, its copy, the bitmap.
    pub metadata: ExtentMap,
    /// Clusters that must be in use are not so in the bitmap.
    pub contradicted: bool,
}

/// The bitmap's clusters, and what lies behind the last one up to the end of the partition.
pub(super) fn by_bitmap(volume: &Volume<'_>) -> Result<Mapped, TreeError> {
    let boot = &volume.boot;
    let bitmap = bitmap(volume)?;
    let mut gather = Gather::new(boot.cluster);
    let mut unreadable = 0;
    let mut unknown = ExtentMap::new();
    let needed = boot.clusters.div_ceil(8);
    let mut at = 0;
    while at < needed {
        let len = PIECE.min(needed - at);
        let (bytes, lost) = read_or_used(volume.source, &bitmap, at, len)?;
        unreadable += lost.total_bytes();
        let clusters = (len * 8).min(boot.clusters - at * 8);
        for lost in lost.iter() {
            let [from, to] = [lost.start(), lost.end()]
                .map(|byte| (at * 8 + (byte * 8).min(clusters)) * boot.cluster);
            Extent::between(from, to)
                .into_iter()
                .for_each(|lost| unknown.insert(lost));
        }
        for (from, to) in Bits::from_bytes(&bytes, clusters).used_runs() {
            let [from, to] = [from, to].map(|bit| (at * 8 + bit) * boot.cluster);
            gather.push(from, to);
        }
        at += len;
    }
    gather.push(boot.clusters * boot.cluster, volume.source.size_bytes());
    let extents = gather.finish();
    let own: Vec<Extent> = [0, boot.mft_cluster, boot.mirror_cluster]
        .into_iter()
        .filter_map(|cluster| Extent::new(cluster * boot.cluster, boot.cluster))
        .chain(volume.mft.extents())
        .chain(match &bitmap {
            Value::Stream(stream) => stream.extents().collect(),
            Value::Resident(_) => Vec::new(),
        })
        .collect();
    let contradicted = !own.iter().all(|own| extents.covers(*own));
    let tail = Extent::between(boot.size_bytes, volume.source.size_bytes());
    Ok(Mapped {
        extents,
        unreadable,
        unknown,
        metadata: own.into_iter().chain(tail).collect(),
        contradicted,
    })
}

/// The content of $Bitmap, checked to say something of every cluster.
pub(super) fn bitmap(volume: &Volume<'_>) -> Result<Value, TreeError> {
    let record = volume.record(BITMAP_RECORD)?;
    if !record.in_use() || record.base().is_some() {
        return Err(TreeError::Damaged("the record of its bitmap is not in use"));
    }
    let value = volume
        .value(&record, BITMAP_RECORD, What::unnamed(DATA))?
        .ok_or(TreeError::Damaged("its bitmap has no content"))?;
    let (valid, plain) = match &value {
        Value::Resident(bytes) => (bytes.len() as u64, true),
        Value::Stream(stream) => (stream.initialized, stream.is_plain()),
    };
    if !plain {
        return Err(TreeError::Damaged(
            "its bitmap is stored in an impossible way",
        ));
    }
    if valid < volume.boot.clusters.div_ceil(8) {
        return Err(TreeError::Damaged(
            "its bitmap is too short for its clusters",
        ));
    }
    Ok(value)
}

/// A piece of the bitmap, with ones where it cannot be read, and which bytes of it those are.
fn read_or_used(
    source: &dyn BlockSource,
    bitmap: &Value,
    at: u64,
    len: u64,
) -> Result<(Vec<u8>, ExtentMap), TreeError> {
    let mut lost = ExtentMap::new();
    let mut bytes = vec![0xFF; usize::try_from(len).expect("a piece has 1 MiB at most")];
    let stream = match bitmap {
        Value::Stream(stream) => stream,
        Value::Resident(resident) => {
            let found = usize::try_from(at).ok().and_then(|at| resident.get(at..));
            let found = found.and_then(|found| found.get(..bytes.len()));
            bytes.copy_from_slice(found.expect("the length was checked"));
            return Ok((bytes, lost));
        }
    };
    match stream.read_at(source, at, &mut bytes) {
        Ok(()) => return Ok((bytes, lost)),
        Err(TreeError::Read(ReadError::Unreadable(_))) => {}
        Err(error) => return Err(error),
    }
    let shard = usize::try_from(source.geometry().shard()).expect("it is small");
    for (offset, part) in (at..).step_by(shard).zip(bytes.chunks_mut(shard)) {
        match stream.read_at(source, offset, part) {
            Ok(()) => {}
            Err(TreeError::Read(ReadError::Unreadable(_))) => {
                part.fill(0xFF);
                let inside = Extent::new(offset - at, part.len() as u64);
                inside.into_iter().for_each(|inside| lost.insert(inside));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((bytes, lost))
}

/// Adds the clusters of every file to a map. Returns how many records cannot be read: their clusters only the map knows.
///
/// Every record ever written is looked at, so the file table must be sound as a whole: an error means that the
/// map proves nothing.
pub(super) fn add_files(volume: &Volume<'_>, strays: &mut Strays) -> Result<u64, TreeError> {
    let records = volume.records();
    let per_piece = PIECE / volume.boot.record;
    let (mut number, mut unread) = (0, 0);
    let mut buffer = Vec::new();
    while number < records {
        let count = per_piece.min(records - number);
        buffer.resize(length(volume.boot.record) * length(count), 0);
        let at = number * volume.boot.record;
        let whole = match volume.mft.read_at(volume.source, at, &mut buffer) {
            Ok(()) => true,
            Err(TreeError::Read(ReadError::Unreadable(_))) => false,
            Err(error) => return Err(error),
        };
        let records = buffer.chunks_exact_mut(length(volume.boot.record));
        for (number, bytes) in (number..).zip(records) {
            if whole && mend(bytes, b"FILE").is_ok() {
                let record = Record::new(&*bytes, number).map_err(TreeError::Damaged)?;
                strays.take(&record, volume).map_err(TreeError::Damaged)?;
            } else {
                // Alone, or from the copy if it is one of the first.
                match volume.record(number) {
                    Ok(record) => strays.take(&record, volume).map_err(TreeError::Damaged)?,
                    Err(error) if is_unreadable(&error) => unread += 1,
                    Err(error) => return Err(error),
                }
            }
        }
        number += count;
    }
    Ok(unread)
}

/// Clusters that are in use and not in the map yet.
pub(super) struct Strays {
    known: ExtentMap,
    found: Vec<Extent>,
    added: u64,
    unit: u64,
}

impl Strays {
    pub fn new(known: ExtentMap, unit: u64) -> Strays {
        Strays {
            known,
            found: Vec::new(),
            added: 0,
            unit,
        }
    }

    pub fn add(&mut self, start: u64, len: u64) {
        let extent = Extent::new(start, len).filter(|extent| !self.known.covers(*extent));
        let Some(extent) = extent else { return };
        match self.found.last_mut() {
            Some(last) if last.end() == extent.start() => {
                *last = Extent::between(last.start(), extent.end()).unwrap_or(extent);
            }
            _ => self.found.push(extent),
        }
        if self.found.len() >= STRAY_LIMIT {
            self.settle();
        }
    }

    /// How many bytes were not in the map, since this was asked last.
    pub fn added(&mut self) -> u64 {
        self.settle();
        std::mem::take(&mut self.added)
    }

    pub fn finish(mut self) -> ExtentMap {
        self.settle();
        self.known
    }

    fn take<B: AsRef<[u8]>>(
        &mut self,
        record: &Record<B>,
        volume: &Volume<'_>,
    ) -> Result<(), &'static str> {
        if !record.in_use() {
            return Ok(());
        }
        for attribute in record.attributes() {
            let Body::Mapped(mapping) = attribute?.body else {
                continue;
            };
            for run in runs(mapping, volume.boot.clusters) {
                let run = run?;
                if let Some(place) = run.place {
                    // It was checked to lie in the volume, whose size in bytes fits.
                    self.add(place * self.unit, run.len * self.unit);
                }
            }
        }
        Ok(())
    }

    /// Merges what was found into the map, both in order, within the bound of memory.
    fn settle(&mut self) {
        let before = self.known.total_bytes();
        let found = ExtentMap::from(std::mem::take(&mut self.found));
        let mut gather = Gather::new(self.unit);
        {
            let (mut a, mut b) = (self.known.iter().peekable(), found.iter().peekable());
            loop {
                let first = match (a.peek(), b.peek()) {
                    (Some(x), Some(y)) if y < x => b.next(),
                    (Some(_), _) => a.next(),
                    (None, _) => b.next(),
                };
                let Some(extent) = first else { break };
                gather.push(extent.start(), extent.end());
            }
        }
        self.known = gather.finish();
        self.added += self.known.total_bytes() - before;
    }
}

/// The reason for which nothing is proven free, unless the disk itself failed.
pub(super) fn doubt(error: TreeError) -> Result<String, ReadError> {
    match error {
        TreeError::Read(read) if is_fatal(&TreeError::Read(read.clone())) => Err(read),
        error => Ok(error.to_string()),
    }
}
