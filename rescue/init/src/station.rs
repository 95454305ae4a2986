//! One console and the program on it: when it ends, what follows.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::termios::{
    BaudRate, ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr,
};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::console::{is_virtual, terminal_kind};

/// A program that ran at least this long did not crash at its start.
const LONG_ENOUGH: Duration = Duration::from_secs(10);
const CRASHES_UNTIL_SHELL: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Tui,
    Shell,
}

impl Program {
    fn path(self) -> &'static str {
        match self {
            Self::Tui => "/bin/rescue-tui",
            Self::Shell => "/bin/sh",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Tui => "tui",
            Self::Shell => "shell",
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exit(i32),
    Signal(i32),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "signal {number}"),
        }
    }
}

#[derive(Debug)]
pub struct Station {
    pub console: String,
    /// What the console is for; a shell may stand in for it.
    home: Program,
    pub now: Program,
    crashes: u32,
    /// Shown above the program when it starts; empty for none.
    pub sentence: String,
}

impl Station {
    pub fn new(console: &str, home: Program) -> Self {
        Self {
            console: console.to_owned(),
            home,
            now: home,
            crashes: 0,
            sentence: String::new(),
        }
    }

    /// Decides what runs next on this console; the answer is how long to wait before.
    pub fn ended(&mut self, how: Ended, lived: Duration) -> Duration {
        let was_standing_in = self.now != self.home;
        if was_standing_in || lived >= LONG_ENOUGH {
            self.crashes = 0;
        }
        self.now = self.home;
        self.sentence.clear();
        match (self.home, how) {
            (Program::Tui, Ended::Exit(0)) if !was_standing_in => {
                self.now = Program::Shell;
                "this is a shell; leave it with exit to return to rescue"
                    .clone_into(&mut self.sentence);
                Duration::ZERO
            }
            (Program::Tui, how) if !was_standing_in => self.crashed(how),
            // A shell that cannot even start must not spin.
            _ if lived < Duration::from_secs(1) => Duration::from_secs(1),
            _ => Duration::ZERO,
        }
    }

    fn crashed(&mut self, how: Ended) -> Duration {
        self.crashes += 1;
        let ended = format!("the screen program of rescue ended with {how}");
        if self.crashes >= CRASHES_UNTIL_SHELL {
            self.now = Program::Shell;
            self.sentence = format!(
                "{ended} {CRASHES_UNTIL_SHELL} times; this is a shell: rescue --help lists what works here, exit starts the screen program again"
            );
            self.crashes = 0;
            return Duration::ZERO;
        }
        self.sentence = format!("{ended} and was started again");
        Duration::from_secs(1 << (self.crashes - 1))
    }
}

/// Becomes `program` on `console`, in a session of its own whose terminal the console is.
pub fn run(console: &str, program: &str, sentence: &str) -> ExitCode {
    let program = if program == Program::Tui.word() {
        Program::Tui
    } else {
        Program::Shell
    };
    if let Err(error) = take_terminal(console) {
        eprintln!("{console} cannot be used as a terminal: {error}");
        return ExitCode::FAILURE;
    }
    if !sentence.is_empty() {
        println!("{sentence}");
    }
    let error = Command::new(program.path())
        .env("TERM", terminal_kind(console))
        .env("RESCUE_CONSOLE", console)
        .exec();
    eprintln!("{} cannot be started: {error}", program.path());
    ExitCode::FAILURE
}

fn take_terminal(console: &str) -> io::Result<()> {
    // The first terminal the leader of a session opens becomes the session's own.
    setsid()?;
    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        // A serial line must not wait for a carrier.
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(format!("/dev/{console}"))?;
    fcntl(&terminal, FcntlArg::F_SETFL(OFlag::O_RDWR))?;
    make_sane(console, &mut terminal)?;
    dup2_stdin(&terminal)?;
    dup2_stdout(&terminal)?;
    dup2_stderr(&terminal)?;
    Ok(())
}

/// Undoes what a crashed program may have left: raw mode, colours, a hidden cursor, the other screen.
fn make_sane(console: &str, terminal: &mut std::fs::File) -> io::Result<()> {
    let mut modes = tcgetattr(&*terminal)?;
    modes.input_flags |= InputFlags::ICRNL | InputFlags::IXON | InputFlags::BRKINT;
    modes.output_flags |= OutputFlags::OPOST | OutputFlags::ONLCR;
    modes.local_flags |= LocalFlags::ISIG
        | LocalFlags::ICANON
        | LocalFlags::ECHO
        | LocalFlags::ECHOE
        | LocalFlags::ECHOK
        | LocalFlags::IEXTEN;
    if !is_virtual(console) && !is_kernel_console(console) {
        // A line the kernel does not use still has the driver's 9600 baud.
        // (`cfsetspeed` of newer C libraries cannot be linked statically with older ones.)
        modes.control_flags.remove(ControlFlags::CBAUD);
        modes.control_flags |= ControlFlags::from_bits_retain(BaudRate::B115200 as u32);
    }
    tcsetattr(&*terminal, SetArg::TCSANOW, &modes)?;
    let reset: &[u8] = if is_virtual(console) {
        b"\x1bc"
    } else {
        b"\x1b[?1049l\x1b[0m\x1b[?25h\r\n"
    };
    terminal.write_all(reset)
}

fn is_kernel_console(console: &str) -> bool {
    std::fs::read_to_string("/sys/class/tty/console/active")
        .is_ok_and(|active| active.split_whitespace().any(|name| name == console))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_crashed_screen_program_is_started_again_ever_later_and_after_five_times_a_shell_stands_in()
    {
        let mut station = Station::new("tty1", Program::Tui);
        let mut waits = Vec::new();
        for _ in 0..4 {
            waits.push(station.ended(Ended::Signal(11), QUICK).as_secs());
            assert_eq!(station.now, Program::Tui);
        }
        assert_eq!(waits, [1, 2, 4, 8]);
        assert_eq!(
            station.sentence,
            "the screen program of rescue ended with signal 11 and was started again"
        );
        station.ended(Ended::Exit(101), QUICK);
        assert_eq!(station.now, Program::Shell);
        assert!(station.sentence.contains("5 times"));
        station.ended(Ended::Exit(0), LONG);
        assert_eq!(station.now, Program::Tui);
        assert_eq!(station.sentence, "");
    }

    #[test]
    fn crashes_far_apart_are_not_counted_together() {
        let mut station = Station::new("tty1", Program::Tui);
        for _ in 0..20 {
            assert_eq!(station.ended(Ended::Exit(101), LONG).as_secs(), 1);
            assert_eq!(station.now, Program::Tui);
        }
    }

    #[test]
    fn who_leaves_the_screen_program_gets_a_shell_and_comes_back_with_exit() {
        let mut station = Station::new("ttyS0", Program::Tui);
        assert_eq!(station.ended(Ended::Exit(0), LONG), Duration::ZERO);
        assert_eq!(station.now, Program::Shell);
        assert_eq!(station.ended(Ended::Exit(0), LONG), Duration::ZERO);
        assert_eq!(station.now, Program::Tui);
    }

    #[test]
    fn a_shell_that_cannot_start_does_not_spin() {
        let mut station = Station::new("tty2", Program::Shell);
        assert_eq!(station.ended(Ended::Exit(1), QUICK).as_secs(), 1);
        assert_eq!(station.now, Program::Shell);
        assert_eq!(station.ended(Ended::Exit(0), LONG), Duration::ZERO);
    }
}
