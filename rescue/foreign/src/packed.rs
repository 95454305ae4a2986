//! Files that are one stream, cut into parts and compressed.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;

use crate::File;

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
            Packing::Xz => Box::new(lzma_rust2::XzReader::new(joined, true)),
        })
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
