//! Stores by where they are. One kind a file.

pub mod dir;
pub mod folder;
