//! Process 1: starts what belongs on the machine, starts it again when it ends, and ends it all in order.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::console::Lines;
use crate::job;
use crate::log::Log;
use crate::power::End;
use crate::settings::{Settings, Then};
use crate::station::{Ended, Program, Station};
use crate::{mounts, prepare, told};

/// Programs may finish a write and note where they stopped.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(20);
/// A dead disk must not keep the machine from being switched off.
const PATIENCE_WITH_DISKS: Duration = Duration::from_secs(60);

/// A child of process 1 that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Plug,
    Job,
    Station(usize),
}

#[derive(Debug)]
struct Supervisor {
    log: Log,
    settings: Settings,
    stations: Vec<Station>,
    running: HashMap<Pid, (Role, Instant)>,
    due: Vec<(Instant, Role)>,
    ending: Option<End>,
}

/// Never comes back.
pub fn run() -> ExitCode {
    let troubles = mounts::mount_all();
    prepare::machine();
    let settings = told::settings();
    let consoles = Lines::at(Path::new("/")).consoles(&settings.consoles);
    let mut supervisor = Supervisor {
        log: Log::aloud(&consoles),
        settings,
        stations: Vec::new(),
        running: HashMap::new(),
        due: Vec::new(),
        ending: None,
    };
    supervisor.log.milestone("start");
    for trouble in troubles.iter().chain(&supervisor.settings.complaints) {
        supervisor.log.say(format_args!("{trouble}"));
    }
    supervisor.plan_start(&consoles);
    loop {
        // A bug here would be a kernel panic for the user; his disks matter more than our loop.
        if catch_unwind(AssertUnwindSafe(|| supervisor.serve())).is_err() {
            supervisor
                .log
                .say(format_args!("process 1 met a bug of its own and goes on"));
            sleep(Duration::from_secs(1));
        }
    }
}

impl Supervisor {
    fn plan_start(&mut self, consoles: &[String]) {
        self.start_soon(Role::Plug);
        let lines = Lines::at(Path::new("/"));
        for name in ["tty2", "tty3"].iter().filter(|name| lines.exists(name)) {
            self.add_station(name, Program::Shell);
        }
        // Its driver may still be to come: tried until it is there.
        if let Some(name) = self.settings.shell.clone() {
            self.add_station(&name, Program::Shell);
        }
        if self.settings.commands.is_empty() {
            self.log.milestone("ready");
            self.open_consoles(consoles, Program::Tui);
        } else {
            self.start_soon(Role::Job);
        }
    }

    /// From here on programs draw on the consoles, and init is silent there.
    fn open_consoles(&mut self, consoles: &[String], program: Program) {
        self.log = Log::silent();
        for console in consoles {
            self.add_station(console, Program::Tui);
        }
        if program == Program::Shell {
            for station in &mut self.stations {
                station.now = Program::Shell;
            }
        }
    }

    fn add_station(&mut self, console: &str, program: Program) {
        if self.stations.iter().all(|s| s.console != console) {
            self.stations.push(Station::new(console, program));
            self.start_soon(Role::Station(self.stations.len() - 1));
        }
    }

    fn start_soon(&mut self, role: Role) {
        self.due.push((Instant::now(), role));
    }

    /// One life of the loop; ends only by a panic.
    fn serve(&mut self) {
        let signals = watched_signals();
        let _ = signals.thread_block();
        let events = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
        loop {
            self.start_due();
            match &events {
                Ok(events) => self.wait_for(events),
                Err(_) => sleep(Duration::from_millis(200)),
            }
            self.reap();
            if let Some(end) = self.ending.take() {
                self.end(end);
            }
        }
    }

    fn wait_for(&mut self, events: &SignalFd) {
        let now = Instant::now();
        let next = self
            .due
            .iter()
            .map(|(at, _)| at.saturating_duration_since(now));
        let patience = next.min().unwrap_or(Duration::from_secs(30));
        let millis = u16::try_from(patience.as_millis() + 1).unwrap_or(u16::MAX);
        let mut ready = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
        // An interrupted or failed wait only means to look again.
        let _ = poll(&mut ready, PollTimeout::from(millis));
        while let Ok(Some(info)) = events.read_signal() {
            let signal = i32::try_from(info.ssi_signo).ok();
            let signal = signal.and_then(|number| Signal::try_from(number).ok());
            if let Some(end) = signal.and_then(End::asked_by) {
                self.ending = Some(end);
            }
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        let (ready, later) = self.due.drain(..).partition(|(at, _)| *at <= now);
        self.due = later;
        let ready: Vec<(Instant, Role)> = ready;
        for (_, role) in ready {
            match self.command(role).spawn() {
                Ok(child) => {
                    let pid = i32::try_from(child.id()).expect("a process id is positive");
                    self.running.insert(Pid::from_raw(pid), (role, now));
                }
                Err(error) => {
                    self.log
                        .say(format_args!("{role:?} cannot be started: {error}"));
                    self.due.push((now + Duration::from_secs(5), role));
                }
            }
        }
    }

    fn command(&self, role: Role) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.env("PATH", "/bin:/sbin").env("HOME", "/root");
        match role {
            Role::Plug => command.arg("plug"),
            Role::Job => command.arg("job"),
            Role::Station(at) => {
                let station = &self.stations[at];
                command.arg("station").args([
                    &station.console,
                    station.now.word(),
                    &station.sentence,
                ])
            }
        };
        command
    }

    fn reap(&mut self) {
        loop {
            let (pid, how) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ended::Exit(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ended::Signal(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            // The others are orphans of programs that ended: reaping them was all.
            if let Some((role, since)) = self.running.remove(&pid) {
                self.follow(role, how, since.elapsed());
            }
        }
    }

    fn follow(&mut self, role: Role, how: Ended, lived: Duration) {
        match role {
            Role::Plug if how == Ended::Exit(0) => {}
            Role::Plug => {
                self.log.say(format_args!(
                    "the program that loads drivers ended with {how} and is started again"
                ));
                self.due
                    .push((Instant::now() + Duration::from_secs(2), role));
            }
            Role::Job => self.after_job(how),
            Role::Station(at) => {
                let station = &mut self.stations[at];
                let wait = station.ended(how, lived);
                if !station.sentence.is_empty() {
                    self.log
                        .say(format_args!("{}: {}", station.console, station.sentence));
                }
                self.due.push((Instant::now() + wait, role));
            }
        }
    }

    fn after_job(&mut self, how: Ended) {
        let then = match how {
            Ended::Exit(code) => job::then_of(code),
            Ended::Signal(_) => Then::Tui,
        };
        let consoles = Lines::at(Path::new("/")).consoles(&self.settings.consoles);
        match then {
            Then::PowerOff => self.ending = Some(End::PowerOff),
            Then::Reboot => self.ending = Some(End::Reboot),
            Then::Shell => self.open_consoles(&consoles, Program::Shell),
            Then::Tui => self.open_consoles(&consoles, Program::Tui),
        }
    }

    /// Everything ends, then the machine.
    fn end(&mut self, end: End) {
        let consoles = Lines::at(Path::new("/")).consoles(&self.settings.consoles);
        self.log = Log::aloud(&consoles);
        self.log.say(format_args!("RESCUE-INIT: {}", end.doing()));
        self.end_programs();
        self.end_disks();
        let errno = end.happen();
        self.log.say(format_args!(
            "the kernel refuses {}: {errno}; the disks are at rest, switch the machine off by its button",
            end.doing()
        ));
        loop {
            sleep(Duration::from_secs(3600));
        }
    }

    fn end_programs(&mut self) {
        // An interactive shell ends with its line, not with SIGTERM.
        for (pid, (role, _)) in &self.running {
            if matches!(role, Role::Station(_)) {
                let _ = kill(*pid, Signal::SIGHUP);
            }
        }
        let everybody = Pid::from_raw(-1);
        let _ = kill(everybody, Signal::SIGTERM);
        if !gone_within(PATIENCE_AT_THE_END) {
            self.log
                .say(format_args!("a program does not end; it is ended by force"));
            let _ = kill(everybody, Signal::SIGKILL);
            gone_within(Duration::from_secs(2));
        }
        self.running.clear();
        self.due.clear();
    }

    fn end_disks(&mut self) {
        let quiesce = Command::new("/proc/self/exe").arg("quiesce").spawn();
        if quiesce.is_err() {
            mounts::quiesce();
        } else if !gone_within(PATIENCE_WITH_DISKS) {
            self.log.say(format_args!(
                "a disk does not take its last data; what was not confirmed may be missing on it"
            ));
        }
    }
}

/// Reaps until no child is left.
fn gone_within(patience: Duration) -> bool {
    let start = Instant::now();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return true,
            Ok(WaitStatus::StillAlive) if start.elapsed() >= patience => return false,
            Ok(WaitStatus::StillAlive) => sleep(Duration::from_millis(20)),
            _ => {}
        }
    }
}

fn watched_signals() -> SigSet {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGPWR,
        Signal::SIGHUP,
    ] {
        signals.add(signal);
    }
    signals
}
