//! Making a damaged image whole.

use image::error::ImageError;
use image::file_name;
use image::mend::{Mend, With};
use image::store::ReadFile;

use super::Job;
use super::meter::Meter;
use super::pipeline::Stop;
use crate::event::Step;
use crate::report::{Report, Verified};
use crate::request::{Action, Remedy};

impl Job<'_> {
    pub fn mend(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let Action::Mend { image, with } = &self.plan.request.action else {
            return Err(Stop::Bug("this makes no image whole".into()));
        };
        let opened = self.host.open_place(image, self.permits.first());
        let opened = opened.map_err(|error| Stop::Fault(error.0))?;
        self.see_store();
        let store = &*opened.store;
        let Some(name) = opened.name.strip_suffix(".img.zst") else {
            return Err(Stop::Bug("the plan has seen an image there".into()));
        };
        let bytes = store
            .open(&file_name(name))
            .map(|file| ReadFile::len(&*file));
        meter.begin(Step::Copy, bytes.unwrap_or_default(), 0);
        let with = match with {
            Remedy::Index => With::Index,
            Remedy::Parity => With::Parity,
        };
        let mend = Mend { store, name, with };
        let mut at = 0;
        let done = mend.run(&mut |told| {
            meter.advance(told.saturating_sub(at), told);
            at = told;
            match self.cancel.is_cancelled() {
                true => Err(ImageError::Codec("cancelled".to_owned())),
                false => Ok(()),
            }
        });
        if done.is_err() && self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let mended = done.map_err(|error| Stop::Fault(error.to_string()))?;
        report.image = Some(format!("{}/{}", store.describe(), file_name(name)));
        report.notes.extend(mended.made_good());
        let left = mended.left();
        left.notes.iter().for_each(|note| meter.warn(note));
        report.unreadable = left.damage.clone();
        report.verified = match left.is_clean() {
            true => Verified::Equal { bytes: at },
            false => Verified::Different {
                extents: left.damage.clone(),
            },
        };
        Ok(())
    }
}
