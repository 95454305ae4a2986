//! What tells that somebody repartitioned a disk since it was looked at.

use disk::source::BlockSource;

use crate::identity::Fingerprint;

const ENDS: u64 = 64 << 10;

/// BLAKE3 over the first and the last 64 KiB; an end that cannot be read counts as its absence.
pub fn of(source: &dyn BlockSource) -> Fingerprint {
    let size = source.size_bytes();
    let len = size.min(ENDS);
    let mut hasher = blake3::Hasher::new();
    for start in [0, size - len] {
        let mut bytes = vec![0; usize::try_from(len).expect("64 KiB fit in memory")];
        match source.read_at(start, &mut bytes) {
            Ok(()) => hasher.update(&bytes),
            Err(_) => hasher.update(b"unreadable"),
        };
    }
    Fingerprint(*hasher.finalize().as_bytes())
}

/// Of a disk that could not be opened at all.
pub const UNKNOWN: Fingerprint = Fingerprint([0; 32]);
