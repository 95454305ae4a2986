//! The last frame of ours, of fixed size, in front of the seek table: where root and manifest are.

use disk::fields::Fields;

use crate::digest::Digest;
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::{HEAD_LEN, Head};

/// Length of the whole frame.
pub const END_LEN: usize = frame::AROUND + HEAD_LEN + 112;

/// A frame somewhere in the file, and what it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRef {
    pub offset: u64,
    pub len: u32,
    pub digest: Digest,
}

impl FrameRef {
    /// 48 bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.digest.0);
    }

    pub fn parse(fields: Fields<'_>, at: usize) -> Option<FrameRef> {
        Some(FrameRef {
            offset: fields.u64(at)?,
            len: fields.u32(at + 8)?,
            digest: Digest(fields.array(at + 16)?),
        })
    }

    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    pub head: Head,
    pub root: FrameRef,
    pub manifest: FrameRef,
    /// Of the seek table's frame.
    pub seek_table_len: u64,
    pub file_len: u64,
}

impl End {
    pub fn build(&self, offset: u64, out: &mut Vec<u8>) {
        frame::build(FrameKind::End, self.head.id, offset, out, |out| {
            self.head.put(out);
            for place in [self.root, self.manifest] {
                place.put(out);
            }
            out.extend_from_slice(&self.seek_table_len.to_le_bytes());
            out.extend_from_slice(&self.file_len.to_le_bytes());
        });
    }

    /// The end at the start of `bytes`; `Ok(None)` when there is none.
    pub fn parse(bytes: &[u8], offset: u64, image: &str) -> Result<Option<End>, ImageError> {
        let Some(frame) = frame::open(bytes, offset).filter(|f| f.kind == FrameKind::End) else {
            return Ok(None);
        };
        let head = Head::parse(frame.body, frame.id, image)?;
        let fields = Fields(&frame.body[HEAD_LEN..]);
        let place = |at: usize| FrameRef::parse(fields, at);
        let end = || {
            Some(End {
                head,
                root: place(0)?,
                manifest: place(48)?,
                seek_table_len: fields.u64(96)?,
                file_len: fields.u64(104)?,
            })
        };
        Ok(end())
    }
}
