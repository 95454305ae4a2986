//! The greeting: a client asks what there is and chooses.

use std::io;

use super::line::Line;
use super::protocol::{
    ALLOCATION, ALLOCATION_ID, FIXED_NEWSTYLE, GREETING, NO_ZEROES, OPTION, OPTION_REPLY, answer,
    flag, info, option,
};
use super::{Export, Server};

/// Longest option that is looked at: a name has at most 4096 bytes.
const OPTION_LIMIT: u32 = 64 << 10;
/// Most options of one client.
const OPTIONS: usize = 256;
/// Largest read or write of a client.
pub const REQUEST_LIMIT: u32 = 32 << 20;
const PREFERRED: u32 = 64 << 10;

/// What a client chose.
#[derive(Clone, Debug)]
pub struct Session {
    pub export: Export,
    pub replies: Replies,
    pub status: Status,
}

/// Whether a client may ask which parts are holes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    NotChosen,
    Chosen,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replies {
    Simple,
    Structured,
}

struct Greeting<'a> {
    server: &'a Server<'a>,
    replies: Replies,
    /// The export whose block status was asked for.
    context: Option<String>,
    zeroes: usize,
}

/// `None` when the client went away politely.
pub fn greet(server: &Server<'_>, line: &mut Line) -> io::Result<Option<Session>> {
    let mut hello = Vec::from(GREETING.to_be_bytes());
    hello.extend(OPTION.to_be_bytes());
    hello.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    line.say(&hello)?;
    let flags = u32::from_be_bytes(line.number()?);
    let known = u32::from(FIXED_NEWSTYLE | NO_ZEROES);
    if flags & !known != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut greeting = Greeting {
        server,
        replies: Replies::Simple,
        context: None,
        zeroes: if flags & u32::from(NO_ZEROES) == 0 {
            124
        } else {
            0
        },
    };
    for _ in 0..OPTIONS {
        let magic = u64::from_be_bytes(line.number()?);
        let asked = u32::from_be_bytes(line.number()?);
        let len = u32::from_be_bytes(line.number()?);
        if magic != OPTION || len > OPTION_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut data = vec![0; len as usize];
        line.fill(&mut data)?;
        match greeting.option(asked, &data, line)? {
            Next::More => {}
            Next::Bye => return Ok(None),
            Next::Go(session) => {
                line.greeted()?;
                return Ok(Some(session));
            }
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

enum Next {
    More,
    Bye,
    Go(Session),
}

impl Greeting<'_> {
    fn option(&mut self, asked: u32, data: &[u8], line: &mut Line) -> io::Result<Next> {
        let plain = |kind| reply(asked, kind, &[]);
        match asked {
            option::ABORT => {
                line.say(&plain(answer::ACK))?;
                return Ok(Next::Bye);
            }
            option::EXPORT_NAME => return self.export_name(data, line),
            option::LIST if data.is_empty() => {
                for export in &self.server.exports {
                    let mut body = counted(&export.name);
                    body.extend(export.description.as_bytes());
                    line.say(&reply(asked, answer::SERVER, &body))?;
                }
                line.say(&plain(answer::ACK))?;
            }
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.replies = Replies::Structured;
                line.say(&plain(answer::ACK))?;
            }
            option::INFO | option::GO => return self.info(asked, data, line),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                let said = self.contexts(asked, data);
                line.say(&said.unwrap_or_else(|| plain(answer::INVALID)))?;
            }
            option::LIST | option::STRUCTURED_REPLY => line.say(&plain(answer::INVALID))?,
            _ => line.say(&plain(answer::UNSUPPORTED))?,
        }
        Ok(Next::More)
    }

    fn find(&self, name: &[u8]) -> Option<&Export> {
        let mut exports = self.server.exports.iter();
        exports.find(|export| export.name.as_bytes() == name)
    }

    fn session(&self, export: &Export) -> Session {
        let same = self.context.as_deref() == Some(&export.name);
        Session {
            export: export.clone(),
            replies: self.replies,
            status: match same && self.replies == Replies::Structured {
                true => Status::Chosen,
                false => Status::NotChosen,
            },
        }
    }

    /// The oldest way, which has no answer for a wrong name.
    fn export_name(&self, name: &[u8], line: &mut Line) -> io::Result<Next> {
        let export = self.find(name).ok_or(io::ErrorKind::InvalidData)?;
        let mut said = Vec::from(export.extent.len().to_be_bytes());
        said.extend(self.flags().to_be_bytes());
        said.resize(said.len() + self.zeroes, 0);
        line.say(&said)?;
        Ok(Next::Go(self.session(export)))
    }

    fn info(&self, asked: u32, data: &[u8], line: &mut Line) -> io::Result<Next> {
        let plain = |kind| reply(asked, kind, &[]);
        let mut words = Words(data);
        let wanted = words.text().and_then(|name| {
            let count = words.u16()?;
            let wanted: Option<Vec<u16>> = (0..count).map(|_| words.u16()).collect();
            words.0.is_empty().then_some((name, wanted?))
        });
        let Some((name, wanted)) = wanted else {
            line.say(&plain(answer::INVALID))?;
            return Ok(Next::More);
        };
        let Some(export) = self.find(name) else {
            line.say(&plain(answer::UNKNOWN))?;
            return Ok(Next::More);
        };
        let tell = |kind: u16, body: &[u8]| {
            let body = [&kind.to_be_bytes(), body].concat();
            reply(asked, answer::INFO, &body)
        };
        let size = export.extent.len().to_be_bytes();
        let mut said = tell(
            info::EXPORT,
            &[&size[..], &self.flags().to_be_bytes()].concat(),
        );
        if wanted.contains(&info::NAME) {
            said.extend(tell(info::NAME, export.name.as_bytes()));
        }
        if wanted.contains(&info::DESCRIPTION) {
            said.extend(tell(info::DESCRIPTION, export.description.as_bytes()));
        }
        // To everybody: who did not ask may ignore it, and then 32 MiB are the limit by the protocol.
        let sizes = [1, PREFERRED, REQUEST_LIMIT].map(u32::to_be_bytes).concat();
        said.extend(tell(info::BLOCK_SIZE, &sizes));
        said.extend(plain(answer::ACK));
        line.say(&said)?;
        Ok(match asked {
            option::GO => Next::Go(self.session(export)),
            _ => Next::More,
        })
    }

    /// `None` for what is not as the protocol has it.
    fn contexts(&mut self, asked: u32, data: &[u8]) -> Option<Vec<u8>> {
        if self.replies == Replies::Simple {
            return None;
        }
        let mut words = Words(data);
        let name = words.text()?;
        let count = words.u32()?;
        let mut matches = asked == option::LIST_META_CONTEXT && count == 0;
        for _ in 0..count {
            let query = words.text()?;
            matches |= query == ALLOCATION.as_bytes();
            matches |= asked == option::LIST_META_CONTEXT && query == b"base:";
        }
        if !words.0.is_empty() {
            return None;
        }
        let Some(export) = self.find(name) else {
            return Some(reply(asked, answer::UNKNOWN, &[]));
        };
        if asked == option::SET_META_CONTEXT {
            self.context = matches.then(|| export.name.clone());
        }
        let mut said = Vec::new();
        if matches {
            let body = [&ALLOCATION_ID.to_be_bytes(), ALLOCATION.as_bytes()].concat();
            said = reply(asked, answer::META_CONTEXT, &body);
        }
        said.extend(reply(asked, answer::ACK, &[]));
        Some(said)
    }

    fn flags(&self) -> u16 {
        let always = flag::HAS_FLAGS
            | flag::SEND_FLUSH
            | flag::SEND_FUA
            | flag::SEND_CACHE
            | flag::CAN_MULTI_CONN;
        let writes = if self.server.content.is_writable() {
            flag::SEND_TRIM | flag::SEND_WRITE_ZEROES
        } else {
            flag::READ_ONLY
        };
        let fragments = match self.replies {
            Replies::Simple => 0,
            Replies::Structured => flag::SEND_DF,
        };
        always | writes | fragments
    }
}

fn reply(asked: u32, kind: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("we say a few words");
    let mut said = Vec::from(OPTION_REPLY.to_be_bytes());
    said.extend(asked.to_be_bytes());
    said.extend(kind.to_be_bytes());
    said.extend(len.to_be_bytes());
    said.extend(body);
    said
}

/// A text behind its length.
fn counted(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).expect("a name is short");
    [&len.to_be_bytes(), text.as_bytes()].concat()
}

/// What a client sent, taken from the front.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(usize::try_from(len).ok()?)
    }
}
