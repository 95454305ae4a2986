//! Writes an image: chunks as they come, pages as it grows, the rest at the end.

mod any_order;
mod child;
mod finish;
mod read_back;
mod resume;
mod sorted;

pub use finish::Finished;

use std::fmt;

use disk::extent::Extent;

use crate::chunk::{self, Entry, Kind};
use crate::codec::Encoded;
use crate::digest::Digest;
use crate::end::FrameRef;
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::{Head, LEAD};
use crate::index::{self, Leaves, PAGE_ENTRIES, PAGES_LIMIT, Page, PageRef};
use crate::newest::Place;
use crate::parity::MOST_PERCENT;
use crate::states::States;
use crate::store::{Append, Store, StoreError};
use crate::zeros::{RUN_LIMIT, ZeroFrames};
use crate::{file_name, unfinished_name};
use any_order::{Course, EARLY_PAGES};
use child::Family;
use read_back::ReadBack;

/// A page is written at the latest after so much content: that much is done again after a crash.
const CHECKPOINT: u64 = 1 << 30;

/// Only what was appended and is below the last page counts; everything behind is cut off by a resume.
pub struct Writer<'s> {
    store: &'s dyn Store,
    name: String,
    file: Box<dyn Append>,
    head: Head,
    head_len: u32,
    /// Behind the head of a child.
    kin_len: Option<u32>,
    family: Family<'s>,
    pages: Vec<PageRef>,
    /// Frames of all kinds in the file.
    frames: u64,
    entries: Vec<Entry>,
    leaves: Leaves,
    course: Course,
    /// The disk has entries from its start to here.
    written: u64,
    /// Zeros that have no frame yet; in disk order they follow `written`.
    run: Option<(Kind, Extent)>,
    /// Content of data frames since the last page.
    since_page: u64,
    zeros: ZeroFrames,
    buffer: Vec<u8>,
    /// In percent of the file.
    parity: Option<u8>,
    /// For [`Writer::store_cell`].
    encoded: Encoded,
    /// For what is asked back.
    read_back: Option<ReadBack>,
    /// What the store said when it failed: nobody knows what is behind the last page then, so nothing more is
    /// written, and a resume cuts it off.
    failed: Option<StoreError>,
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("name", &self.name)
            .field("at", &self.at())
            .finish_non_exhaustive()
    }
}

impl<'s> Writer<'s> {
    /// Begins `NAME.img.zst.unfinished`. [`StoreError::Taken`] when there is such a file or a finished image.
    pub fn create(store: &'s dyn Store, name: &str, head: Head) -> Result<Writer<'s>, ImageError> {
        Writer::create_in(store, name, head, Family::default())
    }

    fn create_in(
        store: &'s dyn Store,
        name: &str,
        head: Head,
        family: Family<'s>,
    ) -> Result<Writer<'s>, ImageError> {
        let finished = file_name(name);
        if store.exists(&finished)? {
            let place = store.describe();
            return Err(StoreError::Taken(format!(
                "{place}/{finished} exists already; choose another name"
            ))
            .into());
        }
        head.check_size()?;
        Writer::begin(
            store,
            name,
            store.create(&unfinished_name(name))?,
            head,
            family,
        )
    }

    fn begin(
        store: &'s dyn Store,
        name: &str,
        file: Box<dyn Append>,
        head: Head,
        family: Family<'s>,
    ) -> Result<Writer<'s>, ImageError> {
        let mut writer = Writer::on(store, name, file, head, family);
        let mut frame = Vec::new();
        head.build(&mut frame);
        writer.put(&LEAD)?;
        writer.head_len = writer.append_frame(&frame)?.len;
        writer.append_kin()?;
        writer.sync()?;
        Ok(writer)
    }

    fn on(
        store: &'s dyn Store,
        name: &str,
        file: Box<dyn Append>,
        head: Head,
        family: Family<'s>,
    ) -> Writer<'s> {
        Writer {
            store,
            name: name.to_owned(),
            file,
            head,
            head_len: 0,
            kin_len: None,
            family,
            pages: Vec::new(),
            frames: 1,
            entries: Vec::new(),
            leaves: Leaves::default(),
            course: Course::Straight,
            written: 0,
            run: None,
            since_page: 0,
            zeros: ZeroFrames::default(),
            buffer: Vec::new(),
            parity: None,
            encoded: Encoded::default(),
            read_back: None,
            failed: None,
        }
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// [`Writer::finish`] will add parity of so many percent, if the image was begun with [`Head::with_parity`].
    pub fn protect(&mut self, percent: u8) {
        let percent = percent.clamp(1, MOST_PERCENT);
        self.parity = Some(percent).filter(|_| self.head.has_parity());
    }

    /// The first byte of the disk that is not in the image yet: in disk order it goes on there.
    pub fn at(&self) -> u64 {
        match self.run {
            Some((_, run)) if run.start() <= self.written => run.end().max(self.written),
            _ => self.written,
        }
    }

    /// Length of the file so far.
    pub fn stored_bytes(&self) -> u64 {
        self.file.len()
    }

    /// Appends the next chunk: the cell at [`Writer::at`], or any after [`Writer::any_order`].
    pub fn append(&mut self, encoded: &mut Encoded) -> Result<(), ImageError> {
        let (Some(extent), Some(kind)) = (encoded.extent, encoded.kind) else {
            return Err(ImageError::Codec("nothing was encoded".into()));
        };
        self.admit(extent, extent.len() == self.head.cell_len(extent.start()))?;
        if matches!(kind, Kind::Inherited | Kind::Patched) {
            self.has_parent(encoded.over)?;
        }
        if kind == Kind::Inherited || !kind.has_content() && encoded.states.is_none() {
            return self.extend_run(kind, extent);
        }
        self.end_run()?;
        if !kind.has_content() {
            return self.append_zeros(extent, kind, encoded.states.as_ref());
        }
        self.make_way(extent)?;
        let (entry, frames) = encoded
            .place(&self.head, self.file.len())
            .expect("it has an extent");
        self.put(frames)?;
        self.leaves
            .add(&entry, &encoded.leaves, encoded.leaf_map.as_ref());
        self.since_page += extent.len();
        self.add(entry)
    }

    /// Nothing uses this part of the disk, which begins at [`Writer::at`] (or anywhere after
    /// [`Writer::any_order`]) and is whole cells.
    pub fn free(&mut self, extent: Extent) -> Result<(), ImageError> {
        self.zeros(extent, Kind::Free)
    }

    /// As [`Writer::free`], for any kind of zeros.
    pub fn zeros(&mut self, extent: Extent, kind: Kind) -> Result<(), ImageError> {
        let last = self.head.geometry.size_bytes;
        let whole =
            extent.end() == last || extent.end().is_multiple_of(u64::from(self.head.chunk_size));
        let zeros = !kind.has_content() && kind != Kind::Inherited;
        self.admit(extent, whole && extent.end() <= last && zeros)?;
        self.extend_run(kind, extent)
    }

    /// Makes everything so far durable, so that a resume goes on from here. The engine calls it about every
    /// 10 s; it does nothing when nothing was appended.
    pub fn checkpoint(&mut self) -> Result<(), ImageError> {
        self.still_good()?;
        self.end_run()?;
        self.end_page_early()
    }

    /// Whether this may come now; `whole`: it is whole cells of the disk.
    fn admit(&mut self, given: Extent, whole: bool) -> Result<(), ImageError> {
        self.still_good()?;
        let expected = self.at();
        let at_a_cell = given
            .start()
            .is_multiple_of(u64::from(self.head.chunk_size));
        if !whole || !at_a_cell {
            return Err(ImageError::Order { expected, given });
        }
        match &self.course {
            Course::Left(_) => self.has_room(),
            _ if given.start() == expected => Ok(()),
            Course::Straight => Err(ImageError::Order { expected, given }),
            Course::MayLeave => self.leave_disk_order(),
        }
    }

    fn extend_run(&mut self, kind: Kind, extent: Extent) -> Result<(), ImageError> {
        let mut start = match self.run {
            Some((running, before)) if running == kind && before.end() == extent.start() => {
                before.start()
            }
            _ => {
                self.end_run()?;
                extent.start()
            }
        };
        while extent.end() - start > RUN_LIMIT {
            self.append_run(kind, start, start + RUN_LIMIT)?;
            start += RUN_LIMIT;
        }
        self.run = Extent::between(start, extent.end()).map(|run| (kind, run));
        Ok(())
    }

    fn end_run(&mut self) -> Result<(), ImageError> {
        match self.run.take() {
            Some((kind, run)) => self.append_run(kind, run.start(), run.end()),
            None => Ok(()),
        }
    }

    fn append_run(&mut self, kind: Kind, start: u64, end: u64) -> Result<(), ImageError> {
        // While it is written the run counts as written, not as waiting.
        self.run = None;
        let Some(extent) = Extent::between(start, end) else {
            return Ok(());
        };
        self.append_zeros(extent, kind, None)
    }

    fn append_zeros(
        &mut self,
        extent: Extent,
        kind: Kind,
        states: Option<&States>,
    ) -> Result<(), ImageError> {
        self.make_way(extent)?;
        let mapped = if states.is_some() { extent.len() } else { 0 };
        let entry = Entry {
            extent,
            whole: extent,
            generation: 0,
            kind,
            offset: self.file.len(),
            header_len: u32::try_from(chunk::header_len(0, mapped))
                .expect("a chunk frame is below 8 KiB"),
            stored_len: match kind {
                Kind::Inherited => 0,
                _ => u32::try_from(ZeroFrames::frame_len(extent.len())).expect("at most 33 KiB"),
            },
            digest: Digest::default(),
            flags: chunk::flags_for(states, self.head.order),
            own_leaves: 0,
        };
        self.buffer.clear();
        self.buffer.resize(entry.header_len as usize, 0);
        let body = frame::FRONT..self.buffer.len() - 32;
        let maps = chunk::Maps {
            states,
            leaves: None,
        };
        chunk::put_body(&entry, maps, &mut self.buffer[body]);
        frame::seal(
            FrameKind::Chunk,
            self.head.id,
            entry.offset,
            &mut self.buffer,
        );
        if kind != Kind::Inherited {
            self.zeros.write(extent.len(), &mut self.buffer);
        }
        let buffer = std::mem::take(&mut self.buffer);
        self.put(&buffer)?;
        self.buffer = buffer;
        self.add(entry)
    }

    fn add(&mut self, entry: Entry) -> Result<(), ImageError> {
        let place = Place {
            page: self.pages.len(),
            entry: self.entries.len(),
        };
        match &mut self.course {
            Course::Left(newest) => {
                newest.set(entry.extent, place);
                self.written = newest.without_gap(self.written);
            }
            Course::Straight | Course::MayLeave => self.written = entry.extent.end(),
        }
        self.frames += entry.frames();
        self.entries.push(entry);
        if self.entries.len() == PAGE_ENTRIES {
            self.end_page()
        } else if self.since_page >= CHECKPOINT {
            self.end_page_early()
        } else {
            Ok(())
        }
    }

    /// Half of all pages are kept for full ones, so that there are always enough.
    fn end_page_early(&mut self) -> Result<(), ImageError> {
        let most = match self.course {
            Course::Left(_) => EARLY_PAGES,
            Course::Straight | Course::MayLeave => PAGES_LIMIT / 2,
        };
        if self.pages.len() >= most {
            return Ok(());
        }
        self.end_page()
    }

    fn end_page(&mut self) -> Result<(), ImageError> {
        self.still_good()?;
        let Some(extent) = Page::extent_of(&self.entries) else {
            return Ok(());
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut leaves = None;
        if !self.leaves.is_empty() {
            self.leaves
                .build(self.head.id, self.file.len(), &mut buffer);
            let frame = self.append_frame(&buffer)?;
            leaves = Some(index::LeavesRef {
                offset: frame.offset,
                len: frame.len,
                digest: frame.digest,
            });
            self.leaves.clear();
        }
        // The page vouches for the data, so the data goes first.
        self.sync()?;
        let page = Page {
            head: self.head,
            number: u32::try_from(self.pages.len()).expect("there are at most 2^18 pages"),
            previous: self.pages.last().map(|page| page.offset),
            leaves,
            extent,
            entries: std::mem::take(&mut self.entries),
        };
        page.build(FrameKind::Page, self.file.len(), &mut buffer);
        let frame = self.append_frame(&buffer)?;
        self.sync()?;
        self.pages.push(PageRef {
            offset: frame.offset,
            len: frame.len,
            entries: u32::try_from(page.entries.len()).expect("a page has at most 256 entries"),
            extent,
            digest: frame.digest,
        });
        self.entries = page.entries;
        self.entries.clear();
        self.since_page = 0;
        self.buffer = buffer;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.ask_store(|file| file.append(bytes))
    }

    fn sync(&mut self) -> Result<(), ImageError> {
        self.ask_store(|file| file.sync())
    }

    fn still_good(&self) -> Result<(), StoreError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn ask_store(
        &mut self,
        ask: impl FnOnce(&mut dyn Append) -> Result<(), StoreError>,
    ) -> Result<(), ImageError> {
        self.still_good()?;
        let outcome = ask(&mut *self.file);
        self.failed = outcome.clone().err();
        Ok(outcome?)
    }

    fn append_frame(&mut self, bytes: &[u8]) -> Result<FrameRef, ImageError> {
        let place = FrameRef {
            offset: self.file.len(),
            len: u32::try_from(bytes.len()).expect("a frame of ours is far below 4 GiB"),
            digest: frame::digest(bytes),
        };
        self.put(bytes)?;
        self.frames += 1;
        Ok(place)
    }
}
