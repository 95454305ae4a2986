//! The one pipeline: reader threads, workers, an ordered end, and a fixed number of slots between them.
//!
//! A slot holds every buffer that one piece needs on its way, so memory is what the slots take and never more.
//! A reader takes a free slot *before* it takes the next piece: the piece the end waits for always has one.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use disk::extent::ExtentMap;

use crate::event::Cancel;

/// Why a job ended before its last piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    Cancelled,
    /// Device, fact and remedy.
    Fault(String),
    /// These bytes of the disk are lost from its image, and what has holes was not wanted.
    Damaged(ExtentMap),
    /// A mistake in this program; the text is what it said of itself.
    Bug(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Threads {
    pub readers: usize,
    /// With none, every reader does the work on what it read: as many slots as threads are enough.
    pub workers: usize,
}

/// What happens to a piece, in this order: `fetch` on a reader, `work` on a worker. `work` on several pieces goes
/// on at once and in any order.
#[derive(Debug)]
pub struct Stages<F, W> {
    pub fetch: F,
    pub work: W,
}

struct Item<P, S> {
    number: u64,
    piece: P,
    slot: S,
    result: Result<(), Stop>,
}

/// Sends every piece through `stages` and then, in the order of `pieces`, to `commit` on this thread. The first
/// stop in that order ends it: everything before it was committed, nothing after it is.
pub fn run<P, S, F, W>(
    pieces: impl Iterator<Item = P> + Send,
    slots: Vec<S>,
    threads: Threads,
    stages: &Stages<F, W>,
    cancel: &Cancel,
    commit: &mut dyn FnMut(&P, &mut S) -> Result<(), Stop>,
) -> Result<(), Stop>
where
    P: Send,
    S: Send,
    F: Fn(&P, &mut S) -> Result<(), Stop> + Sync,
    W: Fn(&P, &mut S) -> Result<(), Stop> + Sync,
{
    let (free, free_slots) = channel();
    for slot in slots {
        // The receiver is alive: it is on this stack.
        let _ = free.send(slot);
    }
    let free_slots = Mutex::new(free_slots);
    let (read, to_work) = channel();
    let to_work = Mutex::new(to_work);
    let (worked, done) = channel();
    let pieces = Mutex::new(pieces.enumerate());
    let halt = AtomicBool::new(false);
    let stopped = || halt.load(Ordering::Relaxed) || cancel.is_cancelled();
    thread::scope(|scope| {
        for _ in 0..threads.readers.max(1) {
            let (read, free) = (read.clone(), free.clone());
            let (free_slots, pieces, stopped) = (&free_slots, &pieces, &stopped);
            let worked = (threads.workers == 0).then(|| worked.clone());
            scope.spawn(move || match worked {
                None => read_pieces(free_slots, &free, pieces, stopped, &stages.fetch, &read),
                Some(worked) => {
                    let both = |piece: &P, slot: &mut S| {
                        (stages.fetch)(piece, slot)?;
                        (stages.work)(piece, slot)
                    };
                    read_pieces(free_slots, &free, pieces, stopped, &both, &worked);
                }
            });
        }
        for _ in 0..threads.workers {
            let worked = worked.clone();
            let to_work = &to_work;
            scope.spawn(move || work_on(to_work, &stages.work, &worked));
        }
        // Each channel ends when the threads that feed it have ended.
        drop((read, worked));
        let ended = commit_in_order(&done, &free, &halt, commit);
        match ended {
            Ok(()) if cancel.is_cancelled() && lock(&pieces).next().is_some() => {
                Err(Stop::Cancelled)
            }
            ended => ended,
        }
    })
}

fn read_pieces<P, S>(
    free_slots: &Mutex<Receiver<S>>,
    free: &Sender<S>,
    pieces: &Mutex<impl Iterator<Item = (usize, P)>>,
    stopped: &impl Fn() -> bool,
    fetch: &impl Fn(&P, &mut S) -> Result<(), Stop>,
    read: &Sender<Item<P, S>>,
) {
    loop {
        let Ok(mut slot) = lock(free_slots).recv() else {
            return;
        };
        let next = if stopped() { None } else { lock(pieces).next() };
        let Some((number, piece)) = next else {
            // For the other readers, so that they too see that there is nothing left.
            let _ = free.send(slot);
            return;
        };
        let result = guarded(|| fetch(&piece, &mut slot));
        let item = Item {
            number: number as u64,
            piece,
            slot,
            result,
        };
        if read.send(item).is_err() {
            return;
        }
    }
}

fn work_on<P, S>(
    to_work: &Mutex<Receiver<Item<P, S>>>,
    work: &impl Fn(&P, &mut S) -> Result<(), Stop>,
    worked: &Sender<Item<P, S>>,
) {
    loop {
        let Ok(mut item) = lock(to_work).recv() else {
            return;
        };
        if item.result.is_ok() {
            item.result = guarded(|| work(&item.piece, &mut item.slot));
        }
        if worked.send(item).is_err() {
            return;
        }
    }
}

fn commit_in_order<P, S>(
    done: &Receiver<Item<P, S>>,
    free: &Sender<S>,
    halt: &AtomicBool,
    commit: &mut dyn FnMut(&P, &mut S) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    let mut ended = Ok(());
    // To the end even after a stop: the threads wait for their slots.
    for item in done {
        early.insert(item.number, item);
        while let Some(mut item) = early.remove(&next) {
            next += 1;
            if ended.is_ok() {
                ended = item
                    .result
                    .and_then(|()| guarded(|| commit(&item.piece, &mut item.slot)));
                if ended.is_err() {
                    halt.store(true, Ordering::Relaxed);
                }
            }
            let _ = free.send(item.slot);
        }
    }
    ended
}

/// A panic in a stage is a bug, but never the end of the program: a report is still made.
pub fn guarded<T>(stage: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
    catch_unwind(AssertUnwindSafe(stage)).unwrap_or_else(|panic| Err(Stop::Bug(words(&*panic))))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it did not say what".into())
}

/// Nothing behind these locks is left half changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    const THREADS: Threads = Threads {
        readers: 3,
        workers: 2,
    };

    fn fault(text: &str) -> Result<(), Stop> {
        Err(Stop::Fault(text.into()))
    }

    /// What was committed, and how it ended.
    fn through(
        pieces: u64,
        slots: usize,
        fetch: impl Fn(u64) -> Result<(), Stop> + Sync,
        work: impl Fn(u64) -> Result<(), Stop> + Sync,
    ) -> (Vec<u64>, Result<(), Stop>) {
        let mut committed = Vec::new();
        let stages = Stages {
            fetch: |piece: &u64, slot: &mut u64| {
                *slot = *piece;
                if piece.is_multiple_of(7) {
                    thread::yield_now();
                }
                fetch(*piece)
            },
            work: |piece: &u64, slot: &mut u64| {
                assert_eq!(piece, slot, "a slot belongs to one piece at a time");
                work(*piece)
            },
        };
        let ended = run(
            0..pieces,
            vec![0; slots],
            THREADS,
            &stages,
            &Cancel::default(),
            &mut |piece, _| {
                committed.push(*piece);
                Ok(())
            },
        );
        (committed, ended)
    }

    #[test]
    fn pieces_are_committed_in_order_with_any_number_of_slots() {
        for slots in [1, 2, 3, 8] {
            let (committed, ended) = through(500, slots, |_| Ok(()), |_| Ok(()));
            assert_eq!(ended, Ok(()));
            assert_eq!(committed, (0..500).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_fault_ends_it_after_everything_before_and_nothing_after() {
        for slots in [1, 6] {
            let (committed, ended) = through(
                200,
                slots,
                |p| if p == 50 { fault("cable") } else { Ok(()) },
                |_| Ok(()),
            );
            assert_eq!(committed, (0..50).collect::<Vec<_>>());
            assert_eq!(ended, Err(Stop::Fault("cable".into())));
        }
    }

    #[test]
    fn a_panic_in_a_stage_is_a_stop_and_not_the_end_of_the_program() {
        let (committed, ended) = through(
            100,
            4,
            |_| Ok(()),
            |p| {
                assert!(p != 30, "thirty");
                Ok(())
            },
        );
        assert_eq!(committed, (0..30).collect::<Vec<_>>());
        assert_eq!(ended, Err(Stop::Bug("thirty".into())));
    }

    #[test]
    fn a_cancelled_job_commits_what_was_read_and_stops() {
        let cancel = Cancel::default();
        let mut last = 0;
        let fetched = AtomicU64::new(0);
        let stages = Stages {
            fetch: |_: &u64, _: &mut ()| {
                fetched.fetch_add(1, Ordering::Relaxed);
                Ok(())
            },
            work: |_: &u64, _: &mut ()| Ok(()),
        };
        let ended = run(
            0..10_000,
            vec![(); 4],
            THREADS,
            &stages,
            &cancel,
            &mut |piece, _| {
                last = *piece;
                if *piece == 20 {
                    cancel.cancel();
                }
                Ok(())
            },
        );
        assert_eq!(ended, Err(Stop::Cancelled));
        assert_eq!(last + 1, fetched.load(Ordering::Relaxed));
        assert!(last < 40, "{last}");
    }

    #[test]
    fn a_cancel_after_the_last_piece_changes_nothing() {
        let cancel = Cancel::default();
        let stages = Stages {
            fetch: |_: &u64, _: &mut ()| Ok(()),
            work: |_: &u64, _: &mut ()| Ok(()),
        };
        let ended = run(
            0..3,
            vec![(); 4],
            THREADS,
            &stages,
            &cancel,
            &mut |piece, _| {
                if *piece == 2 {
                    cancel.cancel();
                }
                Ok(())
            },
        );
        assert_eq!(ended, Ok(()));
    }
}
