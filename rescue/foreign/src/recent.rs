//! The few blocks of an image that are kept.

use std::sync::{Arc, Mutex, PoisonError};

/// Values by the place they came from, the most recently used first.
#[derive(Debug)]
pub struct Recent<V> {
    most: usize,
    values: Mutex<Vec<(u64, Arc<V>)>>,
}

impl<V> Recent<V> {
    pub fn new(most: usize) -> Recent<V> {
        Recent {
            most: most.max(1),
            values: Mutex::default(),
        }
    }

    /// Makes it where it is not there; who comes meanwhile does not wait.
    pub fn get<E>(&self, key: u64, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        let lock = || self.values.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut values = lock();
            if let Some(at) = values.iter().position(|(k, _)| *k == key) {
                values[..=at].rotate_right(1);
                return Ok(values[0].1.clone());
            }
        }
        let value = Arc::new(make()?);
        let mut values = lock();
        values.retain(|(k, _)| *k != key);
        values.truncate(self.most - 1);
        values.insert(0, (key, value.clone()));
        Ok(value)
    }
}
