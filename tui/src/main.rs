//! The terminal interface.

fn main() {}
