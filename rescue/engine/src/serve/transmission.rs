//! The requests of one client, one after the other.

use std::io;
use std::sync::atomic::Ordering;

use disk::extent::Extent;
use disk::source::{ReadError, WriteError};

use super::content::{Allocation, Content};
use super::greeting::{REQUEST_LIMIT, Replies, Session, Status};
use super::line::Line;
use super::protocol::{
    ALLOCATION_ID, Errno, REQUEST, SIMPLE_REPLY, STATE_HOLE, STATE_ZERO, STRUCTURED_REPLY, chunk,
    command, want,
};
use super::{Server, Tally};

/// All that a connection holds of the disk at a time.
const BUFFER: usize = 1 << 20;
/// Most runs in one answer; the client asks for the rest.
const RUNS: usize = 1024;

/// Until the client goes; an error is a client that broke the protocol or went without a word.
pub fn serve(server: &Server<'_>, session: &Session, line: &mut Line) -> io::Result<()> {
    let mut client = Client {
        content: server.content,
        tally: &server.tally,
        session,
        line,
        buffer: vec![0; BUFFER],
    };
    loop {
        let request = client.request()?;
        if request.command == command::DISCONNECT {
            return Ok(());
        }
        client.answer(&request)?;
    }
}

#[derive(Clone, Copy, Debug)]
struct Request {
    flags: u16,
    command: u16,
    cookie: u64,
    /// Of the export.
    offset: u64,
    len: u32,
}

struct Client<'a> {
    content: &'a dyn Content,
    tally: &'a Tally,
    session: &'a Session,
    line: &'a mut Line,
    buffer: Vec<u8>,
}

impl Client<'_> {
    fn request(&mut self) -> io::Result<Request> {
        let mut bytes = [0; 28];
        self.line.fill_whenever(&mut bytes)?;
        let (magic, rest) = bytes.split_first_chunk().expect("28 bytes were read");
        if u32::from_be_bytes(*magic) != REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let u16 = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
        let long = |at: usize| {
            let bytes = rest[at..at + 8].try_into();
            u64::from_be_bytes(bytes.expect("it has eight bytes"))
        };
        let len = rest[20..24].try_into().expect("it has four bytes");
        Ok(Request {
            flags: u16(0),
            command: u16(2),
            cookie: long(4),
            offset: long(12),
            len: u32::from_be_bytes(len),
        })
    }

    fn answer(&mut self, request: &Request) -> io::Result<()> {
        let place = self.place(request);
        match (request.command, place) {
            (command::READ, Some(_)) if request.len > REQUEST_LIMIT => {
                self.fail(request, Errno::Overflow)
            }
            (command::READ, Some(place)) => self.read(request, place),
            (command::WRITE, place) => self.write(request, place),
            (command::FLUSH, _) => self.done(request),
            (command::CACHE, Some(_)) => self.done(request),
            (command::TRIM | command::WRITE_ZEROES, _) if !self.content.is_writable() => {
                self.fail(request, Errno::Permission)
            }
            (command::TRIM, Some(place)) => {
                let trimmed = self.content.trim(place.start(), place.len());
                self.wrote(request, trimmed)
            }
            (command::WRITE_ZEROES, Some(place)) => {
                let zeroed = self.content.zero_at(place.start(), place.len());
                self.wrote(request, zeroed)
            }
            (command::WRITE_ZEROES, None) => self.fail(request, Errno::NoSpace),
            (command::BLOCK_STATUS, Some(place)) if self.session.status == Status::Chosen => {
                self.status(request, place)
            }
            (command::READ | command::CACHE | command::TRIM | command::BLOCK_STATUS, _) => {
                self.fail(request, Errno::Invalid)
            }
            _ => self.fail(request, Errno::Unsupported),
        }
    }

    /// Where on the disk the request goes; `None` for what is empty or leaves the export.
    fn place(&self, request: &Request) -> Option<Extent> {
        let inside = Extent::new(request.offset, request.len.into())?;
        let export = self.session.export.extent;
        let fits = inside.end() <= export.len();
        inside.shifted(export.start()).filter(|_| fits)
    }

    fn read(&mut self, request: &Request, place: Extent) -> io::Result<()> {
        let one_piece = request.flags & want::DONT_FRAGMENT != 0;
        match self.session.replies {
            Replies::Simple => self.read_simply(request, place),
            // The protocol wants this of no more than 64 KiB.
            Replies::Structured if one_piece && place.len() > BUFFER as u64 => {
                self.fail(request, Errno::Overflow)
            }
            Replies::Structured => self.read_in_chunks(request, place),
        }
    }

    /// An error behind the first piece can only be told by ending the connection.
    fn read_simply(&mut self, request: &Request, place: Extent) -> io::Result<()> {
        for (nth, piece) in pieces(place).enumerate() {
            let read = self.get(piece);
            match (read, nth) {
                (Ok(()), 0) => self.line.say(&simple(request, 0))?,
                (Ok(()), _) => {}
                (Err(_), 0) => return self.fail(request, Errno::Io),
                (Err(error), _) => return Err(io::Error::other(error)),
            }
            self.line.say(&self.buffer[..len(piece)])?;
        }
        Ok(())
    }

    /// What is damaged is told where it is; all else is given.
    fn read_in_chunks(&mut self, request: &Request, place: Extent) -> io::Result<()> {
        for piece in pieces(place) {
            let last = match piece.end() == place.end() {
                true => chunk::DONE,
                false => 0,
            };
            let offset = (piece.start() - self.session.export.extent.start()).to_be_bytes();
            match self.get(piece) {
                Ok(()) if is_zero(&self.buffer[..len(piece)]) => {
                    let size = u32::try_from(piece.len()).expect("a piece is at most a buffer");
                    let body = [&offset[..], &size.to_be_bytes()].concat();
                    self.line
                        .say(&structured(request, last, chunk::HOLE, &body, 0))?;
                }
                Ok(()) => {
                    let data = &self.buffer[..len(piece)];
                    let head = structured(request, last, chunk::DATA, &offset, data.len());
                    self.line.say(&head)?;
                    self.line.say(data)?;
                }
                Err(_) => {
                    let mut body = Vec::from((Errno::Io as u32).to_be_bytes());
                    body.extend(0u16.to_be_bytes());
                    body.extend(offset);
                    self.line
                        .say(&structured(request, last, chunk::ERROR_AT, &body, 0))?;
                }
            }
        }
        Ok(())
    }

    /// Fills the buffer's front.
    fn get(&mut self, piece: Extent) -> Result<(), ReadError> {
        let buffer = &mut self.buffer[..len(piece)];
        let read = self.content.read_at(piece.start(), buffer);
        match read {
            Ok(()) => self
                .tally
                .read_bytes
                .fetch_add(piece.len(), Ordering::Relaxed),
            Err(_) => self.tally.failed_reads.fetch_add(1, Ordering::Relaxed),
        };
        read
    }

    /// The client's bytes are taken from the line whatever becomes of them.
    fn write(&mut self, request: &Request, place: Option<Extent>) -> io::Result<()> {
        if request.len > REQUEST_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let place = place.filter(|_| self.content.is_writable());
        let Some(place) = place else {
            self.line.skip(request.len.into(), &mut self.buffer)?;
            let why = match self.content.is_writable() {
                true => Errno::NoSpace,
                false => Errno::Permission,
            };
            return self.fail(request, why);
        };
        let mut written = Ok(());
        for piece in pieces(place) {
            let data = &mut self.buffer[..len(piece)];
            self.line.fill(data)?;
            if written.is_ok() {
                written = self.content.write_at(piece.start(), data);
                self.tally
                    .written_bytes
                    .fetch_add(piece.len(), Ordering::Relaxed);
            }
        }
        self.wrote(request, written)
    }

    fn status(&mut self, request: &Request, place: Extent) -> io::Result<()> {
        let limit = match request.flags & want::ONE_EXTENT {
            0 => RUNS,
            _ => 1,
        };
        // Touching runs of a kind are one.
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut at = place.start();
        while at < place.end() {
            let run = match self.content.run_at(at) {
                Ok(run) if run.end > at => run,
                _ if runs.is_empty() => return self.fail(request, Errno::Io),
                _ => break,
            };
            let end = run.end.min(place.end());
            let bytes = u32::try_from(end - at).expect("a request is shorter than 4 GiB");
            let state = match run.allocation {
                Allocation::Data => 0,
                Allocation::Zero => STATE_ZERO,
                Allocation::Hole => STATE_ZERO | STATE_HOLE,
            };
            let room = runs.len() < limit;
            match runs.last_mut() {
                Some((len, same)) if *same == state => *len += bytes,
                _ if room => runs.push((bytes, state)),
                _ => break,
            }
            at = end;
        }
        let mut body = Vec::from(ALLOCATION_ID.to_be_bytes());
        for (len, state) in runs {
            body.extend(len.to_be_bytes());
            body.extend(state.to_be_bytes());
        }
        let said = structured(request, chunk::DONE, chunk::BLOCK_STATUS, &body, 0);
        self.line.say(&said)
    }

    fn wrote(&mut self, request: &Request, written: Result<(), WriteError>) -> io::Result<()> {
        match written {
            Ok(()) => self.done(request),
            Err(WriteError::Full(_)) => self.fail(request, Errno::NoSpace),
            Err(_) => self.fail(request, Errno::Io),
        }
    }

    fn done(&mut self, request: &Request) -> io::Result<()> {
        let said = match self.session.replies {
            Replies::Simple => simple(request, 0),
            Replies::Structured => structured(request, chunk::DONE, chunk::NONE, &[], 0),
        };
        self.line.say(&said)
    }

    fn fail(&mut self, request: &Request, why: Errno) -> io::Result<()> {
        let said = match self.session.replies {
            Replies::Simple => simple(request, why as u32),
            Replies::Structured => {
                let mut body = Vec::from((why as u32).to_be_bytes());
                body.extend(0u16.to_be_bytes());
                structured(request, chunk::DONE, chunk::ERROR, &body, 0)
            }
        };
        self.line.say(&said)
    }
}

fn pieces(place: Extent) -> impl Iterator<Item = Extent> {
    place.split_at_multiples(BUFFER as u64)
}

fn len(piece: Extent) -> usize {
    usize::try_from(piece.len()).expect("a piece is at most a buffer")
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

fn simple(request: &Request, error: u32) -> Vec<u8> {
    let mut said = Vec::from(SIMPLE_REPLY.to_be_bytes());
    said.extend(error.to_be_bytes());
    said.extend(request.cookie.to_be_bytes());
    said
}

/// The head of a chunk and its body; `more` bytes of it are sent behind it.
fn structured(request: &Request, flags: u16, kind: u16, body: &[u8], more: usize) -> Vec<u8> {
    let len = u32::try_from(body.len() + more).expect("a chunk is little more than a buffer");
    let mut said = Vec::from(STRUCTURED_REPLY.to_be_bytes());
    said.extend(flags.to_be_bytes());
    said.extend(kind.to_be_bytes());
    said.extend(request.cookie.to_be_bytes());
    said.extend(len.to_be_bytes());
    said.extend(body);
    said
}
