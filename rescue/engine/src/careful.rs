//! Reading a disk that may be failing: one command at a time, and every answer counts.

use std::time::{Duration, Instant};

use disk::extent::Extent;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};

use crate::host::HostError;
use crate::passes::{Answer, Errors, Patience};

/// A disk that is asked for one extent at a time. What it cannot read is an answer, not an error.
pub trait CarefulSource: Send + Sync {
    fn geometry(&self) -> Geometry;

    /// What an error of this disk tells on this path.
    fn errors(&self) -> Errors;

    /// `extent` in whole physical sectors, `buf` as long. A disk that has gone is waited for; an error says that
    /// it did not come back.
    fn read(&self, extent: Extent, buf: &mut [u8], patience: Patience)
    -> Result<Answer, HostError>;

    /// What the disk and the kernel were told for its sake, one line each; taken back when this is dropped.
    fn settings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is known of it now, as far as it says.
    fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    /// Nothing will be asked for a while: a rotating disk may stop.
    fn rest(&self) {}
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Vitals {
    pub celsius: Option<i32>,
    /// Times that the disk or its bus was reset since the job began.
    pub resets: u32,
    /// Sectors that the drive has replaced by spare ones, ever.
    pub reallocated: Option<u64>,
}

/// A source that knows nothing of failing disks: a regular file, or a disk in memory.
pub struct Plain(pub Box<dyn BlockSource>);

impl CarefulSource for Plain {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn errors(&self) -> Errors {
        Errors::Somewhere
    }

    fn read(
        &self,
        extent: Extent,
        buf: &mut [u8],
        _patience: Patience,
    ) -> Result<Answer, HostError> {
        let begun = Instant::now();
        let read = self.0.read_at(extent.start(), buf);
        answer(extent, read, begun.elapsed())
    }
}

fn answer(
    extent: Extent,
    read: Result<(), ReadError>,
    took: Duration,
) -> Result<Answer, HostError> {
    let good = match read {
        Ok(()) => extent.len(),
        Err(ReadError::Unreadable(_)) => 0,
        Err(error) => return Err(HostError(error.to_string())),
    };
    Ok(Answer {
        good,
        bad: None,
        path_error: false,
        took,
    })
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plain")
    }
}
