//! The interface: pointers in, pointers out, `errno` on failure, NULL tolerated everywhere.

mod context;
mod counted;
mod device;
mod encode;
mod enumerate;
mod list;
mod monitor;
mod open;
mod queue;
mod text;
