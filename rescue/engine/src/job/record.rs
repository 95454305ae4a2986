//! The map of a running job and the file it is kept in.

use std::path::PathBuf;
use std::time::Instant;

use disk::extent::{Extent, ExtentMap};
use disk::source::{BlockSink, WriteError};

use super::meter::Meter;
use super::pipeline::Stop;
use super::tuning::Tuning;
use crate::host::{Host, HostError};
use crate::map::{Map, Status};
use crate::mapfile::{self, Ends};
use crate::plan::{Afterwards, Plan, StateFile};

/// What a job has done, and where that is written down.
pub struct Record<'a> {
    pub map: Map,
    host: &'a dyn Host,
    file: Option<&'a StateFile>,
    ends: Option<&'a Ends>,
    command: String,
    tuning: Tuning,
    saved: Instant,
    unsaved_bytes: u64,
    warned: bool,
}

impl<'a> Record<'a> {
    pub fn of(plan: &'a Plan, host: &'a dyn Host, tuning: Tuning) -> Record<'a> {
        Record {
            map: plan.done.clone(),
            host,
            file: plan.state.as_ref(),
            ends: plan.ends.as_ref(),
            command: plan.request.to_string(),
            tuning,
            saved: Instant::now(),
            unsaved_bytes: 0,
            warned: false,
        }
    }

    /// Before the first write: a file that was asked for and cannot be kept is told while nothing has happened.
    pub fn begin(&mut self, meter: &mut Meter<'_>) -> Result<(), Stop> {
        match self.file.map(|file| file.afterwards) {
            Some(Afterwards::Kept) => self.write().map_err(|error| Stop::Fault(error.0)),
            Some(Afterwards::Removed) | None => {
                self.save(meter);
                Ok(())
            }
        }
    }

    /// Notes what a piece brought. Of what is wanted, `bad` is a part.
    pub fn add(&mut self, wanted: &[Extent], bad: &ExtentMap) {
        for extent in wanted {
            self.map.set(*extent, Status::Finished);
            self.unsaved_bytes += extent.len();
        }
        for extent in bad.iter() {
            self.map.set(extent, Status::Bad);
        }
    }

    /// Now and then makes the destination durable and then says so in the file, never the other way round.
    pub fn checkpoint(
        &mut self,
        sink: &dyn BlockSink,
        meter: &mut Meter<'_>,
    ) -> Result<(), WriteError> {
        let due = self.saved.elapsed() >= self.tuning.checkpoint
            || self.unsaved_bytes >= self.tuning.checkpoint_bytes;
        if self.file.is_some() && due {
            sink.sync()?;
            self.save(meter);
        }
        Ok(())
    }

    /// After a stop: what was written is kept for the next run where it can be made durable.
    pub fn keep(&mut self, sink: &dyn BlockSink, meter: &mut Meter<'_>) {
        if self.file.is_some() && sink.sync().is_ok() {
            self.save(meter);
        }
    }

    /// The job is done: a file that was asked for tells it, any other goes.
    pub fn end(&mut self, meter: &mut Meter<'_>) {
        let bad = std::mem::take(&mut self.map.bad);
        self.map = Map::new(self.map.size_bytes);
        self.map.finished = ExtentMap::whole(self.map.size_bytes);
        for extent in bad.iter() {
            self.map.set(extent, Status::Bad);
        }
        match self.file {
            Some(file) if file.afterwards == Afterwards::Removed => {
                if let Err(error) = self.host.remove_state(&file.path) {
                    meter.warn(&error.0);
                }
            }
            _ => self.save(meter),
        }
    }

    pub fn path(&self) -> Option<PathBuf> {
        self.file.map(|file| file.path.clone())
    }

    /// The copy goes on without its file, and says so once.
    pub fn save(&mut self, meter: &mut Meter<'_>) {
        (self.saved, self.unsaved_bytes) = (Instant::now(), 0);
        if let Err(error) = self.write()
            && !self.warned
        {
            meter.warn(&format!("an interruption now would begin anew: {error}"));
            self.warned = true;
        }
    }

    fn write(&self) -> Result<(), HostError> {
        match self.file {
            Some(file) => {
                let text = mapfile::write(&self.map, self.ends, &self.command);
                self.host.write_state(&file.path, text.as_bytes())
            }
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({:?})", self.file)
    }
}
