//! How a disk is stored. `FORMAT.md` beside this crate is the authority on the bytes.

#![forbid(unsafe_code)]

pub mod store;
