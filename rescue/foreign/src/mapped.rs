//! A disk whose bytes lie somewhere in files, as tables say.

use std::sync::Arc;

use disk::extent::Extent;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};

use crate::recent::Recent;

/// Unpacked blocks that are kept; each has at most [`BLOCK_LIMIT`] bytes.
const UNPACKED: usize = 8;
/// Largest compressed block.
pub const BLOCK_LIMIT: u64 = 2 << 20;

/// Where bytes of the disk are, from the asked one on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Zeros,
    File {
        nth: usize,
        offset: u64,
    },
    /// Behind the first `skip` bytes of what [`Tables::unpack`] makes of this.
    Packed {
        key: u64,
        len: u64,
        skip: u64,
    },
}

/// For so many bytes the place says where the next ones are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub place: Place,
    pub len: u64,
}

/// What a format knows of its files.
pub trait Tables: Send + Sync {
    fn geometry(&self) -> Geometry;

    /// `offset` lies on the disk. `None` where no table can be believed.
    fn span(&self, offset: u64) -> Result<Option<Span>, ReadError>;

    fn file(&self, nth: usize) -> Option<&dyn BlockSource>;

    /// A compressed block, as it was before; `None` when it is damaged.
    fn unpack(&self, _key: u64, _len: u64) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(None)
    }
}

pub struct Mapped<T> {
    tables: T,
    unpacked: Recent<Vec<u8>>,
}

impl<T: Tables + 'static> Mapped<T> {
    pub fn boxed(tables: T) -> Box<dyn BlockSource> {
        Box::new(Mapped {
            tables,
            unpacked: Recent::new(UNPACKED),
        })
    }
}

impl<T: Tables> Mapped<T> {
    /// The span at the front of what is asked, with those behind it that follow it in the same file: one read.
    fn together(&self, asked: Extent) -> Result<Option<Span>, ReadError> {
        let next = |at| Ok(self.tables.span(at)?.filter(|span| span.len > 0));
        let Some(mut span) = next(asked.start())? else {
            return Ok(None);
        };
        let Place::File { nth, offset } = span.place else {
            return Ok(Some(span));
        };
        while span.len < asked.len() {
            let Ok(Some(behind)) = next(asked.start() + span.len) else {
                break;
            };
            let follows = offset
                .checked_add(span.len)
                .map(|offset| Place::File { nth, offset });
            if follows != Some(behind.place) {
                break;
            }
            span.len = span.len.saturating_add(behind.len);
        }
        Ok(Some(span))
    }

    /// False where tables are damaged or lead out of their file.
    fn part(&self, place: Place, buf: &mut [u8]) -> Result<bool, ReadError> {
        match place {
            Place::Zeros => buf.fill(0),
            Place::File { nth, offset } => {
                let Some(file) = self.tables.file(nth) else {
                    return Ok(false);
                };
                // A file that was not filled up to the end of its last block.
                let there = file.size_bytes().saturating_sub(offset);
                let there = usize::try_from(there).unwrap_or(usize::MAX);
                if there == 0 {
                    return Ok(false);
                }
                let (front, behind) = buf.split_at_mut(there.min(buf.len()));
                file.read_at(offset, front)?;
                behind.fill(0);
            }
            Place::Packed { key, len, skip } => {
                let Some(block) = self.unpacked(key, len)? else {
                    return Ok(false);
                };
                let from = usize::try_from(skip).unwrap_or(usize::MAX);
                let bytes = from.checked_add(buf.len());
                let Some(bytes) = bytes.and_then(|end| block.get(from..end)) else {
                    return Ok(false);
                };
                buf.copy_from_slice(bytes);
            }
        }
        Ok(true)
    }

    fn unpacked(&self, key: u64, len: u64) -> Result<Option<Arc<Vec<u8>>>, ReadError> {
        let made = self
            .unpacked
            .get(key, || match self.tables.unpack(key, len) {
                Ok(Some(block)) => Ok(block),
                Ok(None) => Err(None),
                Err(error) => Err(Some(error)),
            });
        match made {
            Ok(block) => Ok(Some(block)),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }
}

impl<T: Tables> BlockSource for Mapped<T> {
    fn geometry(&self) -> Geometry {
        self.tables.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let size_bytes = self.size_bytes();
        let len = buf.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > size_bytes) {
            return Err(ReadError::BeyondEnd {
                offset,
                len,
                size_bytes,
            });
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let asked = Extent::new(at, rest.len() as u64).expect("it lies on the disk");
            let span = self.together(asked).map_err(|error| lost(error, asked))?;
            let span = span.ok_or(ReadError::Unreadable(asked))?;
            let len = usize::try_from(span.len)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            let part = Extent::new(at, len as u64).expect("a span is not empty");
            match self.part(span.place, now) {
                Ok(true) => {}
                Ok(false) => return Err(ReadError::Unreadable(part)),
                Err(error) => return Err(lost(error, part)),
            }
            at += len as u64;
            rest = later;
        }
        Ok(())
    }
}

/// A place of the file that cannot be read is a place of the disk that cannot.
fn lost(error: ReadError, part: Extent) -> ReadError {
    match error {
        ReadError::Unreadable(_) | ReadError::BeyondEnd { .. } => ReadError::Unreadable(part),
        error => error,
    }
}
