//! APFS against what others say of it, on containers made by mkapfs.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

#[path = "../made/mod.rs"]
mod made;
mod map;
mod volume;
