//! Making chains shorter, step by step as the plan has them.

use image::error::ImageError;
use image::file_name;
use image::prune::{self, Step as Planned};
use image::reader::Reader;

use super::Job;
use super::meter::Meter;
use super::pipeline::Stop;
use crate::event::Step;
use crate::random;
use crate::report::{Report, Verified};
use crate::request::Action;

impl Job<'_> {
    pub fn shorten(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let (Action::Merge { image: place, .. } | Action::Prune { store: place, .. }) =
            &self.plan.request.action
        else {
            return Err(Stop::Bug("this makes no chain shorter".into()));
        };
        let opened = self.host.open_place(place, self.permits.first());
        let opened = opened.map_err(|error| Stop::Fault(error.0))?;
        self.see_store();
        let store = &*opened.store;
        let mut total = 0;
        for step in &self.plan.steps {
            if let Planned::Merge { name, .. } = step {
                let reader = Reader::open(store, &file_name(name)).map_err(fault)?;
                total += 2 * reader.head().geometry.size_bytes;
            }
        }
        meter.begin(Step::Copy, total, 0);
        let mut begun = Vec::new();
        let mut at = 0;
        let meter = std::cell::RefCell::new(meter);
        let done = prune::carry_out(
            store,
            &self.plan.steps,
            || random::id().map_err(ImageError::Codec),
            |step: &Planned| {
                begun.push(step.to_string());
                meter.borrow().note(&step.to_string());
            },
            &mut |told| {
                // Each merge counts from the beginning.
                let more = if told < at { told } else { told - at };
                at = told;
                meter.borrow_mut().advance(more, told);
                match self.cancel.is_cancelled() {
                    true => Err(ImageError::Codec("cancelled".to_owned())),
                    false => Ok(()),
                }
            },
        );
        if done.is_err() && self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        done.map_err(fault)?;
        report.notes.extend(begun);
        // Every image that was made anew was compared with the old one before it took its name.
        report.verified = match total / 2 {
            0 => Verified::NotDone {
                why: "nothing was written".into(),
            },
            bytes => Verified::Equal { bytes },
        };
        Ok(())
    }
}

fn fault(error: ImageError) -> Stop {
    Stop::Fault(error.to_string())
}
