//! Volumes of which only a part is encrypted ("used disk space only", and what is being converted): a bitmap for each
//! region says which chunks are, and a log what a conversion was doing when it was interrupted.
//!
//! Facts: Fox-IT, dissect.fve (`bde/c_bde.py`, `bde/eow.py`), after Windows' own driver; the fields of the log are those
//! of its image `eow_partial`, where the checksums and the seven numbers known from elsewhere agree.

use super::metadata::Layout;
use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::source::{BlockSource, ReadError, read_vec};

const INFORMATION: &[u8] = b"FVE-EOW\0";
const BITMAP: &[u8] = b"FVE-EOWBM\0";
const RECORD: &[u8] = b"FVE-EOWBR\0";
const LOG: &[u8] = b"OLRDHEVF2\0";
const INFORMATION_HEAD: usize = 56;
const BITMAP_HEAD: usize = 60;
const RECORD_HEAD: usize = 36;
const SECTOR: u64 = 512;
/// Chunks have 8 MiB; less than this says that the number is none.
const SMALLEST_CHUNK: u64 = 64 << 10;
/// A bitmap with both its records has 1536 bytes.
const BITMAP_LIMIT: u64 = 16 << 10;
/// Most pieces in the clear that are kept in mind.
const PIECE_LIMIT: usize = 1 << 18;

const DAMAGED: &str = "what says which part of it is encrypted is damaged";
const UNDERWAY: &str = "it is being encrypted or decrypted; let Windows finish that first";

/// Which part of a volume is encrypted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Conversion {
    /// Where this is written down.
    pub own: Vec<Extent>,
    /// What is not encrypted, as it stands on disk.
    pub clear: ExtentMap,
}

/// What stands in the way of knowing is a sentence.
pub fn read(
    source: &dyn BlockSource,
    places: [u64; 2],
    layout: &Layout,
) -> Result<Result<Conversion, String>, ReadError> {
    if u64::from(layout.sector_size) != SECTOR {
        return Ok(Err(
            "only a part of it is encrypted, which is not supported on sectors of 4096 bytes"
                .into(),
        ));
    }
    let mut told = Vec::new();
    for place in places {
        told.extend(Information::read(source, place, places)?);
    }
    told.dedup();
    let [information] = &told[..] else {
        return Ok(Err(DAMAGED.into()));
    };
    let mut walk = Walk {
        source,
        layout,
        information,
        own: Vec::new(),
        clear: Vec::new(),
        at: layout.head().end(),
    };
    Ok(match walk.regions(places)? {
        Ok(()) => walk.finish().ok_or_else(|| DAMAGED.into()),
        Err(why) => Err(why.into()),
    })
}

/// Bytes that are only worth something when they are all there. `None` where they cannot be read.
fn bytes(source: &dyn BlockSource, at: u64, len: u64) -> Result<Option<Vec<u8>>, ReadError> {
    match read_vec(source, at, len) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The checksum is taken with zeros in its own place.
fn sums(bytes: &[u8], place: usize) -> Option<bool> {
    let mut hash = crc32fast::Hasher::new();
    hash.update(bytes.get(..place)?);
    hash.update(&[0; 4]);
    hash.update(bytes.get(place + 4..)?);
    Some(Fields(bytes).u32(place)? == hash.finalize())
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Information {
    len: u64,
    chunk: u64,
    log_len: u64,
    /// From one record of a log to the next.
    stride: u64,
    bitmaps: Vec<u64>,
}

impl Information {
    fn read(
        source: &dyn BlockSource,
        place: u64,
        places: [u64; 2],
    ) -> Result<Option<Information>, ReadError> {
        let Some(head) = bytes(source, place, SECTOR)? else {
            return Ok(None);
        };
        let len = Fields(&head).u16(10).unwrap_or(0);
        let whole = bytes(source, place, u64::from(len))?;
        Ok(whole.and_then(|whole| Information::parse(&whole, places)))
    }

    fn parse(bytes: &[u8], places: [u64; 2]) -> Option<Information> {
        let fields = Fields(bytes);
        let list = bytes.get(INFORMATION_HEAD..)?;
        let right = fields.starts_with(0, INFORMATION)
            && usize::from(fields.u16(8)?) == INFORMATION_HEAD
            && u64::from(fields.u32(12)?) == SECTOR
            && list.len() == 8 * usize::try_from(fields.u32(32)?).ok()?
            && [fields.u64(40)?, fields.u64(48)?] == places
            && sums(bytes, 36)?;
        let information = Information {
            len: bytes.len() as u64,
            chunk: u64::from(fields.u32(20)?),
            log_len: u64::from(fields.u32(24)?),
            stride: u64::from(fields.u32(28)?),
            bitmaps: list
                .chunks_exact(8)
                .filter_map(|place| Fields(place).u64(0))
                .collect(),
        };
        let sane = information.chunk >= SMALLEST_CHUNK
            && information.chunk.is_multiple_of(SECTOR)
            && information.log_len.is_multiple_of(SECTOR)
            && information.stride >= SECTOR
            && 2 * information.stride + SECTOR <= information.log_len;
        (right && sane).then_some(information)
    }
}

/// Over the regions, which follow one another up to the end of the volume.
struct Walk<'a> {
    source: &'a dyn BlockSource,
    layout: &'a Layout,
    information: &'a Information,
    own: Vec<Extent>,
    clear: Vec<Extent>,
    at: u64,
}

struct Region {
    extent: Extent,
    log: u64,
    /// One bit a chunk: it is encrypted.
    bits: Vec<u8>,
}

impl Walk<'_> {
    fn regions(&mut self, places: [u64; 2]) -> Result<Result<(), &'static str>, ReadError> {
        for place in places {
            self.keep(place, self.information.len);
        }
        for place in &self.information.bitmaps {
            let Some(region) = self.region(*place)? else {
                return Ok(Err(DAMAGED));
            };
            match self.is_idle(&region)? {
                Some(true) => {}
                Some(false) => return Ok(Err(UNDERWAY)),
                None => return Ok(Err(DAMAGED)),
            }
            self.keep(region.log, self.information.log_len);
            self.at = region.extent.end();
            self.take(&region);
            if self.clear.len() > PIECE_LIMIT {
                return Ok(Err("it is encrypted in more pieces than are followed"));
            }
        }
        Ok(Ok(()))
    }

    fn keep(&mut self, place: u64, len: u64) {
        self.own
            .extend(Extent::new(place, len.next_multiple_of(SECTOR)));
    }

    fn take(&mut self, region: &Region) {
        let (start, end) = (region.extent.start(), region.extent.end());
        let bits = region
            .bits
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
        let starts =
            std::iter::successors(Some(start), |at| at.checked_add(self.information.chunk));
        for (at, bit) in starts.take_while(|at| *at < end).zip(bits) {
            let next = at.saturating_add(self.information.chunk).min(end);
            let from = match self.clear.last() {
                _ if bit != 0 => continue,
                Some(last) if last.end() == at => {
                    let from = last.start();
                    self.clear.pop();
                    from
                }
                _ => at,
            };
            self.clear.extend(Extent::between(from, next));
        }
    }

    /// `None` when it is damaged, or not the one that follows.
    fn region(&mut self, place: u64) -> Result<Option<Region>, ReadError> {
        let Some(head) = bytes(self.source, place, SECTOR)? else {
            return Ok(None);
        };
        let len = u64::from(Fields(&head).u32(12).unwrap_or(0));
        if len > BITMAP_LIMIT {
            return Ok(None);
        }
        let whole = bytes(self.source, place, len)?;
        let region = whole.and_then(|whole| self.parse(&whole));
        if region.is_some() {
            self.keep(place, len);
        }
        Ok(region)
    }

    fn parse(&self, bytes: &[u8]) -> Option<Region> {
        let fields = Fields(bytes);
        let [first, second, len] = [44, 48, 52].map(|at| {
            fields
                .u32(at)
                .and_then(|number| usize::try_from(number).ok())
        });
        let (first, second, len) = (first?, second?, len?);
        let right = fields.starts_with(0, BITMAP)
            && usize::from(fields.u16(10)?) == BITMAP_HEAD
            && sums(bytes.get(..first)?, BITMAP_HEAD - 4)?;
        let extent = Extent::new(fields.u64(20)?, fields.u64(28)?)?;
        let chunks = extent.len().div_ceil(self.information.chunk);
        let record = |at| Record::parse(fields.bytes(at, len)?, chunks);
        let (a, b) = (record(first)?, record(second)?);
        let newest = match a.number.cmp(&b.number) {
            std::cmp::Ordering::Less => b,
            std::cmp::Ordering::Greater => a,
            std::cmp::Ordering::Equal => return None,
        };
        (right && extent.start() == self.at).then(|| Region {
            extent,
            log: fields.u64(36).unwrap_or(0),
            bits: newest.bits.to_vec(),
        })
    }

    /// Nothing was being converted when it was left: the newest record of the log has no place. `None` when it is damaged.
    fn is_idle(&self, region: &Region) -> Result<Option<bool>, ReadError> {
        let Some(head) = bytes(self.source, region.log, SECTOR)? else {
            return Ok(None);
        };
        let mut records = Vec::new();
        for at in [SECTOR, SECTOR + self.information.stride] {
            let place = region.log.saturating_add(at);
            let Some(record) = bytes(self.source, place, SECTOR)? else {
                return Ok(None);
            };
            records.extend(step(Fields(&record)));
        }
        let [first, second] = records[..] else {
            return Ok(None);
        };
        let newest = first.max(second);
        let same = first.0 == second.0 && first != second;
        Ok(self
            .is_log_of(Fields(&head), region)
            .filter(|ours| *ours && !same)
            .map(|_| newest.1 == 0))
    }

    fn is_log_of(&self, head: Fields<'_>, region: &Region) -> Option<bool> {
        Some(
            head.starts_with(0, LOG)
                && (head.u16(10)?, head.u16(12)?) == (1, 2)
                && u64::from(head.u32(14)?) == SECTOR
                && head.u64(18)? == self.layout.size_bytes
                && u64::from(head.u32(26)?) == self.information.chunk
                && u64::from(head.u32(30)?) == self.information.stride
                && head.u64(42)? == region.extent.start(),
        )
    }

    /// `None` when the regions are not the whole volume, or what is BitLocker's own overlaps.
    fn finish(self) -> Option<Conversion> {
        let taken: ExtentMap = self.layout.zeros().chain([self.layout.head()]).collect();
        let own: ExtentMap = self.own.iter().copied().collect();
        let apart = own.total_bytes() == self.own.iter().map(|extent| extent.len()).sum::<u64>()
            && own.intersection(&taken).is_empty()
            && own.end() <= self.layout.size_bytes
            && own.iter().all(|extent| {
                extent.start().is_multiple_of(SECTOR) && extent.len().is_multiple_of(SECTOR)
            });
        (apart && self.at == self.layout.size_bytes).then(|| Conversion {
            own: self.own,
            clear: ExtentMap::from(self.clear),
        })
    }
}

/// The number of a log's record, and the place of what was being converted.
fn step(record: Fields<'_>) -> Option<(u64, u64)> {
    let sum = crc32fast::hash(record.bytes(0, 28)?);
    let right = (record.u16(0)?, record.u16(2)?) == (32, 1) && record.u32(28)? == sum;
    right.then_some((record.u64(4)?, record.u64(12)?))
}

/// One of two that are written in turn.
struct Record<'a> {
    number: u64,
    bits: &'a [u8],
}

impl Record<'_> {
    fn parse(bytes: &[u8], chunks: u64) -> Option<Record<'_>> {
        let fields = Fields(bytes);
        let bits = bytes.get(RECORD_HEAD..)?;
        // Of what the flags mean only this much is known: they have been nothing and 2.
        let right = fields.starts_with(0, RECORD)
            && usize::from(fields.u16(10)?) == RECORD_HEAD
            && usize::try_from(fields.u32(12)?).ok()? == bytes.len()
            && u64::from(fields.u32(16)?) == chunks
            && bits.len() as u64 >= chunks.div_ceil(8)
            && matches!(fields.u32(28)?, 0 | 2)
            && sums(bytes, RECORD_HEAD - 4)?;
        right.then_some(Record {
            number: fields.u64(20)?,
            bits,
        })
    }
}
