//! The terminal interface.

use std::process::ExitCode;

fn main() -> ExitCode {
    rescue_tui::runtime::main(std::env::args_os().skip(1))
}
