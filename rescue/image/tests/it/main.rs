//! The crate as its users see it: whole images, written, read, cut, damaged.

#![expect(clippy::unwrap_used, reason = "every function here is part of a test")]

mod any_order;
mod chain;
mod damage;
mod faults;
mod frozen;
mod hostile;
mod made_good;
mod making;
mod mend;
mod merge;
mod oracle;
mod parity;
mod power;
mod resume;
mod sealed;
mod second_reader;
mod straight;
mod tape;
mod volumes;
