//! Opening: by the end and the root where they are good, by looking for the pages where they are not.

use disk::extent::Extent;

use crate::end::{END_LEN, End};
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::{HEAD_AT, Head};
use crate::index::{self, PAGE_ENTRIES, PAGES_LIMIT, Page, PageRef};
use crate::manifest::Manifest;
use crate::reader::Reader;
use crate::reader::cache::Cache;
use crate::reader::page::{Slot, Walk};
use crate::scan;
use crate::seek;
use crate::store::ReadFile;

pub fn open(file: Box<dyn ReadFile>, name: String) -> Result<Reader, ImageError> {
    let mut notes = Vec::new();
    let (first, head_len) = head_frame(&*file, &name)?.unzip();
    let end = find_end(&*file, first.as_ref(), &name)?;
    let head = match first.or(end.map(|end| end.head)) {
        Some(head) => head,
        None => head_of_a_page(&*file, &name)?,
    };
    if first.is_none() {
        notes.push(format!("{name}: the head is damaged; its copy was used"));
    }
    if end.is_none() {
        notes.push(format!(
            "{name} has no end: it is unfinished, cut off or damaged there; the index was put together from its parts"
        ));
    }
    let from_root = match &end {
        Some(end) => root(&*file, end)?,
        None => None,
    };
    let slots = match from_root {
        Some(pages) => slots_of(&pages),
        None => {
            if end.is_some() {
                notes.push(format!(
                    "{name}: the root of the index is damaged; it was put together from its parts"
                ));
            }
            let last = end.map_or(file.len(), |end| end.manifest.offset.min(file.len()));
            rebuild(&*file, &head, last)?
        }
    };
    let manifest = match &end {
        Some(end) => manifest(&*file, end.manifest.offset)?,
        None => manifest_behind(&*file, &slots)?,
    };
    if manifest.is_none() && end.is_some() {
        notes.push(format!(
            "{name}: the manifest is damaged; the disk's content is not affected"
        ));
    }
    Ok(Reader {
        file,
        name,
        head,
        head_len,
        end,
        manifest,
        slots,
        notes,
        cache: std::sync::Mutex::new(Cache::default()),
    })
}

/// The head and the length of its frame.
fn head_frame(file: &dyn ReadFile, name: &str) -> Result<Option<(Head, u32)>, ImageError> {
    let mut buf = Vec::new();
    if !scan::read_frame(file, HEAD_AT, FrameKind::Head, &mut buf)? {
        return Ok(None);
    }
    let frame = frame::open(&buf, HEAD_AT).expect("it was found whole");
    let len = u32::try_from(buf.len()).expect("a head is below 4 KiB");
    Head::parse(frame.body, frame.id, name).map(|head| Some((head, len)))
}

/// In front of the seek table; when that is damaged it is looked for, but not beyond the last page.
fn find_end(
    file: &dyn ReadFile,
    head: Option<&Head>,
    name: &str,
) -> Result<Option<End>, ImageError> {
    let mut buf = Vec::new();
    let mut at = |offset: u64| -> Result<Option<End>, ImageError> {
        if !scan::read_frame(file, offset, FrameKind::End, &mut buf)? {
            return Ok(None);
        }
        let end = End::parse(&buf, offset, name)?;
        Ok(end.filter(|end| head.is_none_or(|head| *head == end.head)))
    };
    let mut footer = [0; seek::FOOTER_LEN];
    if let Some(place) = file.len().checked_sub(footer.len() as u64) {
        scan::read_what_is_readable(file, place, &mut footer)?;
        let before = seek::len_from_footer(&footer).map(|len| len + END_LEN as u64);
        if let Some(offset) = before.and_then(|before| file.len().checked_sub(before))
            && let Some(end) = at(offset)?
        {
            return Ok(Some(end));
        }
    }
    let kinds = &[FrameKind::End, FrameKind::Page];
    let found = scan::find_back(file, file.len(), kinds, |offset| {
        if let Some(end) = at(offset)? {
            return Ok(Some(Some(end)));
        }
        Ok(scan::read_page(file, offset)?.map(|_| None))
    })?;
    Ok(found.flatten())
}

fn head_of_a_page(file: &dyn ReadFile, name: &str) -> Result<Head, ImageError> {
    let mut buf = Vec::new();
    let found = scan::find_back(file, file.len(), &[FrameKind::Page], |offset| {
        if !scan::read_frame(file, offset, FrameKind::Page, &mut buf)? {
            return Ok(None);
        }
        Ok(Page::parse(&buf, offset, name)?.map(|(page, _)| page.head))
    })?;
    found.ok_or_else(|| ImageError::Foreign {
        image: name.to_owned(),
        found: "neither a head nor a page of an index was found in it".to_owned(),
    })
}

fn root(file: &dyn ReadFile, end: &End) -> Result<Option<Vec<PageRef>>, ImageError> {
    let mut buf = Vec::new();
    if !scan::read_frame(file, end.root.offset, FrameKind::Root, &mut buf)?
        || frame::digest(&buf) != end.root.digest
    {
        return Ok(None);
    }
    Ok(index::parse_root(
        &buf[frame::FRONT..buf.len() - 32],
        &end.head,
    ))
}

fn manifest(file: &dyn ReadFile, offset: u64) -> Result<Option<Manifest>, ImageError> {
    let mut buf = Vec::new();
    if !scan::read_frame(file, offset, FrameKind::Manifest, &mut buf)? {
        return Ok(None);
    }
    Ok(Manifest::unpack(&buf[frame::FRONT..buf.len() - 32]))
}

/// It stands directly behind the last page.
fn manifest_behind(file: &dyn ReadFile, slots: &[Slot]) -> Result<Option<Manifest>, ImageError> {
    match slots.iter().rev().find_map(|slot| slot.page) {
        Some(page) => manifest(file, page.end()),
        None => Ok(None),
    }
}

fn slots_of(pages: &[PageRef]) -> Vec<Slot> {
    let mut begin = 0;
    pages
        .iter()
        .map(|page| {
            let slot = Slot {
                extent: page.extent,
                begin,
                end: page.offset,
                page: Some(*page),
            };
            begin = page.end();
            slot
        })
        .collect()
}

/// From the last page back by the links, and where one leads nowhere by looking; what lies between the pages
/// that are found, and behind the last, is gone through chunk by chunk.
fn rebuild(file: &dyn ReadFile, head: &Head, end: u64) -> Result<Vec<Slot>, ImageError> {
    // Page, and the first byte of its first chunk; last page first.
    let mut found: Vec<(PageRef, u64)> = Vec::new();
    let (mut until, mut link) = (end, None);
    while found.len() < PAGES_LIMIT {
        let upper = found
            .last()
            .map_or(head.geometry.size_bytes, |(page, _)| page.extent.start());
        let read = |offset: u64| -> Result<Option<(Page, PageRef)>, ImageError> {
            let fits = |place: &PageRef| place.end() <= until && place.extent.end() <= upper;
            Ok(scan::read_page(file, offset)?
                .filter(|(page, place)| page.head == *head && fits(place)))
        };
        let linked = match link {
            Some(offset) => read(offset)?.filter(|(_, place)| place.end() == until),
            None => None,
        };
        let page = match linked {
            Some(page) => Some(page),
            None => scan::find_back(file, until, &[FrameKind::Page], read)?,
        };
        let Some((page, place)) = page else { break };
        until = page.begin();
        link = page.previous;
        found.push((place, page.begin()));
    }
    found.reverse();
    let mut slots = Vec::new();
    let (mut at, mut address) = (0, 0);
    for (page, begin) in found {
        missing(
            file,
            head,
            (at, begin),
            (address, page.extent.start()),
            &mut slots,
        )?;
        slots.push(Slot {
            extent: page.extent,
            begin,
            end: page.offset,
            page: Some(page),
        });
        (at, address) = (page.end(), page.extent.end());
    }
    missing(
        file,
        head,
        (at, end),
        (address, head.geometry.size_bytes),
        &mut slots,
    )?;
    Ok(slots)
}

/// Slots for a part of the file whose pages are lost, and the part of the disk that it should describe.
fn missing(
    file: &dyn ReadFile,
    head: &Head,
    (begin, end): (u64, u64),
    (address, last): (u64, u64),
    slots: &mut Vec<Slot>,
) -> Result<(), ImageError> {
    let mut slot_from = (begin, address);
    let (mut count, mut reached) = (0, address);
    let mut walk = Walk::new(file, *head, begin, end);
    while let Some(entry) = walk.next_entry()? {
        if entry.extent.start() < reached || entry.extent.end() > last || slots.len() >= PAGES_LIMIT
        {
            continue;
        }
        if count == PAGE_ENTRIES {
            push(slots, slot_from, (entry.offset, reached));
            slot_from = (entry.offset, reached);
            count = 0;
        }
        count += 1;
        reached = entry.extent.end();
    }
    push(slots, slot_from, (end, last));
    Ok(())
}

fn push(slots: &mut Vec<Slot>, (begin, start): (u64, u64), (end, last): (u64, u64)) {
    slots.extend(Extent::between(start, last).map(|extent| Slot {
        extent,
        begin,
        end,
        page: None,
    }));
}
