//! The label of a physical volume and its metadata areas: checked bytes up to the text.
//!
//! Label, header and areas: lvm2, lib/label/label.h, lib/format_text/layout.h.

use crate::extent::Extent;
use crate::fields::{Fields, text};
use crate::source::{BlockSource, ReadError, STRUCTURE_LIMIT, read_vec};

/// LVM's sums are CRC-32 from this state on, without the inversion at the end.
const SUM_START: u32 = 0xF597_A6CF;
const MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
const SECTOR: u64 = 512;
/// Where a text begins again that reached the end of its area.
const HEADER: u64 = 512;
/// Metadata areas of one volume: LVM makes two at most.
const AREAS: usize = 8;

/// What the label says. Offsets are in bytes of the volume.
#[derive(Debug)]
pub struct Label {
    pub uuid: String,
    pub size_bytes: u64,
    /// Where the extents begin.
    pub data_start: Option<u64>,
    areas: Vec<Extent>,
    /// More than one valid label was found.
    pub twice: bool,
}

impl Label {
    /// The first valid label of the four sectors where there may be one.
    pub fn read(source: &dyn BlockSource) -> Result<Option<Label>, ReadError> {
        let mut found: Option<Label> = None;
        for sector in 0..4 {
            if (sector + 1) * SECTOR > source.size_bytes() {
                break;
            }
            let raw = read_vec(source, sector * SECTOR, SECTOR)?;
            let Some(label) = Label::parse(&raw, sector) else {
                continue;
            };
            match &mut found {
                None => found = Some(label),
                Some(first) => first.twice = true,
            }
        }
        Ok(found)
    }

    fn parse(raw: &[u8], sector: u64) -> Option<Label> {
        let fields = Fields(raw);
        let valid = fields.starts_with(0, b"LABELONE")
            && fields.u64(8)? == sector
            && fields.starts_with(24, b"LVM2 001")
            && fields.u32(16)? == sum(raw.get(20..)?);
        if !valid {
            return None;
        }
        let header = usize::try_from(fields.u32(20)?).ok()?;
        let id = text(fields.bytes(header, 32)?);
        let mut at = header.checked_add(40)?;
        let data = locations(fields, &mut at)?;
        let metadata = locations(fields, &mut at)?;
        Some(Label {
            uuid: dashed(&id),
            size_bytes: fields.u64(header.checked_add(32)?)?,
            data_start: data.first().map(|(start, _)| *start),
            areas: metadata
                .into_iter()
                .filter_map(|(start, len)| Extent::new(start, len))
                .collect(),
            twice: false,
        })
    }

    /// The text of the metadata, the same in every area that is in use; or why it cannot be believed.
    pub fn metadata(&self, source: &dyn BlockSource) -> Result<Result<String, String>, ReadError> {
        let mut found: Option<Vec<u8>> = None;
        for area in self.areas.iter().take(AREAS) {
            let text = match text_of(source, *area)? {
                Area::Unused => continue,
                Area::Doubtful(why) => return Ok(Err(why.into())),
                Area::Text(text) => text,
            };
            if found.as_ref().is_some_and(|first| *first != text) {
                return Ok(Err("its two copies of the metadata differ".into()));
            }
            found = Some(text);
        }
        let Some(text) = found else {
            return Ok(Err("its metadata is on another disk".into()));
        };
        Ok(String::from_utf8(text).map_err(|_| "its metadata is no text".into()))
    }

    /// Where the metadata areas are.
    pub fn areas(&self) -> impl Iterator<Item = Extent> + '_ {
        self.areas.iter().copied()
    }
}

/// Pairs of start and length up to one of zeros. `None` when there is no such end.
fn locations(fields: Fields<'_>, at: &mut usize) -> Option<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    loop {
        let pair = (fields.u64(*at)?, fields.u64(*at + 8)?);
        *at += 16;
        if pair == (0, 0) {
            return Some(found);
        }
        found.push(pair);
    }
}

enum Area {
    /// It is marked to be ignored, or no group was ever written to it.
    Unused,
    Doubtful(&'static str),
    Text(Vec<u8>),
}

fn text_of(source: &dyn BlockSource, area: Extent) -> Result<Area, ReadError> {
    if area.end() > source.size_bytes() || area.len() <= HEADER {
        return Ok(Area::Doubtful("a metadata area lies beyond its end"));
    }
    let header = read_vec(source, area.start(), HEADER)?;
    let Some(header) = AreaHeader::parse(&header) else {
        return Ok(Area::Doubtful("the checksum of a metadata area is wrong"));
    };
    if header.start != area.start() || header.size != area.len() {
        return Ok(Area::Doubtful("a metadata area is not where it says"));
    }
    if header.ignored || header.len == 0 {
        return Ok(Area::Unused);
    }
    if header.change {
        return Ok(Area::Doubtful("a change of its metadata was interrupted"));
    }
    let inside = header.offset >= HEADER && header.offset < area.len();
    if !inside || header.len > area.len() - HEADER || header.len > STRUCTURE_LIMIT {
        return Ok(Area::Doubtful("its metadata lies beyond its area"));
    }
    let first = header.len.min(area.len() - header.offset);
    let mut text = read_vec(source, area.start() + header.offset, first)?;
    text.extend(read_vec(source, area.start() + HEADER, header.len - first)?);
    if sum(&text) != header.sum {
        return Ok(Area::Doubtful("the checksum of its metadata is wrong"));
    }
    let end = text.iter().position(|byte| *byte == 0);
    text.truncate(end.unwrap_or(text.len()));
    Ok(Area::Text(text))
}

struct AreaHeader {
    start: u64,
    size: u64,
    offset: u64,
    len: u64,
    sum: u32,
    ignored: bool,
    /// A new version was being written: the second location is in use.
    change: bool,
}

impl AreaHeader {
    fn parse(raw: &[u8]) -> Option<AreaHeader> {
        let fields = Fields(raw);
        let valid = fields.u32(0)? == sum(raw.get(4..)?)
            && fields.starts_with(4, MAGIC)
            && fields.u32(20)? == 1;
        if !valid {
            return None;
        }
        Some(AreaHeader {
            start: fields.u64(24)?,
            size: fields.u64(32)?,
            offset: fields.u64(40)?,
            len: fields.u64(48)?,
            sum: fields.u32(56)?,
            ignored: fields.u32(60)? & 1 != 0,
            change: fields.u64(64)? != 0 && fields.u64(72)? != 0,
        })
    }
}

fn sum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!SUM_START);
    hasher.update(bytes);
    !hasher.finalize()
}

/// LVM writes its identifiers as 6-4-4-4-4-4-6 characters.
pub fn dashed(id: &str) -> String {
    let mut dashed = String::new();
    for (index, letter) in id.chars().enumerate() {
        if matches!(index, 6 | 10 | 14 | 18 | 22 | 26) {
            dashed.push('-');
        }
        dashed.push(letter);
    }
    dashed
}
