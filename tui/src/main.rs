//! The terminal interface. In the live image `rescue` is another name of this program: both link the whole engine,
//! and one file instead of two saves 5 MB of memory and of the medium.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next();
    if name.as_deref().map(Path::new).and_then(Path::file_name) == Some(OsStr::new("rescue")) {
        return rescue::terminal::main(words);
    }
    rescue_tui::runtime::main(words)
}
