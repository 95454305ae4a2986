//! The jobs that only look: a disk against what it should be, an image against itself.

use disk::extent::ExtentMap;
use image::parity::Outlook;
use image::reader::Reader;

use super::Job;
use super::check::Check;
use super::compare::{Compare, Findings};
use super::fetch::{Fetch, FromDisk};
use super::from_image::FromImage;
use super::meter::Meter;
use super::pipeline::Stop;
use crate::event::Step;
use crate::host::HostError;
use crate::plan::with_patches;
use crate::report::{Report, Verified};
use crate::request::{Action, Origin, Place};

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
        Ok(())
    }

    pub fn image_reader(&self) -> Result<Reader, Stop> {
        let place = self
            .image_place()
            .ok_or_else(|| Stop::Bug("this job has no image".into()))?;
        let opened = self.host.open_place(place, None).map_err(fault)?;
        Reader::open(&*opened.store, &opened.name).map_err(|error| Stop::Fault(error.to_string()))
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
