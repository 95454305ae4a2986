//! HFS+ against what others say of it, on volumes made by mkfs.hfsplus and filled by Linux, and by xorriso.
//!
//! Debian has mkfs.hfsplus only among its non-free packages, and a kernel that writes HFS+ cannot be had everywhere:
//! the volumes are kept here as they left them, with what that kernel listed. `made.sh` makes them.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod files;
mod hostile;
mod journal;
#[path = "../made/mod.rs"]
mod made;
mod map;
#[path = "../corpus/peak.rs"]
mod peak;
mod volume;
