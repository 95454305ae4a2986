//! Where bytes come from and where they go.

use std::fmt;

use crate::extent::Extent;
use crate::geometry::Geometry;

/// Random access to the bytes of a disk, a partition, a volume or an image.
pub trait BlockSource: Send + Sync {
    fn geometry(&self) -> Geometry;

    /// Fills all of `buf` or fails. Any offset and length are allowed; on an error `buf` may be half filled.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError>;

    fn size_bytes(&self) -> u64 {
        self.geometry().size_bytes
    }

    /// For a source that comes out of a packed stream, so that it is cheap to read in order only: the bytes that it
    /// lies in.
    fn packed_bytes(&self) -> Option<u64> {
        None
    }
}

/// Takes the bytes of a disk or of an image, from several threads at once.
pub trait BlockSink: Send + Sync {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), WriteError>;

    /// Makes `len` bytes read as zeros; sinks that know a faster way than writing them use it.
    fn zero_at(&self, offset: u64, len: u64) -> Result<(), WriteError> {
        const ZEROS: &[u8] = &[0; 256 << 10];
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(ZEROS.len() as u64);
            let zeros = usize::try_from(piece).map_or(ZEROS, |n| &ZEROS[..n]);
            self.write_at(offset + done, zeros)?;
            done += piece;
        }
        Ok(())
    }

    /// What was written before this was called survives a power cut after it returns.
    fn sync(&self) -> Result<(), WriteError>;

    /// Makes everything durable. Without it nothing was written, as far as anybody may claim.
    fn finish(self: Box<Self>) -> Result<(), WriteError>;
}

/// Why bytes could not be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// The medium cannot give these bytes; the rest of the disk may be fine. Data, not a fault.
    Unreadable(Extent),
    /// The asker went past the end: a damaged structure pointed there.
    BeyondEnd {
        offset: u64,
        len: u64,
        size_bytes: u64,
    },
    /// The disk is no longer there.
    Gone(String),
    /// Something else between us and the bytes failed; the text says what.
    Fault(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Unreadable(e) => {
                write!(f, "{} bytes at {} cannot be read", e.len(), e.start())
            }
            ReadError::BeyondEnd {
                offset,
                len,
                size_bytes,
            } => {
                write!(
                    f,
                    "{len} bytes at {offset} lie beyond the end at {size_bytes}"
                )
            }
            ReadError::Gone(what) => write!(
                f,
                "{what} is no longer there; connect it again and repeat the command"
            ),
            ReadError::Fault(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ReadError {}

/// Why bytes could not be put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// No room; what was written so far is kept.
    Full(String),
    /// The destination is no longer there.
    Gone(String),
    /// The medium refused this range.
    Refused { extent: Extent, text: String },
    /// Something else failed; the text says what.
    Fault(String),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Full(what) => write!(f, "{what} is full"),
            WriteError::Gone(what) => write!(
                f,
                "{what} is no longer there; connect it again and repeat the command"
            ),
            WriteError::Refused { extent, text } => {
                write!(
                    f,
                    "{} bytes at {} could not be written: {text}",
                    extent.len(),
                    extent.start()
                )
            }
            WriteError::Fault(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for WriteError {}

/// Largest structure a reader takes into memory at once.
pub const STRUCTURE_LIMIT: u64 = 16 << 20;

/// The extent that a read asks for, which must lie on the source; `None` for no bytes.
pub fn asked(offset: u64, len: u64, size_bytes: u64) -> Result<Option<Extent>, ReadError> {
    match offset.checked_add(len) {
        Some(end) if end <= size_bytes => Ok(Extent::new(offset, len)),
        _ => Err(ReadError::BeyondEnd {
            offset,
            len,
            size_bytes,
        }),
    }
}

/// Reads `len` bytes into memory. A length above [`STRUCTURE_LIMIT`] or beyond the end is an error before
/// anything is allocated.
pub fn read_vec(source: &dyn BlockSource, offset: u64, len: u64) -> Result<Vec<u8>, ReadError> {
    let size_bytes = source.size_bytes();
    let inside = offset.checked_add(len).is_some_and(|end| end <= size_bytes);
    let Some(length) = usize::try_from(len)
        .ok()
        .filter(|_| inside && len <= STRUCTURE_LIMIT)
    else {
        return Err(ReadError::BeyondEnd {
            offset,
            len,
            size_bytes,
        });
    };
    let mut bytes = vec![0; length];
    source.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// Shows the bytes of an extent: all at once, or where some of them cannot be read, sector by sector without those; the
/// first such error is left in `unread`. False when `visit` had enough.
pub(crate) fn around(
    source: &dyn BlockSource,
    extent: Extent,
    unread: &mut Option<ReadError>,
    visit: &mut dyn FnMut(u64, &[u8]) -> bool,
) -> Result<bool, ReadError> {
    match read_vec(source, extent.start(), extent.len()) {
        Ok(bytes) => return Ok(visit(extent.start(), &bytes)),
        Err(ReadError::Unreadable(_)) => {}
        Err(error) => return Err(error),
    }
    for part in extent.split_at_multiples(source.geometry().shard()) {
        match read_vec(source, part.start(), part.len()) {
            Ok(bytes) => {
                if !visit(part.start(), &bytes) {
                    return Ok(false);
                }
            }
            Err(error @ ReadError::Unreadable(_)) => {
                unread.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

impl<T: BlockSource + ?Sized> BlockSource for &T {
    fn geometry(&self) -> Geometry {
        (**self).geometry()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        (**self).read_at(offset, buf)
    }
}

impl<T: BlockSource + ?Sized> BlockSource for Box<T> {
    fn geometry(&self) -> Geometry {
        (**self).geometry()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        (**self).read_at(offset, buf)
    }
}

impl<T: BlockSource + ?Sized> BlockSource for std::sync::Arc<T> {
    fn geometry(&self) -> Geometry {
        (**self).geometry()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        (**self).read_at(offset, buf)
    }
}
