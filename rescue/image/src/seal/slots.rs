//! Passphrases of an image that is there: more of them, fewer of them.

use std::sync::Arc;

use crate::seal::keys::{FRAME, Keys, SLOTS, Slot};
use crate::seal::{Sealed, keys_of};
use crate::store::{Store, StoreError};

impl Sealed {
    /// One more passphrase. The keyring opens the image with one that it has.
    pub fn add_slot(&self, name: &str, slot: Slot) -> Result<(), StoreError> {
        let mut keys = self.keys(name)?;
        if keys.slots.len() >= SLOTS {
            return Err(StoreError::Fault(format!(
                "{} has {SLOTS} keys already; remove one of them first",
                self.title(name)
            )));
        }
        keys.slots.push(slot);
        self.rewrite(name, &keys)
    }

    /// From 0. The last one stays.
    pub fn remove_slot(&self, name: &str, nth: usize) -> Result<(), StoreError> {
        let mut keys = self.keys(name)?;
        let title = self.title(name);
        if nth >= keys.slots.len() {
            return Err(StoreError::Fault(format!(
                "{title} has {} keys; `rescue key list` shows them",
                keys.slots.len()
            )));
        }
        if keys.slots.len() == 1 {
            return Err(StoreError::Fault(format!(
                "it is the only key of {title}, which nobody could open then; add another one first"
            )));
        }
        keys.slots.remove(nth);
        self.rewrite(name, &keys)
    }

    fn keys(&self, name: &str) -> Result<Keys, StoreError> {
        keys_of(&*self.inner, name)?.ok_or_else(|| {
            StoreError::Fault(format!(
                "{} is not sealed; make a new image with --seal",
                self.title(name)
            ))
        })
    }

    /// One copy after the other: at every moment one of them is whole.
    fn rewrite(&self, name: &str, keys: &Keys) -> Result<(), StoreError> {
        let frame = keys.build();
        let store: &Arc<dyn Store> = &self.inner;
        store.overwrite(name, 0, &frame)?;
        store.overwrite(name, FRAME as u64, &frame)
    }
}
