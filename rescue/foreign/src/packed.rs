//! Files that are one stream, cut into parts and compressed.

mod frames;

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;

use crate::File;

/// What unpacking xz may take: its highest preset has a dictionary of 64 MiB.
const XZ_LIMIT_KIB: u32 = 72 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
    Xz,
}

impl Packing {
    /// By the first bytes; `None` for one that is not known here.
    pub fn of(front: &[u8]) -> Option<Packing> {
        match front {
            [0x1f, 0x8b, ..] => Some(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstd),
            [b'0'..=b'9' | 0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Packing::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Packing::Xz),
            [b'B', b'Z', b'h', ..]
            | [0x04, 0x22, 0x4d, 0x18, ..]
            | [0x89, b'L', b'Z', b'O', ..] => None,
            _ => Some(Packing::Plain),
        }
    }

    /// The stream from its beginning.
    pub fn open(self, parts: &[File]) -> io::Result<Box<dyn Read + Send>> {
        let joined = BufReader::with_capacity(1 << 20, Joined::new(parts.to_vec()));
        Ok(match self {
            Packing::Plain => Box::new(joined),
            Packing::Gzip => Box::new(MultiGzDecoder::new(joined)),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(joined)?;
                // As much memory as a stream of the usual levels needs, and no more.
                decoder.window_log_max(27)?;
                Box::new(decoder)
            }
            Packing::Xz => {
                let reader = lzma_rust2::XzReader::new_mem_limit(joined, true, XZ_LIMIT_KIB);
                Box::new(reader)
            }
        })
    }

    /// Bytes that come out, where the packed files say it of themselves; `None` where only unpacking them tells.
    pub fn told_bytes(self, parts: &[File]) -> io::Result<Option<u64>> {
        let joined = Joined::new(parts.to_vec());
        match self {
            Packing::Plain => Ok(Some(joined.size_bytes())),
            // It has the last 32 bits of the size of its last member: of a disk that tells nothing.
            Packing::Gzip => Ok(None),
            Packing::Zstd => frames::content_bytes(joined),
            Packing::Xz => lzma_rust2::xz_uncompressed_size(joined).map(Some),
        }
    }

    /// As its users call it.
    pub fn name(self) -> &'static str {
        match self {
            Packing::Plain => "raw",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
            Packing::Xz => "xz",
        }
    }
}

/// Files one behind the other.
pub struct Joined {
    parts: Vec<File>,
    nth: usize,
    at: u64,
}

impl Joined {
    pub fn new(parts: Vec<File>) -> Joined {
        Joined {
            parts,
            nth: 0,
            at: 0,
        }
    }

    pub fn size_bytes(&self) -> u64 {
        let sizes = self.parts.iter().map(|part| part.size_bytes());
        sizes.fold(0, u64::saturating_add)
    }

    fn position(&self) -> u64 {
        let before = self.parts.iter().take(self.nth);
        let before = before.map(|part| part.size_bytes());
        before.fold(self.at, u64::saturating_add)
    }
}

impl Seek for Joined {
    /// Not behind the end.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let size = self.size_bytes();
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(back) => size.checked_add_signed(back),
            SeekFrom::Current(on) => self.position().checked_add_signed(on),
        };
        let place = place.filter(|place| *place <= size);
        let place = place.ok_or(io::ErrorKind::UnexpectedEof)?;
        (self.nth, self.at) = (0, place);
        while let Some(part) = self.parts.get(self.nth) {
            if self.at < part.size_bytes() {
                break;
            }
            self.at -= part.size_bytes();
            self.nth += 1;
        }
        Ok(place)
    }
}

impl Read for Joined {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(part) = self.parts.get(self.nth) {
            let left = part.size_bytes().saturating_sub(self.at);
            if left == 0 || buf.is_empty() {
                if buf.is_empty() {
                    return Ok(0);
                }
                self.nth += 1;
                self.at = 0;
                continue;
            }
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            part.read_at(self.at, &mut buf[..len])
                .map_err(io::Error::other)?;
            self.at += len as u64;
            return Ok(len);
        }
        Ok(0)
    }
}
