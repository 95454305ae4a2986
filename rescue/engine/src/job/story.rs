//! What a report and an image tell beside the copy: names of damaged files, the table's own bytes, the map.

use std::time::Duration;

use disk::extent::{Extent, ExtentMap};
use disk::layout::Layout;
use disk::memory::BadPlaces;
use disk::source::{BlockSource, read_vec};
use image::manifest::{Manifest, Raw};

use super::Job;
use super::meter::Meter;
use super::names::{self, Names};
use super::pipeline::{Stop, guarded};
use super::sound::Finished;
use crate::event::Step;
use crate::host::{Disk, Use};
use crate::map::{Map, Status};
use crate::mapfile;
use crate::report::{Report, Verified};
use crate::request::{Action, Verification};

/// Reading the filesystems of a copy takes a tenth of the time that the copy took, and not less or more than this.
const LEAST_PATIENCE: Duration = Duration::from_secs(60);
const MOST_PATIENCE: Duration = Duration::from_secs(600);

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
            Err(Stop::Cancelled | Stop::Damaged(_)) => {}
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
            return Ok(names::of(&*source, layout, self.keys(), lost, self.cancel));
        }
        let layout = self.source_layout(lost)?;
        let reader = self.image_reader()?;
        Ok(names::of(&reader, &layout, self.keys(), lost, self.cancel))
    }

    /// Reads the filesystems of the finished copy, where it was to be read back at all. A search that fails is a
    /// warning: the job is done.
    pub fn read_filesystems<S: BlockSource>(
        &self,
        open: &dyn Fn() -> Result<S, Stop>,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) {
        let options = &self.plan.request.options;
        let changes = |disk: &Disk| disk.uses.iter().any(Use::changes_it);
        if matches!(report.verified, Verified::NotDone { .. })
            || options.verification == Verification::Skip
            || self.plan.source.as_ref().is_some_and(changes)
        {
            return;
        }
        meter.begin(Step::Filesystems, 0, 0);
        let bad = report.unreadable.union(&report.untried);
        let read = guarded(|| {
            let layout = self.source_layout(&bad)?;
            let finished = Finished {
                copy: &open()?,
                layout: &layout,
                kept: &self.plan.used,
                bad: &bad,
                keys: self.keys(),
                cancel: self.cancel,
                patience: (self.started.elapsed() / 10).clamp(LEAST_PATIENCE, MOST_PATIENCE),
            };
            Ok(finished.read())
        });
        match read {
            Ok(read) => report.filesystems = read,
            Err(Stop::Cancelled | Stop::Damaged(_)) => {}
            Err(Stop::Fault(text) | Stop::Bug(text)) => {
                meter.warn(&format!(
                    "the filesystems of the copy cannot be read: {text}"
                ));
            }
        }
    }

    /// As the plan saw the source, or as its image shows it.
    pub(super) fn source_layout(&self, lost: &ExtentMap) -> Result<Layout, Stop> {
        if let Some(disk) = &self.plan.source {
            return disk.layout.clone().map_err(Stop::Fault);
        }
        let readable = BadPlaces {
            source: self.image_reader()?,
            bad: lost.clone(),
        };
        Layout::read_with(&readable, self.keys()).map_err(|error| Stop::Fault(error.to_string()))
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
        map.finished = self.plan.used.difference(&self.plan.left_out);
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
