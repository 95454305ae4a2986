//! `rescue`: see the library.

fn main() {}
