//! The job in a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engine::event::{Cancel, Event, Monitor, Paused};
use engine::host::Host;
use engine::job;
use engine::plan::Approved;

use crate::app::Message;

pub struct Job {
    cancel: Arc<Cancel>,
    unheard: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Job {
    /// `None` when no thread could be started; that is told by a message.
    pub fn start(
        approved: Approved,
        host: &Arc<dyn Host>,
        sender: &Sender<Message>,
    ) -> Option<Job> {
        let cancel = Arc::new(Cancel::default());
        let unheard = Arc::new(AtomicBool::new(false));
        let monitor = Teller {
            sender: sender.clone(),
            unheard: Arc::clone(&unheard),
        };
        let (host, stop, answers) = (Arc::clone(host), Arc::clone(&cancel), sender.clone());
        let work = move || {
            let report = job::run(&approved, &*host, &monitor, &stop);
            let _ = answers.send(Message::Reported(Box::new(report)));
        };
        // A panic must not leave the screen waiting for a report that never comes.
        let guarded = {
            let answers = sender.clone();
            move || {
                if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
                    let _ = answers.send(Message::Broken(said(&*panic)));
                }
            }
        };
        match thread::Builder::new().name("job".into()).spawn(guarded) {
            Ok(thread) => Some(Job {
                cancel,
                unheard,
                thread,
            }),
            Err(error) => {
                let text = format!("no thread can be started: {error}; nothing was written");
                let _ = sender.send(Message::Broken(text));
                None
            }
        }
    }

    pub fn stop(&self) {
        self.cancel.cancel();
    }

    pub fn pause(&self, paused: Paused) {
        self.cancel.pause(paused);
    }

    pub fn skip(&self) {
        self.cancel.skip();
    }

    /// An event arrived: the next progress may be told.
    pub fn heard(&self) {
        self.unheard.store(false, Ordering::Relaxed);
    }

    pub fn wait(self, patience: Duration) {
        let until = Instant::now() + patience;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a panic said, for the person.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it did not say why").to_owned()
}

/// Tells the screen; progress only when the last one was heard, so that a slow terminal never fills memory
/// and never holds up a job.
struct Teller {
    sender: Sender<Message>,
    unheard: Arc<AtomicBool>,
}

impl Monitor for Teller {
    fn event(&self, event: Event) {
        let progress = matches!(event, Event::Progress(_) | Event::Standing(_));
        if progress && self.unheard.swap(true, Ordering::Relaxed) {
            return;
        }
        let _ = self.sender.send(Message::Job(event));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use disk::extent::Extent;
    use engine::event::{Progress, Step};

    use super::*;

    #[test]
    fn only_progress_is_dropped_when_nobody_listens() {
        let (sender, receiver) = channel();
        let teller = Teller {
            sender,
            unheard: Arc::default(),
        };
        let progress = Progress {
            step: Step::Copy,
            done_bytes: 0,
            total_bytes: 0,
            bytes_per_second: 0.0,
            seconds_left: None,
            position: 0,
            unreadable_bytes: 0,
            written_bytes: 0,
        };
        for n in 1..100 {
            teller.event(Event::Progress(progress));
            let extent = Extent::new(n, 1).unwrap();
            teller.event(Event::Unreadable { extent });
        }
        teller.event(Event::Finished);
        let told: Vec<Message> = receiver.try_iter().collect();
        assert_eq!(told.len(), 1 + 99 + 1);
        teller.unheard.store(false, Ordering::Relaxed);
        teller.event(Event::Progress(progress));
        assert_eq!(receiver.try_iter().count(), 1);
    }
}
