//! Opening: by the end and the root where they are good, by looking for the pages where they are not.

use crate::end::{END_LEN, End};
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::{HEAD_AT, Head};
use crate::index::{self, Page, Pages};
use crate::manifest::Manifest;
use crate::reader::Reader;
use crate::reader::cache::Cache;
use crate::reader::log::Log;
use crate::reader::made_good::Healing;
use crate::reader::page::Slot;
use crate::reader::rebuild::{from_root_pages, rebuild};
use crate::scan;
use crate::seek;
use crate::store::ReadFile;

pub fn open(file: Box<dyn ReadFile>, name: String) -> Result<Reader, ImageError> {
    let mut notes = file.missing();
    let (first, head_len) = head_frame(&*file, &name)?.unzip();
    let end = find_end(&*file, first.as_ref(), &name)?;
    // The end knows of an order that was left after the head was written.
    let head = match end.map(|end| end.head).or(first) {
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
    let (head, slots, log) = match from_root {
        Some(pages) => from_root_pages(head, &pages),
        None => {
            if end.is_some() {
                notes.push(format!(
                    "{name}: the root of the index is damaged; it was put together from its parts"
                ));
            }
            let last = end.map_or(file.len(), |end| end.manifest.offset.min(file.len()));
            rebuild(&*file, head, last)?
        }
    };
    let beside = log.as_ref().map_or(slots.as_slice(), Log::slots);
    let manifest = story(&*file, end.as_ref(), beside)?;
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
        log,
        file_name: String::new(),
        generation: 0,
        parent: None,
        ancestors: Vec::new(),
        stands_for: Vec::new(),
        kin_len: None,
        pages_of_chain: 0,
        notes,
        cache: std::sync::Mutex::new(Cache::default()),
        healing: Healing::default(),
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
        Ok(end.filter(|end| head.is_none_or(|head| head.same_image(&end.head))))
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

fn root(file: &dyn ReadFile, end: &End) -> Result<Option<Pages>, ImageError> {
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

fn story(
    file: &dyn ReadFile,
    end: Option<&End>,
    beside: &[Slot],
) -> Result<Option<Manifest>, ImageError> {
    match end {
        Some(end) => manifest(file, end.manifest.offset),
        None => manifest_behind(file, beside),
    }
}

/// It stands directly behind the last page.
fn manifest_behind(file: &dyn ReadFile, slots: &[Slot]) -> Result<Option<Manifest>, ImageError> {
    match slots.iter().rev().find_map(|slot| slot.page) {
        Some(page) => manifest(file, page.end()),
        None => Ok(None),
    }
}
