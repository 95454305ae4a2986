//! Runs an approved plan.

mod buffer;
mod check;
mod compare;
mod counters;
mod damaged;
mod digest;
mod export;
mod extract;
mod fetch;
mod from_image;
mod front;
mod imaging;
mod into_image;
mod known;
mod lacking;
mod looking;
mod mend;
mod meter;
mod names;
mod onto;
mod onto_disk;
mod passing_over;
mod piece;
mod pipeline;
mod record;
mod rescue;
mod serving;
mod shorten;
mod sound;
mod spans;
mod story;
mod to_disk;
mod to_store;
mod trouble;
mod tuning;

use std::cell::{Cell, RefCell};
use std::time::Instant;

use disk::extent::ExtentMap;
use disk::layer::Keys;
use disk::size::Size;

pub use pipeline::Threads;
pub use tuning::Tuning;

use crate::event::{Cancel, Event, Monitor, Step};
use crate::host::Host;
use crate::permit::WritePermit;
use crate::plan::{Approved, Plan};
use crate::report::{Outcome, Report, Verified};
use crate::request::{Action, Depth, Verification};
use counters::Counters;
use damaged::ImageRead;
use meter::Meter;
use pipeline::{Stop, guarded};

/// A report always comes back. What an earlier, interrupted run did stands in the plan.
pub fn run(plan: &Approved, host: &dyn Host, monitor: &dyn Monitor, cancel: &Cancel) -> Report {
    let tuning = Tuning::of(plan.plan(), host);
    run_tuned(plan, host, monitor, cancel, tuning)
}

/// [`run`] with sizes of its own.
pub fn run_tuned(
    approved: &Approved,
    host: &dyn Host,
    monitor: &dyn Monitor,
    cancel: &Cancel,
    tuning: Tuning,
) -> Report {
    let started = Instant::now();
    let plan = approved.plan();
    let job = Job {
        plan,
        permits: approved.permits(),
        host,
        cancel,
        tuning,
        started,
        store_flag: Cell::new(None),
        read: RefCell::default(),
    };
    let mut report = job.begun();
    let mut meter = Meter::new(monitor, tuning.progress);
    monitor.event(Event::Started { steps: job.steps() });
    let ended = guarded(|| job.carry_out(&mut meter, &mut report));
    report.read_bytes = meter.read_bytes;
    report.written_bytes = meter.written_bytes;
    report.warnings.append(&mut meter.warnings);
    report.outcome = job.outcome(ended, &report);
    report.seconds = started.elapsed().as_secs_f64();
    monitor.event(Event::Finished);
    report
}

/// One approved plan on one machine.
struct Job<'a> {
    plan: &'a Plan,
    permits: &'a [WritePermit],
    host: &'a dyn Host,
    cancel: &'a Cancel,
    tuning: Tuning,
    started: Instant,
    /// Whether the kernel refused writes to the store's disk while the store was open.
    store_flag: Cell<Option<bool>>,
    read: RefCell<Vec<ImageRead>>,
}

impl Job<'_> {
    /// What opens encrypted volumes.
    fn keys(&self) -> &Keys {
        &self.plan.request.options.unlock.keys
    }

    fn begun(&self) -> Report {
        Report {
            used_bytes: self.plan.used_bytes,
            warnings: self.plan.warnings.clone(),
            image: self.plan.image.as_ref().map(|image| image.title.clone()),
            ..Report::of(&self.plan.request.to_string())
        }
    }

    fn steps(&self) -> Vec<Step> {
        let options = &self.plan.request.options;
        let verify = match options.verification {
            Verification::ReadBack => &[Step::Verify, Step::Filesystems][..],
            Verification::Skip => &[],
        };
        let grow = self.plan.grows.map(|_| Step::Grow);
        let first: &[Step] = match self.plan.request.action {
            Action::Clone { .. } | Action::Restore { .. } => {
                &[Step::Copy, Step::Table, Step::Flush]
            }
            Action::Image { .. } => &[Step::Copy, Step::Flush],
            Action::Verify { .. } => return vec![Step::Verify],
            Action::Check { .. } => {
                let deep = (options.depth == Depth::Filesystems).then_some(Step::Filesystems);
                return [Step::Check].into_iter().chain(deep).collect();
            }
            Action::Extract { .. } => return vec![Step::Copy, Step::Flush],
            Action::Merge { .. } | Action::Mend { .. } | Action::Prune { .. } => {
                return vec![Step::Copy];
            }
            Action::Serve { .. } | Action::Mount { .. } => return vec![Step::Serve],
            Action::Export { .. } => {
                let verify =
                    (options.verification == Verification::ReadBack).then_some(Step::Verify);
                return [Step::Copy, Step::Flush]
                    .into_iter()
                    .chain(verify)
                    .collect();
            }
        };
        first.iter().chain(verify).copied().chain(grow).collect()
    }

    fn carry_out(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        self.may_write()?;
        self.same_disks()?;
        let source = self.plan.source.as_ref().map(|disk| &disk.identity);
        let permits: Vec<&WritePermit> = self.permits.iter().collect();
        let counters = Counters::of(self.plan, self.host);
        // Lasts until the counters were read again.
        let _protection = self
            .host
            .protect_all_but(source, &permits)
            .map_err(|error| Stop::Fault(error.0))?;
        let ended = guarded(|| match self.plan.request.action {
            Action::Clone { .. } => self.onto_disk(meter, report),
            Action::Image { .. } => self.image(meter, report),
            Action::Restore { .. } => self.restore(meter, report),
            Action::Verify { .. } => self.verify(meter, report),
            Action::Check { .. } => self.check(meter, report),
            Action::Extract { .. } => self.extract(meter, report),
            Action::Export { .. } => self.export(meter, report),
            Action::Serve { .. } => self.serve(meter, report),
            Action::Mount { .. } => self.mount(meter, report),
            Action::Merge { .. } | Action::Prune { .. } => self.shorten(meter, report),
            Action::Mend { .. } => self.mend(meter, report),
        });
        if matches!(ended, Ok(()) | Err(Stop::Damaged(_))) {
            self.name_damage(meter, report);
        }
        self.tell_image(meter, report, &ended);
        self.export_map(meter, report, &ended);
        report.disks = counters.again(self.host, self.store_flag.get());
        ended
    }

    /// A job that writes has a permit for what it writes.
    fn may_write(&self) -> Result<(), Stop> {
        match self.plan.request.action {
            Action::Clone { .. }
            | Action::Image { .. }
            | Action::Restore { .. }
            | Action::Extract { .. }
            | Action::Export { .. }
            | Action::Merge { .. }
            | Action::Mend { .. }
            | Action::Prune { .. }
                if self.permits.is_empty() =>
            {
                Err(Stop::Fault(
                    "this plan may write nothing; nothing was written; make a plan of its request"
                        .into(),
                ))
            }
            _ => Ok(()),
        }
    }

    /// What was planned with must still be what is there.
    fn same_disks(&self) -> Result<(), Stop> {
        for disk in [&self.plan.source, &self.plan.destination]
            .into_iter()
            .flatten()
        {
            let now = self.host.identify(&disk.identity);
            let now = now.map_err(|error| Stop::Fault(format!("{error}; nothing was written")))?;
            if now != disk.identity {
                return Err(Stop::Fault(format!(
                    "{} has changed since the plan was shown; nothing was written; give the command again and look at its new plan",
                    disk.title()
                )));
            }
        }
        Ok(())
    }

    fn outcome(&self, ended: Result<(), Stop>, report: &Report) -> Outcome {
        match ended {
            Err(Stop::Cancelled) => Outcome::Cancelled {
                text: match report.state {
                    Some(_) => "cancelled; the same command goes on from here".into(),
                    None => "cancelled; the same command begins anew".into(),
                },
            },
            Err(Stop::Fault(text)) => Outcome::Failed { text },
            Err(Stop::Damaged(lost)) => Outcome::Stopped {
                text: self.stopped(&lost, report),
            },
            Err(Stop::Bug(text)) => Outcome::Failed {
                text: format!(
                    "this program made a mistake ({text}); what was done is kept, please report it"
                ),
            },
            Ok(()) => damage(&self.plan.request.action, report)
                .map_or(Outcome::Done, |text| Outcome::Damage { text }),
        }
    }
}

/// What a finished job has to say against its result.
fn damage(action: &Action, report: &Report) -> Option<String> {
    let places = |extents: &ExtentMap| {
        let count = match extents.count() {
            1 => "1 place".into(),
            n => format!("{n} places"),
        };
        format!("{} in {count}", Size(extents.total_bytes()))
    };
    let mut said = Vec::new();
    if let Action::Extract { .. } = action {
        let count = report.files.len() as u64 + report.more_files;
        return (count > 0).then(|| format!("{count} files or directories are not there whole"));
    }
    if !report.unreadable.is_empty() {
        let lost = places(&report.unreadable);
        said.push(match action {
            Action::Check { .. } => format!(
                "{lost} of the disk are lost from the image; restore the rest, or use another copy"
            ),
            Action::Verify { .. } => format!("{lost} could not be read and were not compared"),
            _ => format!("{lost} could not be read and are zeros in the result"),
        });
    }
    if !report.untried.is_empty() {
        said.push(format!(
            "{} were left untried and are zeros in the result",
            places(&report.untried)
        ));
    }
    if let Verified::Different { extents } = &report.verified
        && !matches!(action, Action::Check { .. })
        && !extents.is_empty()
    {
        said.push(match action {
            Action::Verify { .. } => format!("{} differ", places(extents)),
            _ => format!(
                "{} were not read back as they were written; use another destination",
                places(extents)
            ),
        });
    }
    for filesystem in report.filesystems.iter().filter(|read| !read.is_good()) {
        let title = filesystem.title();
        said.push(match action {
            Action::Check { .. } => format!(
                "{title} lacks what it needs; `rescue ls` and `rescue cp` give what is there, another image may have all"
            ),
            _ => format!(
                "{title} cannot be read from the copy as from the source; repeat the command with --exact, and report it"
            ),
        });
    }
    if let (Verified::Different { .. }, true) = (&report.verified, said.is_empty()) {
        said.push("the image is damaged beside its content: nothing of the disk is lost, but make another copy".into());
    }
    (!said.is_empty()).then(|| said.join("; "))
}
