//! PID 1 and the small programs it is under other names: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    init::run(&std::env::args_os().collect::<Vec<_>>())
}
