//! Runs the unattended commands, one after the other, with their output on every console and in the log.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command as Process, ExitCode, ExitStatus, Stdio};

use std::os::unix::process::ExitStatusExt;

use crate::console::Lines;
use crate::log::{Log, Uptime};
use crate::plug::PLUGGED;
use crate::settings::{Command, Settings, Then};
use crate::{settle, told};

/// The exit code that tells PID 1 what follows.
pub fn code_of(then: Then) -> u8 {
    match then {
        Then::Tui => 0,
        Then::PowerOff => 10,
        Then::Reboot => 11,
        Then::Shell => 12,
    }
}

/// What an exit code of this program asks for; a crash leads to the interface.
pub fn then_of(code: i32) -> Then {
    [Then::PowerOff, Then::Reboot, Then::Shell]
        .into_iter()
        .find(|then| i32::from(code_of(*then)) == code)
        .unwrap_or(Then::Tui)
}

pub fn run() -> ExitCode {
    let settings = told::settings();
    let consoles = Lines::at(Path::new("/")).consoles(&settings.consoles);
    let mut log = Log::aloud(&consoles);
    settle::wait(settings.settle_seconds);
    if let Ok(summary) = std::fs::read_to_string(PLUGGED) {
        log.show(format!("RESCUE-INIT: {summary}").as_bytes());
    }
    log.milestone("settled");
    let succeeded = run_all(&settings, &mut log);
    let total = settings.commands.len();
    log.say(format_args!(
        "RESCUE-RUN: end, {succeeded} of {total} succeeded, {}",
        Uptime::now()
    ));
    ExitCode::from(code_of(what_follows(&settings, succeeded == total)))
}

fn what_follows(settings: &Settings, all_succeeded: bool) -> Then {
    match settings.then {
        Some(then) => then,
        None if all_succeeded => Then::PowerOff,
        None => Then::Tui,
    }
}

/// How many succeeded: the first that does not is the last that runs.
fn run_all(settings: &Settings, log: &mut Log) -> usize {
    for (at, command) in settings.commands.iter().enumerate() {
        let number = at + 1;
        let mut process = process_of(command);
        log.say(format_args!(
            "RESCUE-RUN: {number} start {}",
            shown(command)
        ));
        let code = match run_one(&mut process, log) {
            Ok(status) => status.code().unwrap_or(128 + status.signal().unwrap_or(0)),
            Err(error) => {
                let program = process.get_program().to_string_lossy().into_owned();
                log.say(format_args!("{program} cannot be started: {error}"));
                127
            }
        };
        log.say(format_args!("RESCUE-RUN: {number} exit {code}"));
        if code != 0 {
            let left = settings.commands.len() - number;
            if left > 0 {
                log.say(format_args!(
                    "{left} further commands were not run, because this one failed"
                ));
            }
            return at;
        }
    }
    settings.commands.len()
}

fn process_of(command: &Command) -> Process {
    let mut process = match command {
        Command::Rescue(words) => {
            let mut process = Process::new("/bin/rescue");
            process.args(words);
            process
        }
        Command::Shell(line) => {
            let mut process = Process::new("/bin/sh");
            process.args(["-c", line]);
            process
        }
    };
    process.env("TERM", "dumb").stdin(Stdio::null());
    process
}

fn shown(command: &Command) -> String {
    match command {
        Command::Rescue(words) => format!("rescue {}", words.join(" ")),
        Command::Shell(line) => format!("! {line}"),
    }
}

fn run_one(process: &mut Process, log: &mut Log) -> io::Result<ExitStatus> {
    let (mut output, input) = io::pipe()?;
    process.stdout(input.try_clone()?).stderr(input);
    let mut child = process.spawn()?;
    // Our own copies of the pipe's other end live in `process`; the pipe ends only without them.
    process.stdout(Stdio::null()).stderr(Stdio::null());
    let mut piece = vec![0; 16 << 10];
    loop {
        match output.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => log.pass(&piece[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    child.wait()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_job_survives_the_way_through_an_exit_code() {
        for then in [Then::Tui, Then::PowerOff, Then::Reboot, Then::Shell] {
            assert_eq!(then_of(i32::from(code_of(then))), then);
        }
        assert_eq!(then_of(101), Then::Tui);
    }

    #[test]
    fn the_first_command_that_fails_is_the_last_that_runs() {
        let mut settings = Settings::default();
        settings.add_job_file("!true\n!exit 3\n!true\n");
        assert_eq!(run_all(&settings, &mut Log::default()), 1);
    }

    #[test]
    fn a_machine_whose_job_succeeded_is_switched_off_and_one_whose_job_failed_shows_why() {
        let mut settings = Settings::default();
        assert_eq!(what_follows(&settings, true), Then::PowerOff);
        assert_eq!(what_follows(&settings, false), Then::Tui);
        settings.then = Some(Then::Reboot);
        assert_eq!(what_follows(&settings, false), Then::Reboot);
    }
}
