//! How large a disk is and in which sectors it counts.

use serde::{Deserialize, Serialize};

/// Sizes are in bytes; a regular file has 512-byte sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Geometry {
    pub size_bytes: u64,
    /// Unit in which the disk is addressed: 512 or 4096.
    pub logical_sector: u32,
    /// Unit in which the disk stores and fails: 512 or 4096, at least the logical one.
    pub physical_sector: u32,
}

impl Geometry {
    /// Into what a larger piece is divided where part of it cannot be read: a bad physical sector is not touched more
    /// often than it must be.
    pub fn shard(self) -> u64 {
        u64::from(self.physical_sector.clamp(512, 4096))
    }

    /// A disk or file with 512-byte sectors.
    pub fn of_file(size_bytes: u64) -> Geometry {
        Geometry {
            size_bytes,
            logical_sector: 512,
            physical_sector: 512,
        }
    }
}
