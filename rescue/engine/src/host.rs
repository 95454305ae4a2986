//! The machine, as the engine sees it. The real one is in `linux`, one in memory in `fake`.

mod place;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use disk::geometry::Geometry;
use disk::layout::Layout;
use disk::source::{BlockSink, BlockSource};
use serde::{Deserialize, Serialize};

use crate::careful::{CarefulSource, Plain};
use crate::health::Health;
use crate::identity::Identity;
use crate::permit::{Target, WritePermit};
use crate::request::{DiskName, Place};
use crate::state;
pub use place::OpenPlace;

/// A disk and what is known of it without changing anything.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Disk {
    /// Where the kernel shows it now: `/dev/sda`, or the path of a regular file.
    pub path: PathBuf,
    pub identity: Identity,
    pub transport: Transport,
    pub vendor: Option<String>,
    pub firmware: Option<String>,
    /// What the drive itself says; `None` where it says nothing.
    pub health: Option<Health>,
    pub geometry: Geometry,
    /// `None` where the kernel's word means nothing (USB sticks say they rotate).
    pub rotational: Option<bool>,
    pub read_only: bool,
    pub removable: bool,
    pub boot_medium: bool,
    pub uses: Vec<Use>,
    /// What is on it; the text of the fault where it could not be read.
    pub layout: Result<Layout, String>,
    /// Operating systems found by their own directories: `Windows`, `Debian GNU/Linux 12 (bookworm)`.
    pub systems: Vec<String>,
}

impl Disk {
    /// As sentences name it: `/dev/sda (Samsung SSD 860, serial S3Z9NB0K)`, or the path of a regular file.
    pub fn title(&self) -> String {
        match self.identity.file {
            Some(_) => self.path.display().to_string(),
            None => format!("{} ({})", self.path.display(), self.identity),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    Sata,
    Nvme,
    Usb,
    Virtio,
    Mmc,
    Sas,
    Scsi,
    Loop,
    File,
    Other,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Transport::Sata => "SATA",
            Transport::Nvme => "NVMe",
            Transport::Usb => "USB",
            Transport::Virtio => "virtio",
            Transport::Mmc => "SD/MMC",
            Transport::Sas => "SAS",
            Transport::Scsi => "SCSI",
            Transport::Loop => "loop",
            Transport::File => "file",
            Transport::Other => "other",
        })
    }
}

/// Who is using a disk or one of its partitions now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    Mounted {
        device: PathBuf,
        at: PathBuf,
        mode: MountMode,
    },
    Swap {
        device: PathBuf,
    },
    /// dm, md or another kernel device sits on it.
    Held {
        device: PathBuf,
        by: String,
    },
}

/// Whether the kernel may write to a filesystem that is mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountMode {
    ReadWrite,
    ReadOnly,
}

/// Below `/run`: where filesystems are mounted for a while by this program.
pub const PLACES: &str = "rescue/places";

impl Use {
    /// Mounted by this program for as long as it needs it.
    pub fn is_ours(&self) -> bool {
        let ours = Path::new("/run").join(PLACES);
        matches!(self, Use::Mounted { at, .. } if at.starts_with(ours))
    }

    /// Whether the disk changes while it is read.
    pub fn changes_it(&self) -> bool {
        matches!(
            self,
            Use::Mounted {
                mode: MountMode::ReadWrite,
                ..
            }
        )
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Mounted { device, at, mode } => {
                let how = match mode {
                    MountMode::ReadWrite => "mounted",
                    MountMode::ReadOnly => "mounted read-only",
                };
                write!(f, "{} is {how} at {}", device.display(), at.display())
            }
            Use::Swap { device } => write!(f, "{} is in use as swap", device.display()),
            Use::Held { device, by } => write!(f, "{} is held by {by}", device.display()),
        }
    }
}

pub trait Host: Send + Sync {
    /// Every whole disk of the machine, nothing written, nothing mounted.
    fn disks(&self) -> Result<Vec<Disk>, HostError>;

    /// One disk by its name, regular files included. Everything that matches: the caller refuses when it is
    /// not exactly one. A path where nothing is gives an empty list, since a new regular file may be made there;
    /// a path that can never be a disk (a directory, a partition, a node that is missing from `/dev`) is an
    /// error that says so.
    fn find(&self, name: &DiskName) -> Result<Vec<Disk>, HostError>;

    fn open_source(&self, identity: &Identity) -> Result<Box<dyn BlockSource>, HostError>;

    /// Opens a source that may be failing. Once it has gone, it is waited for as long as `absence`.
    fn open_careful(
        &self,
        identity: &Identity,
        _absence: Duration,
    ) -> Result<Box<dyn CarefulSource>, HostError> {
        Ok(Box::new(Plain(self.open_source(identity)?)))
    }

    /// What this device is now, its fingerprint read again. An error when it is gone, or when two disks of the
    /// machine cannot be told apart.
    fn identify(&self, known: &Identity) -> Result<Identity, HostError> {
        let all = match &known.file {
            Some(path) => self.find(&DiskName::Path(path.clone()))?,
            None => self.disks()?,
        };
        let mut same = all
            .into_iter()
            .map(|disk| disk.identity)
            .filter(|found| found.same_device(known));
        match (same.next(), same.next()) {
            (Some(found), None) => Ok(found),
            (None, _) => Err(HostError(format!(
                "{known} is no longer there; connect it again and repeat the command"
            ))),
            (Some(_), Some(_)) => Err(HostError(format!(
                "{known} is there more than once; disconnect the disk that is not meant"
            ))),
        }
    }

    /// Opens for writing what the permit names, after reading its identity again.
    fn open_destination(&self, permit: &WritePermit) -> Result<Box<dyn BlockSink>, HostError>;

    /// Reads back what was written under a permit, from the device and not from a cache of it. The device is the
    /// one of the permit, whatever is on it now.
    fn open_written(&self, permit: &WritePermit) -> Result<Box<dyn BlockSource>, HostError> {
        let path = match permit.target() {
            Target::Disk(identity) => return self.open_source(&self.identify(identity)?),
            Target::NewFile { path, .. } => path,
            Target::Store { .. } => {
                return Err(HostError(
                    "a store is read through its own files, not as a disk".into(),
                ));
            }
        };
        match self.find(&DiskName::Path(path.clone()))?.as_slice() {
            [disk] => self.open_source(&disk.identity),
            _ => Err(HostError(format!(
                "{} is no longer there; repeat the command",
                path.display()
            ))),
        }
    }

    /// Opens the directory of a place (the file of an image keeps its name in [`OpenPlace::name`]).
    /// Without a permit its filesystem is looked at read-only.
    fn open_place(
        &self,
        place: &Place,
        permit: Option<&WritePermit>,
    ) -> Result<OpenPlace, HostError>;

    /// Sets the kernel's read-only flag. In the live system on every disk but those the permits name and those
    /// a store is mounted from; on any other system, which is not ours to change, on `source` alone and only
    /// where nothing on it is in use.
    fn protect_all_but(
        &self,
        source: Option<&Identity>,
        permits: &[&WritePermit],
    ) -> Result<Protection, HostError>;

    /// The kernel's count of 512-byte sectors written to a disk since boot; `None` for a regular file.
    fn sectors_written(&self, identity: &Identity) -> Option<u64>;

    fn kernel_read_only(&self, identity: &Identity) -> Option<bool>;

    /// What the drive says of its health now.
    fn health(&self, _identity: &Identity) -> Option<Health> {
        None
    }

    /// Makes the kernel read the table of a written disk again.
    fn reread_table(&self, permit: &WritePermit) -> Result<(), HostError>;

    /// Grows the filesystem of a partition of a written disk to the partition's new size, by the kernel on the
    /// destination alone. Says in words what was done.
    fn grow_filesystem(&self, permit: &WritePermit, partition: u32) -> Result<String, HostError>;

    /// The one name of a regular file that may not exist yet, as an [`Identity`] holds it.
    fn full_path(&self, path: &Path) -> PathBuf {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).canonicalize();
        match (parent, path.file_name()) {
            (Ok(parent), Some(name)) => parent.join(name),
            _ => path.to_owned(),
        }
    }

    /// Where a job's state file for this path goes.
    fn state_path(&self, beside: &Path) -> PathBuf {
        let mut name = beside.as_os_str().to_owned();
        name.push(".map");
        name.into()
    }

    /// Where the state of a job onto a disk is kept, by the name of the job; `None` where there is no place for it.
    fn job_state(&self, _name: &str) -> Option<PathBuf> {
        None
    }

    /// A state file as it was last written; `None` where there is none.
    fn read_state(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        state::read(path)
    }

    /// Replaces a state file whole: after a power cut it is the old one or the new one.
    fn write_state(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        state::write(path, bytes)
    }

    /// Adds to a state file that only grows.
    fn append_state(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        state::append(path, bytes)
    }

    fn remove_state(&self, path: &Path) -> Result<(), HostError> {
        state::remove(path)
    }

    /// An empty file without a name, for what need not outlive the job.
    fn scratch(&self) -> Result<File, HostError> {
        state::scratch(&std::env::temp_dir())
    }

    /// Memory that a job may count on; `None` where nobody knows.
    fn free_memory(&self) -> Option<u64> {
        None
    }
}

/// The kernel's read-only flags that a job set. Dropping it takes back what is not to outlive the job.
#[must_use = "the flags are taken back when it is dropped"]
#[derive(Default)]
pub struct Protection {
    undo: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Protection {
    /// Stays when the job ends.
    pub fn lasting() -> Protection {
        Protection::default()
    }

    pub fn until_dropped(undo: impl FnOnce() + Send + Sync + 'static) -> Protection {
        Protection {
            undo: Some(Box::new(undo)),
        }
    }
}

impl Drop for Protection {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            undo();
        }
    }
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.undo {
            Some(_) => "Protection until dropped",
            None => "Protection that lasts",
        })
    }
}

/// Device, fact and remedy in one sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostError(pub String);

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HostError {}
