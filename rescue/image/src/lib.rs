//! How a disk is stored. `FORMAT.md` beside this crate is the authority on the bytes.
//!
//! Pure: no threads, no clock, no files but through [`store::Store`]. The work that costs time is in
//! [`codec::Encoder`] and [`codec::Decoder`], one for each thread; [`writer::Writer`] and [`reader::Reader`]
//! only move bytes.
//!
//! Writing: [`writer::Writer::create`] (or `resume`), then for every chunk in disk order
//! [`codec::Encoder::encode`] and [`writer::Writer::append`], `free` for what nothing uses, `checkpoint` about
//! every 30 s, `finish` with the [`manifest::Manifest`].
//!
//! Reading: [`reader::Reader::open`], [`reader::Reader::pieces`] in disk order, for each entry with data
//! [`reader::Reader::read_stored`] and [`codec::Decoder::decode`]; when that reports damage,
//! [`reader::Reader::salvage`] tells which 64 KiB leaves are good.

#![forbid(unsafe_code)]

pub mod check;
pub mod chunk;
pub mod codec;
pub mod digest;
mod end;
pub mod error;
mod frame;
pub mod head;
mod index;
mod kin;
mod leafmap;
pub mod manifest;
pub mod memory;
pub mod mend;
pub mod merge;
mod newest;
pub mod parity;
pub mod prune;
pub mod reader;
pub mod retain;
mod scan;
pub mod seal;
mod seek;
pub mod shelf;
pub mod states;
pub mod store;
mod tail;
pub mod volumes;
pub mod writer;
mod zeros;

/// What a finished image of this name is called.
pub fn file_name(name: &str) -> String {
    format!("{name}.img.zst")
}

/// What it is called until it is finished.
pub fn unfinished_name(name: &str) -> String {
    format!("{name}.img.zst.unfinished")
}
