//! What is on a disk: its table, its filesystems, which of its bytes are in use and which file owns a byte.
//!
//! Pure: no files, no threads, no clock, no `unsafe`. Everything is read through [`source::BlockSource`], and
//! every byte that comes from there is taken as hostile.

#![forbid(unsafe_code)]

pub mod extent;
pub mod fields;
pub mod fs;
pub mod geometry;
pub mod layer;
pub mod layout;
pub mod memory;
pub mod record;
pub mod size;
pub mod source;
pub mod systems;
pub mod table;
pub mod window;
