//! Carrying out a clone or a restore: copy, make durable, read back.

use disk::extent::ExtentMap;
use disk::source::{BlockSink, BlockSource as _};

use super::Job;
use super::compare::Compare;
use super::fetch::{Fetch, FromDisk};
use super::from_image::FromImage;
use super::meter::Meter;
use super::onto_disk::OntoDisk;
use super::pipeline::Stop;
use super::record::Record;
use super::rescue::{Missing, Taker as _};
use super::spans::Spans;
use super::to_disk::{Copied, ToDisk};
use super::trouble::Trouble;
use crate::event::Step;
use crate::host::HostError;
use crate::permit::WritePermit;
use crate::plan::with_patches;
use crate::report::{Report, Verified};
use crate::request::Verification;

/// What one run wrote, for reading back.
struct Written {
    copied: Copied,
    spans: Spans,
}

/// Where the bytes of a copy come from.
struct Origin<'a> {
    fetch: &'a dyn Fetch,
    size_bytes: u64,
    /// For reading back where digests do not settle it.
    again: &'a dyn Fetch,
    trouble: &'a Trouble,
}

impl Job<'_> {
    /// A disk onto a disk or a file.
    pub fn onto_disk(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let source = self.plan.source.as_ref().expect("a clone has a source");
        let source = self.host.open_source(&source.identity).map_err(fault)?;
        let trouble = Trouble::default();
        let origin = Origin {
            fetch: &FromDisk::until(&trouble, &*source, self.cancel),
            size_bytes: source.size_bytes(),
            again: &FromDisk::new(&*source, self.cancel),
            trouble: &trouble,
        };
        self.copy_onto(&origin, meter, report)
    }

    /// An image onto a disk or a file.
    pub fn restore(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let reader = self.image_reader()?;
        let at_damage = self.plan.request.options.at_damage;
        let fetch = FromImage::until(at_damage, &reader, self.cancel);
        let origin = Origin {
            fetch: &fetch,
            size_bytes: reader.head().geometry.size_bytes,
            again: &fetch,
            trouble: &Trouble::default(),
        };
        let ended = self.copy_onto(&origin, meter, report);
        if let Err(Stop::Damaged(lost)) = &ended {
            report.unreadable = report.unreadable.union(lost);
        }
        ended
    }

    fn copy_onto(
        &self,
        origin: &Origin<'_>,
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
        let copied = self.copy(origin, permit, &mut record, meter, report);
        report.unreadable = record.map.bad.intersection(&self.plan.used);
        let copied = copied?;
        report.untried = record.map.open().intersection(&self.plan.used);
        // An interruption from here on costs the reading back alone.
        record.save(meter);
        // The kernel's view of the table is a comfort, not part of the result.
        if let Err(error) = self.host.reread_table(permit) {
            meter.warn(&error.0);
        }
        let lost = report.unreadable.union(&report.untried);
        report.verified = self.read_back(origin, permit, copied, &lost, meter)?;
        report.state = record.end(meter);
        let open = || self.host.open_written(permit).map_err(fault);
        self.read_filesystems(&open, meter, report);
        report.notes.extend(self.grow(permit, meter));
        Ok(())
    }

    /// Copies and makes it durable. After a stop the record is kept.
    fn copy(
        &self,
        origin: &Origin<'_>,
        permit: &WritePermit,
        record: &mut Record<'_>,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<Written, Stop> {
        let sink = self.host.open_destination(permit).map_err(fault)?;
        let title = self.destination_title();
        let to_disk = ToDisk {
            fetch: origin.fetch,
            wanted: &self.plan.used,
            source_bytes: origin.size_bytes,
            destination_bytes: self.destination_bytes(origin.size_bytes),
            patches: &self.plan.patches,
            destination: &title,
            verification: self.plan.request.options.verification,
            trouble: origin.trouble,
            tuning: self.tuning,
            cancel: self.cancel,
        };
        let written = self.bring(&to_disk, &*sink, record, meter, report);
        if written.is_err() {
            record.keep(&*sink, meter);
        }
        let written = written?;
        meter.begin(Step::Flush, 0, 0);
        sink.finish()
            .map_err(|error| Stop::Fault(format!("{title}: {error}")))?;
        Ok(written)
    }

    /// At full speed as long as the source is well, then by passes.
    fn bring(
        &self,
        to_disk: &ToDisk<'_>,
        sink: &dyn BlockSink,
        record: &mut Record<'_>,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<Written, Stop> {
        let front = to_disk.blank_front(sink)?;
        record.hold_back(front.extent);
        if record.map.has_trouble() && self.plan.source.is_some() {
            to_disk.trouble.raise();
        }
        let copied = to_disk.copy(sink, &front, record, meter)?;
        let mut onto = OntoDisk::new(to_disk, sink, &front);
        if to_disk.trouble.is_raised() {
            // A rescue that another program began left there what was there before.
            for bad in record.map.bad.iter() {
                onto.missing(bad, Missing::Bad)?;
            }
            self.rescue(&mut onto, record, meter, report)?;
        }
        let spans = onto.spans;
        to_disk.end(sink, front, meter)?;
        record.release();
        Ok(Written { copied, spans })
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
        origin: &Origin<'_>,
        permit: &WritePermit,
        written: Written,
        lost: &ExtentMap,
        meter: &mut Meter<'_>,
    ) -> Result<Verified, Stop> {
        if self.plan.request.options.verification == Verification::Skip {
            return Ok(Verified::NotDone {
                why: "it was not asked for".into(),
            });
        }
        let there = self.host.open_written(permit).map_err(fault)?;
        let actual = FromDisk::new(&*there, self.cancel);
        let wanted = self.wanted_there(&written.copied, origin.trouble);
        let spans_bytes = written.spans.total_bytes();
        meter.begin(Step::Verify, wanted.total_bytes() + spans_bytes, 0);
        let read = meter.read_bytes;
        let compare = Compare {
            expected: origin.again,
            patches: &self.plan.patches,
            actual: &actual,
            wanted: &wanted,
            left_out: lost,
            digests: Some(&written.copied.digests),
            tuning: self.tuning,
            cancel: self.cancel,
        };
        let findings = compare.run(meter)?;
        let wrong = written.spans.compare(&*there, meter, self.cancel)?;
        // What was read of the destination is not read of the source.
        meter.read_bytes = read;
        let different = findings.different.union(&wrong);
        Ok(if different.is_empty() {
            Verified::Equal {
                bytes: findings.equal_bytes + spans_bytes,
            }
        } else {
            Verified::Different { extents: different }
        })
    }

    /// What was copied, now or by an earlier run, and what was put where the source has something else.
    fn wanted_there(&self, copied: &Copied, trouble: &Trouble) -> ExtentMap {
        // A failing disk is not asked for the same bytes again.
        let before = match trouble.is_raised() {
            true => ExtentMap::new(),
            false => self.plan.done.finished.intersection(&self.plan.used),
        };
        with_patches(&copied.written.union(&before), &self.plan.patches)
    }

    pub fn destination_title(&self) -> String {
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
