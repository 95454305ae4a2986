//! What stands in front of the root, made again: lead, head, chunk frames, leaves and pages. Each has only one form
//! for the chunks it is about, and where a digest of it is known it must be that.

use crate::chunk::{self, Entry, Kind, Maps};
use crate::codec::Decoder;
use crate::digest::{self, leaf_count};
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::{HEAD_AT, Head, LEAD, Order};
use crate::index::{Leaves, LeavesRef, Page};
use crate::reader::Reader;
use crate::reader::page::Loaded;
use crate::scan;
use crate::zeros::ZeroFrames;

/// Places of the file, and what belongs there.
pub type Patches = Vec<(u64, Vec<u8>)>;

/// What of it is damaged and can be made again.
pub fn patches(reader: &Reader) -> Result<Patches, ImageError> {
    let mut patches = Patches::new();
    front(reader, &mut patches)?;
    let mut zeros = ZeroFrames::default();
    let slots = match reader.head().order {
        Order::Disk => reader.slots().len(),
        Order::Any => reader.log_slots().len(),
    };
    for nth in 0..slots {
        let page = match reader.head().order {
            Order::Disk => reader.page(nth)?,
            Order::Any => reader.log_page(nth)?,
        };
        for entry in page.entries() {
            chunk_frame(reader, entry, &mut zeros, &mut patches)?;
        }
        if page.rebuilt {
            if reader.head().order == Order::Disk {
                lost_pages(reader, nth, &page, &mut patches)?;
            }
        } else if let Some(place) = &page.leaves
            && reader.leaves_frame(place)?.is_none()
            && let Some(frame) = leaves(reader, page.entries(), place.offset)?
            && frame::digest(&frame) == place.digest
        {
            patches.push((place.offset, frame));
        }
    }
    Ok(patches)
}

fn front(reader: &Reader, patches: &mut Patches) -> Result<(), ImageError> {
    let mut lead = LEAD;
    super::read(reader.file(), 0, &mut lead)?;
    if lead != LEAD {
        patches.push((0, LEAD.to_vec()));
    }
    if reader.head_len().is_some() {
        return Ok(());
    }
    let mut head = Vec::new();
    Head {
        order: Order::Disk,
        ..*reader.head()
    }
    .build(&mut head);
    // It must end where the next frame begins: another program may have written another text for people.
    let behind = HEAD_AT + head.len() as u64;
    let mut buf = Vec::new();
    for kind in [FrameKind::Chunk, FrameKind::Kin] {
        if scan::read_frame(reader.file(), behind, kind, &mut buf)? {
            patches.push((HEAD_AT, head));
            break;
        }
    }
    Ok(())
}

fn chunk_frame(
    reader: &Reader,
    entry: &Entry,
    frames: &mut ZeroFrames,
    patches: &mut Patches,
) -> Result<(), ImageError> {
    let mut buf = Vec::new();
    let whole = scan::read_frame(reader.file(), entry.offset, FrameKind::Chunk, &mut buf)?
        && frame::open(&buf, entry.offset).is_some_and(|frame| chunk::describes(&frame, entry));
    if !whole && !entry.has_states() && entry.kind != Kind::Patched {
        let mut frame = vec![0; entry.header_len as usize];
        let body = frame::FRONT..frame.len() - 32;
        chunk::put_body(entry, Maps::default(), &mut frame[body]);
        frame::seal(FrameKind::Chunk, reader.id(), entry.offset, &mut frame);
        patches.push((entry.offset, frame));
    }
    if entry.kind.has_content() || entry.kind == Kind::Inherited {
        return Ok(());
    }
    let mut zeros = Vec::new();
    frames.write(entry.whole.len(), &mut zeros);
    buf.resize(zeros.len(), 0);
    let at = entry.offset + u64::from(entry.header_len);
    super::read(reader.file(), at, &mut buf)?;
    if buf != zeros {
        patches.push((at, zeros));
    }
    Ok(())
}

/// The pages for the chunks of a slot: where one ended, something stood between two chunks.
fn lost_pages(
    reader: &Reader,
    nth: usize,
    loaded: &Loaded,
    patches: &mut Patches,
) -> Result<(), ImageError> {
    let slot = &reader.slots()[nth];
    let before = |nth: usize| reader.slots()[nth].page.map(|page| page.offset);
    let mut previous = nth.checked_sub(1).and_then(before);
    let number = match nth {
        0 => Some(0),
        _ => reader.number_of_page(nth - 1)?.map(|number| number + 1),
    };
    let Some(mut number) = number else {
        return Ok(());
    };
    let groups: Vec<&[Entry]> = loaded
        .entries()
        .chunk_by(|one, next| one.end() == next.offset)
        .collect();
    for (at, group) in groups.iter().enumerate() {
        let (Some(last), Some(extent)) = (group.last(), Page::extent_of(group)) else {
            return Ok(());
        };
        let end = groups.get(at + 1).map_or(slot.end, |next| next[0].offset);
        let frame = leaves(reader, group, last.end())?;
        let leaves = frame.as_ref().map(|frame| LeavesRef {
            offset: last.end(),
            len: u32::try_from(frame.len()).expect("leaves are below 2 MiB"),
            digest: frame::digest(frame),
        });
        let offset = last.end() + leaves.map_or(0, |leaves| u64::from(leaves.len));
        let page = Page {
            head: *reader.head(),
            number,
            previous,
            leaves,
            extent,
            entries: group.to_vec(),
        };
        let mut bytes = Vec::new();
        page.build(FrameKind::Page, offset, &mut bytes);
        let right = match &slot.page {
            Some(place) => place.offset == offset && place.digest == frame::digest(&bytes),
            None => offset + bytes.len() as u64 == end,
        };
        if !right {
            return Ok(());
        }
        patches.push((offset, bytes));
        patches.extend(frame.map(|frame| (last.end(), frame)));
        previous = Some(offset);
        number += 1;
    }
    Ok(())
}

/// The leaves frame for these chunks; `None` when they have none, or one of them is damaged.
fn leaves(reader: &Reader, entries: &[Entry], at: u64) -> Result<Option<Vec<u8>>, ImageError> {
    let mut all = Leaves::default();
    let mut decoder = Decoder::new()?;
    let (mut stored, mut content, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        if !entry.kind.has_content() || leaf_count(entry.content_len()) == 0 {
            continue;
        }
        reader.read_stored(entry, &mut stored)?;
        if decoder
            .decode(reader, entry, &stored, &mut content)
            .is_err()
        {
            return Ok(None);
        }
        digest::hash(&content, &mut values);
        let header = frame::open(&stored, entry.offset);
        let map = header.and_then(|frame| chunk::leaf_map_of(&frame, entry));
        if map.is_none() && entry.kind == Kind::Patched {
            return Ok(None);
        }
        let map = map.filter(|_| entry.kind == Kind::Patched);
        all.add(entry, &values, map.as_ref());
    }
    if all.is_empty() {
        return Ok(None);
    }
    let mut frame = Vec::new();
    all.build(reader.id(), at, &mut frame);
    Ok(Some(frame))
}
