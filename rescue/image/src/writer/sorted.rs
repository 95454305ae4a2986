//! The end of an image in any order: every cell has a chunk, and the index is written again by address.

use std::sync::Arc;

use disk::extent::Extent;

use crate::chunk::{Entry, Kind};
use crate::error::ImageError;
use crate::frame::FrameKind;
use crate::index::{PAGE_ENTRIES, Page, PageRef, Pages};
use crate::manifest::{self, Manifest};
use crate::newest::{Newest, Place};
use crate::reader::Reader;
use crate::unfinished_name;
use crate::writer::Writer;
use crate::writer::any_order::Course;
use crate::writer::read_back::ReadBack;

impl Writer<'_> {
    /// Every cell gets its chunk, and everything its page. Nothing may be appended behind it.
    pub(super) fn complete(&mut self) -> Result<Course, ImageError> {
        if matches!(self.course, Course::MayLeave)
            && let Some(rest) = Extent::between(self.at(), self.head.geometry.size_bytes)
        {
            self.zeros(rest, Kind::NotTried)?;
        }
        self.end_run()?;
        self.end_page()?;
        let mut at = 0;
        while let Some((extent, fill)) = self.next_to_fill(at)? {
            at = extent.end();
            if let Some(kind) = fill {
                self.append_run(kind, extent.start(), extent.end())?;
            }
        }
        self.end_page()?;
        Ok(std::mem::replace(&mut self.course, Course::Straight))
    }

    /// The next cells that have one chunk or none, and with what they must be written: a chunk that newer ones took
    /// a part of cannot stand in the sorted index.
    fn next_to_fill(&mut self, at: u64) -> Result<Option<(Extent, Option<Kind>)>, ImageError> {
        let Course::Left(newest) = &self.course else {
            return Ok(None);
        };
        let Some((extent, place)) = newest.group(at) else {
            return Ok(None);
        };
        let Some(place) = place else {
            return Ok(Some((extent, Some(Kind::NotTried))));
        };
        if !newest.is_run(at) || place.page >= self.pages.len() {
            // What this very step appended is not in a page yet, and is as it must be.
            return Ok(Some((extent, None)));
        }
        let mut tool = self.read_back_tool()?;
        let entry = self.entry(place, &mut tool);
        self.read_back = Some(tool);
        let entry = entry?;
        Ok(Some((
            extent,
            (entry.extent != extent).then_some(entry.kind),
        )))
    }

    fn entry(&self, place: Place, tool: &mut ReadBack) -> Result<Entry, ImageError> {
        let page = self.pages.get(place.page).map(|page| page.offset);
        let page: Arc<Page> = match page {
            Some(offset) => self.page(offset, tool)?,
            None => return Err(self.not_what_was_written()),
        };
        let entry = page.entries.get(place.entry).copied();
        entry.ok_or_else(|| self.not_what_was_written())
    }

    /// Appends the sorted pages.
    pub(super) fn sort(&mut self, newest: &Newest) -> Result<Pages, ImageError> {
        let mut tool = self.read_back_tool()?;
        let mut by_address = Vec::new();
        let mut entries = Vec::with_capacity(PAGE_ENTRIES);
        let mut at = 0;
        while let Some((extent, place)) = newest.group(at) {
            at = extent.end();
            let Some(place) = place else {
                return Err(self.not_what_was_written());
            };
            let entry = self.entry(place, &mut tool)?;
            if entry.extent != extent {
                return Err(self.not_what_was_written());
            }
            entries.push(entry);
            if entries.len() == PAGE_ENTRIES {
                self.end_sorted_page(&mut entries, &mut by_address)?;
            }
        }
        self.end_sorted_page(&mut entries, &mut by_address)?;
        Ok(Pages {
            by_address,
            by_offset: std::mem::take(&mut self.pages),
        })
    }

    fn end_sorted_page(
        &mut self,
        entries: &mut Vec<Entry>,
        pages: &mut Vec<PageRef>,
    ) -> Result<(), ImageError> {
        let Some(extent) = Page::extent_of(entries) else {
            return Ok(());
        };
        let page = Page {
            head: self.head,
            number: u32::try_from(pages.len()).expect("there are at most 2^18 pages"),
            previous: None,
            leaves: None,
            extent,
            entries: std::mem::take(entries),
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        page.build(FrameKind::Sorted, self.file.len(), &mut buffer);
        let frame = self.append_frame(&buffer)?;
        self.buffer = buffer;
        pages.push(PageRef {
            offset: frame.offset,
            len: frame.len,
            entries: u32::try_from(page.entries.len()).expect("a page has at most 256 entries"),
            extent,
            digest: frame.digest,
        });
        *entries = page.entries;
        entries.clear();
        Ok(())
    }

    /// With what only the whole image knows: its parent, in which order it is, and what of the disk it does not have.
    pub(super) fn story(
        &self,
        manifest: &Manifest,
        course: &Course,
    ) -> Result<Manifest, ImageError> {
        let mut story = manifest.clone();
        let kin = self.family.kin();
        story.in_disk_order &= kin.ancestors.is_empty();
        // One that was reopened keeps the parent that its story names.
        story.parent = kin.ancestors.into_iter().next().or(story.parent);
        story.stands_for = kin.stands_for;
        if matches!(course, Course::Left(_)) {
            story.in_disk_order = false;
            if story.map.is_empty() {
                let reader = Reader::open(self.store, &unfinished_name(&self.name))?;
                reader.survey(|state, part| manifest::add_to_map(&mut story.map, state, part))?;
                story.map.sort_unstable();
            }
        }
        Ok(story)
    }
}
