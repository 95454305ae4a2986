//! A store that remembers every change, and what of it would be there after a power cut at any moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use image::memory::MemoryStore;
use image::store::{Append, ReadFile, Store, StoreError};

/// In the order in which the store was asked.
#[derive(Clone, Debug)]
pub enum Change {
    Create(String),
    /// Cut to this length.
    Resume(String, u64),
    Append(String, u64, Vec<u8>),
    Sync(String),
    /// From one name to another; both durable when it returns.
    Rename(String, String),
    Remove(String),
}

/// What was in it before, and what happened since.
#[derive(Clone)]
pub struct Tape {
    store: MemoryStore,
    before: BTreeMap<String, Vec<u8>>,
    changes: Arc<Mutex<Vec<Change>>>,
    /// So many changes are let through; then the store is gone.
    left: Arc<Mutex<usize>>,
}

impl Tape {
    pub fn over(before: BTreeMap<String, Vec<u8>>) -> Tape {
        let store = MemoryStore::new();
        for (name, bytes) in &before {
            store.put(name, bytes.clone());
        }
        Tape {
            store,
            before,
            changes: Arc::default(),
            left: Arc::new(Mutex::new(usize::MAX)),
        }
    }

    pub fn of(store: &MemoryStore) -> Tape {
        Tape::over(files(store))
    }

    pub fn gone_after(self, changes: usize) -> Tape {
        *self.left.lock().unwrap() = changes;
        self
    }

    pub fn changes(&self) -> Vec<Change> {
        self.changes.lock().unwrap().clone()
    }

    fn record(&self, change: Change) -> Result<(), StoreError> {
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            return Err(StoreError::Gone("the store is gone".into()));
        }
        *left -= 1;
        self.changes.lock().unwrap().push(change);
        Ok(())
    }

    /// After a power cut behind so many changes: what was not synced is there, is not, or is there in part, as
    /// `dice` (which is asked for numbers below its argument) has it.
    pub fn after_power_cut(
        &self,
        changes: usize,
        dice: &mut dyn FnMut(usize) -> usize,
    ) -> BTreeMap<String, Vec<u8>> {
        let mut files: BTreeMap<String, Cached> = BTreeMap::new();
        for (name, bytes) in &self.before {
            files.insert(name.clone(), Cached::durable(bytes));
        }
        for change in &self.changes()[..changes] {
            match change {
                Change::Create(name) => {
                    files.insert(name.clone(), Cached::default());
                }
                Change::Resume(name, len) => {
                    let file = files.get_mut(name).unwrap();
                    file.settle(&mut |_| 0);
                    file.durable.truncate(usize::try_from(*len).unwrap());
                }
                Change::Append(name, at, bytes) => {
                    let at = usize::try_from(*at).unwrap();
                    files
                        .get_mut(name)
                        .unwrap()
                        .pending
                        .push((at, bytes.clone()));
                }
                Change::Sync(name) => files.get_mut(name).unwrap().settle(&mut |_| 0),
                Change::Rename(from, to) => {
                    let file = files.remove(from).unwrap();
                    files.insert(to.clone(), file);
                }
                Change::Remove(name) => {
                    files.remove(name);
                }
            }
        }
        let mut left = BTreeMap::new();
        for (name, mut file) in files {
            // A file whose name was never synced may not be there at all.
            if !file.named && dice(2) == 0 {
                continue;
            }
            file.settle(dice);
            left.insert(name, file.durable);
        }
        left
    }
}

/// A file, some of which is in memory only.
#[derive(Default)]
struct Cached {
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
    named: bool,
}

impl Cached {
    fn durable(bytes: &[u8]) -> Cached {
        Cached {
            durable: bytes.to_vec(),
            pending: Vec::new(),
            named: true,
        }
    }

    /// 0: all of a write arrives, 1: none, 2: its beginning, 3: its end.
    fn settle(&mut self, dice: &mut dyn FnMut(usize) -> usize) {
        for (at, bytes) in std::mem::take(&mut self.pending) {
            let cut = dice(bytes.len().max(1));
            let (at, bytes) = match dice(4) {
                0 => (at, &bytes[..]),
                1 => continue,
                2 => (at, &bytes[..cut]),
                _ => (at + cut, &bytes[cut..]),
            };
            let end = at + bytes.len();
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[at..end].copy_from_slice(bytes);
        }
        self.named = true;
    }
}

pub fn files(store: &MemoryStore) -> BTreeMap<String, Vec<u8>> {
    let names = store.list().unwrap();
    let bytes = names.into_iter().map(|name| {
        let bytes = store.get(&name).unwrap();
        (name, bytes)
    });
    bytes.collect()
}

pub fn store_of(files: BTreeMap<String, Vec<u8>>) -> MemoryStore {
    let store = MemoryStore::new();
    for (name, bytes) in files {
        store.put(&name, bytes);
    }
    store
}

struct Taped {
    tape: Tape,
    name: String,
    file: Box<dyn Append>,
}

impl Append for Taped {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let change = Change::Append(self.name.clone(), self.file.len(), data.to_vec());
        self.tape.record(change)?;
        self.file.append(data)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        self.tape.record(Change::Sync(self.name.clone()))?;
        self.file.sync()
    }
}

impl Store for Tape {
    fn describe(&self) -> String {
        "tape".to_owned()
    }
    fn create(&self, name: &str) -> Result<Box<dyn Append>, StoreError> {
        self.record(Change::Create(name.to_owned()))?;
        Ok(Box::new(Taped {
            tape: self.clone(),
            name: name.to_owned(),
            file: self.store.create(name)?,
        }))
    }
    fn resume(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError> {
        self.record(Change::Resume(name.to_owned(), len))?;
        Ok(Box::new(Taped {
            tape: self.clone(),
            name: name.to_owned(),
            file: self.store.resume(name, len)?,
        }))
    }
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StoreError> {
        self.store.open(name)
    }
    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        self.store.exists(name)
    }
    fn publish(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.record(Change::Rename(from.to_owned(), to.to_owned()))?;
        self.store.publish(from, to)
    }
    fn replace(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.record(Change::Rename(from.to_owned(), to.to_owned()))?;
        self.store.replace(from, to)
    }
    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.record(Change::Remove(name.to_owned()))?;
        self.store.remove(name)
    }
    fn list(&self) -> Result<Vec<String>, StoreError> {
        self.store.list()
    }
    fn free_bytes(&self) -> Option<u64> {
        None
    }
    fn file_limit(&self) -> Option<u64> {
        None
    }
}
