//! A place where images are kept.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use image::seal::{Keyring, Keys, Seal, Sealed};
use image::store::{Store, StoreError};
use image::volumes::Volumes;

use crate::identity::Identity;

/// Looked at without writing, as long as nobody has a permit.
pub struct OpenPlace {
    /// Sealed files of it are read as what is in them.
    pub store: Box<dyn Store>,
    /// The same as they are.
    pub(crate) base: Arc<dyn Store>,
    pub(crate) keyring: Arc<Keyring>,
    /// Where this system shows it as long as `store` is there; `None` where it is no directory.
    pub directory: Option<PathBuf>,
    /// Path within the store: empty for the store's own directory.
    pub name: String,
    /// The disk that the store is on, where that is known.
    pub disk: Option<Identity>,
    pub free_bytes: Option<u64>,
}

impl OpenPlace {
    /// On no disk and in no directory that is known.
    pub fn new(base: Arc<dyn Store>, keyring: Arc<Keyring>, name: String) -> OpenPlace {
        OpenPlace {
            free_bytes: base.free_bytes(),
            store: Box::new(Sealed::new(Arc::clone(&base), Arc::clone(&keyring), None)),
            base,
            keyring,
            directory: None,
            name,
            disk: None,
        }
    }

    /// What is written there is split into volumes of so many bytes.
    #[must_use]
    pub fn in_volumes(self, bytes: Option<u64>) -> OpenPlace {
        let Some(bytes) = bytes else { return self };
        let base = Arc::new(Volumes::of_at_most(self.base, bytes));
        OpenPlace { base, ..self }.sealing(None)
    }

    /// New files of it are sealed.
    #[must_use]
    pub fn sealing(self, seal: Option<Seal>) -> OpenPlace {
        let (base, keyring) = (Arc::clone(&self.base), Arc::clone(&self.keyring));
        OpenPlace {
            store: Box::new(Sealed::new(base, keyring, seal)),
            ..self
        }
    }

    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// For what is done to the seals themselves.
    pub fn seals(&self) -> Sealed {
        Sealed::new(Arc::clone(&self.base), Arc::clone(&self.keyring), None)
    }

    /// What a file is sealed with; `None` for one that is not.
    pub fn seal_of(&self, file: &str) -> Result<Option<Seal>, StoreError> {
        self.seals().seal_of(file)
    }

    /// Who can open a file, whoever asks; `None` for one that is not sealed.
    pub fn keys_of(&self, file: &str) -> Result<Option<Keys>, StoreError> {
        image::seal::keys_of(&*self.base, file)
    }

    pub fn is_sealed(&self, file: &str) -> bool {
        self.keys_of(file).is_ok_and(|keys| keys.is_some())
    }
}

impl fmt::Debug for OpenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenPlace")
            .field("name", &self.name)
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}
