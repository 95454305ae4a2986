//! Boots the ISO on made-up machines.

fn main() {}
