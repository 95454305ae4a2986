//! Boots the image on made-up machines: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    qemu_tests::run(&std::env::args().skip(1).collect::<Vec<_>>())
}
