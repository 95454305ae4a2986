//! Sealed files: a container of encrypted blocks around a whole image (FORMAT.md, section 17).
//!
//! A store over another one. What it reads is unsealed where the keyring has a key; what it begins is sealed where it
//! was told to.

mod block;
mod keyring;
mod keys;
mod reading;
mod slots;
mod writing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::digest::ImageId;
use crate::store::{Append, ReadFile, Store, StoreError};
use crate::{mend, merge};
use block::{BLOCK, FileKey};
pub use keyring::{AskFor, Entropy, Keyring, words};
pub use keys::{Cost, DataKey, Keys, SLOTS, Slot, SlotKind};
use keys::{FIRST_BLOCK, FRAME};
use reading::Reading;
use writing::{Tail, Writing};

/// Only of such a name is a file that is being written.
const UNFINISHED: &str = ".unfinished";

/// What new files are sealed with.
#[derive(Clone, Debug)]
pub struct Seal {
    pub key: DataKey,
    pub slots: Vec<Slot>,
}

/// A store in which files may be sealed.
#[derive(Clone)]
pub struct Sealed {
    inner: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    /// New files are as they are given without it.
    seal: Option<Seal>,
    /// What is written just now.
    writing: Arc<Mutex<BTreeMap<String, Tail>>>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Sealed({}, {:?})",
            self.inner.describe(),
            self.seal.is_some()
        )
    }
}

/// The keys of a file; `None` for one that is not sealed.
pub fn keys_of(store: &dyn Store, name: &str) -> Result<Option<Keys>, StoreError> {
    let file = store.open(name)?;
    let found = read_keys(&*file, &format!("{}/{name}", store.describe()))?;
    Ok(found.map(|found| found.keys))
}

/// The keys, and what is damaged of them.
struct Found {
    keys: Keys,
    notes: Vec<String>,
}

fn read_keys(file: &dyn ReadFile, title: &str) -> Result<Option<Found>, StoreError> {
    let mut copies = Vec::new();
    let mut claimed = false;
    for copy in 0..2 {
        let mut frame = vec![0; FRAME];
        let at = copy * FRAME as u64;
        let read = match file.len() < at + FRAME as u64 {
            true => continue,
            false => file.read_at(at, &mut frame),
        };
        match read {
            Ok(()) => {}
            Err(StoreError::Unreadable { .. }) => continue,
            Err(error) => return Err(error),
        }
        match Keys::read(&frame) {
            Some(Ok(keys)) => copies.push(keys),
            Some(Err(keys::Newer)) => {
                return Err(StoreError::Fault(format!(
                    "{title} was sealed by a newer version of this program; use that one"
                )));
            }
            None => claimed |= keys::claims_to_be(&frame),
        }
    }
    let is_equal = copies.len() == 2 && copies[0] == copies[1];
    match copies.into_iter().next() {
        Some(keys) => Ok(Some(Found {
            keys,
            notes: match is_equal {
                true => Vec::new(),
                false => vec![
                    "one of the two copies of its keys is damaged or older; add and remove a key to write both anew".into(),
                ],
            },
        })),
        None if claimed => Err(StoreError::Fault(format!(
            "{title} is sealed, and both copies of its keys are damaged: nobody can open it; use another copy of it"
        ))),
        None => Ok(None),
    }
}

/// Keys are durable before anything follows: where the power went while they were written there is nothing yet.
fn has_torn_keys(file: &dyn ReadFile) -> Result<bool, StoreError> {
    if file.len() > FIRST_BLOCK || file.is_empty() {
        return Ok(false);
    }
    let mut bytes = vec![0; usize::try_from(file.len()).expect("it has 8 KiB at most")];
    file.read_at(0, &mut bytes)?;
    let is_whole = |copy: &[u8]| Keys::read(copy).is_some();
    let mut copies = bytes.chunks(FRAME);
    Ok(copies.clone().all(keys::may_be_torn) && !copies.any(is_whole))
}

impl Sealed {
    pub fn new(inner: Arc<dyn Store>, keyring: Arc<Keyring>, seal: Option<Seal>) -> Sealed {
        Sealed {
            inner,
            keyring,
            seal,
            writing: Arc::default(),
        }
    }

    fn title(&self, name: &str) -> String {
        format!("{}/{name}", self.inner.describe())
    }

    /// What a file is sealed with, to seal another one likewise. `None` for one that is not sealed.
    pub fn seal_of(&self, name: &str) -> Result<Option<Seal>, StoreError> {
        let Some(keys) = keys_of(&*self.inner, name)? else {
            return Ok(None);
        };
        Ok(Some(Seal {
            key: self.data_key(name, &keys)?,
            slots: keys.slots,
        }))
    }

    /// What a new file is sealed with: as it was said, or as the image is that it takes the place of.
    fn seal_for(&self, name: &str) -> Result<Option<Seal>, StoreError> {
        if let Some(seal) = &self.seal {
            return Ok(Some(seal.clone()));
        }
        let Some(base) = mend::base_of(name).or_else(|| merge::base_of(name)) else {
            return Ok(None);
        };
        match self.inner.exists(&base)? {
            true => self.seal_of(&base),
            false => Ok(None),
        }
    }

    /// Keys of its own, and nothing behind them; `file` is empty.
    fn begin(
        &self,
        name: &str,
        mut file: Box<dyn Append>,
        seal: &Seal,
    ) -> Result<Box<dyn Append>, StoreError> {
        let mut id = ImageId([0; 16]);
        self.keyring.random(&mut id.0).map_err(StoreError::Fault)?;
        self.keyring.know(&seal.key);
        let frame = Keys::new(id, &seal.key, seal.slots.clone()).build();
        file.append(&frame)?;
        file.append(&frame)?;
        file.sync()?;
        let key = FileKey::new(&seal.key, id);
        Ok(self.writing(name, file, key, (0, 0), Zeroizing::default()))
    }

    /// Goes on with what is not sealed: that is right where it need not be.
    fn resume_open(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError> {
        match self.seal_for(name)? {
            None => self.inner.resume(name, len),
            Some(seal) if len == 0 => self.begin(name, self.inner.resume(name, 0)?, &seal),
            Some(_) => Err(StoreError::Fault(format!(
                "{} was begun unsealed; remove it, or choose another name",
                self.title(name)
            ))),
        }
    }

    fn data_key(&self, name: &str, keys: &Keys) -> Result<DataKey, StoreError> {
        let title = self.title(name);
        match self.keyring.open(keys, &title) {
            Ok(Some(key)) => Ok(key),
            Ok(None) if self.keyring.is_empty() => Err(StoreError::Locked(format!(
                "{title} is sealed; give its passphrase: --passphrase-file FILE, or RESCUE_PASSPHRASE in the environment"
            ))),
            Ok(None) => Err(StoreError::Locked(format!(
                "{title} is sealed, and the passphrase that was given does not open it; give another"
            ))),
            Err(why) => Err(StoreError::Fault(format!(
                "{title} cannot be opened: {why}"
            ))),
        }
    }

    fn tails(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Tail>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of a file has no block yet.
    fn tail_of(&self, name: &str) -> Zeroizing<Vec<u8>> {
        let tail = self.tails().get(name).cloned();
        tail.map_or_else(Zeroizing::default, |tail| {
            tail.lock().unwrap_or_else(PoisonError::into_inner).clone()
        })
    }

    fn reading(&self, name: &str, file: Box<dyn ReadFile>) -> Result<Opened, StoreError> {
        if name.ends_with(UNFINISHED) && has_torn_keys(&*file)? {
            return Ok(Opened::Nothing);
        }
        let Some(Found { keys, notes }) = read_keys(&*file, &self.title(name))? else {
            return Ok(Opened::Plain(file));
        };
        let data = self.data_key(name, &keys)?;
        let key = FileKey::new(&data, keys.id);
        Reading::open(file, key, self.tail_of(name), notes).map(|reading| {
            let slots = keys.slots;
            let seal = Seal { key: data, slots };
            Opened::Sealed(Box::new(reading), keys.id, Box::new(seal))
        })
    }

    fn writing(
        &self,
        name: &str,
        file: Box<dyn Append>,
        key: FileKey,
        at: (u64, u64),
        front: Zeroizing<Vec<u8>>,
    ) -> Box<dyn Append> {
        let tail: Tail = Arc::new(Mutex::new(front));
        self.tails().insert(name.to_owned(), Arc::clone(&tail));
        let (keyring, title) = (Arc::clone(&self.keyring), self.title(name));
        Box::new(Writing::new(file, title, key, keyring, at, tail))
    }
}

enum Opened {
    /// Not even its keys became durable.
    Nothing,
    Plain(Box<dyn ReadFile>),
    Sealed(Box<Reading>, ImageId, Box<Seal>),
}

/// A file in which there is nothing yet.
struct Empty;

impl ReadFile for Empty {
    fn len(&self) -> u64 {
        0
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        match buf.len() as u64 {
            0 => Ok(()),
            len => Err(StoreError::Unreadable {
                offset,
                len,
                text: "there is nothing in it yet; repeat the command that began it".into(),
            }),
        }
    }
}

impl Store for Sealed {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn create(&self, name: &str) -> Result<Box<dyn Append>, StoreError> {
        let Some(seal) = self.seal_for(name)? else {
            return self.inner.create(name);
        };
        self.begin(name, self.inner.create(name)?, &seal)
    }

    fn resume(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError> {
        self.tails().remove(name);
        let (reading, id, seal) = match self.reading(name, self.inner.open(name)?)? {
            Opened::Nothing | Opened::Plain(_) => return self.resume_open(name, len),
            Opened::Sealed(reading, id, seal) => (reading, id, seal),
        };
        if len > reading.len() {
            return Err(StoreError::Fault(format!(
                "{} has {} bytes where {len} were recorded; remove it and start again",
                self.title(name),
                reading.len()
            )));
        }
        let (number, start, front) = reading.cut(len)?;
        drop(reading);
        if number == 0 && front.is_empty() {
            // Perhaps not even both copies of its keys are there.
            return self.begin(name, self.inner.resume(name, 0)?, &seal);
        }
        let file = self
            .inner
            .resume(name, FIRST_BLOCK + number * BLOCK as u64)?;
        let key = FileKey::new(&seal.key, id);
        Ok(self.writing(name, file, key, (number, start), front))
    }

    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StoreError> {
        Ok(match self.reading(name, self.inner.open(name)?)? {
            Opened::Nothing => Box::new(Empty),
            Opened::Plain(file) => file,
            Opened::Sealed(reading, ..) => reading,
        })
    }

    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.exists(name)
    }

    fn publish(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.tails().remove(from);
        self.inner.publish(from, to)
    }

    fn replace(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.tails().remove(from);
        self.inner.replace(from, to)
    }

    fn is_replaceable(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.is_replaceable(name)
    }

    fn overwrite(&self, name: &str, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.inner.overwrite(name, offset, data)
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.tails().remove(name);
        self.inner.remove(name)
    }

    fn list(&self) -> Result<Vec<String>, StoreError> {
        self.inner.list()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.inner.free_bytes()
    }

    /// Somewhat less of an image goes into it.
    fn file_limit(&self) -> Option<u64> {
        self.inner.file_limit()
    }

    fn volume_bytes(&self) -> Option<u64> {
        self.inner.volume_bytes()
    }
}
