//! What was written out of order, a digest a span, for reading back.

use disk::extent::{Extent, ExtentMap};
use disk::source::{BlockSource, ReadError};

use super::buffer::Buffer;
use super::digest::Digest;
use super::meter::Meter;
use super::pipeline::Stop;
use crate::event::Cancel;

/// Longest span: 20 TB of them fit in 40 MiB.
const SPAN: u64 = 16 << 20;
const READ: u64 = 1 << 20;

/// Digests of what was written, in the order of writing. What follows its predecessor on the disk is one span.
pub struct Spans {
    done: Vec<(Extent, Digest)>,
    open: Option<(Extent, blake3::Hasher)>,
}

impl Spans {
    pub fn new() -> Spans {
        Spans {
            done: Vec::new(),
            open: None,
        }
    }

    pub fn add(&mut self, extent: Extent, bytes: &[u8]) {
        let grown = match &self.open {
            Some((before, _)) if before.end() == extent.start() && before.len() < SPAN => {
                Extent::between(before.start(), extent.end())
            }
            _ => None,
        };
        match (grown, &mut self.open) {
            (Some(grown), Some((open, hasher))) => {
                *open = grown;
                hasher.update(bytes);
            }
            _ => {
                self.close();
                let mut hasher = blake3::Hasher::new();
                hasher.update(bytes);
                self.open = Some((extent, hasher));
            }
        }
    }

    /// Reads every span of `actual` and tells those that are not what was written. A span that was written twice
    /// counts as it was written last.
    pub fn compare(
        mut self,
        actual: &dyn BlockSource,
        meter: &mut Meter<'_>,
        cancel: &Cancel,
    ) -> Result<ExtentMap, Stop> {
        self.close();
        let mut different = ExtentMap::new();
        let mut buffer = Buffer::new(usize::try_from(READ).expect("a MiB fits in memory"));
        let mut last = ExtentMap::new();
        for (span, digest) in self.done.iter().rev() {
            if last.within(*span).next().is_some() {
                continue;
            }
            last.insert(*span);
            let mut hasher = blake3::Hasher::new();
            let mut readable = true;
            for part in span.split_at_multiples(READ) {
                if cancel.is_cancelled() {
                    return Err(Stop::Cancelled);
                }
                let into =
                    &mut buffer[..usize::try_from(part.len()).expect("a part fits in memory")];
                match actual.read_at(part.start(), into) {
                    Ok(()) => {
                        hasher.update(into);
                    }
                    Err(ReadError::Unreadable(_)) => readable = false,
                    Err(error) => return Err(Stop::Fault(error.to_string())),
                }
                meter.advance(part.len(), part.end());
            }
            if !readable || hasher.finalize().as_bytes()[..16] != digest[..] {
                different.insert(*span);
            }
        }
        Ok(different)
    }

    pub fn total_bytes(&self) -> u64 {
        let done: u64 = self.done.iter().map(|(span, _)| span.len()).sum();
        done + self.open.as_ref().map_or(0, |(span, _)| span.len())
    }

    fn close(&mut self) {
        if let Some((extent, hasher)) = self.open.take() {
            let mut half = [0; 16];
            half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
            self.done.push((extent, half));
        }
    }
}

impl std::fmt::Debug for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spans({})", self.done.len())
    }
}

#[cfg(test)]
mod tests {
    use disk::memory::MemorySource;

    use super::*;
    use crate::event::Silent;

    fn extent(start: u64, len: u64) -> Extent {
        Extent::new(start, len).unwrap()
    }

    fn different(spans: Spans, disk: Vec<u8>) -> ExtentMap {
        let mut meter = Meter::new(&Silent, std::time::Duration::from_secs(1));
        let source = MemorySource::new(disk);
        spans
            .compare(&source, &mut meter, &Cancel::default())
            .unwrap()
    }

    #[test]
    fn what_was_written_in_any_order_is_compared_span_by_span() {
        let mut disk = vec![0; 3 << 20];
        let mut spans = Spans::new();
        for (start, len, fill) in [
            (1 << 20, 1 << 20, 1),
            (2 << 20, 4096, 2),
            (0, 512, 3),
            (512, 512, 4),
        ] {
            disk[start..start + len].fill(fill);
            spans.add(extent(start as u64, len as u64), &disk[start..start + len]);
        }
        assert_eq!(spans.total_bytes(), (1 << 20) + 4096 + 1024);
        let again = |at: usize| {
            let mut spans = Spans::new();
            spans.add(extent(0, 1024), &disk[..1024]);
            spans.add(extent(1 << 20, 1 << 20), &disk[1 << 20..2 << 20]);
            let mut disk = disk.clone();
            disk[at] ^= 1;
            different(spans, disk)
        };
        assert_eq!(different(spans, disk.clone()), ExtentMap::new());
        assert_eq!(again(700), ExtentMap::from(vec![extent(0, 1024)]));
        assert_eq!(again(5000), ExtentMap::new());
    }

    #[test]
    fn of_a_place_that_was_written_twice_the_last_counts() {
        let mut spans = Spans::new();
        spans.add(extent(0, 4096), &[1; 4096]);
        spans.add(extent(0, 4096), &[2; 4096]);
        assert_eq!(different(spans, vec![2; 4096]), ExtentMap::new());
    }
}
