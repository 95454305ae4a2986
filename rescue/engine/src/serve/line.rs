//! One client's connection, with a limit for everything it may let us wait for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest silence within a message, and longest that a client may leave a reply unread.
const STALL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Debug)]
pub struct Line {
    stream: Stream,
    /// Until when the greeting must be over.
    until: Option<Instant>,
    began: Instant,
    heard: Arc<AtomicU64>,
}

/// Another hold on a connection: how long it has been silent, and its end.
#[derive(Debug)]
pub struct Sign {
    stream: Stream,
    began: Instant,
    /// Milliseconds since it began.
    heard: Arc<AtomicU64>,
}

impl Sign {
    pub fn idle(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(heard)
    }

    pub fn end(&self) {
        // It may have ended by itself.
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Line {
    /// The greeting has to be over after `greeting`.
    pub fn new(stream: Stream, greeting: Duration) -> io::Result<Line> {
        match &stream {
            Stream::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(STALL))?;
            }
            Stream::Unix(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(STALL))?;
            }
        }
        let began = Instant::now();
        Ok(Line {
            stream,
            until: Some(began + greeting),
            began,
            heard: Arc::default(),
        })
    }

    pub fn sign(&self) -> io::Result<Sign> {
        let stream = match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        };
        Ok(Sign {
            stream,
            began: self.began,
            heard: self.heard.clone(),
        })
    }

    /// From here on a client may be silent between two requests as long as it likes.
    pub fn greeted(&mut self) -> io::Result<()> {
        self.until = None;
        self.wait_at_most(STALL)
    }

    fn wait_at_most(&self, wait: Duration) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(wait)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(wait)),
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.read(buf),
            Stream::Unix(stream) => stream.read(buf),
        }
    }

    /// All of `buf`, or an error.
    pub fn fill(&mut self, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            if let Some(until) = self.until {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ErrorKind::TimedOut.into());
                }
                self.wait_at_most(left)?;
            }
            match self.read(buf) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => buf = &mut buf[len..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let heard = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(heard, Ordering::Relaxed);
        Ok(())
    }

    /// Like [`Line::fill`], but the first byte may take any time.
    pub fn fill_whenever(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let Some((first, rest)) = buf.split_first_mut() else {
            return Ok(());
        };
        loop {
            match self.fill(std::slice::from_mut(first)) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
                Ok(()) => return self.fill(rest),
            }
        }
    }

    pub fn number<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads and forgets.
    pub fn skip(&mut self, mut len: u64, buffer: &mut [u8]) -> io::Result<()> {
        while len > 0 {
            let now = usize::try_from(len).unwrap_or(usize::MAX).min(buffer.len());
            self.fill(&mut buffer[..now])?;
            len -= now as u64;
        }
        Ok(())
    }

    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }
}
