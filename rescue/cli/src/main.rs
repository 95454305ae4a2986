//! `rescue`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    rescue::terminal::main(std::env::args_os().skip(1))
}
