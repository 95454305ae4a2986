//! A store in memory that can be full or go away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image::store::{Append, ReadFile, Store, StoreError};

use super::disk::FakeDisk;
use crate::identity::Identity;

/// Clones are the same store.
#[derive(Clone, Debug)]
pub struct FakeStore {
    shelf: Arc<Mutex<Shelf>>,
    _open: Option<Arc<Writable>>,
}

/// The kernel's read-only flag is off as long as this is there.
#[derive(Debug)]
struct Writable(FakeDisk);

impl Writable {
    fn of(disk: FakeDisk) -> Writable {
        disk.set_kernel_read_only(false);
        Writable(disk)
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        self.0.set_kernel_read_only(true);
    }
}

#[derive(Debug)]
struct Shelf {
    title: String,
    files: BTreeMap<String, Content>,
    disk: Option<FakeDisk>,
    free_bytes: u64,
    file_limit: Option<u64>,
    appends_left: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: usize,
}

impl FakeStore {
    pub fn new(title: &str, free_bytes: u64) -> FakeStore {
        let shelf = Shelf {
            title: title.into(),
            files: BTreeMap::new(),
            disk: None,
            free_bytes,
            file_limit: None,
            appends_left: None,
        };
        FakeStore {
            shelf: Arc::new(Mutex::new(shelf)),
            _open: None,
        }
    }

    /// The store lies on this disk.
    pub fn on(&self, disk: &FakeDisk) -> &FakeStore {
        self.shelf().disk = Some(disk.clone());
        self
    }

    pub fn set_free(&self, bytes: u64) {
        self.shelf().free_bytes = bytes;
    }

    pub fn set_file_limit(&self, bytes: u64) {
        self.shelf().file_limit = Some(bytes);
    }

    /// Gone after so many appends; `None` mends it.
    pub fn gone_after(&self, appends: Option<u64>) {
        self.shelf().appends_left = appends;
    }

    /// The power is cut: `kept` of each file's bytes that were not made durable.
    pub fn cut_power(&self, kept: usize) {
        for file in self.shelf().files.values_mut() {
            let len = file.bytes.len().min(file.durable.saturating_add(kept));
            file.bytes.truncate(len);
        }
    }

    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.shelf().files.get(name).map(|file| file.bytes.clone())
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let durable = bytes.len();
        self.shelf()
            .files
            .insert(name.into(), Content { bytes, durable });
    }

    pub(super) fn disk(&self) -> Option<Identity> {
        self.shelf().disk.as_ref().map(FakeDisk::identity)
    }

    /// As the live system does it: the disk may be written while the store is open.
    pub(super) fn for_writing(&self) -> FakeStore {
        let disk = self.shelf().disk.clone();
        FakeStore {
            shelf: Arc::clone(&self.shelf),
            _open: disk.map(|disk| Arc::new(Writable::of(disk))),
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing(&self, name: &str) -> StoreError {
        StoreError::Missing(format!(
            "{}/{name} is not there; check its name",
            self.describe()
        ))
    }
}

impl Store for FakeStore {
    fn describe(&self) -> String {
        self.shelf().title.clone()
    }

    fn create(&self, name: &str) -> Result<Box<dyn Append>, StoreError> {
        if self.exists(name)? {
            return Err(StoreError::Taken(format!(
                "{}/{name} exists already; choose another name",
                self.describe()
            )));
        }
        self.put(name, Vec::new());
        self.resume(name, 0)
    }

    fn resume(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError> {
        let mut shelf = self.shelf();
        let file = shelf
            .files
            .get_mut(name)
            .ok_or_else(|| StoreError::Missing(format!("{name} is not there")))?;
        file.bytes
            .truncate(usize::try_from(len).unwrap_or(usize::MAX));
        drop(shelf);
        Ok(Box::new(Open(self.clone(), name.into())))
    }

    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StoreError> {
        if self.exists(name)? {
            Ok(Box::new(Open(self.clone(), name.into())))
        } else {
            Err(self.missing(name))
        }
    }

    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.shelf().files.contains_key(name))
    }

    fn publish(&self, from: &str, to: &str) -> Result<(), StoreError> {
        if self.exists(to)? {
            return Err(StoreError::Taken(format!(
                "{}/{to} exists already; choose another name",
                self.describe()
            )));
        }
        let file = self.shelf().files.remove(from);
        let file = file.ok_or_else(|| self.missing(from))?;
        self.shelf().files.insert(to.into(), file);
        Ok(())
    }

    fn replace(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let file = self.shelf().files.remove(from);
        let file = file.ok_or_else(|| self.missing(from))?;
        self.shelf().files.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let removed = self.shelf().files.remove(name);
        removed.map(|_| ()).ok_or_else(|| self.missing(name))
    }

    fn list(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.shelf().files.keys().cloned().collect())
    }

    fn free_bytes(&self) -> Option<u64> {
        Some(self.shelf().free_bytes)
    }

    fn file_limit(&self) -> Option<u64> {
        self.shelf().file_limit
    }
}

struct Open(FakeStore, String);

impl Append for Open {
    fn len(&self) -> u64 {
        ReadFile::len(self)
    }

    fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let mut shelf = self.0.shelf();
        let title = shelf.title.clone();
        match &mut shelf.appends_left {
            Some(0) => {
                return Err(StoreError::Gone(format!(
                    "{title} is no longer there; connect it again and repeat the command"
                )));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let room = usize::try_from(shelf.free_bytes)
            .unwrap_or(usize::MAX)
            .min(data.len());
        shelf.free_bytes -= room as u64;
        let file = shelf
            .files
            .get_mut(&self.1)
            .ok_or_else(|| StoreError::Gone(format!("{} is gone", self.1)))?;
        // As a real one: what fits is written.
        file.bytes.extend_from_slice(&data[..room]);
        if room < data.len() {
            return Err(StoreError::Full(format!(
                "{title} is full; free some space and repeat the command"
            )));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(file) = self.0.shelf().files.get_mut(&self.1) {
            file.durable = file.bytes.len();
        }
        Ok(())
    }
}

impl ReadFile for Open {
    fn len(&self) -> u64 {
        self.0
            .shelf()
            .files
            .get(&self.1)
            .map_or(0, |file| file.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let shelf = self.0.shelf();
        let bytes = shelf.files.get(&self.1).map_or(&[][..], |file| &file.bytes);
        let found = usize::try_from(offset)
            .ok()
            .and_then(|at| bytes.get(at..at.checked_add(buf.len())?));
        match found {
            Some(found) => {
                buf.copy_from_slice(found);
                Ok(())
            }
            None => Err(StoreError::Unreadable {
                offset,
                len: buf.len() as u64,
                text: format!("{}/{} ends before that", shelf.title, self.1),
            }),
        }
    }
}
