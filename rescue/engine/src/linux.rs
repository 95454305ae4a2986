//! The real [`Host`]: disks by udev and sysfs, direct I/O, mounts.

mod boot_medium;
mod bounce;
mod careful;
mod claim;
mod destination;
mod find;
mod fingerprint;
mod foreign;
mod grow;
mod hardware;
mod health;
mod ioctl;
mod link;
mod mount;
mod node;
mod nvme;
mod partitions;
mod place;
mod probe;
mod protect;
mod scsi;
mod sense;
mod settings;
mod sink;
mod source;
mod sysfs;
mod uses;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use disk::source::{BlockSink, BlockSource};

use crate::careful::{CarefulSource, Plain};
use crate::health::Health;
use image::seal::Keyring;

use crate::host::{Disk, Host, HostError, OpenPlace, PLACES, Protection};
use crate::identity::Identity;
use crate::linux::boot_medium::BootMedium;
use crate::linux::destination::Flags;
use crate::linux::node::{Access, Node, open_trouble};
use crate::linux::sink::DirectSink;
use crate::linux::source::DirectSource;
use crate::linux::sysfs::{SysDisk, Sysfs};
use crate::linux::uses::Uses;
use crate::permit::{Target, WritePermit};
use crate::random;
use crate::request::{DiskName, Place};

/// Where Linux shows itself; a test makes its own.
#[derive(Clone, Debug)]
pub struct Roots {
    pub sys: PathBuf,
    pub proc: PathBuf,
    pub dev: PathBuf,
    pub run: PathBuf,
    /// Where the states of jobs are kept on a system that is not the live one; `None` where there is no home.
    pub state: Option<PathBuf>,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
            run: "/run".into(),
            state: state_home(),
        }
    }
}

/// The machine this program runs on.
#[derive(Clone, Debug)]
pub struct Linux {
    roots: Roots,
    sysfs: Sysfs,
    media: BootMedium,
    /// Disks that permits of running jobs name: not to be set read-only.
    released: Arc<Mutex<Vec<Identity>>>,
    keyring: Arc<Keyring>,
}

/// As the XDG Base Directory Specification has it.
fn state_home() -> Option<PathBuf> {
    let named = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let home = || named("HOME").map(|home| home.join(".local/state"));
    let below = named("XDG_STATE_HOME").or_else(home);
    below.map(|below| below.join("rescue"))
}

impl Default for Linux {
    fn default() -> Linux {
        Linux::at(Roots::default())
    }
}

impl Linux {
    pub fn at(roots: Roots) -> Linux {
        let line = std::fs::read_to_string(roots.proc.join("cmdline")).unwrap_or_default();
        Linux {
            media: BootMedium::from_command_line(&line),
            sysfs: Sysfs::at(&roots.sys, &roots.dev),
            released: Arc::default(),
            keyring: Arc::new(Keyring::new(random::fill)),
            roots,
        }
    }

    /// What opens sealed images.
    #[must_use]
    pub fn with_keyring(self, keyring: Arc<Keyring>) -> Linux {
        Linux { keyring, ..self }
    }

    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring)
    }

    fn roots(&self) -> &Roots {
        &self.roots
    }

    fn sysfs(&self) -> &Sysfs {
        &self.sysfs
    }

    fn media(&self) -> &BootMedium {
        &self.media
    }

    /// Whether this is the rescue system, whose disks are all in our care.
    fn is_live(&self) -> bool {
        self.roots.run.join("rescue/live").exists()
    }

    /// Where filesystems are mounted for a while.
    fn places(&self) -> PathBuf {
        self.roots.run.join(PLACES)
    }

    /// The disk of a partition's device, and the partition's number there.
    #[must_use]
    pub fn partition(&self, path: &Path) -> Option<(PathBuf, u32)> {
        find::partition(self, path)
    }

    fn is_released(&self, disk: &SysDisk) -> bool {
        let released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = disk.identity(fingerprint::UNKNOWN);
        released.iter().any(|r| r.same_device(&identity))
    }

    /// A disk as it is now, its ends read again.
    fn identity_of(&self, disk: &SysDisk) -> Identity {
        let found = Node::open(&disk.node, Access::Read, &self.roots.sys);
        let fingerprint = found.map_or(fingerprint::UNKNOWN, |node| {
            fingerprint::of(&DirectSource::new(node))
        });
        disk.identity(fingerprint)
    }

    /// In the live system: every disk but the released ones.
    fn protect_all(&self, permits: &[&WritePermit]) -> Result<Protection, HostError> {
        let meant: Vec<Identity> = permits.iter().filter_map(|p| p.disk().cloned()).collect();
        *self.released.lock().unwrap_or_else(PoisonError::into_inner) = meant;
        let (free, guarded): (Vec<SysDisk>, Vec<SysDisk>) = self
            .sysfs
            .disks()?
            .into_iter()
            .partition(|disk| self.is_released(disk));
        let uses = Uses::read(&self.roots.proc);
        for disk in &guarded {
            protect::keep_read_only(disk, &uses.of_disk(disk))?;
        }
        let released = Arc::clone(&self.released);
        Ok(Protection::until_dropped(move || {
            released
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            for disk in &free {
                // One that was pulled needs none.
                let _ = protect::keep_read_only(disk, &[]);
            }
        }))
    }
}

impl Host for Linux {
    fn disks(&self) -> Result<Vec<Disk>, HostError> {
        find::all(self)
    }

    fn find(&self, name: &DiskName) -> Result<Vec<Disk>, HostError> {
        find::named(self, name)
    }

    fn open_source(&self, identity: &Identity) -> Result<Box<dyn BlockSource>, HostError> {
        let path = find::path_of(self, identity)?;
        if identity.format().is_some() {
            let opened = foreign::reopen(&path, &self.roots.sys, identity.size_bytes)?;
            return Ok(opened.source);
        }
        let node = Node::open(&path, Access::Read, &self.roots.sys)
            .map_err(|error| open_trouble(&path, &error, "another program has it"))?;
        Ok(Box::new(DirectSource::new(node.of_disk(identity))))
    }

    fn open_careful(
        &self,
        identity: &Identity,
        absence: Duration,
    ) -> Result<Box<dyn CarefulSource>, HostError> {
        // An image of another program is no drive to be spared; read past its tables it would be another disk.
        if identity.format().is_some() {
            return Ok(Box::new(Plain(self.open_source(identity)?)));
        }
        Ok(Box::new(careful::open(self, identity, absence)?))
    }

    fn identify(&self, known: &Identity) -> Result<Identity, HostError> {
        match &known.file {
            Some(file) => find::file_identity(self, file, known),
            None => Ok(self.identity_of(&find::device(self, known)?)),
        }
    }

    fn open_destination(&self, permit: &WritePermit) -> Result<Box<dyn BlockSink>, HostError> {
        let identity = match permit.target() {
            Target::NewFile { path, size_bytes } => {
                return Ok(Box::new(DirectSink::create(path, *size_bytes)?));
            }
            Target::Disk(identity) => identity,
            Target::Store { .. } => return Err(for_a_store()),
        };
        if let Some(file) = &identity.file {
            if self.identify(identity)? != *identity {
                return Err(destination::changed(identity));
            }
            let sink = destination::open_file(file, identity, &self.roots.sys)?;
            return Ok(Box::new(sink));
        }
        let disk = find::device(self, identity)?;
        let uses = Uses::read(&self.roots.proc).of_disk(&disk);
        let flags = if self.is_live() {
            Flags::Ours
        } else {
            Flags::Theirs
        };
        let sink = destination::open(&disk, identity, &uses, flags, &self.roots.sys)?;
        Ok(Box::new(sink))
    }

    /// What a job wrote is a raw disk, whatever stands in it.
    fn open_written(&self, permit: &WritePermit) -> Result<Box<dyn BlockSource>, HostError> {
        let path = match permit.target() {
            Target::Disk(identity) => match &identity.file {
                Some(path) => path,
                None => return self.open_source(&self.identify(identity)?),
            },
            Target::NewFile { path, .. } => path,
            Target::Store { .. } => return Err(for_a_store()),
        };
        let node = Node::open(path, Access::Read, &self.roots.sys)
            .map_err(|error| open_trouble(path, &error, "another program has it"))?;
        Ok(Box::new(DirectSource::new(node)))
    }

    fn open_place(
        &self,
        place: &Place,
        permit: Option<&WritePermit>,
    ) -> Result<OpenPlace, HostError> {
        place::open(self, place, permit)
    }

    fn protect_all_but(
        &self,
        source: Option<&Identity>,
        permits: &[&WritePermit],
    ) -> Result<Protection, HostError> {
        if self.is_live() {
            return self.protect_all(permits);
        }
        match source.filter(|source| source.file.is_none()) {
            Some(source) => Ok(protect::keep_read_only_for_now(&find::device(
                self, source,
            )?)),
            None => Ok(Protection::lasting()),
        }
    }

    fn sectors_written(&self, identity: &Identity) -> Option<u64> {
        identity.file.is_none().then_some(())?;
        Sysfs::sectors_written(&find::device(self, identity).ok()?)
    }

    fn health(&self, identity: &Identity) -> Option<Health> {
        identity.file.is_none().then_some(())?;
        health::of(&find::device(self, identity).ok()?)
    }

    fn kernel_read_only(&self, identity: &Identity) -> Option<bool> {
        identity.file.is_none().then_some(())?;
        Some(find::device(self, identity).ok()?.read_only)
    }

    fn reread_table(&self, permit: &WritePermit) -> Result<(), HostError> {
        match permit.target() {
            Target::Disk(identity) if identity.file.is_none() => {
                partitions::reread(&find::device(self, identity)?, &self.sysfs)
            }
            // The kernel has read no table of a regular file.
            Target::Disk(_) | Target::NewFile { .. } => Ok(()),
            Target::Store { .. } => Err(for_a_store()),
        }
    }

    fn grow_filesystem(&self, permit: &WritePermit, partition: u32) -> Result<String, HostError> {
        match permit.target() {
            Target::Disk(identity) if identity.file.is_none() => {
                grow::grow(self, &find::device(self, identity)?, partition)
            }
            Target::Disk(_) | Target::NewFile { .. } => Err(HostError(format!(
                "the filesystem of partition {partition} keeps its size, since the destination is a file; grow it \
                 from its own system"
            ))),
            Target::Store { .. } => Err(for_a_store()),
        }
    }

    fn job_state(&self, name: &str) -> Option<PathBuf> {
        let below = match self.is_live() {
            true => Some(self.roots.run.join("rescue/state")),
            false => self.roots.state.clone(),
        };
        below.map(|below| below.join(name))
    }

    fn write_state(&self, path: &std::path::Path, bytes: &[u8]) -> Result<(), HostError> {
        // Only directories of our own are made.
        let own = self.job_state("").is_some_and(|own| path.starts_with(own));
        if let (true, Some(directory)) = (own, path.parent()) {
            std::fs::create_dir_all(directory).map_err(|error| {
                HostError(format!(
                    "{} cannot be made: {error}; name a map file with --map",
                    directory.display()
                ))
            })?;
        }
        crate::state::write(path, bytes)
    }

    fn free_memory(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.roots.proc.join("meminfo")).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    }
}

fn for_a_store() -> HostError {
    HostError("the permit is for a store, not for a disk; repeat the command".into())
}
