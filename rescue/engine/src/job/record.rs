//! The map of a running job and the file it is kept in.

use std::path::PathBuf;
use std::time::Instant;

use disk::extent::{Extent, ExtentMap};
use disk::source::{BlockSink, WriteError};

use super::fetch::Fetched;
use super::meter::Meter;
use super::pipeline::Stop;
use super::tuning::Tuning;
use crate::host::{Host, HostError};
use crate::journal::{self, Entry};
use crate::map::{Map, Status};
use crate::mapfile::{self, Ends};
use crate::plan::{Afterwards, Plan, StateFile};

/// Of the journal, in memory.
const STORY_BYTES: u64 = 1 << 20;

/// What a job has done, and where that is written down.
pub struct Record<'a> {
    pub map: Map,
    host: &'a dyn Host,
    file: Option<&'a StateFile>,
    ends: Option<&'a Ends>,
    wanted: &'a ExtentMap,
    command: String,
    tuning: Tuning,
    saved: Instant,
    unsaved_bytes: u64,
    /// Brought, but not on the destination before everything else is: no file may call it finished.
    held_back: Option<Extent>,
    /// Lines of the journal that are not in its file yet.
    story: String,
    warned: bool,
}

impl<'a> Record<'a> {
    pub fn of(plan: &'a Plan, host: &'a dyn Host, tuning: Tuning) -> Record<'a> {
        Record {
            map: plan.done.clone(),
            host,
            file: plan.state.as_ref(),
            ends: plan.ends.as_ref(),
            wanted: &plan.used,
            command: plan.request.to_string(),
            tuning,
            saved: Instant::now(),
            unsaved_bytes: 0,
            held_back: None,
            story: String::new(),
            warned: false,
        }
    }

    /// These bytes are written last. What an earlier run had of them is not there.
    pub fn hold_back(&mut self, extent: Extent) {
        self.map.finished.remove(extent);
        self.held_back = Some(extent);
    }

    /// They stand on the destination now.
    pub fn release(&mut self) {
        self.held_back = None;
    }

    /// From here on every read is told. What the map has by now stands in its file, so the journal begins anew.
    pub fn begin_journal(&mut self, meter: &mut Meter<'_>) {
        if let (Some(file), Some(ends)) = (self.file, self.ends) {
            self.save(meter);
            // Where there is none, nothing has to go.
            let _ = self.host.remove_state(&journal::beside(&file.path));
            self.story = journal::title(ends);
        }
    }

    /// One read. Is in the file after the next `tell`.
    pub fn note(&mut self, entry: &Entry) {
        let Some(_) = self.file else {
            return;
        };
        let mut told = ExtentMap::from(vec![entry.extent]);
        if let (Some(held), Status::Finished) = (self.held_back, entry.status) {
            told.remove(held);
        }
        for extent in told.iter() {
            self.story
                .push_str(&journal::line(&Entry { extent, ..*entry }));
        }
    }

    pub fn story_is_due(&self) -> bool {
        self.saved.elapsed() >= self.tuning.checkpoint || self.story.len() as u64 >= STORY_BYTES
    }

    /// Puts the story into its file. Everything it calls finished is durable by now.
    pub fn tell(&mut self, meter: &mut Meter<'_>) {
        self.saved = Instant::now();
        let story = std::mem::take(&mut self.story);
        if let Some(file) = self.file
            && let Err(error) = self
                .host
                .append_state(&journal::beside(&file.path), story.as_bytes())
        {
            self.complain(&error, meter);
        }
    }

    /// For a job whose state is in what it makes.
    pub fn in_memory(plan: &'a Plan, host: &'a dyn Host, tuning: Tuning, map: Map) -> Record<'a> {
        Record {
            map,
            file: None,
            ..Record::of(plan, host, tuning)
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

    /// Notes what a piece brought.
    pub fn add(&mut self, wanted: &[Extent], fetched: &Fetched) {
        self.unsaved_bytes += wanted.iter().map(|extent| extent.len()).sum::<u64>();
        self.map.add(wanted, &fetched.marks());
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

    /// The job is done: a file that was asked for tells it, any other goes. Where something was left untried, the
    /// file stays, for the same command to go on from; its path is given back.
    pub fn end(&mut self, meter: &mut Meter<'_>) -> Option<PathBuf> {
        let file = self.file?;
        if self.map.has_trouble() && !self.map.open().intersection(self.wanted).is_empty() {
            self.save(meter);
            return self.path();
        }
        let bad = std::mem::take(&mut self.map.bad);
        self.map = Map::new(self.map.size_bytes);
        self.map.finished = ExtentMap::whole(self.map.size_bytes);
        for extent in bad.iter() {
            self.map.set(extent, Status::Bad);
        }
        match file.afterwards {
            Afterwards::Removed => {
                for path in [&file.path, &journal::beside(&file.path)] {
                    if let Err(error) = self.host.remove_state(path) {
                        meter.warn(&error.0);
                    }
                }
            }
            Afterwards::Kept => self.save(meter),
        }
        None
    }

    pub fn path(&self) -> Option<PathBuf> {
        self.file.map(|file| file.path.clone())
    }

    /// The copy goes on without its file, and says so once.
    pub fn save(&mut self, meter: &mut Meter<'_>) {
        (self.saved, self.unsaved_bytes) = (Instant::now(), 0);
        if let Err(error) = self.write() {
            self.complain(&error, meter);
        }
    }

    fn complain(&mut self, error: &HostError, meter: &mut Meter<'_>) {
        if !self.warned {
            meter.warn(&format!("an interruption now would begin anew: {error}"));
            self.warned = true;
        }
    }

    fn write(&self) -> Result<(), HostError> {
        match self.file {
            Some(file) => {
                let text = match self.held_back {
                    Some(held) => {
                        let mut durable = self.map.clone();
                        durable.finished.remove(held);
                        mapfile::write(&durable, self.ends, &self.command)
                    }
                    None => mapfile::write(&self.map, self.ends, &self.command),
                };
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
