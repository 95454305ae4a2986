//! Carrying out a clone or a restore: copy, make durable, read back.

use disk::extent::ExtentMap;

use super::Job;
use super::compare::Compare;
use super::fetch::{Fetch, FromDisk};
use super::from_image::FromImage;
use super::meter::Meter;
use super::pipeline::Stop;
use super::record::Record;
use super::to_disk::{Copied, ToDisk};
use crate::event::Step;
use crate::host::HostError;
use crate::permit::WritePermit;
use crate::plan::with_patches;
use crate::report::{Report, Verified};
use crate::request::Verification;

impl Job<'_> {
    /// A disk onto a disk or a file.
    pub fn onto_disk(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let source = self.plan.source.as_ref().expect("a clone has a source");
        let source = self.host.open_source(&source.identity).map_err(fault)?;
        let size_bytes = source.size_bytes();
        let fetch = FromDisk::new(&*source, self.cancel);
        self.copy_onto(&fetch, size_bytes, meter, report)
    }

    /// An image onto a disk or a file.
    pub fn restore(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let reader = self.image_reader()?;
        let fetch = FromImage::new(&reader, self.cancel);
        self.copy_onto(&fetch, reader.head().geometry.size_bytes, meter, report)
    }

    fn copy_onto(
        &self,
        fetch: &dyn Fetch,
        source_bytes: u64,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let permit = self
            .permits
            .first()
            .expect("a clone and a restore have a destination");
        let mut record = Record::of(self.plan, self.host, self.tuning);
        report.resumed_bytes = record.map.finished.total_bytes();
        record.begin(meter)?;
        report.state = record.path();
        let copied = self.copy(fetch, source_bytes, permit, &mut record, meter);
        report.unreadable = record.map.bad.intersection(&self.plan.used);
        let copied = copied?;
        // An interruption from here on costs the reading back alone.
        record.save(meter);
        // The kernel's view of the table is a comfort, not part of the result.
        if let Err(error) = self.host.reread_table(permit) {
            meter.warn(&error.0);
        }
        let verified = self.read_back(fetch, permit, &copied, &record.map.bad, meter);
        report.verified = verified?;
        record.end(meter);
        let open = || self.host.open_written(permit).map_err(fault);
        self.read_filesystems(&open, meter, report);
        report.state = None;
        report.notes.extend(self.grow(permit, meter));
        Ok(())
    }

    /// Copies and makes it durable. After a stop the record is kept.
    fn copy(
        &self,
        fetch: &dyn Fetch,
        source_bytes: u64,
        permit: &WritePermit,
        record: &mut Record<'_>,
        meter: &mut Meter<'_>,
    ) -> Result<Copied, Stop> {
        let sink = self.host.open_destination(permit).map_err(fault)?;
        let title = self.destination_title();
        let to_disk = ToDisk {
            fetch,
            wanted: &self.plan.used,
            source_bytes,
            destination_bytes: self.destination_bytes(source_bytes),
            patches: &self.plan.patches,
            destination: &title,
            verification: self.plan.request.options.verification,
            tuning: self.tuning,
            cancel: self.cancel,
        };
        let copied = to_disk.copy(&*sink, record, meter);
        if copied.is_err() {
            record.keep(&*sink, meter);
        }
        let copied = copied?;
        meter.begin(Step::Flush, 0, 0);
        sink.finish()
            .map_err(|error| Stop::Fault(format!("{title}: {error}")))?;
        Ok(copied)
    }

    /// The copy is done and compared by now: a filesystem that keeps its size is no failure of it.
    fn grow(&self, permit: &WritePermit, meter: &mut Meter<'_>) -> Option<String> {
        let partition = self.plan.grows?;
        meter.begin(Step::Grow, 0, 0);
        match self.host.grow_filesystem(permit, partition) {
            Ok(text) => Some(text),
            Err(error) => {
                meter.warn(&error.0);
                None
            }
        }
    }

    fn read_back(
        &self,
        fetch: &dyn Fetch,
        permit: &WritePermit,
        copied: &Copied,
        bad: &ExtentMap,
        meter: &mut Meter<'_>,
    ) -> Result<Verified, Stop> {
        if self.plan.request.options.verification == Verification::Skip {
            return Ok(Verified::NotDone {
                why: "it was not asked for".into(),
            });
        }
        let written = self.host.open_written(permit).map_err(fault)?;
        let actual = FromDisk::new(&*written, self.cancel);
        let wanted = self.wanted_there(copied);
        meter.begin(Step::Verify, wanted.total_bytes(), 0);
        let read = meter.read_bytes;
        let compare = Compare {
            expected: fetch,
            patches: &self.plan.patches,
            actual: &actual,
            wanted: &wanted,
            left_out: bad,
            digests: Some(&copied.digests),
            tuning: self.tuning,
            cancel: self.cancel,
        };
        let findings = compare.run(meter)?;
        // What was read of the destination is not read of the source.
        meter.read_bytes = read;
        Ok(if findings.different.is_empty() {
            Verified::Equal {
                bytes: findings.equal_bytes,
            }
        } else {
            Verified::Different {
                extents: findings.different,
            }
        })
    }

    /// What was copied, now or by an earlier run, and what was put where the source has something else.
    fn wanted_there(&self, copied: &Copied) -> ExtentMap {
        let before = self.plan.done.finished.intersection(&self.plan.used);
        with_patches(&copied.written.union(&before), &self.plan.patches)
    }

    fn destination_title(&self) -> String {
        match (&self.plan.destination, &self.plan.new_file) {
            (Some(disk), _) => disk.title(),
            (None, Some(file)) => file.path.display().to_string(),
            (None, None) => "the destination".into(),
        }
    }

    fn destination_bytes(&self, source_bytes: u64) -> u64 {
        self.plan
            .destination
            .as_ref()
            .map_or(source_bytes, |disk| disk.geometry.size_bytes)
    }
}

fn fault(error: HostError) -> Stop {
    Stop::Fault(error.0)
}
