//! Any byte of the disk: opens at most one page and one chunk for each chunk that is asked for.

use std::sync::Arc;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};

use crate::chunk::Entry;
use crate::codec::Decoder;
use crate::error::ImageError;
use crate::reader::cache::Content;
use crate::reader::{Piece, Reader};

impl BlockSource for Reader {
    fn geometry(&self) -> Geometry {
        self.head.geometry
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let size_bytes = self.head.geometry.size_bytes;
        let len = buf.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > size_bytes) {
            return Err(ReadError::BeyondEnd {
                offset,
                len,
                size_bytes,
            });
        }
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let piece = self.piece_at(at).map_err(fault)?;
            let lost = || Extent::new(at, rest.len() as u64).expect("something is asked for");
            let piece = piece.ok_or_else(|| ReadError::Unreadable(lost()))?;
            let len = usize::try_from(piece.extent().end() - at)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            self.read_piece(&piece, at, now)?;
            at += len as u64;
            rest = later;
        }
        Ok(())
    }
}

impl Reader {
    fn read_piece(&self, piece: &Piece, at: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let asked = Extent::new(at, buf.len() as u64).expect("something is asked for");
        let entry = match piece {
            Piece::Lost(_) => return Err(ReadError::Unreadable(asked)),
            Piece::Entry(entry) if !entry.kind.has_content() => {
                buf.fill(0);
                return Ok(());
            }
            Piece::Entry(entry) => entry,
        };
        let content = self.content(entry).map_err(fault)?;
        if let Some(damaged) = content.damaged.within(asked).next() {
            return Err(ReadError::Unreadable(damaged));
        }
        let from = usize::try_from(at - entry.extent.start()).expect("it lies inside the chunk");
        buf.copy_from_slice(&content.bytes[from..from + buf.len()]);
        Ok(())
    }

    /// A data chunk, decoded, with what of it is damaged.
    fn content(&self, entry: &Entry) -> Result<Arc<Content>, ImageError> {
        let key = (entry.generation, entry.offset);
        let (cached, decoder) = {
            let mut cache = self.lock();
            (cache.chunks.get(&key), cache.decoders.pop())
        };
        if let Some(content) = cached {
            self.lock().decoders.extend(decoder);
            return Ok(content);
        }
        let mut decoder = match decoder {
            Some(decoder) => decoder,
            None => Decoder::new()?,
        };
        let (mut stored, mut bytes) = (Vec::new(), Vec::new());
        self.read_stored(entry, &mut stored)?;
        bytes.resize(entry.content_len(), 0);
        let damaged = match self.decode(&mut decoder, entry, &mut stored, &mut bytes)? {
            Some(_) => ExtentMap::new(),
            None => self.salvage(entry, &mut bytes)?,
        };
        let content = Arc::new(Content { bytes, damaged });
        let mut cache = self.lock();
        cache.decoders.push(decoder);
        cache.chunks.put(key, content.clone());
        Ok(content)
    }
}

fn fault(error: ImageError) -> ReadError {
    ReadError::Fault(error.to_string())
}
