//! What a defect leaves behind: a whole terminal and a line in the log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

use crate::runtime::console;
use crate::world::Home;

/// The live system's own log is there; elsewhere the user's cache takes it.
fn path() -> Option<PathBuf> {
    if Home::here() == Home::Medium {
        return Some(Path::new("/run/rescue/log").to_owned());
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    let dir = cache.join("rescue");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("log"))
}

fn open(path: &Path) -> Option<File> {
    OpenOptions::new().create(true).append(true).open(path).ok()
}

/// In one write: two consoles have one log.
fn append(file: &mut File, text: &str) {
    let _ = file.write_all(text.as_bytes());
}

/// In the live system: how long after the kernel's start the first screen was drawn.
pub fn first_frame() {
    if Home::here() != Home::Medium {
        return;
    }
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().unwrap_or_default();
    if let Some(mut file) = path().as_deref().and_then(open) {
        // Nothing depends on this line.
        append(&mut file, &format!("RESCUE-TUI: first frame {seconds} s\n"));
    }
}

/// A panic is written to the log. On the main thread it ends the program (with 101, as ever) and gives the
/// terminal back first; on another it is that thread's to tell.
pub fn keep_panics() {
    let main = thread::current().id();
    panic::set_hook(Box::new(move |info| {
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        let trace = std::backtrace::Backtrace::force_capture();
        let path = path();
        if let Some(mut file) = path.as_deref().and_then(open) {
            // A log that cannot be written must not keep the terminal from being restored.
            append(
                &mut file,
                &format!("rescue-tui: thread {name}: {info}\n{trace}\n"),
            );
        }
        if thread::current().id() == main {
            console::restore();
            eprintln!("rescue-tui has a defect and ends: {info}");
            if let Some(path) = path {
                eprintln!("{} has the rest", path.display());
            }
        }
    }));
}
