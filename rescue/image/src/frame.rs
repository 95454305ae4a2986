//! The envelope of every frame that is ours: a skippable frame of Zstandard (RFC 8878, 3.1.2) with a kind, the
//! image's id, its own place in the file and a digest over all of that.
//!
//! The own place and the id keep a scan from believing the frames of another image that lies inside the data.

use disk::fields::Fields;

use crate::digest::{Digest, ImageId};

/// One of the sixteen magic numbers that every Zstandard decoder skips.
const SKIPPABLE: u32 = 0x184D_2A5B;

/// Magic, size, name, id and own place.
pub const FRONT: usize = 40;

/// Everything around a body.
pub const AROUND: usize = FRONT + 32;

/// Where the name of the kind stands in a frame.
pub const NAME_AT: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    Head,
    Chunk,
    Leaves,
    Page,
    Sorted,
    Manifest,
    Root,
    End,
    Kin,
    /// Describes parity; says in which bytes it lies.
    Parity,
}

impl FrameKind {
    pub const fn name(self) -> &'static [u8; 8] {
        match self {
            FrameKind::Head => b"rescHEAD",
            FrameKind::Chunk => b"rescCHNK",
            FrameKind::Leaves => b"rescLEAF",
            FrameKind::Page => b"rescPAGE",
            FrameKind::Sorted => b"rescSORT",
            FrameKind::Manifest => b"rescTALE",
            FrameKind::Root => b"rescROOT",
            FrameKind::End => b"rescDONE",
            FrameKind::Kin => b"rescKIN_",
            FrameKind::Parity => b"rescPRTH",
        }
    }

    /// Largest whole frame that is believed: nothing larger is taken into memory.
    pub const fn limit(self) -> usize {
        match self {
            FrameKind::Head | FrameKind::End => 4 << 10,
            FrameKind::Chunk | FrameKind::Kin | FrameKind::Parity => 8 << 10,
            FrameKind::Page | FrameKind::Sorted => 32 << 10,
            FrameKind::Leaves => 2 << 20,
            FrameKind::Manifest => 4 << 20,
            FrameKind::Root => 20 << 20,
        }
    }

    pub const ALL: [FrameKind; 10] = [
        FrameKind::Head,
        FrameKind::Chunk,
        FrameKind::Leaves,
        FrameKind::Page,
        FrameKind::Sorted,
        FrameKind::Manifest,
        FrameKind::Root,
        FrameKind::End,
        FrameKind::Kin,
        FrameKind::Parity,
    ];
}

/// A frame whose digest, size and place have been found right.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub kind: FrameKind,
    pub id: ImageId,
    pub body: &'a [u8],
    pub digest: Digest,
}

/// Makes a whole frame in `out`, which is emptied first.
pub fn build(
    kind: FrameKind,
    id: ImageId,
    offset: u64,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    out.clear();
    out.resize(FRONT, 0);
    body(out);
    out.resize(out.len() + 32, 0);
    seal(kind, id, offset, out);
}

/// The first 40 bytes of a frame of `len` bytes.
pub fn put_front(name: &[u8; 8], id: ImageId, offset: u64, len: u64, frame: &mut [u8]) {
    let size = u32::try_from(len - 8).expect("a frame of ours is far below 4 GiB");
    frame[..4].copy_from_slice(&SKIPPABLE.to_le_bytes());
    frame[4..8].copy_from_slice(&size.to_le_bytes());
    frame[8..16].copy_from_slice(name);
    frame[16..32].copy_from_slice(&id.0);
    frame[32..40].copy_from_slice(&offset.to_le_bytes());
}

/// Fills in what is around the body: `frame` is 40 bytes, the body, 32 bytes.
pub fn seal(kind: FrameKind, id: ImageId, offset: u64, frame: &mut [u8]) {
    put_front(kind.name(), id, offset, frame.len() as u64, frame);
    let (before, digest) = frame.split_at_mut(frame.len() - 32);
    digest.copy_from_slice(&Digest::of(before).0);
}

/// The digest a sealed frame carries at its end.
pub fn digest(frame: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.0.copy_from_slice(&frame[frame.len() - 32..]);
    digest
}

/// What the first 40 bytes claim: kind and length of the whole frame, within the limit of its kind.
pub fn peek(bytes: &[u8], offset: u64) -> Option<(FrameKind, usize)> {
    let fields = Fields(bytes);
    let kind = FrameKind::ALL
        .into_iter()
        .find(|kind| fields.starts_with(NAME_AT, kind.name()))?;
    let len = usize::try_from(fields.u32(4)?).ok()?.checked_add(8)?;
    let plausible = fields.u32(0)? == SKIPPABLE
        && fields.u64(32)? == offset
        && (AROUND..=kind.limit()).contains(&len);
    plausible.then_some((kind, len))
}

/// The frame at the start of `bytes`, which stand at `offset` of the file.
pub fn open(bytes: &[u8], offset: u64) -> Option<Frame<'_>> {
    let (kind, len) = peek(bytes, offset)?;
    let frame = bytes.get(..len)?;
    let (before, digest) = frame.split_at(len - 32);
    let found = Digest::of(before);
    (found.0 == digest).then_some(Frame {
        kind,
        id: ImageId(Fields(frame).array(16)?),
        body: &frame[FRONT..len - 32],
        digest: found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_believed_only_whole_and_in_its_place() {
        let mut frame = Vec::new();
        build(FrameKind::Page, ImageId([7; 16]), 99, &mut frame, |out| {
            out.extend(b"body")
        });
        let opened = open(&frame, 99).unwrap();
        assert_eq!(
            (opened.kind, opened.id, opened.body),
            (FrameKind::Page, ImageId([7; 16]), &b"body"[..])
        );
        assert_eq!(opened.digest, digest(&frame));
        assert!(open(&frame, 98).is_none());
        assert!(open(&frame[..frame.len() - 1], 99).is_none());
        for bit in 0..frame.len() * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&frame, 99).is_none(), "bit {bit}");
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
