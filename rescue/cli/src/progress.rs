//! A job's progress on standard error: one line drawn over on a terminal, plain lines now and then otherwise.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use disk::size::Size;
use engine::event::{Event, Monitor, Progress, Standing};

use crate::Live;

/// Plain lines come this far apart.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
const LIVE_EVERY: Duration = Duration::from_millis(200);

pub struct Printer<'a> {
    inner: Mutex<Inner<'a>>,
    live: Live,
}

struct Inner<'a> {
    err: &'a mut (dyn Write + Send),
    last: Option<Instant>,
    /// Columns of the line that stands on the terminal.
    drawn: usize,
}

impl<'a> Printer<'a> {
    pub fn new(err: &'a mut (dyn Write + Send), live: Live) -> Printer<'a> {
        Printer {
            inner: Mutex::new(Inner {
                err,
                last: None,
                drawn: 0,
            }),
            live,
        }
    }
}

impl Monitor for Printer<'_> {
    fn event(&self, event: Event) {
        let Ok(mut inner) = self.inner.lock() else {
            return;
        };
        match event {
            Event::Started { .. } | Event::Finished => inner.clear(),
            Event::Step { step } => inner.line(step.words()),
            Event::Progress(progress) => inner.progress(&progress, self.live),
            Event::Unreadable { extent } => {
                inner.line(&format!(
                    "unreadable: {} at byte {}",
                    Size(extent.len()),
                    extent.start()
                ));
            }
            Event::Warning { text } => inner.line(&format!("warning: {text}")),
            Event::Note { text } => inner.line(&text),
            Event::Standing(standing) => inner.standing(&standing, self.live),
        }
    }
}

impl Inner<'_> {
    fn progress(&mut self, progress: &Progress, live: Live) {
        let every = if live == Live::Terminal {
            LIVE_EVERY
        } else {
            PLAIN_EVERY
        };
        if progress.total_bytes == 0 || self.last.is_some_and(|last| last.elapsed() < every) {
            return;
        }
        let first = self.last.replace(Instant::now()).is_none();
        if first && live == Live::Plain {
            return;
        }
        self.show(&words(progress), live);
    }

    fn standing(&mut self, standing: &Standing, live: Live) {
        let every = if live == Live::Terminal {
            LIVE_EVERY
        } else {
            PLAIN_EVERY
        };
        if self.last.is_none_or(|last| last.elapsed() >= every) {
            self.last = Some(Instant::now());
            self.show(&standing.to_string(), live);
        }
    }

    fn show(&mut self, text: &str, live: Live) {
        match live {
            Live::Plain => self.line(text),
            Live::Terminal => {
                let width = text.chars().count();
                let _ = write!(
                    self.err,
                    "\r{text}{:blank$}",
                    "",
                    blank = self.drawn.saturating_sub(width)
                );
                let _ = self.err.flush();
                self.drawn = width;
            }
        }
    }

    fn clear(&mut self) {
        if self.drawn > 0 {
            let _ = write!(self.err, "\r{:drawn$}\r", "", drawn = self.drawn);
            self.drawn = 0;
        }
    }

    fn line(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(self.err, "{text}");
    }
}

fn words(progress: &Progress) -> String {
    let percent = percent(progress.done_bytes, progress.total_bytes);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate to be read by people"
    )]
    let rate = Size(progress.bytes_per_second.max(0.0) as u64);
    let mut text = format!(
        "{percent:>3} %  {} of {}  {rate}/s",
        Size(progress.done_bytes),
        Size(progress.total_bytes)
    );
    if let Some(seconds) = progress.seconds_left {
        text.push_str(&format!("  {} left", duration(seconds)));
    }
    if progress.unreadable_bytes > 0 {
        text.push_str(&format!("  {} unreadable", Size(progress.unreadable_bytes)));
    }
    text
}

fn percent(done: u64, total: u64) -> u64 {
    u64::try_from(u128::from(done) * 100 / u128::from(total.max(1))).map_or(100, |p| p.min(100))
}

/// `7 s`, `3 min 20 s`, `2 h 05 min`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time to be read by people"
)]
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 1e9).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use engine::event::Step;

    use super::*;

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!(duration(7.4), "7 s");
        assert_eq!(duration(200.0), "3 min 20 s");
        assert_eq!(duration(7500.0), "2 h 05 min");
        assert_eq!(duration(f64::NAN), "0 s");
    }

    #[test]
    fn progress_on_a_terminal_draws_over_the_longer_line_before_it() {
        let mut err = Vec::new();
        let printer = Printer::new(&mut err, Live::Terminal);
        let progress = |done| {
            Event::Progress(Progress {
                step: Step::Copy,
                done_bytes: done,
                total_bytes: 2_000_000,
                bytes_per_second: 1e6,
                seconds_left: Some(1.0),
                position: done,
                unreadable_bytes: 0,
                written_bytes: 0,
            })
        };
        printer.event(progress(1_000_000));
        printer.event(Event::Finished);
        let text = String::from_utf8(err).unwrap();
        assert!(
            text.starts_with("\r 50 %  1.0 MB of 2.0 MB  1.0 MB/s  1 s left"),
            "{text:?}"
        );
        assert!(text.ends_with(" \r"), "{text:?}");
    }
}
