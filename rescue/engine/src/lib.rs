//! Inventory → plan → consent → job → verify → report.
//!
//! Everything is looked at and checked before the first byte is written ([`plan::prepare`]), only a consent to
//! exactly that plan opens a destination ([`plan::Plan::approve`]), and a report always comes back
//! ([`job::run`]).

pub mod careful;
pub mod clock;
pub mod event;
pub mod fake;
pub mod files;
pub mod health;
pub mod host;
pub mod identity;
pub mod inventory;
pub mod job;
pub mod journal;
pub mod limits;
pub mod linux;
pub mod map;
pub mod mapfile;
pub mod mounted;
mod new_file;
pub mod passes;
pub mod permit;
pub mod plan;
pub mod random;
pub mod report;
pub mod request;
pub mod sealing;
pub mod serve;
pub mod simulate;
mod state;
pub mod transport;
pub mod unlock;
