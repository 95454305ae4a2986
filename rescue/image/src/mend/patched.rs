//! A file as it should be: what is in the store, with some places put right.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::{ReadFile, StoreError};

/// More is not kept in memory.
const ROOM: usize = 96 << 20;

/// No frame of ours that is written whole is longer.
const LONGEST: u64 = 20 << 20;

#[derive(Clone)]
pub struct Patched {
    file: Arc<dyn ReadFile>,
    len: u64,
    patches: BTreeMap<u64, Arc<[u8]>>,
    used: usize,
}

impl std::fmt::Debug for Patched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patched")
            .field("patches", &self.patches.len())
            .finish_non_exhaustive()
    }
}

impl Patched {
    pub fn new(file: Arc<dyn ReadFile>) -> Patched {
        Patched {
            len: file.len(),
            file,
            patches: BTreeMap::new(),
            used: 0,
        }
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        ROOM - self.used
    }

    /// Whether anything is other than before.
    pub fn put(&mut self, patches: Vec<(u64, Vec<u8>)>) -> bool {
        let mut changed = false;
        for (offset, bytes) in patches {
            let known = self.patches.get(&offset);
            if known.is_some_and(|known| **known == *bytes) || self.used + bytes.len() > ROOM {
                continue;
            }
            changed = true;
            self.used += bytes.len();
            self.len = self.len.max(offset.saturating_add(bytes.len() as u64));
            self.patches.insert(offset, bytes.into());
        }
        changed
    }
}

impl ReadFile for Patched {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        super::read(&*self.file, offset, buf)?;
        let end = offset.saturating_add(buf.len() as u64);
        let first = offset.saturating_sub(LONGEST);
        for (at, bytes) in self.patches.range(first..end.max(first)) {
            let last = at.saturating_add(bytes.len() as u64).min(end);
            let first = offset.max(*at);
            if first >= last {
                continue;
            }
            let place = |at: u64| usize::try_from(at).expect("it lies in memory");
            buf[place(first - offset)..place(last - offset)]
                .copy_from_slice(&bytes[place(first - at)..place(last - at)]);
        }
        Ok(())
    }
}
