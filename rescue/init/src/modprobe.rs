//! `/sbin/modprobe`: the kernel calls it when a mount or an algorithm needs a module.

use std::process::ExitCode;

use crate::loader::Loader;
use crate::settings::Settings;

pub fn run(words: &[String]) -> ExitCode {
    let quiet = words.iter().any(|word| word == "-q" || word == "--quiet");
    let names: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let mut loader = match Loader::for_this_kernel(Settings::from_kernel_line(&line)) {
        Ok(loader) => loader,
        Err(error) => {
            eprintln!("modprobe: this kernel's list of modules cannot be read: {error}");
            return ExitCode::FAILURE;
        }
    };
    // `modprobe NAME option=value …` loads NAME; options are taken from the kernel command line.
    let names = names.into_iter().filter(|name| !name.contains('='));
    let mut result = ExitCode::SUCCESS;
    for name in names {
        if !loader.load(name) {
            result = ExitCode::FAILURE;
            if !quiet {
                eprintln!("modprobe: no module {name} was loaded");
            }
        }
    }
    if !quiet {
        for complaint in loader.take_complaints() {
            eprintln!("modprobe: {complaint}");
        }
    }
    result
}
