//! The four kinds of checksums that a filesystem may have been made with.

use blake2::Blake2b256;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh64::xxh64;

/// The first bytes of a superblock and of every node are for the sum of the rest.
pub(super) const ROOM: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sums {
    Crc32c,
    Xxhash,
    Sha256,
    Blake2,
}

impl Sums {
    pub fn of(number: u16) -> Option<Sums> {
        [Sums::Crc32c, Sums::Xxhash, Sums::Sha256, Sums::Blake2]
            .get(usize::from(number))
            .copied()
    }

    pub fn fit(self, bytes: &[u8]) -> bool {
        let Some((sum, rest)) = bytes.split_at_checked(ROOM) else {
            return false;
        };
        match self {
            Sums::Crc32c => sum.starts_with(&crc32c::crc32c(rest).to_le_bytes()),
            Sums::Xxhash => sum.starts_with(&xxh64(rest, 0).to_le_bytes()),
            Sums::Sha256 => sum == Sha256::digest(rest).as_slice(),
            Sums::Blake2 => sum == Blake2b256::digest(rest).as_slice(),
        }
    }
}
