//! The only place where something is done: the terminal, threads for what takes time, and one channel back.

mod browse;
mod console;
mod images;
mod job;
mod log;
mod saved;
mod watch;
mod words;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use disk::layer::{Limits, Secret};
use engine::host::Host;
use engine::linux::Linux;
use engine::plan;
use engine::request::{Origin, Request};
use image::seal::Keyring;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::app::{App, Effect, Message};
use crate::world::{Home, Terminal};
use browse::Browser;
use console::Console;
use job::Job;
use watch::Ask;
use words::Words;

/// How long the loop sleeps when nothing happens; a key wakes it at once.
const NAP: Duration = Duration::from_millis(100);
/// How long a job may take to reach a safe place when the program is told to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// As the command is called, without the name of the program.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let words = match Words::parse(args) {
        Ok(words) => words,
        Err(error) => return words::explain(&error),
    };
    log::keep_panics();
    match run(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Said to a terminal that may be gone.
            let _ = writeln!(
                io::stderr(),
                "the terminal cannot be used: {error}; start the program on a terminal"
            );
            ExitCode::FAILURE
        }
    }
}

fn run(words: Words) -> io::Result<()> {
    let home = Home::here();
    let (sender, receiver) = channel();
    let ended = signals()?;
    let mut console = Console::open(words.theme())?;
    let (columns, rows) = console.size();
    let terminal = Terminal {
        columns,
        rows,
        theme: console.theme(),
    };
    let keyring = Arc::new(Keyring::new(engine::random::fill));
    let linux = Linux::default().with_keyring(Arc::clone(&keyring));
    let host: Arc<dyn Host> = Arc::new(linux);
    let watch = watch::start(&host, &words, &sender);
    let mut runtime = Runtime {
        app: App::new(home, terminal),
        host,
        sender,
        watch,
        browser: Browser::default(),
        keyring,
        job: None,
    };
    let result = runtime.run(&mut console, &receiver, &ended);
    runtime.stop_job();
    console.close();
    result
}

/// Set when the system wants the program to end. Whatever the loop is doing then, the program does end.
fn signals() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&flag);
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            told.store(true, Ordering::Relaxed);
            thread::sleep(PATIENCE + PATIENCE / 4);
            std::process::exit(128 + signal);
        }
    });
    Ok(flag)
}

struct Runtime {
    app: App,
    host: Arc<dyn Host>,
    sender: Sender<Message>,
    watch: Sender<Ask>,
    browser: Browser,
    /// What opens sealed images.
    keyring: Arc<Keyring>,
    job: Option<Job>,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    GoOn,
    End,
}

/// Deriving a key gets at most three quarters of what memory there is.
fn bounded(request: &Request, host: &dyn Host) -> Request {
    let mut request = request.clone();
    let keys = &mut request.options.unlock.keys;
    let usual = *keys.limits();
    if let Some(free) = host.free_memory() {
        let memory_bytes = usual.memory_bytes.min(free / 4 * 3);
        *keys = keys.clone().with_limits(Limits {
            memory_bytes,
            ..usual
        });
    }
    request
}

impl Runtime {
    /// Draws only when something happened.
    fn run(
        &mut self,
        console: &mut Console,
        receiver: &Receiver<Message>,
        ended: &AtomicBool,
    ) -> io::Result<()> {
        console.draw(&self.app)?;
        log::first_frame();
        loop {
            let mut messages = console.messages(NAP)?;
            messages.extend(receiver.try_iter());
            if ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            if messages.is_empty() {
                continue;
            }
            for message in messages {
                if let Message::Job(_) = message
                    && let Some(job) = &self.job
                {
                    job.heard();
                }
                if let Message::Reported(_) | Message::Broken(_) = message {
                    self.job = None;
                    self.tell_watch(Ask::Resume);
                }
                if let Some(effect) = self.app.update(message)
                    && self.perform(effect, console)? == Then::End
                {
                    return Ok(());
                }
            }
            console.draw(&self.app)?;
        }
    }

    fn perform(&mut self, effect: Effect, console: &mut Console) -> io::Result<Then> {
        if !matches!(effect, Effect::Browse { .. }) {
            // What was looked into may be what a job wants.
            self.browser.close();
        }
        match effect {
            Effect::Browse { from, path } => self.browse(from, path),
            Effect::Prepare(request) => self.prepare(*request),
            Effect::Unseal { secret, request } => {
                let (Secret::Passphrase(bytes) | Secret::KeyFile(bytes)) = &secret;
                self.keyring.add(bytes);
                self.prepare(*request);
            }
            Effect::List(place) => {
                let host = Arc::clone(&self.host);
                self.aside("images", move |sender| {
                    let images = images::list(&*host, &place);
                    let _ = sender.send(Message::Listed { place, images });
                });
            }
            Effect::Look => self.tell_watch(Ask::Look),
            Effect::Start(approved) => {
                self.tell_watch(Ask::Rest);
                self.job = Job::start(*approved, &self.host, &self.sender);
            }
            Effect::Stop => {
                if let Some(job) = &self.job {
                    job.stop();
                }
            }
            Effect::Pause(paused) => self.job.iter().for_each(|job| job.pause(paused)),
            Effect::Skip => self.job.iter().for_each(Job::skip),
            Effect::SaveReport { report, beside } => {
                let saved = saved::save(&report, beside.as_deref());
                let _ = self.sender.send(Message::Saved(saved));
            }
            Effect::Redraw => {
                let (columns, rows) = console.redraw()?;
                let _ = self.sender.send(Message::Resized { columns, rows });
            }
            Effect::Shell => self.shell(console)?,
            Effect::Reboot => self.call("reboot"),
            Effect::PowerOff => self.call("poweroff"),
            Effect::Leave => {
                self.stop_job();
                return Ok(Then::End);
            }
        }
        Ok(Then::GoOn)
    }

    fn prepare(&self, request: Request) {
        let host = Arc::clone(&self.host);
        self.aside("plan", move |sender| {
            let result = plan::prepare(&bounded(&request, &*host), &*host).map(Box::new);
            let request = Box::new(request);
            let _ = sender.send(Message::Planned { request, result });
        });
    }

    fn browse(&self, from: Origin, path: String) {
        let (host, browser) = (Arc::clone(&self.host), self.browser.clone());
        self.aside("files", move |sender| {
            let result = browser.list(&*host, &from, &path);
            let _ = sender.send(Message::Browsed { from, path, result });
        });
    }

    /// In a thread of its own: the keys stay alive meanwhile.
    fn aside(&self, name: &str, work: impl FnOnce(Sender<Message>) + Send + 'static) {
        let sender = self.sender.clone();
        let started = thread::Builder::new()
            .name(name.into())
            .spawn(move || work(sender));
        if let Err(error) = started {
            let text = format!("no thread can be started: {error}; close other programs");
            let _ = self.sender.send(Message::Failed(text));
        }
    }

    fn tell_watch(&self, ask: Ask) {
        // Without a watch the disks are those of the last look; it has said so itself.
        let _ = self.watch.send(ask);
    }

    fn shell(&self, console: &mut Console) -> io::Result<()> {
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        let result = console.lend(|| {
            println!("This is a shell; 'exit' comes back to Rescue.");
            Command::new(&shell).status()
        })?;
        if let Err(error) = result {
            let text = format!("{} cannot be started: {error}", shell.to_string_lossy());
            let _ = self.sender.send(Message::Failed(text));
        }
        self.tell_watch(Ask::Look);
        Ok(())
    }

    /// A program of the live system that ends it.
    fn call(&self, program: &str) {
        let text = match Command::new(program).status() {
            Ok(status) if status.success() => return,
            Ok(status) => {
                format!("{program} ended with {status}; switch the computer off by its button")
            }
            Err(error) => format!(
                "{program} cannot be started: {error}; switch the computer off by its button"
            ),
        };
        let _ = self.sender.send(Message::Failed(text));
    }

    /// The job keeps its state, so that the same command goes on from there.
    fn stop_job(&mut self) {
        if let Some(job) = self.job.take() {
            job.stop();
            job.wait(PATIENCE);
        }
    }
}
