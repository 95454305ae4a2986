//! How the machine ends, and who may ask for it.

use std::process::ExitCode;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    PowerOff,
    Reboot,
    Halt,
}

impl End {
    /// The signal that asks PID 1 for it: the same ones as with busybox.
    pub fn signal(self) -> Signal {
        match self {
            Self::PowerOff => Signal::SIGUSR2,
            Self::Reboot => Signal::SIGTERM,
            Self::Halt => Signal::SIGUSR1,
        }
    }

    /// SIGINT is Ctrl-Alt-Del; SIGPWR a power supply that is about to end.
    pub fn asked_by(signal: Signal) -> Option<Self> {
        match signal {
            Signal::SIGUSR2 | Signal::SIGPWR => Some(Self::PowerOff),
            Signal::SIGTERM | Signal::SIGINT => Some(Self::Reboot),
            Signal::SIGUSR1 => Some(Self::Halt),
            _ => None,
        }
    }

    pub fn doing(self) -> &'static str {
        match self {
            Self::PowerOff => "powering off",
            Self::Reboot => "restarting",
            Self::Halt => "halting",
        }
    }

    /// Asks PID 1, which first ends everything in order.
    pub fn ask(self) -> ExitCode {
        match kill(Pid::from_raw(1), self.signal()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(errno) => {
                eprintln!("process 1 cannot be asked for {}: {errno}", self.doing());
                ExitCode::FAILURE
            }
        }
    }

    /// Only PID 1 calls this, as its last act. Comes back only when the kernel refused.
    pub fn happen(self) -> nix::Error {
        let mode = match self {
            Self::PowerOff => RebootMode::RB_POWER_OFF,
            Self::Reboot => RebootMode::RB_AUTOBOOT,
            Self::Halt => RebootMode::RB_HALT_SYSTEM,
        };
        match reboot(mode) {
            Ok(never) => match never {},
            Err(errno) => errno,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_asked_for_by_its_own_signal() {
        for end in [End::PowerOff, End::Reboot, End::Halt] {
            assert_eq!(End::asked_by(end.signal()), Some(end));
        }
        assert_eq!(End::asked_by(Signal::SIGCHLD), None);
    }
}
