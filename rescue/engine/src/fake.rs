//! A machine in memory: disks, files and stores that fail when they are told to, and a list of what was asked.

mod careful;
mod disk;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::disk::source::{BlockSink, BlockSource};

pub use disk::{FakeDisk, Manners};
pub use store::FakeStore;

use crate::careful::CarefulSource;
use crate::fake::careful::Careful;
use image::seal::Keyring;

use crate::host::{Disk, Host, HostError, OpenPlace, Protection};
use crate::identity::Identity;
use crate::permit::{Target, WritePermit};
use crate::request::{DiskName, Place};

/// What a job asked of the machine, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    OpenSource(PathBuf),
    OpenDestination(PathBuf),
    OpenStore(PathBuf),
    /// The disks that stayed writable.
    Protect(Vec<PathBuf>),
    RereadTable(PathBuf),
    Grow(PathBuf, u32),
}

/// Clones are the same machine.
#[derive(Clone, Default)]
pub struct FakeHost {
    machine: Arc<Mutex<Machine>>,
}

#[derive(Default)]
struct Machine {
    disks: Vec<FakeDisk>,
    stores: BTreeMap<PathBuf, FakeStore>,
    states: BTreeMap<PathBuf, Vec<u8>>,
    calls: Vec<Call>,
    free_memory: Option<u64>,
    /// For every regular file that is made.
    room: Option<u64>,
    /// Where states of jobs onto disks are kept.
    states_below: Option<PathBuf>,
}

impl FakeHost {
    pub fn new() -> FakeHost {
        FakeHost::default()
    }

    /// Plugs a disk in, or puts a file there.
    pub fn add(&self, disk: &FakeDisk) {
        self.machine().disks.push(disk.clone());
    }

    pub fn add_store(&self, directory: &str, store: &FakeStore) {
        self.machine()
            .stores
            .insert(directory.into(), store.clone());
    }

    /// The disk or file at this path, also one that a job made.
    pub fn disk(&self, path: &str) -> Option<FakeDisk> {
        let path = Path::new(path);
        self.machine()
            .disks
            .iter()
            .find(|disk| disk.path() == path)
            .cloned()
    }

    pub fn remove(&self, path: &str) {
        let path = Path::new(path);
        self.machine().disks.retain(|disk| disk.path() != path);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.machine().calls.clone()
    }

    pub fn states(&self) -> Vec<PathBuf> {
        self.machine().states.keys().cloned().collect()
    }

    pub fn set_free_memory(&self, bytes: u64) {
        self.machine().free_memory = Some(bytes);
    }

    /// How much a new file may grow to.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.machine().room = bytes;
    }

    /// Where the states of jobs onto disks are kept; nowhere until this is said.
    pub fn keep_states_below(&self, directory: &str) {
        self.machine().states_below = Some(directory.into());
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, call: Call) {
        self.machine().calls.push(call);
    }

    fn all(&self) -> Vec<FakeDisk> {
        self.machine()
            .disks
            .iter()
            .filter(|disk| disk.is_there())
            .cloned()
            .collect()
    }

    fn device(&self, identity: &Identity) -> Result<FakeDisk, HostError> {
        let found = self
            .all()
            .into_iter()
            .find(|disk| disk.identity().same_device(identity));
        found.ok_or_else(|| {
            HostError(format!(
                "{identity} is no longer there; connect it again and repeat the command"
            ))
        })
    }

    fn target(&self, permit: &WritePermit) -> Result<FakeDisk, HostError> {
        match permit.target() {
            Target::Disk(identity) => self.device(identity),
            Target::NewFile { path, .. } => self
                .all()
                .into_iter()
                .find(|disk| disk.path() == *path)
                .ok_or_else(|| {
                    HostError(format!(
                        "{} is not there; repeat the command",
                        path.display()
                    ))
                }),
            Target::Store { .. } => Err(HostError("a store is no disk; name a disk".into())),
        }
    }
}

impl Host for FakeHost {
    fn disks(&self) -> Result<Vec<Disk>, HostError> {
        let disks = self
            .all()
            .into_iter()
            .filter(|disk| disk.identity().file.is_none());
        Ok(disks.map(|disk| disk.look()).collect())
    }

    fn find(&self, name: &DiskName) -> Result<Vec<Disk>, HostError> {
        let named = |disk: &FakeDisk| {
            let identity = disk.identity();
            match name {
                DiskName::Serial(serial) => identity.serial.as_ref() == Some(serial),
                DiskName::Wwn(wwn) => identity.wwn.as_ref() == Some(wwn),
                DiskName::Path(path) => disk.path() == *path,
            }
        };
        Ok(self
            .all()
            .iter()
            .filter(|disk| named(disk))
            .map(FakeDisk::look)
            .collect())
    }

    fn open_source(&self, identity: &Identity) -> Result<Box<dyn BlockSource>, HostError> {
        let disk = self.device(identity)?;
        self.call(Call::OpenSource(disk.path()));
        Ok(Box::new(disk.reader()))
    }

    fn open_careful(
        &self,
        identity: &Identity,
        absence: Duration,
    ) -> Result<Box<dyn CarefulSource>, HostError> {
        let disk = self.device(identity)?;
        self.call(Call::OpenSource(disk.path()));
        Ok(Box::new(Careful::new(disk, absence)))
    }

    fn open_destination(&self, permit: &WritePermit) -> Result<Box<dyn BlockSink>, HostError> {
        if let Target::NewFile { path, size_bytes } = permit.target() {
            if self.all().iter().any(|disk| disk.path() == *path) {
                return Err(HostError(format!(
                    "{} exists by now; repeat the command",
                    path.display()
                )));
            }
            let file = FakeDisk::file(
                path,
                vec![0; usize::try_from(*size_bytes).unwrap_or(usize::MAX)],
            );
            if let Some(room) = self.machine().room {
                file.limit_room(room);
            }
            self.add(&file);
        }
        let disk = self.target(permit)?;
        if let Target::Disk(identity) = permit.target()
            && disk.identity() != *identity
        {
            return Err(HostError(format!(
                "{identity} has changed since it was looked at; repeat the command"
            )));
        }
        self.call(Call::OpenDestination(disk.path()));
        Ok(Box::new(disk.writer()))
    }

    fn open_written(&self, permit: &WritePermit) -> Result<Box<dyn BlockSource>, HostError> {
        Ok(Box::new(self.target(permit)?.reader()))
    }

    fn open_place(
        &self,
        place: &Place,
        permit: Option<&WritePermit>,
    ) -> Result<OpenPlace, HostError> {
        let Place::Path(path) = place else {
            return Err(HostError(format!("{place} is not there; name a path")));
        };
        let machine = self.machine();
        let whole = machine
            .stores
            .get(path)
            .map(|store| (path.clone(), store, String::new()));
        let in_one = || {
            let (directory, name) = (path.parent()?, path.file_name()?.to_str()?);
            let store = machine.stores.get(directory)?;
            Some((directory.to_owned(), store, name.to_owned()))
        };
        let Some((directory, store, name)) = whole.or_else(in_one) else {
            return Err(HostError(format!(
                "there is no directory {}; make it first or name another",
                path.display()
            )));
        };
        let (mut store, disk) = (store.clone(), store.disk());
        drop(machine);
        if permit.is_some() {
            store = store.for_writing();
            self.call(Call::OpenStore(directory));
        }
        let store: Arc<dyn image::store::Store> = Arc::new(store);
        Ok(OpenPlace {
            disk,
            ..OpenPlace::new(store, Arc::new(Keyring::new(crate::random::fill)), name)
        })
    }

    fn protect_all_but(
        &self,
        _source: Option<&Identity>,
        permits: &[&WritePermit],
    ) -> Result<Protection, HostError> {
        let allowed = |disk: &FakeDisk| {
            permits.iter().any(|permit| match permit.target() {
                Target::Disk(identity)
                | Target::Store {
                    disk: Some(identity),
                } => disk.identity().same_device(identity),
                _ => false,
            })
        };
        // The disk of a store is writable while the store is open.
        let now = |disk: &FakeDisk| {
            let to_it = |permit: &&WritePermit| match permit.target() {
                Target::Disk(identity) => disk.identity().same_device(identity),
                Target::NewFile { .. } | Target::Store { .. } => false,
            };
            permits.iter().any(to_it)
        };
        let disks = self.all();
        disks
            .iter()
            .for_each(|disk| disk.set_kernel_read_only(!now(disk)));
        let open = disks
            .iter()
            .filter(|disk| allowed(disk))
            .map(FakeDisk::path);
        self.call(Call::Protect(open.collect()));
        Ok(Protection::lasting())
    }

    fn sectors_written(&self, identity: &Identity) -> Option<u64> {
        let disk = self.device(identity).ok()?;
        identity.file.is_none().then(|| disk.sectors_written())
    }

    fn kernel_read_only(&self, identity: &Identity) -> Option<bool> {
        let disk = self.device(identity).ok()?;
        identity.file.is_none().then(|| disk.is_kernel_read_only())
    }

    fn reread_table(&self, permit: &WritePermit) -> Result<(), HostError> {
        let disk = self.target(permit)?;
        self.call(Call::RereadTable(disk.path()));
        Ok(())
    }

    fn grow_filesystem(&self, permit: &WritePermit, partition: u32) -> Result<String, HostError> {
        let disk = self.target(permit)?;
        self.call(Call::Grow(disk.path(), partition));
        Ok(format!("partition {partition} was grown"))
    }

    fn full_path(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn job_state(&self, name: &str) -> Option<PathBuf> {
        let below = self.machine().states_below.clone()?;
        Some(below.join(name))
    }

    fn read_state(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        Ok(self.machine().states.get(path).cloned())
    }

    fn write_state(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        self.machine()
            .states
            .insert(path.to_owned(), bytes.to_owned());
        Ok(())
    }

    fn append_state(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let states = &mut self.machine().states;
        states.entry(path.to_owned()).or_default().extend(bytes);
        Ok(())
    }

    fn remove_state(&self, path: &Path) -> Result<(), HostError> {
        self.machine().states.remove(path);
        Ok(())
    }

    fn free_memory(&self) -> Option<u64> {
        self.machine().free_memory
    }
}

impl fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.machine().disks).finish()
    }
}
