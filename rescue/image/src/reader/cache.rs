//! The few pages and chunks that a reader keeps.

use std::sync::Arc;

use disk::extent::ExtentMap;

use crate::codec::Decoder;
use crate::reader::page::Loaded;

/// Pages have at most 32 KiB in the file.
const PAGES: usize = 4;

/// In any order neighbours on the disk may be in many pages.
const LOG_PAGES: usize = 16;

/// One or two would do for a reader that goes forward.
const CHUNKS: usize = 4;

/// A decoded chunk and what of it is damaged.
#[derive(Debug)]
pub struct Content {
    pub bytes: Vec<u8>,
    pub damaged: ExtentMap,
}

#[derive(Default)]
pub struct Cache {
    pub pages: Recent<usize, Loaded, PAGES>,
    pub log: Recent<usize, Loaded, LOG_PAGES>,
    pub chunks: Recent<(u8, u64), Content, CHUNKS>,
    pub leaves: Recent<u64, Vec<u8>, 2>,
    pub decoders: Vec<Decoder>,
}

/// Values by key, the most recently used first.
#[derive(Debug)]
pub struct Recent<K, V, const MOST: usize> {
    values: Vec<(K, Arc<V>)>,
}

impl<K, V, const MOST: usize> Default for Recent<K, V, MOST> {
    fn default() -> Self {
        Recent { values: Vec::new() }
    }
}

impl<K: PartialEq, V, const MOST: usize> Recent<K, V, MOST> {
    pub fn get(&mut self, key: &K) -> Option<Arc<V>> {
        let at = self.values.iter().position(|(k, _)| k == key)?;
        self.values[..=at].rotate_right(1);
        Some(self.values[0].1.clone())
    }

    pub fn put(&mut self, key: K, value: Arc<V>) {
        self.values.retain(|(k, _)| *k != key);
        self.values.truncate(MOST - 1);
        self.values.insert(0, (key, value));
    }
}
