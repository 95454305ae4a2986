//! An image as a block device of the network: an NBD server (fixed newstyle, structured replies, block status).
//!
//! Clients are hostile: whatever they send, a connection holds one buffer, no other connection waits for it, and
//! the worst that happens is that it is closed. The protocol is that of the NBD project's `doc/proto.md`.

mod content;
mod greeting;
mod line;
mod listener;
mod overlay;
mod protocol;
mod transmission;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, Scope, scope};
use std::time::Duration;

use disk::extent::Extent;

use crate::event::Cancel;
pub use content::{Allocation, Content, OfImage, Run};
use line::{Line, Sign};
pub use listener::Listener;
pub use overlay::{CELL, Overlay};

/// Clients at once. QEMU and nbdcopy take a few connections each.
const CONNECTIONS: usize = 32;
/// Who said nothing for so long makes place for another when all places are taken.
const IDLE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// A part of the disk under a name; the whole disk has the empty one.
#[derive(Clone, Debug)]
pub struct Export {
    pub name: String,
    pub description: String,
    pub extent: Extent,
}

/// What is served.
pub struct Server<'a> {
    pub content: &'a dyn Content,
    /// The first is what a client gets that names none.
    pub exports: Vec<Export>,
    pub tally: Tally,
}

/// What the clients got.
#[derive(Default, Debug)]
pub struct Tally {
    pub connections: AtomicU64,
    pub read_bytes: AtomicU64,
    pub written_bytes: AtomicU64,
    /// Reads that damage of the image did not let through.
    pub failed_reads: AtomicU64,
}

impl std::fmt::Debug for Server<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("exports", &self.exports)
            .finish_non_exhaustive()
    }
}

/// The connections there are, each with a sign of life.
#[derive(Default)]
struct Open(Mutex<BTreeMap<u64, Sign>>);

impl Open {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Sign>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more may come; the one that was idle longest is ended for it.
    fn makes_place(&self) -> bool {
        let open = self.lock();
        if open.len() < CONNECTIONS {
            return true;
        }
        let idlest = open.values().max_by_key(|sign| sign.idle());
        if let Some(sign) = idlest.filter(|sign| sign.idle() >= IDLE) {
            sign.end();
        }
        false
    }
}

impl Server<'_> {
    /// Serves until it is cancelled; then every connection is ended.
    pub fn run(&self, listener: &Listener, cancel: &Cancel) {
        let open = Open::default();
        scope(|threads| {
            let mut number = 0;
            while !cancel.is_cancelled() {
                let Some(line) = listener.next(POLL) else {
                    continue;
                };
                number += 1;
                if open.makes_place() {
                    self.connect(number, line, &open, threads);
                }
            }
            open.lock().values().for_each(Sign::end);
        });
    }

    /// A connection that no thread can be had for is closed.
    fn connect<'s>(
        &'s self,
        number: u64,
        mut line: Line,
        open: &'s Open,
        threads: &'s Scope<'s, '_>,
    ) {
        let Ok(sign) = line.sign() else { return };
        open.lock().insert(number, sign);
        self.tally.connections.fetch_add(1, Ordering::Relaxed);
        let started = Builder::new()
            .name(format!("client {number}"))
            .spawn_scoped(threads, move || {
                // A mistake of ours ends one connection, not the server.
                let _ = catch_unwind(AssertUnwindSafe(|| self.talk(&mut line)));
                open.lock().remove(&number);
            });
        if started.is_err() {
            open.lock().remove(&number);
        }
    }

    /// From the greeting to the end; what ends it is the client's business alone.
    fn talk(&self, line: &mut Line) {
        if let Ok(Some(session)) = greeting::greet(self, line) {
            let _ = transmission::serve(self, &session, line);
        }
    }
}
