//! The index: pages of entries written as the image grows, and a root at the end that lists the pages.

use disk::extent::Extent;
use disk::fields::Fields;

use crate::chunk::{Entry, Kind};
use crate::digest::{Digest, ImageId, LeafValue, leaf_count};
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::{HEAD_LEN, Head, Order};
use crate::leafmap::LeafMap;

/// Most entries of a page.
pub const PAGE_ENTRIES: usize = 256;

/// Most pages of an image: bounds the memory of a reader. At 4 MiB chunks it is enough for 256 TiB.
pub const PAGES_LIMIT: usize = 1 << 18;

const PAGE_FIELDS: usize = HEAD_LEN + 80;
const ENTRY: usize = 64;
const ROOT_FIELDS: usize = 8;
const PAGE_REF: usize = 64;
const LEAVES_FIELDS: usize = 8;
const LEAF_RECORD: usize = 16;

/// "There is no page before this one."
const NONE: u64 = u64::MAX;

/// Where a page is and which part of the disk it describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRef {
    pub offset: u64,
    pub len: u32,
    pub entries: u32,
    pub extent: Extent,
    pub digest: Digest,
}

impl PageRef {
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

/// Where the leaf values of a page are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeavesRef {
    pub offset: u64,
    pub len: u32,
    pub digest: Digest,
}

/// A page as it stands in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    pub head: Head,
    pub number: u32,
    pub previous: Option<u64>,
    pub leaves: Option<LeavesRef>,
    /// The smallest that has all entries in it.
    pub extent: Extent,
    /// In the file in this order, with room for frames that a reader may ignore; each cell once, and in disk order
    /// ascending without gap. Those of a sorted page only ascend.
    pub entries: Vec<Entry>,
}

impl Page {
    /// First byte of the file that belongs to it: the chunk frame of its first entry.
    pub fn begin(&self) -> u64 {
        self.entries.first().map_or(0, |entry| entry.offset)
    }

    /// How many frames there are from the first entry to this page.
    pub fn frames(&self) -> u64 {
        let chunks: u64 = self.entries.iter().map(Entry::frames).sum();
        chunks + 1 + u64::from(self.leaves.is_some())
    }

    /// `kind` is [`FrameKind::Page`] or [`FrameKind::Sorted`].
    pub fn build(&self, kind: FrameKind, offset: u64, out: &mut Vec<u8>) {
        frame::build(kind, self.head.id, offset, out, |out| {
            let leaves = self.leaves.unwrap_or(LeavesRef {
                offset: 0,
                len: 0,
                digest: Digest::default(),
            });
            let count = u32::try_from(self.entries.len()).expect("a page has at most 256 entries");
            self.head.put(out);
            out.extend_from_slice(&self.number.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(&self.previous.unwrap_or(NONE).to_le_bytes());
            out.extend_from_slice(&leaves.offset.to_le_bytes());
            out.extend_from_slice(&leaves.len.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&leaves.digest.0);
            out.extend_from_slice(&self.extent.start().to_le_bytes());
            out.extend_from_slice(&self.extent.end().to_le_bytes());
            self.entries.iter().for_each(|entry| entry.put(out));
        });
    }

    /// The page at the start of `bytes`; `Ok(None)` when there is none, or one that contradicts itself.
    pub fn parse(
        bytes: &[u8],
        offset: u64,
        image: &str,
    ) -> Result<Option<(Page, PageRef)>, ImageError> {
        let Some(frame) = frame::open(bytes, offset) else {
            return Ok(None);
        };
        let head = Head::parse(frame.body, frame.id, image)?;
        Ok(Page::fields(frame.body, head)
            .filter(|page| match frame.kind {
                FrameKind::Page => page.is_consistent(offset),
                FrameKind::Sorted => page.is_sorted(offset),
                _ => false,
            })
            .map(|page| {
                let place = PageRef {
                    offset,
                    len: u32::try_from(frame.body.len() + frame::AROUND)
                        .expect("a page is below 32 KiB"),
                    entries: u32::try_from(page.entries.len())
                        .expect("a page has at most 256 entries"),
                    extent: page.extent,
                    digest: frame.digest,
                };
                (page, place)
            }))
    }

    fn fields(body: &[u8], head: Head) -> Option<Page> {
        let fields = Fields(body.get(HEAD_LEN..)?);
        let count = usize::try_from(fields.u32(4)?).ok()?;
        let entries = body.get(PAGE_FIELDS..)?;
        if count == 0 || count > PAGE_ENTRIES || entries.len() != count * ENTRY {
            return None;
        }
        let entries = entries
            .chunks_exact(ENTRY)
            .map(|entry| Entry::parse(entry, &head));
        let leaves = LeavesRef {
            offset: fields.u64(16)?,
            len: fields.u32(24)?,
            digest: Digest(fields.array(32)?),
        };
        Some(Page {
            head,
            number: fields.u32(0)?,
            previous: fields.u64(8).filter(|offset| *offset != NONE),
            leaves: (leaves.len > 0).then_some(leaves),
            extent: Extent::between(fields.u64(64)?, fields.u64(72)?)?,
            entries: entries.collect::<Option<Vec<_>>>()?,
        })
    }

    fn is_consistent(&self, offset: u64) -> bool {
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else {
            return false;
        };
        let in_file_order = |pair: &[Entry]| pair[0].end() <= pair[1].offset;
        let in_row = self.entries.windows(2).all(in_file_order)
            && match self.head.order {
                Order::Disk => {
                    without_gap(&self.entries) && !self.entries.iter().any(Entry::in_any_order)
                }
                Order::Any => {
                    self.entries.iter().all(Entry::in_any_order) && each_cell_once(&self.entries)
                }
            };
        let before = match self.leaves {
            None => last.end() <= offset,
            Some(leaves) => {
                let end = leaves.offset.checked_add(u64::from(leaves.len));
                last.end() <= leaves.offset
                    && end.is_some_and(|end| end <= offset)
                    && leaves.len as usize <= FrameKind::Leaves.limit()
            }
        };
        in_row
            && before
            && Page::extent_of(&self.entries) == Some(self.extent)
            && self.previous.is_none_or(|previous| previous < first.offset)
    }
}

impl Page {
    /// The smallest extent that has all of them in it.
    pub fn extent_of(entries: &[Entry]) -> Option<Extent> {
        let start = entries.iter().map(|entry| entry.extent.start()).min()?;
        let end = entries.iter().map(|entry| entry.extent.end()).max()?;
        Extent::between(start, end)
    }

    /// What a page of the sorted index must be.
    fn is_sorted(&self, offset: u64) -> bool {
        self.head.order == Order::Any
            && without_gap(&self.entries)
            && Page::extent_of(&self.entries) == Some(self.extent)
            && self.entries.iter().all(|entry| entry.end() <= offset)
            && self.previous.is_none()
            && self.leaves.is_none()
    }
}

fn each_cell_once(entries: &[Entry]) -> bool {
    let mut extents: Vec<Extent> = entries.iter().map(|entry| entry.extent).collect();
    extents.sort_unstable_by_key(|extent| extent.start());
    let apart = |pair: &[Extent]| pair[0].end() <= pair[1].start();
    extents.windows(2).all(apart)
}

fn without_gap(entries: &[Entry]) -> bool {
    let joins = |pair: &[Entry]| pair[0].extent.end() == pair[1].extent.start();
    entries.windows(2).all(joins)
}

/// Stored length and content of every frame from the first entry to the page, in the order of the file.
pub fn seek_entries(
    entries: &[Entry],
    leaves: Option<&LeavesRef>,
    page_len: u32,
    mut put: impl FnMut(u32, u32),
) {
    for entry in entries {
        put(entry.header_len, 0);
        if entry.kind != Kind::Inherited {
            let content = u32::try_from(entry.frame_content()).expect("at most 1 GiB");
            put(entry.stored_len, content);
        }
    }
    if let Some(leaves) = leaves {
        put(leaves.len, 0);
    }
    put(page_len, 0);
}

/// Leaf values of the data chunks of a page, collected as they are appended.
#[derive(Default, Debug)]
pub struct Leaves {
    count: u32,
    records: Vec<u8>,
}

impl Leaves {
    pub fn add(&mut self, entry: &Entry, values: &[LeafValue], map: Option<&LeafMap>) {
        if values.is_empty() {
            return;
        }
        let count = u32::try_from(values.len()).expect("a chunk has at most 256 leaves");
        self.count += 1;
        self.records
            .extend_from_slice(&entry.extent.start().to_le_bytes());
        let map_len = map.map_or(0, |_| LeafMap::len(values.len()));
        let short = u32::try_from(map_len).expect("it is at most 32");
        self.records.extend_from_slice(&count.to_le_bytes());
        self.records.extend_from_slice(&short.to_le_bytes());
        values
            .iter()
            .for_each(|value| self.records.extend_from_slice(value));
        if let Some(map) = map {
            let at = self.records.len();
            self.records.resize(at + map_len, 0);
            map.put(&mut self.records[at..]);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn clear(&mut self) {
        self.count = 0;
        self.records.clear();
    }

    pub fn build(&self, id: ImageId, offset: u64, out: &mut Vec<u8>) {
        frame::build(FrameKind::Leaves, id, offset, out, |out| {
            out.extend_from_slice(&self.count.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&self.records);
        });
    }
}

/// What a leaves frame has of one entry.
#[derive(Clone, Debug, Default)]
pub struct LeafRecord {
    pub values: Vec<LeafValue>,
    /// Of a patched chunk.
    pub map: Option<LeafMap>,
}

/// The record of one entry, out of the body of a leaves frame.
pub fn leaves_of(body: &[u8], entry: &Entry) -> Option<LeafRecord> {
    if !entry.kind.has_content() {
        return None;
    }
    let mut at = LEAVES_FIELDS;
    loop {
        let fields = Fields(body.get(at..)?);
        let (address, count) = (fields.u64(0)?, usize::try_from(fields.u32(8)?).ok()?);
        let map_len = usize::try_from(fields.u32(12)?).ok()?;
        let len = count.checked_mul(16)?;
        let values = fields.bytes(LEAF_RECORD, len)?;
        let map = fields.bytes(LEAF_RECORD.checked_add(len)?, map_len)?;
        if address == entry.extent.start() && count == leaf_count(entry.content_len()) {
            let (values, _) = values.as_chunks::<16>();
            return Some(LeafRecord {
                values: values.to_vec(),
                map: LeafMap::parse(map, count, usize::from(entry.own_leaves)),
            });
        }
        at += LEAF_RECORD + len + map_len;
    }
}

/// What a root lists.
#[derive(Default)]
pub struct Pages {
    /// They cover the disk from its first byte to its last.
    pub by_address: Vec<PageRef>,
    /// Of an image in any order: the pages that stand beside the chunks, in the order of the file.
    pub by_offset: Vec<PageRef>,
}

pub fn build_root(id: ImageId, pages: &Pages, offset: u64, out: &mut Vec<u8>) {
    frame::build(FrameKind::Root, id, offset, out, |out| {
        for pages in [&pages.by_address, &pages.by_offset] {
            let count = u32::try_from(pages.len()).expect("there are at most 2^18 pages");
            out.extend_from_slice(&count.to_le_bytes());
        }
        for page in pages.by_address.iter().chain(&pages.by_offset) {
            out.extend_from_slice(&page.offset.to_le_bytes());
            out.extend_from_slice(&page.extent.start().to_le_bytes());
            out.extend_from_slice(&page.extent.end().to_le_bytes());
            out.extend_from_slice(&page.len.to_le_bytes());
            out.extend_from_slice(&page.entries.to_le_bytes());
            out.extend_from_slice(&page.digest.0);
        }
    });
}

/// The pages a root lists; `None` unless they cover the whole disk and lie one behind the other.
pub fn parse_root(body: &[u8], head: &Head) -> Option<Pages> {
    let fields = Fields(body);
    let count = usize::try_from(fields.u32(0)?).ok()?;
    let beside = match head.order {
        Order::Disk => 0,
        Order::Any => usize::try_from(fields.u32(4)?).ok()?,
    };
    let refs = body.get(ROOT_FIELDS..)?;
    let all = count.checked_add(beside)?;
    if all > PAGES_LIMIT || refs.len() != all * PAGE_REF {
        return None;
    }
    let list = |bytes: &[u8]| -> Option<Vec<PageRef>> {
        let refs = bytes.chunks_exact(PAGE_REF);
        let pages: Vec<PageRef> = refs.map(|b| page_ref(Fields(b))).collect::<Option<_>>()?;
        let in_row = |pair: &[PageRef]| pair[0].end() <= pair[1].offset;
        pages.windows(2).all(in_row).then_some(pages)
    };
    let (sorted, others) = refs.split_at(count * PAGE_REF);
    let pages = Pages {
        by_address: list(sorted)?,
        by_offset: list(others)?,
    };
    let joins = |pair: &[PageRef]| pair[0].extent.end() == pair[1].extent.start();
    let whole = &pages.by_address;
    let start = whole.first().map_or(0, |page| page.extent.start());
    let end = whole.last().map_or(0, |page| page.extent.end());
    let covers = start == 0 && end == head.geometry.size_bytes && whole.windows(2).all(joins);
    covers.then_some(pages)
}

fn page_ref(fields: Fields<'_>) -> Option<PageRef> {
    let page = PageRef {
        offset: fields.u64(0)?,
        len: fields.u32(24)?,
        entries: fields.u32(28)?,
        extent: Extent::between(fields.u64(8)?, fields.u64(16)?)?,
        digest: Digest(fields.array(32)?),
    };
    let plausible = page.len as usize <= FrameKind::Page.limit() && page.offset <= u64::MAX / 2;
    plausible.then_some(page)
}
