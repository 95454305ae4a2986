//! PID 1 of the live image, and under other names the small programs it needs: `modprobe`,
//! `poweroff`, `reboot`, `halt`. It mounts, loads modules, gives every console its program,
//! runs unattended jobs, reaps and switches off. It knows nothing of disks.

pub mod index;
pub mod pattern;

mod console;
mod job;
mod loader;
mod log;
mod modprobe;
mod mounts;
mod plug;
mod power;
mod prepare;
mod settings;
mod settle;
mod station;
mod supervisor;
mod told;
mod uevent;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use nix::sys::signal::SigSet;

use power::End;

/// Which program this is, by the name it was called with.
pub fn run(args: &[OsString]) -> ExitCode {
    let args: Vec<String> = args
        .iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let name = words.first().map_or("", |path| name_in(path));
    match (name, words.get(1..).unwrap_or_default()) {
        ("modprobe", _) => modprobe::run(&args[1..]),
        ("poweroff", _) => End::PowerOff.ask(),
        ("reboot", _) => End::Reboot.ask(),
        ("halt", _) => End::Halt.ask(),
        _ if std::process::id() == 1 => supervisor::run(),
        (_, words) => run_child(words),
    }
}

/// A program that process 1 started.
fn run_child(words: &[&str]) -> ExitCode {
    // Process 1 holds signals back to read them from a file; its children have to hear them.
    let _ = SigSet::empty().thread_set_mask();
    match words {
        ["plug"] => plug::run(),
        ["job"] => job::run(),
        ["quiesce"] => mounts::quiesce(),
        ["station", console, program, sentence] => station::run(console, program, sentence),
        _ => {
            eprintln!("init is process 1 of the rescue image; here it has nothing to do");
            ExitCode::from(64)
        }
    }
}

fn name_in(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
