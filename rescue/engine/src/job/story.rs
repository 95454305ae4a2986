//! What a report and an image tell beside the copy: names of damaged files, the table's own bytes, the map.

use disk::extent::{Extent, ExtentMap};
use disk::layout::Layout;
use disk::memory::BadPlaces;
use disk::source::{BlockSource, read_vec};
use image::manifest::{Manifest, Raw};

use super::Job;
use super::meter::Meter;
use super::names::{self, Names};
use super::pipeline::{Stop, guarded};
use crate::event::Step;
use crate::host::Disk;
use crate::map::{Map, Status};
use crate::mapfile;
use crate::report::{Report, Verified};
use crate::request::Action;

/// Most of a partition table's own bytes that an image's manifest holds: both of a GPT, or a long chain.
const TABLE_LIMIT: u64 = 128 << 10;

impl Job<'_> {
    /// Tells in the report which files are not whole. A search that fails is a warning: the job is done.
    pub fn name_damage(&self, meter: &mut Meter<'_>, report: &mut Report) {
        let mut lost = report.unreadable.clone();
        if let Verified::Different { extents } = &report.verified {
            lost = lost.union(extents);
        }
        if lost.is_empty() {
            return;
        }
        meter.begin(Step::Names, 0, 0);
        match guarded(|| self.names(&lost)) {
            Ok(names) => {
                report.files = names.files;
                report.more_files = names.more;
                report.notes.extend(names.notes);
            }
            Err(Stop::Cancelled) => {}
            Err(Stop::Fault(text) | Stop::Bug(text)) => {
                meter.warn(&format!("damaged files cannot be named: {text}"));
            }
        }
    }

    /// On the source, or in the image where that is the source.
    fn names(&self, lost: &ExtentMap) -> Result<Names, Stop> {
        if let Some(disk) = &self.plan.source {
            let opened = self.host.open_source(&disk.identity);
            let source = opened.map_err(|error| Stop::Fault(error.0))?;
            let layout = disk.layout.as_ref().map_err(|t| Stop::Fault(t.clone()))?;
            return Ok(names::of(&*source, layout, lost, self.cancel));
        }
        let reader = self.image_reader()?;
        let readable = BadPlaces {
            source: &reader,
            bad: lost.clone(),
        };
        let layout = Layout::read(&readable).map_err(|error| Stop::Fault(error.to_string()))?;
        Ok(names::of(&reader, &layout, lost, self.cancel))
    }

    /// Called while the store is open for writing.
    pub fn see_store(&self) {
        let disk = self.plan.store.as_ref().and_then(|s| s.disk.as_ref());
        let flag = disk.and_then(|disk| self.host.kernel_read_only(disk));
        self.store_flag.set(flag);
    }

    /// An image's state is its unfinished file; a map that was asked for is written beside it, when the image is
    /// done.
    pub fn export_map(&self, meter: &mut Meter<'_>, report: &mut Report, ended: &Result<(), Stop>) {
        let (Action::Image { .. }, Ok(()), Some(state), Some(disk)) = (
            &self.plan.request.action,
            ended,
            &self.plan.state,
            &self.plan.source,
        ) else {
            return;
        };
        let mut map = Map::new(disk.geometry.size_bytes);
        map.finished = self.plan.used.clone();
        for extent in report.unreadable.iter() {
            map.set(extent, Status::Bad);
        }
        let command = self.plan.request.to_string();
        let text = mapfile::write(&map, self.plan.ends.as_ref(), &command);
        match self.host.write_state(&state.path, text.as_bytes()) {
            Ok(()) => report.notes.push(format!(
                "the map of what was read is in {}",
                state.path.display()
            )),
            Err(error) => meter.warn(&error.0),
        }
    }
}

/// The table's own bytes, so that it can be looked at without the chunks; what of it cannot be read is left out.
pub fn keep_table(manifest: &mut Manifest, disk: &Disk, source: &dyn BlockSource) {
    let found = disk.layout.as_ref().ok().and_then(|l| l.table.as_ref());
    let (Some(story), Some(table)) = (&mut manifest.table, found) else {
        return;
    };
    let mut left = TABLE_LIMIT;
    for extent in table.own.iter() {
        let Some(part) = Extent::new(extent.start(), extent.len().min(left)) else {
            break;
        };
        left -= part.len();
        if let Ok(bytes) = read_vec(source, part.start(), part.len()) {
            story.raw.push(Raw::new(part.start(), &bytes));
        }
    }
}
