//! How far a job is, how fast, and when it will be done.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use disk::extent::Extent;

use crate::event::{Event, Monitor, Progress, Standing, Step};

/// The rate is that of the last seconds, so that a slow place shows and does not stay.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Counts what a job did and tells a monitor.
pub struct Meter<'a> {
    monitor: &'a dyn Monitor,
    progress: Duration,
    step: Step,
    total_bytes: u64,
    done_bytes: u64,
    position: u64,
    samples: VecDeque<(Instant, u64)>,
    told: Option<Instant>,
    pub read_bytes: u64,
    pub written_bytes: u64,
    unreadable_bytes: u64,
    pub warnings: Vec<String>,
}

impl<'a> Meter<'a> {
    pub fn new(monitor: &'a dyn Monitor, progress: Duration) -> Meter<'a> {
        Meter {
            monitor,
            progress,
            step: Step::Copy,
            total_bytes: 0,
            done_bytes: 0,
            position: 0,
            samples: VecDeque::new(),
            told: None,
            read_bytes: 0,
            written_bytes: 0,
            unreadable_bytes: 0,
            warnings: Vec::new(),
        }
    }

    /// Begins a step of which `done_bytes` were done before.
    pub fn begin(&mut self, step: Step, total_bytes: u64, done_bytes: u64) {
        (self.step, self.total_bytes, self.done_bytes) = (step, total_bytes, done_bytes);
        self.position = 0;
        self.samples = VecDeque::from([(Instant::now(), done_bytes)]);
        self.told = None;
        self.monitor.event(Event::Step { step });
        self.tell(Instant::now());
    }

    /// `bytes` more of the step are done, up to `position` on the disk.
    pub fn advance(&mut self, bytes: u64, position: u64) {
        self.done_bytes += bytes;
        self.position = position;
        let now = Instant::now();
        let due = self.told.is_none_or(|told| now - told >= self.progress);
        if due || self.done_bytes >= self.total_bytes {
            self.tell(now);
        }
    }

    pub fn unreadable(&mut self, extent: Extent) {
        self.unreadable_bytes += extent.len();
        self.monitor.event(Event::Unreadable { extent });
    }

    pub fn standing(&mut self, standing: Standing) {
        self.monitor.event(Event::Standing(standing));
    }

    pub fn warn(&mut self, text: &str) {
        self.warnings.push(text.into());
        self.monitor.event(Event::Warning { text: text.into() });
    }

    pub fn note(&self, text: &str) {
        self.monitor.event(Event::Note { text: text.into() });
    }

    fn tell(&mut self, now: Instant) {
        self.told = Some(now);
        self.samples.push_back((now, self.done_bytes));
        while self.samples.len() > 2
            && self
                .samples
                .front()
                .is_some_and(|s| now - s.0 > RATE_WINDOW)
        {
            self.samples.pop_front();
        }
        let bytes_per_second = self.rate(now);
        let left = self.total_bytes.saturating_sub(self.done_bytes);
        self.monitor.event(Event::Progress(Progress {
            step: self.step,
            done_bytes: self.done_bytes,
            total_bytes: self.total_bytes,
            bytes_per_second,
            seconds_left: (bytes_per_second > 0.0).then(|| left as f64 / bytes_per_second),
            position: self.position,
            unreadable_bytes: self.unreadable_bytes,
            written_bytes: self.written_bytes,
        }));
    }

    fn rate(&self, now: Instant) -> f64 {
        let Some((since, bytes)) = self.samples.front() else {
            return 0.0;
        };
        let seconds = (now - *since).as_secs_f64();
        if seconds > 0.0 {
            self.done_bytes.saturating_sub(*bytes) as f64 / seconds
        } else {
            0.0
        }
    }
}

impl std::fmt::Debug for Meter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Meter({:?} {} of {})",
            self.step, self.done_bytes, self.total_bytes
        )
    }
}
