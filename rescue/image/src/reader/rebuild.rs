//! The list of pages: from the root, or put together from what is in the file.

use disk::extent::Extent;

use crate::error::ImageError;
use crate::frame::FrameKind;
use crate::head::{Head, Order};
use crate::index::{PAGE_ENTRIES, PAGES_LIMIT, Page, PageRef, Pages};
use crate::reader::log::Log;
use crate::reader::page::{Slot, Walk};
use crate::scan;
use crate::store::ReadFile;

/// Head (with the order that was found), what covers the disk, and in any order what stands beside the chunks.
type Index = (Head, Vec<Slot>, Option<Log>);

pub fn from_root_pages(head: Head, pages: &Pages) -> Index {
    let slots = slots_of(&pages.by_address);
    match head.order {
        Order::Disk => (head, slots, None),
        Order::Any => (head, slots, Some(Log::new(slots_of(&pages.by_offset)))),
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
/// that are found, and behind the last, is gone through chunk by chunk. In any order, as soon as anything says so.
pub fn rebuild(file: &dyn ReadFile, head: Head, end: u64) -> Result<Index, ImageError> {
    let found = Rebuild { file, head, end };
    if head.order == Order::Disk
        && let Some(pages) = found.pages()?
        && let Some(slots) = found.slots(&pages)?
    {
        return Ok((head, slots, None));
    }
    let head = Head {
        order: Order::Any,
        ..head
    };
    let found = Rebuild { head, ..found };
    let pages = found.pages()?.unwrap_or_default();
    let log = found.slots(&pages)?.unwrap_or_default();
    Ok((head, windows(&head), Some(Log::new(log))))
}

/// So many cells have their chunks looked up together when there are no sorted pages.
const WINDOW: u64 = 256;

fn windows(head: &Head) -> Vec<Slot> {
    let window = WINDOW * u64::from(head.chunk_size);
    let size = head.geometry.size_bytes;
    let starts = (0..size.div_ceil(window)).map(|nth| nth * window);
    starts
        .filter_map(|start| Extent::between(start, (start + window).min(size)))
        .map(|extent| Slot {
            extent,
            begin: 0,
            end: 0,
            page: None,
        })
        .collect()
}

struct Rebuild<'a> {
    file: &'a dyn ReadFile,
    head: Head,
    /// Chunks and pages lie before this.
    end: u64,
}

/// A page, and the first byte of its first chunk.
type Found = (PageRef, u64);

impl Rebuild<'_> {
    /// In the order of the file. In disk order only those that lie so on the disk too; `None` as soon as one says
    /// that it is not.
    fn pages(&self) -> Result<Option<Vec<Found>>, ImageError> {
        let mut found: Vec<Found> = Vec::new();
        let (mut until, mut link) = (self.end, None);
        while found.len() < PAGES_LIMIT {
            let upper = match (self.head.order, found.last()) {
                (Order::Disk, Some((page, _))) => page.extent.start(),
                _ => self.head.geometry.size_bytes,
            };
            let read = |offset: u64| -> Result<Option<(Page, PageRef)>, ImageError> {
                let fits = |page: &Page, place: &PageRef| {
                    let in_row = place.extent.end() <= upper || page.head.order == Order::Any;
                    page.head.same_image(&self.head) && place.end() <= until && in_row
                };
                let page = scan::read_page(self.file, offset)?;
                Ok(page.filter(|(page, place)| fits(page, place)))
            };
            let linked = match link {
                Some(offset) => read(offset)?.filter(|(_, place)| place.end() == until),
                None => None,
            };
            let page = match linked {
                Some(page) => Some(page),
                None => scan::find_back(self.file, until, &[FrameKind::Page], read)?,
            };
            let Some((page, place)) = page else { break };
            if self.head.order == Order::Disk && page.head.order == Order::Any {
                return Ok(None);
            }
            until = page.begin();
            link = page.previous;
            found.push((place, page.begin()));
        }
        found.reverse();
        Ok(Some(found))
    }

    /// Pages, and what lies between them. `None`: some of it is in any order, though it was thought to be in disk
    /// order.
    fn slots(&self, pages: &[Found]) -> Result<Option<Vec<Slot>>, ImageError> {
        let mut slots = Vec::new();
        let (mut at, mut address) = (0, 0);
        let size = self.head.geometry.size_bytes;
        for (page, begin) in pages {
            let limit = match self.head.order {
                Order::Disk => page.extent.start(),
                Order::Any => size,
            };
            if !self.missing((at, *begin), (address, limit), &mut slots)? {
                return Ok(None);
            }
            slots.push(Slot {
                extent: page.extent,
                begin: *begin,
                end: page.offset,
                page: Some(*page),
            });
            at = page.end();
            if self.head.order == Order::Disk {
                address = page.extent.end();
            }
        }
        let complete = self.missing((at, self.end), (address, size), &mut slots)?;
        Ok(complete.then_some(slots))
    }

    /// Slots for a part of the file whose pages are lost, and the part of the disk that it should describe. Whether
    /// all of it is in the order that is expected.
    fn missing(
        &self,
        (begin, end): (u64, u64),
        (address, last): (u64, u64),
        slots: &mut Vec<Slot>,
    ) -> Result<bool, ImageError> {
        let any = self.head.order == Order::Any;
        let mut slot_from = (begin, address);
        let (mut count, mut reached) = (0, address);
        let mut walk = Walk::new(self.file, self.head, begin, end);
        while let Some(entry) = walk.next_entry()? {
            if entry.in_any_order() && !any && self.head.can_have_any_order() {
                return Ok(false);
            }
            let in_row = !entry.in_any_order()
                && entry.extent.start() >= reached
                && entry.extent.end() <= last;
            if !any && !in_row || slots.len() >= PAGES_LIMIT {
                continue;
            }
            if count == PAGE_ENTRIES {
                self.push(slots, slot_from, (entry.offset, reached));
                slot_from = (entry.offset, reached);
                count = 0;
            }
            count += 1;
            if !any {
                reached = entry.extent.end();
            }
        }
        if !any || count > 0 {
            self.push(slots, slot_from, (end, last));
        }
        Ok(true)
    }

    fn push(&self, slots: &mut Vec<Slot>, (begin, start): (u64, u64), (end, last): (u64, u64)) {
        let extent = match self.head.order {
            Order::Disk => Extent::between(start, last),
            Order::Any => Extent::between(0, self.head.geometry.size_bytes),
        };
        slots.extend(extent.map(|extent| Slot {
            extent,
            begin,
            end,
            page: None,
        }));
    }
}
