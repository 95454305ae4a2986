//! The real program on made-up disks, judged by tools that are not ours.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod bmap;
mod boot;
mod chain;
mod deep;
mod exchange;
mod failing;
mod files;
mod flow;
mod killed;
mod layers;
mod left_out;
mod licences;
mod locked;
mod made;
mod memory;
mod mend;
mod roundtrip;
mod sealed;
mod serve;
mod simulate;
mod volumes;
mod words;
