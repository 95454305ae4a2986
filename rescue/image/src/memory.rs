//! A store in memory, for tests and rehearsals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::store::{Append, ReadFile, Store, StoreError};

type File = Arc<Mutex<Vec<u8>>>;

/// Files in memory; clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    files: Arc<Mutex<BTreeMap<String, File>>>,
    limit: Option<u64>,
}

impl MemoryStore {
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// A store that is full when any file grows beyond `bytes`.
    pub fn limited(bytes: u64) -> MemoryStore {
        MemoryStore {
            limit: Some(bytes),
            ..MemoryStore::default()
        }
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        lock(&self.files).insert(name.to_owned(), Arc::new(Mutex::new(bytes)));
    }

    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let file = lock(&self.files).get(name).cloned()?;
        let bytes = lock(&file).clone();
        Some(bytes)
    }

    fn find(&self, name: &str) -> Result<File, StoreError> {
        let found = lock(&self.files).get(name).cloned();
        found.ok_or_else(|| {
            StoreError::Missing(format!("memory/{name} does not exist; choose another name"))
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn taken(name: &str) -> StoreError {
    StoreError::Taken(format!("memory/{name} exists already; choose another name"))
}

impl Store for MemoryStore {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn create(&self, name: &str) -> Result<Box<dyn Append>, StoreError> {
        if self.exists(name)? {
            return Err(taken(name));
        }
        self.put(name, Vec::new());
        self.resume(name, 0)
    }

    fn resume(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError> {
        let file = self.find(name)?;
        lock(&file).truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(Box::new(MemoryFile {
            file,
            limit: self.limit,
        }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StoreError> {
        let file = self.find(name)?;
        Ok(Box::new(MemoryFile { file, limit: None }))
    }

    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        Ok(lock(&self.files).contains_key(name))
    }

    fn publish(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let file = self.find(from)?;
        let mut files = lock(&self.files);
        if files.contains_key(to) {
            return Err(taken(to));
        }
        files.remove(from);
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn replace(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let file = self.find(from)?;
        let mut files = lock(&self.files);
        files.remove(from);
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn overwrite(&self, name: &str, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        let file = self.find(name)?;
        let mut bytes = lock(&file);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let place = at
            .checked_add(data.len())
            .and_then(|end| bytes.get_mut(at..end));
        let Some(place) = place else {
            return Err(StoreError::Fault(format!(
                "memory/{name} ends before that; look at it"
            )));
        };
        place.copy_from_slice(data);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.find(name)?;
        lock(&self.files).remove(name);
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, StoreError> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn free_bytes(&self) -> Option<u64> {
        self.limit
    }

    fn file_limit(&self) -> Option<u64> {
        self.limit
    }
}

struct MemoryFile {
    file: File,
    limit: Option<u64>,
}

impl Append for MemoryFile {
    fn len(&self) -> u64 {
        lock(&self.file).len() as u64
    }

    fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let mut bytes = lock(&self.file);
        let room = self.limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX) - bytes.len()
        });
        if data.len() > room {
            // As a real one: what fits is written.
            bytes.extend_from_slice(&data[..room]);
            return Err(StoreError::Full(
                "memory is full; free some space and repeat the command".into(),
            ));
        }
        bytes.extend_from_slice(data);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl ReadFile for MemoryFile {
    fn len(&self) -> u64 {
        lock(&self.file).len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let bytes = lock(&self.file);
        let found = usize::try_from(offset)
            .ok()
            .and_then(|at| bytes.get(at..at.checked_add(buf.len())?));
        let Some(found) = found else {
            return Err(StoreError::Unreadable {
                offset,
                len: buf.len() as u64,
                text: format!(
                    "memory has {} bytes, {} at {offset} were asked for",
                    bytes.len(),
                    buf.len()
                ),
            });
        };
        buf.copy_from_slice(found);
        Ok(())
    }
}
