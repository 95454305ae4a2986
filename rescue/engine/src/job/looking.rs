//! The jobs that only look: a disk against what it should be, an image against itself.

use std::time::Duration;

use disk::extent::ExtentMap;
use disk::layout::Layout;
use disk::memory::BadPlaces;
use image::parity::Outlook;
use image::reader::Reader;
use image::states::State;

use super::Job;
use super::check::Check;
use super::compare::{Compare, Findings};
use super::damaged::ImageRead;
use super::fetch::{Fetch, FromDisk};
use super::from_image::FromImage;
use super::meter::Meter;
use super::pipeline::Stop;
use super::sound::Finished;
use crate::event::Step;
use crate::host::HostError;
use crate::plan::with_patches;
use crate::report::{FilesystemRead, Report, Verified};
use crate::request::{Action, Depth, Origin, Place};

/// Whoever asks for every file waits for the last of them.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

impl Job<'_> {
    /// A disk against the image or the disk it came from.
    pub fn verify(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let findings = match &self.plan.source {
            Some(disk) => {
                let expected = self.host.open_source(&disk.identity).map_err(fault)?;
                self.compare(&FromDisk::new(&*expected, self.cancel), meter)?
            }
            None => {
                let reader = self.image_reader()?;
                self.compare(&FromImage::new(&reader, self.cancel), meter)?
            }
        };
        report.unreadable = findings.unreadable;
        report.verified = if findings.different.is_empty() {
            Verified::Equal {
                bytes: findings.equal_bytes,
            }
        } else {
            Verified::Different {
                extents: findings.different,
            }
        };
        Ok(())
    }

    fn compare(&self, expected: &dyn Fetch, meter: &mut Meter<'_>) -> Result<Findings, Stop> {
        let disk = self
            .plan
            .destination
            .as_ref()
            .expect("a comparison has a disk");
        let actual = self.host.open_source(&disk.identity).map_err(fault)?;
        let wanted = with_patches(&self.plan.used, &self.plan.patches);
        meter.begin(Step::Verify, wanted.total_bytes(), 0);
        let compare = Compare {
            expected,
            patches: &self.plan.patches,
            actual: &FromDisk::new(&*actual, self.cancel),
            wanted: &wanted,
            left_out: &ExtentMap::new(),
            digests: None,
            tuning: self.tuning,
            cancel: self.cancel,
        };
        compare.run(meter)
    }

    /// Every chunk of an image.
    pub fn check(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let reader = self.image_reader()?;
        let check = Check {
            reader: &reader,
            tuning: self.tuning,
            cancel: self.cancel,
        };
        let found = check.run(Step::Check, meter)?;
        if !found.findings.is_clean() {
            let told = Outlook::of(&reader).map_err(|error| Stop::Fault(error.to_string()))?;
            meter.note(&told.to_string());
            report.notes.push(told.to_string());
        }
        report.verified = if found.findings.is_clean() {
            Verified::Equal {
                bytes: found.good_bytes,
            }
        } else {
            Verified::Different {
                extents: found.findings.damage.clone(),
            }
        };
        report.unreadable = found.findings.damage;
        if self.plan.request.options.depth == Depth::Filesystems {
            meter.begin(Step::Filesystems, 0, 0);
            report.filesystems = self.filesystems_of(&reader, &report.unreadable)?;
        }
        Ok(())
    }

    /// Read from the image alone: what they need has to be in what it kept.
    fn filesystems_of(
        &self,
        reader: &Reader,
        lost: &ExtentMap,
    ) -> Result<Vec<FilesystemRead>, Stop> {
        let (mut kept, mut bad) = (ExtentMap::new(), lost.clone());
        let told = reader.survey(|state, extent| match state {
            State::Kept => kept.insert(extent),
            State::Unreadable | State::NotTried => bad.insert(extent),
            State::Free => {}
        });
        told.map_err(|error| Stop::Fault(error.to_string()))?;
        let readable = BadPlaces {
            source: reader,
            bad: bad.clone(),
        };
        let layout = Layout::read_with(&readable, self.keys());
        let layout = layout.map_err(|error| Stop::Fault(error.to_string()))?;
        let finished = Finished {
            copy: reader,
            layout: &layout,
            kept: &kept.union(&bad),
            bad: &bad,
            keys: self.keys(),
            cancel: self.cancel,
            patience: PATIENCE,
        };
        let read = finished.read();
        match self.cancel.is_cancelled() {
            true => Err(Stop::Cancelled),
            false => Ok(read),
        }
    }

    pub fn image_reader(&self) -> Result<Reader, Stop> {
        let place = self
            .image_place()
            .ok_or_else(|| Stop::Bug("this job has no image".into()))?;
        let opened = self.host.open_place(place, None).map_err(fault)?;
        let reader = Reader::open(&*opened.store, &opened.name);
        let reader = reader.map_err(|error| Stop::Fault(error.to_string()))?;
        self.read.borrow_mut().push(ImageRead::of(&reader));
        Ok(reader)
    }

    fn image_place(&self) -> Option<&Place> {
        match &self.plan.request.action {
            Action::Restore { image, .. }
            | Action::Check { image }
            | Action::Serve { image, .. }
            | Action::Mount { image, .. } => Some(image),
            Action::Verify {
                against: Origin::Image(image),
                ..
            }
            | Action::Extract {
                from: Origin::Image(image),
                ..
            }
            | Action::Export {
                from: Origin::Image(image),
                ..
            } => Some(image),
            _ => None,
        }
    }
}

fn fault(error: HostError) -> Stop {
    Stop::Fault(error.0)
}
