//! The first MiB of a destination: held back, and written when everything else stands.

use std::sync::{Mutex, PoisonError};

use disk::extent::Extent;

use super::buffer::Buffer;

/// The bytes without which nothing on a disk is found.
pub const FRONT_BYTES: u64 = 1 << 20;

/// Takes bytes from several threads. Zero where none came.
pub struct Front {
    pub extent: Extent,
    bytes: Mutex<Buffer>,
}

impl Front {
    pub fn of(destination_bytes: u64) -> Option<Front> {
        let extent = Extent::new(0, FRONT_BYTES.min(destination_bytes))?;
        Some(Front {
            extent,
            bytes: Mutex::new(Buffer::new(index(extent.len()))),
        })
    }

    /// Keeps what of these bytes belongs to the front; says how many that are, from the beginning of `bytes`.
    pub fn take(&self, extent: Extent, bytes: &[u8]) -> usize {
        let Some(inside) = extent.intersect(self.extent) else {
            return 0;
        };
        let (start, end) = (index(inside.start()), index(inside.end()));
        // Bytes in it are whole whatever panicked.
        let mut kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        kept[start..end].copy_from_slice(&bytes[..end - start]);
        end - start
    }

    pub fn into_bytes(self) -> Buffer {
        self.bytes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Front({:?})", self.extent)
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("the front fits in memory")
}
