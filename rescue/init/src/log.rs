//! What init says: every sentence goes to `/run/rescue/log`, and aloud to consoles nothing else draws on.

use std::fmt::{Arguments, Display};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

pub const LOG_FILE: &str = "/run/rescue/log";

/// A console that takes nothing for this long (a stopped serial line) loses what was to be said:
/// nobody may hold up a job by pressing Ctrl-S.
const CONSOLE_PATIENCE_MS: u16 = 300;

/// Time since the kernel started.
#[derive(Debug, Clone, Copy)]
pub struct Uptime(Duration);

impl Uptime {
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::CLOCK_BOOTTIME);
        Self(time.map(Duration::from).unwrap_or_default())
    }
}

impl Display for Uptime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} s", self.0.as_secs_f64())
    }
}

#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    consoles: Vec<File>,
}

impl Log {
    /// To the file only: something else draws on the consoles.
    pub fn silent() -> Self {
        let file = OpenOptions::new().create(true).append(true).open(LOG_FILE);
        Self {
            file: file.ok(),
            consoles: Vec::new(),
        }
    }

    pub fn aloud(consoles: &[String]) -> Self {
        let open = |name: &String| {
            OpenOptions::new()
                .write(true)
                .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
                .open(format!("/dev/{name}"))
                .ok()
        };
        Self {
            consoles: consoles.iter().filter_map(open).collect(),
            ..Self::silent()
        }
    }

    pub fn say(&mut self, sentence: Arguments<'_>) {
        let line = format!("{sentence}\n");
        if let Some(file) = &mut self.file {
            let time = Uptime::now().0.as_secs_f64();
            // A full log must not stop the machine.
            let _ = file.write_all(format!("[{time:9.3}] {line}").as_bytes());
        }
        self.show(line.as_bytes());
    }

    /// A milestone of the start, in the form the tests wait for.
    pub fn milestone(&mut self, what: &str) {
        self.say(format_args!("RESCUE-INIT: {what} {}", Uptime::now()));
    }

    /// Output of another program, as it is.
    pub fn pass(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file {
            let _ = file.write_all(bytes);
        }
        self.show(bytes);
    }

    /// On the consoles only: the file has it already.
    pub fn show(&mut self, bytes: &[u8]) {
        for console in &mut self.consoles {
            // What a console does not take is in the file.
            let _ = write_patiently(console, bytes);
        }
    }
}

fn write_patiently(console: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match console.write(bytes) {
            Ok(0) => break,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut ready = [PollFd::new(console.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut ready, PollTimeout::from(CONSOLE_PATIENCE_MS))? == 0 {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
