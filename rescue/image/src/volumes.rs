//! Files in volumes: what is longer than one file may be lies in several, and is read as one.
//!
//! The first volume has the file's own name, so a file of one volume is as it would be without this. The others are
//! called `NAME.002` while they are written, and `NAME.002of004` once the file is published: the first volume gets its
//! name last, and whoever finds it knows how many there must be. In the order of their names they are the file.

mod reading;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::{Append, ReadFile, Store, StoreError};
use reading::{Opened, Volume};

/// More volumes than this are not made: their names would not sort.
const MOST: u32 = 999;
const UNFINISHED: &str = ".unfinished";

/// A store whose files may be longer than its own files.
#[derive(Clone)]
pub struct Volumes {
    inner: Arc<dyn Store>,
    most_bytes: Option<u64>,
}

impl std::fmt::Debug for Volumes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Volumes({}, {:?})",
            self.inner.describe(),
            self.most_bytes
        )
    }
}

/// The later volumes of one file: by number, their names; and how many volumes there must be, where they say so.
#[derive(Default)]
struct Later {
    names: BTreeMap<u32, String>,
    count: u32,
}

/// `NAME.002` or `NAME.002of004`, as number and count.
fn parsed(rest: &str) -> Option<(u32, Option<u32>)> {
    let number = |digits: &str| -> Option<u32> {
        let plain = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain
            .then(|| digits.parse().ok())?
            .filter(|number| *number >= 2)
    };
    match rest.split_once("of") {
        Some((nth, count)) => {
            let (nth, count) = (number(nth)?, number(count)?);
            (nth <= count).then_some((nth, Some(count)))
        }
        None => Some((number(rest)?, None)),
    }
}

/// The file that a later volume is of.
fn owner(name: &str) -> Option<&str> {
    let (owner, rest) = name.rsplit_once('.')?;
    parsed(rest).map(|_| owner)
}

fn being_written(name: &str, number: u32) -> String {
    format!("{name}.{number:03}")
}

fn published(name: &str, number: u32, count: u32) -> String {
    format!("{name}.{number:03}of{count:03}")
}

impl Volumes {
    /// With volumes as long as `inner` takes them; it is read whatever it was written with.
    pub fn new(inner: Arc<dyn Store>) -> Volumes {
        let most_bytes = inner.file_limit();
        Volumes { inner, most_bytes }
    }

    /// With volumes of so many bytes at most.
    pub fn of_at_most(inner: Arc<dyn Store>, bytes: u64) -> Volumes {
        let most_bytes = inner.file_limit().map_or(bytes, |limit| limit.min(bytes));
        Volumes {
            inner,
            most_bytes: Some(most_bytes.max(1)),
        }
    }

    fn later(&self, name: &str) -> Result<Later, StoreError> {
        // Where publishing was cut off, some have their last names already and the first one has not.
        let to = name.strip_suffix(UNFINISHED);
        let to = match to {
            Some(to) if !self.inner.exists(to)? => Some(to),
            _ => None,
        };
        let mut later = Later::default();
        for found in self.inner.list()? {
            let Some(of) = owner(&found) else { continue };
            if of != name && Some(of) != to {
                continue;
            }
            if let Some((number, count)) = found.rsplit_once('.').and_then(|(_, rest)| parsed(rest))
            {
                later.count = later.count.max(count.unwrap_or(number));
                later.names.insert(number, found.clone());
            }
        }
        Ok(later)
    }

    fn remove_later(&self, name: &str) -> Result<(), StoreError> {
        let later = self.later(name)?;
        later
            .names
            .values()
            .rev()
            .try_for_each(|name| self.inner.remove(name))
    }
}

impl Store for Volumes {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn create(&self, name: &str) -> Result<Box<dyn Append>, StoreError> {
        let Some(most_bytes) = self.most_bytes else {
            return self.inner.create(name);
        };
        let first = self.inner.create(name)?;
        // Of a file that is gone.
        self.remove_later(name)?;
        Ok(Box::new(Written {
            inner: self.inner.clone(),
            most_bytes,
            name: name.to_owned(),
            number: 1,
            before: 0,
            volume: Some(first),
        }))
    }

    fn resume(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError> {
        let later = self.later(name)?;
        if later.names.is_empty() && self.most_bytes.is_none() {
            return self.inner.resume(name, len);
        }
        let (mut number, mut before) = (1, 0);
        let mut left = self.inner.open(name)?.len();
        for (next, found) in &later.names {
            if *next != number + 1 || before + left >= len {
                break;
            }
            (number, before) = (*next, before + left);
            left = self.inner.open(found)?.len();
        }
        for (_, gone) in later.names.range(number + 1..).rev() {
            self.inner.remove(gone)?;
        }
        for (nth, found) in later.names.range(..=number) {
            let wanted = being_written(name, *nth);
            if *found != wanted {
                self.inner.publish(found, &wanted)?;
            }
        }
        let last = match number {
            1 => name.to_owned(),
            _ => being_written(name, number),
        };
        let volume = self.inner.resume(&last, len - before)?;
        Ok(Box::new(Written {
            inner: self.inner.clone(),
            most_bytes: self.most_bytes.unwrap_or(u64::MAX),
            name: name.to_owned(),
            number,
            before,
            volume: Some(volume),
        }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StoreError> {
        let first = self.inner.open(name)?;
        let later = self.later(name)?;
        if later.count == 0 {
            return Ok(first);
        }
        let full = first.len();
        let mut volumes = vec![Volume {
            start: 0,
            len: full,
            file: Some(first),
        }];
        let mut start = full;
        for number in 2..=later.count {
            let file = later
                .names
                .get(&number)
                .map(|name| self.inner.open(name))
                .transpose()?;
            // One that is missing was as long as the first, or is the last.
            let len = file.as_ref().map_or(full, |file| file.len());
            volumes.push(Volume { start, len, file });
            start = start.saturating_add(len);
        }
        Ok(Box::new(Opened {
            name: format!("{}/{name}", self.describe()),
            volumes,
            len: start,
        }))
    }

    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.exists(name)
    }

    fn publish(&self, from: &str, to: &str) -> Result<(), StoreError> {
        if self.inner.exists(to)? {
            return self.inner.publish(from, to);
        }
        let later = self.later(from)?;
        let stale = self.later(to)?;
        for (number, found) in &stale.names {
            let is_ours = later.names.get(number) == Some(found);
            if !is_ours {
                self.inner.remove(found)?;
            }
        }
        let count = later.names.keys().last().copied().unwrap_or(1);
        for (number, found) in &later.names {
            let wanted = published(to, *number, count);
            if *found != wanted {
                self.inner.publish(found, &wanted)?;
            }
        }
        self.inner.publish(from, to)
    }

    fn replace(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let split = self.later(from)?.count > 0 || self.later(to)?.count > 0;
        match split {
            true => Err(StoreError::Fault(format!(
                "{}/{to} lies in several volumes, which no store exchanges at once; make a full image under another name",
                self.describe()
            ))),
            false => self.inner.replace(from, to),
        }
    }

    /// In the first volume, where everything is that is ever changed.
    fn overwrite(&self, name: &str, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.inner.overwrite(name, offset, data)
    }

    fn is_replaceable(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.later(name)?.count == 0)
    }

    /// The first volume goes first: what is left then is no file any more.
    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let later = self.later(name)?;
        self.inner.remove(name)?;
        later
            .names
            .values()
            .rev()
            .try_for_each(|name| self.inner.remove(name))
    }

    fn list(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.inner.list()?;
        names.retain(|name| owner(name).is_none());
        Ok(names)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.inner.free_bytes()
    }

    fn file_limit(&self) -> Option<u64> {
        self.most_bytes
            .map(|bytes| bytes.saturating_mul(MOST.into()))
    }

    fn volume_bytes(&self) -> Option<u64> {
        self.most_bytes
    }
}

/// A file that is written, in its last volume.
struct Written {
    inner: Arc<dyn Store>,
    most_bytes: u64,
    name: String,
    number: u32,
    /// Bytes of the volumes before this one.
    before: u64,
    /// `None` when an append failed and could not be taken back.
    volume: Option<Box<dyn Append>>,
}

impl Written {
    fn volume_name(&self) -> String {
        match self.number {
            1 => self.name.clone(),
            number => being_written(&self.name, number),
        }
    }

    fn volume(&mut self) -> Result<&mut Box<dyn Append>, StoreError> {
        self.volume.as_mut().ok_or_else(|| {
            StoreError::Fault(format!(
                "{}/{} cannot be written any more; repeat the command, it goes on",
                self.inner.describe(),
                self.name
            ))
        })
    }

    fn put(&mut self, mut data: &[u8]) -> Result<(), StoreError> {
        while !data.is_empty() {
            let most_bytes = self.most_bytes;
            let volume = self.volume()?;
            let room = most_bytes.saturating_sub(volume.len());
            if room == 0 {
                self.next_volume()?;
                continue;
            }
            let len = usize::try_from(room).unwrap_or(usize::MAX).min(data.len());
            let (now, later) = data.split_at(len);
            volume.append(now)?;
            data = later;
        }
        Ok(())
    }

    /// What stands in front of a volume is durable before anything stands in it.
    fn next_volume(&mut self) -> Result<(), StoreError> {
        if self.number >= MOST {
            return Err(StoreError::Full(format!(
                "{}/{} has {MOST} volumes, and no more are made; begin again with a larger --volume-size",
                self.inner.describe(),
                self.name
            )));
        }
        let volume = self.volume()?;
        volume.sync()?;
        let len = volume.len();
        let next = self
            .inner
            .create(&being_written(&self.name, self.number + 1))?;
        self.before += len;
        self.number += 1;
        self.volume = Some(next);
        Ok(())
    }

    /// As if the append had never begun.
    fn take_back(&mut self, number: u32, before: u64, len: u64) -> Result<(), StoreError> {
        self.volume = None;
        while self.number > number {
            self.inner.remove(&self.volume_name())?;
            self.number -= 1;
        }
        self.before = before;
        self.volume = Some(self.inner.resume(&self.volume_name(), len)?);
        Ok(())
    }
}

impl Append for Written {
    fn len(&self) -> u64 {
        self.before + self.volume.as_ref().map_or(0, |volume| volume.len())
    }

    fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let (number, before) = (self.number, self.before);
        let len = self.volume()?.len();
        let put = self.put(data);
        let untouched = self.number == number && self.len() == before + len;
        match put {
            Err(error) if !untouched => {
                self.take_back(number, before, len)?;
                Err(error)
            }
            put => put,
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.volume()?.sync()
    }
}
