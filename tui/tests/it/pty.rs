//! The program itself, on a terminal that a test holds the other end of.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the terminal answers when it is asked where its cursor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answers {
    Never,
    With { columns: u16, rows: u16 },
}

pub struct Pty {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<vt100::Parser>>,
    /// Everything that was sent, as it was sent.
    sent: Arc<Mutex<Vec<u8>>>,
}

/// `columns` and `rows` of 0 make a line of which the kernel knows no size.
pub fn start(
    dir: &Path,
    term: &str,
    (columns, rows): (u16, u16),
    answers: Answers,
    args: &[&str],
) -> Pty {
    let size = Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pair = openpty(&size, None).unwrap();
    let stdio = || Stdio::from(pair.slave.try_clone().unwrap());
    let child = Command::new(env!("CARGO_BIN_EXE_rescue-tui"))
        .args(args)
        .current_dir(dir)
        .env("TERM", term)
        .env("LC_ALL", "C.UTF-8")
        .env("XDG_CACHE_HOME", dir)
        .env("SHELL", "/bin/true")
        .env_remove("NO_COLOR")
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio())
        .spawn()
        .unwrap();
    drop(pair.slave);
    let (shown_columns, shown_rows) = match answers {
        Answers::With { columns, rows } => (columns, rows),
        Answers::Never if columns == 0 => (80, 24),
        Answers::Never => (columns, rows),
    };
    let parser = vt100::Parser::new(at_least_one(shown_rows), at_least_one(shown_columns), 0);
    let screen = Arc::new(Mutex::new(parser));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let keyboard = File::from(pair.master);
    let pty = Pty {
        child,
        keyboard: keyboard.try_clone().unwrap(),
        screen: Arc::clone(&screen),
        sent: Arc::clone(&sent),
    };
    std::thread::spawn(move || watch(keyboard, &screen, &sent, answers));
    pty
}

fn at_least_one(number: u16) -> std::num::NonZeroU16 {
    std::num::NonZeroU16::new(number).unwrap()
}

fn watch(mut master: File, screen: &Mutex<vt100::Parser>, sent: &Mutex<Vec<u8>>, answers: Answers) {
    let mut buf = [0; 4096];
    // Reading fails when the program has closed its end.
    while let Ok(count @ 1..) = master.read(&mut buf) {
        screen.lock().unwrap().process(&buf[..count]);
        let mut sent = sent.lock().unwrap();
        sent.extend(&buf[..count]);
        if let Answers::With { columns, rows } = answers
            && sent.ends_with(b"\x1b[6n\x1b8")
        {
            write!(master, "\x1b[{rows};{columns}R").unwrap();
        }
    }
}

impl Pty {
    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    pub fn sent(&self) -> Vec<u8> {
        self.sent.lock().unwrap().clone()
    }

    /// Types as a keyboard does.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    #[track_caller]
    pub fn see(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.text().contains(words) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                Instant::now() < until && ended.is_none(),
                "'{words}' did not come ({ended:?}):\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn id(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // Already ended where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
