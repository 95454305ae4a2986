//! APFS against what others say of it, on containers made by mkapfs and filled by Linux.
//!
//! The module that writes APFS is built for a kernel of its own: the containers are kept here as it left them, with
//! what that kernel listed. `made.sh` makes them.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod files;
mod hostile;
#[path = "../made/mod.rs"]
mod made;
mod map;
#[path = "../corpus/peak.rs"]
mod peak;
mod volume;
