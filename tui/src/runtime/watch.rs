//! Looks at the disks, at the start and whenever one comes or goes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use engine::host::{Disk, Host, HostError};
use engine::request::{DiskName, Place};

use crate::app::Message;
use crate::runtime::words::Words;
use crate::world::{Directory, Inventory};

/// How often the kernel's lists are compared; they are a few lines.
const PERIOD: Duration = Duration::from_secs(1);

/// The kernel's lists of block devices and mounts: what changes there is worth a look.
const LISTS: [&str; 3] = ["/proc/partitions", "/proc/self/mountinfo", "/proc/swaps"];

/// What the watch is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Look at once.
    Look,
    /// A job is at work: its disks are left alone.
    Rest,
    /// The job has ended; look again.
    Resume,
}

/// Starts the watch; it ends with the sender it gives back.
pub fn start(host: &Arc<dyn Host>, words: &Words, messages: &Sender<Message>) -> Sender<Ask> {
    let (ask, asked) = channel();
    let watch = Watch {
        host: Arc::clone(host),
        files: words.disks.clone(),
        stores: words.stores.clone(),
        messages: messages.clone(),
    };
    let started = thread::Builder::new()
        .name("watch".into())
        .spawn(move || watch.run(&asked));
    if let Err(error) = started {
        let text = format!("no thread can be started: {error}; close other programs");
        let _ = messages.send(Message::Inventory(Inventory::Failed(text)));
    }
    ask
}

struct Watch {
    host: Arc<dyn Host>,
    files: Vec<PathBuf>,
    stores: Vec<PathBuf>,
    messages: Sender<Message>,
}

impl Watch {
    fn run(&self, asked: &Receiver<Ask>) {
        let mut seen = lists();
        let mut resting = false;
        self.look();
        loop {
            match asked.recv_timeout(PERIOD) {
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(Ask::Rest) => resting = true,
                Ok(Ask::Resume) => resting = false,
                Ok(Ask::Look) => {}
                Err(RecvTimeoutError::Timeout) if lists() == seen => continue,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !resting {
                seen = lists();
                self.look();
            }
        }
    }

    fn look(&self) {
        // At once, whatever the disks take.
        self.look_at_stores();
        let inventory = match self.disks() {
            Ok(disks) => Inventory::Known(disks.into_iter().map(Arc::new).collect()),
            Err(error) => Inventory::Failed(error.to_string()),
        };
        let _ = self.messages.send(Message::Inventory(inventory));
    }

    fn look_at_stores(&self) {
        let directories = self.stores.iter().map(|path| {
            let place = self.host.open_place(&Place::Path(path.clone()), None);
            Directory {
                path: path.clone(),
                free_bytes: place.ok().and_then(|p| p.free_bytes),
            }
        });
        let _ = self
            .messages
            .send(Message::Directories(directories.collect()));
    }

    fn disks(&self) -> Result<Vec<Disk>, HostError> {
        let mut disks = Vec::new();
        // First, because somebody asked for them.
        for file in &self.files {
            match self.host.find(&DiskName::Path(file.clone())) {
                Ok(found) => disks.extend(found),
                Err(error) => {
                    let _ = self.messages.send(Message::Failed(error.to_string()));
                }
            }
        }
        disks.extend(self.host.disks()?);
        Ok(disks)
    }
}

fn lists() -> Vec<Option<Vec<u8>>> {
    LISTS.iter().map(|list| std::fs::read(list).ok()).collect()
}
