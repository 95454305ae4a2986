//! The machine's small settings, made once, before anything else runs.

use std::fs::{self, OpenOptions};

use nix::sys::reboot::set_cad_enabled;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, sethostname, setsid};

/// Exists where our own image runs: there a kernel's read-only flag may be set on every disk.
pub const LIVE: &str = "/run/rescue/live";

/// Nothing here is worth stopping for: what fails leaves the kernel's default.
pub fn machine() {
    let _ = setsid();
    open_console();
    // The kernel writes nothing over the screens; all of it stays in dmesg.
    let _ = fs::write("/proc/sys/kernel/printk", "1 4 1 7\n");
    // Ctrl-Alt-Del asks us instead of resetting the machine in the middle of a write.
    let _ = set_cad_enabled(false);
    let _ = sethostname("rescue");
    let _ = fs::create_dir_all("/run/rescue/places");
    let _ = fs::write(LIVE, "");
}

/// The kernel opened no console for us: before devtmpfs was mounted there was none in /dev.
fn open_console() {
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console");
    if let Ok(console) = console {
        let _ = dup2_stdin(&console);
        let _ = dup2_stdout(&console);
        let _ = dup2_stderr(&console);
    }
}
