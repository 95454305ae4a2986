//! What the passes bring, onto a disk or a file.

use disk::extent::{Extent, ExtentMap};
use disk::source::BlockSink;

use super::buffer::is_zero;
use super::front::Front;
use super::pipeline::Stop;
use super::rescue::{Missing, Taker, Urgency};
use super::spans::Spans;
use super::to_disk::ToDisk;
use crate::request::Verification;

/// Takes the wanted part of what was read.
pub struct OntoDisk<'a> {
    to_disk: &'a ToDisk<'a>,
    sink: &'a dyn BlockSink,
    front: &'a Front,
    /// Something else than the source's bytes stands there in the end.
    patched: ExtentMap,
    pub spans: Spans,
    pub written_bytes: u64,
}

impl<'a> OntoDisk<'a> {
    pub fn new(to_disk: &'a ToDisk<'a>, sink: &'a dyn BlockSink, front: &'a Front) -> OntoDisk<'a> {
        let patched = to_disk.patches.iter();
        OntoDisk {
            to_disk,
            sink,
            front,
            patched: patched
                .filter_map(|patch| Extent::new(patch.offset, patch.bytes.len() as u64))
                .collect(),
            spans: Spans::new(),
            written_bytes: 0,
        }
    }

    fn put(&mut self, extent: Extent, bytes: &[u8]) -> Result<(), Stop> {
        let inside = self.front.take(extent, bytes);
        let Some(rest) = Extent::between(extent.start() + inside as u64, extent.end()) else {
            return Ok(());
        };
        let bytes = &bytes[inside..];
        let written = if is_zero(bytes) {
            self.sink.zero_at(rest.start(), rest.len())
        } else {
            self.written_bytes += rest.len();
            self.sink.write_at(rest.start(), bytes)
        };
        self.to_disk.told(written)
    }
}

impl Taker for OntoDisk<'_> {
    fn take(&mut self, extent: Extent, bytes: &[u8]) -> Result<(), Stop> {
        let of = |part: Extent| {
            let at = |offset: u64| {
                usize::try_from(offset - extent.start()).expect("a read fits in memory")
            };
            &bytes[at(part.start())..at(part.end())]
        };
        let wanted: ExtentMap = self.to_disk.wanted.within(extent).collect();
        for part in wanted.iter() {
            self.put(part, of(part))?;
        }
        if self.to_disk.verification == Verification::ReadBack {
            for part in wanted.difference(&self.patched).iter() {
                self.spans.add(part, of(part));
            }
        }
        Ok(())
    }

    /// Zeros, not what a used destination happens to hold there.
    fn missing(&mut self, extent: Extent, _why: Missing) -> Result<(), Stop> {
        for part in self.to_disk.wanted.within(extent) {
            // The front is zeros where nothing came.
            let from = part.start().max(self.front.extent.end());
            if let Some(rest) = Extent::between(from, part.end()) {
                let zeroed = self.sink.zero_at(rest.start(), rest.len());
                self.to_disk.told(zeroed)?;
            }
        }
        Ok(())
    }

    fn sync(&mut self, _urgency: Urgency) -> Result<(), Stop> {
        self.to_disk.told(self.sink.sync())
    }
}
