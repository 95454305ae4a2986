//! Chunks in any order, a cell again where more of it was read: the newest counts.

use disk::extent::Extent;

use crate::error::ImageError;
use crate::head::Order;
use crate::newest::{Newest, Place};
use crate::scan;
use crate::store::StoreError;
use crate::unfinished_name;
use crate::writer::Writer;

/// Pages beside the chunks: so many are written early, for a checkpoint.
pub(super) const EARLY_PAGES: usize = 1 << 16;

/// No chunk is appended behind so many pages. There is room for as many again as there are cells: for what is left
/// of runs, and for the sorted pages.
const MOST_PAGES: usize = 1 << 17;

/// Where the chunks stand.
pub(super) enum Course {
    /// In disk order, and nothing else is taken.
    Straight,
    /// In disk order so far.
    MayLeave,
    /// In any order: here is the newest of each cell.
    Left(Newest),
}

impl Writer<'_> {
    /// From now on cells may be appended in any order, and again. The image stays as it is until the first that does
    /// not come in disk order; from there on programs that do not know of this refuse it.
    pub fn any_order(&mut self) {
        if matches!(self.course, Course::Straight) {
            self.course = Course::MayLeave;
        }
    }

    /// Whether the order of the disk was left; [`Writer::at`] is then the first gap.
    pub fn order(&self) -> Order {
        self.head.order
    }

    /// So many pages are enough for 30 million chunks.
    pub(super) fn has_room(&self) -> Result<(), ImageError> {
        if self.pages.len() < MOST_PAGES {
            return Ok(());
        }
        Err(ImageError::TooMany {
            image: self.place(),
        })
    }

    /// Store and file, for messages.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.store.describe(), unfinished_name(&self.name))
    }

    /// All before is in pages of the old kind; the next chunk and the next page are of the new one.
    pub(super) fn leave_disk_order(&mut self) -> Result<(), ImageError> {
        if !self.head.can_have_any_order() {
            return Err(ImageError::TooMany {
                image: self.place(),
            });
        }
        self.end_run()?;
        self.end_page()?;
        let newest = self.newest_of_pages()?;
        self.head.order = Order::Any;
        self.course = Course::Left(newest);
        Ok(())
    }

    /// No page has a cell twice: what it has of these ends it.
    pub(super) fn make_way(&mut self, extent: Extent) -> Result<(), ImageError> {
        let page = self.pages.len();
        match &self.course {
            Course::Left(newest) if newest.is_any_in(extent, page) => self.end_page(),
            _ => Ok(()),
        }
    }

    /// From the pages in the file, one after the other.
    pub(super) fn newest_of_pages(&self) -> Result<Newest, ImageError> {
        let mut newest = Newest::new(&self.head).ok_or_else(|| ImageError::TooMany {
            image: self.place(),
        })?;
        let file = self.store.open(&unfinished_name(&self.name))?;
        for (nth, place) in self.pages.iter().enumerate() {
            let found = scan::read_page(&*file, place.offset)?;
            let Some((page, _)) = found.filter(|(_, found)| found == place) else {
                return Err(self.not_what_was_written());
            };
            for (entry, of) in page.entries.iter().enumerate() {
                newest.set(of.extent, Place { page: nth, entry });
            }
        }
        Ok(newest)
    }

    pub(super) fn not_what_was_written(&self) -> ImageError {
        StoreError::Fault(format!(
            "{} does not give back what was written; choose another store",
            self.place()
        ))
        .into()
    }
}
