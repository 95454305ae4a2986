//! From the thread that reads to the one that writes.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use disk::extent::Extent;

use super::{Missing, Taker, Urgency};
use crate::job::buffer::Buffer;
use crate::job::pipeline::Stop;

/// Longest read that a pass asks for.
const LONGEST: usize = 1 << 20;
/// Buffers on their way.
const BUFFERS: usize = 4;

/// The reader's end.
pub struct Lane {
    loads: SyncSender<Load>,
    buffers: Receiver<Buffer>,
    /// One that was not needed.
    spare: Cell<Option<Buffer>>,
}

/// The writer's end.
pub struct Unloading {
    loads: Receiver<Load>,
    back: Sender<Buffer>,
}

enum Load {
    Bytes(Extent, Buffer),
    Missing(Extent, Missing),
    /// Answered when it is done.
    Sync(Urgency, Sender<()>),
}

/// The other thread has ended and says why itself.
#[derive(Clone, Copy, Debug)]
pub struct Ended;

pub fn lane() -> (Lane, Unloading) {
    let (loads, unloaded) = sync_channel(BUFFERS);
    let (back, buffers) = channel();
    for _ in 0..BUFFERS {
        back.send(Buffer::new(LONGEST))
            .expect("the receiver is in this function");
    }
    let unloading = Unloading {
        loads: unloaded,
        back,
    };
    let lane = Lane {
        loads,
        buffers,
        spare: Cell::new(None),
    };
    (lane, unloading)
}

impl Lane {
    /// Room for one read; waits until the writer has some.
    pub fn buffer(&self) -> Result<Buffer, Ended> {
        match self.spare.take() {
            Some(spare) => Ok(spare),
            None => self.buffers.recv().map_err(|_| Ended),
        }
    }

    /// For a read that brought nothing.
    pub fn unused(&self, buffer: Buffer) {
        self.spare.set(Some(buffer));
    }

    pub fn bytes(&self, extent: Extent, buffer: Buffer) -> Result<(), Ended> {
        self.load(Load::Bytes(extent, buffer))
    }

    pub fn missing(&self, extent: Extent, why: Missing) -> Result<(), Ended> {
        self.load(Load::Missing(extent, why))
    }

    /// Comes back when the writer has done that with everything that was sent.
    pub fn sync(&self, urgency: Urgency) -> Result<(), Ended> {
        let (done, wait) = channel();
        self.load(Load::Sync(urgency, done))?;
        wait.recv().map_err(|_| Ended)
    }

    fn load(&self, load: Load) -> Result<(), Ended> {
        self.loads.send(load).map_err(|_| Ended)
    }
}

impl Unloading {
    /// Until the reader drops its end.
    pub fn serve(self, taker: &mut dyn Taker) -> Result<(), Stop> {
        for load in &self.loads {
            match load {
                Load::Bytes(extent, buffer) => {
                    let len = usize::try_from(extent.len()).expect("a read fits in memory");
                    taker.take(extent, &buffer[..len])?;
                    // A reader that is gone needs no buffer.
                    let _ = self.back.send(buffer);
                }
                Load::Missing(extent, why) => taker.missing(extent, why)?,
                Load::Sync(urgency, done) => {
                    taker.sync(urgency)?;
                    let _ = done.send(());
                }
            }
        }
        Ok(())
    }
}
