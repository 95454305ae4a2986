//! Of whom an image is a child, and whose place it has taken: the frame behind its head.

use disk::fields::Fields;

use crate::digest::{Digest, ImageId};
use crate::frame::{self, FrameKind};
use crate::manifest::Parent;
use crate::scan;
use crate::store::{ReadFile, StoreError};

/// Longest chain: each ancestor of an open image takes memory.
pub const MOST: usize = 16;

/// Most images whose place one has taken.
pub const MOST_STANDINGS: usize = 48;

/// Longest name of an ancestor, in bytes.
const NAME_LIMIT: usize = 255;

const FIELDS: usize = 8;

/// Both are lists of images by id and index.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kin {
    /// The nearest first.
    pub ancestors: Vec<Parent>,
    /// Their names are not kept.
    pub stands_for: Vec<Parent>,
}

impl Kin {
    pub fn is_empty(&self) -> bool {
        self.ancestors.is_empty() && self.stands_for.is_empty()
    }

    pub fn build(&self, id: ImageId, offset: u64, out: &mut Vec<u8>) {
        frame::build(FrameKind::Kin, id, offset, out, |out| {
            for list in [&self.ancestors, &self.stands_for] {
                let count = u32::try_from(list.len()).expect("there are at most 48");
                out.extend_from_slice(&count.to_le_bytes());
            }
            self.ancestors
                .iter()
                .for_each(|ancestor| put(ancestor, ancestor.name.as_bytes(), out));
            self.stands_for
                .iter()
                .for_each(|other| put(other, &[], out));
        });
    }

    /// `None` when it is not what [`Kin::build`] makes.
    pub fn parse(body: &[u8]) -> Option<Kin> {
        let fields = Fields(body);
        let count = usize::try_from(fields.u32(0)?).ok()?;
        let standings = usize::try_from(fields.u32(4)?).ok()?;
        if count > MOST || standings > MOST_STANDINGS || count + standings == 0 {
            return None;
        }
        let mut at = FIELDS;
        let mut all = Vec::new();
        for _ in 0..count + standings {
            let (one, len) = image(body.get(at..)?)?;
            all.push(one);
            at += len;
        }
        let stands_for = all.split_off(count);
        Some(Kin {
            ancestors: all,
            stands_for,
        })
    }

    /// What the frame at `offset` says, and its length.
    pub fn read(file: &dyn ReadFile, offset: u64) -> Result<Option<(Kin, u32)>, StoreError> {
        let mut buf = Vec::new();
        if !scan::read_frame(file, offset, FrameKind::Kin, &mut buf)? {
            return Ok(None);
        }
        let len = u32::try_from(buf.len()).expect("it is below 8 KiB");
        let kin = Kin::parse(&buf[frame::FRONT..buf.len() - 32]);
        Ok(kin.map(|kin| (kin, len)))
    }
}

fn put(one: &Parent, name: &[u8], out: &mut Vec<u8>) {
    let name = &name[..name.len().min(NAME_LIMIT)];
    out.extend_from_slice(&one.id.0);
    out.extend_from_slice(&one.index.0);
    let len = u16::try_from(name.len()).expect("at most 255");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(name);
}

fn image(bytes: &[u8]) -> Option<(Parent, usize)> {
    let fields = Fields(bytes);
    let len = usize::from(fields.u16(48)?);
    let name = String::from_utf8_lossy(fields.bytes(50, len)?);
    let one = Parent {
        id: ImageId(fields.array(0)?),
        index: Digest(fields.array(16)?),
        name: name.replace(|c: char| c.is_control() || c == '/', "\u{fffd}"),
    };
    Some((one, 50 + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kin_reads_back_as_it_was_written() {
        let named = |nth: usize, name: &str| Parent {
            id: ImageId([u8::try_from(nth).unwrap(); 16]),
            index: Digest([u8::try_from(nth).unwrap(); 32]),
            name: name.to_owned(),
        };
        let kin = Kin {
            ancestors: (0..MOST).map(|nth| named(nth, &"n".repeat(255))).collect(),
            stands_for: (0..MOST_STANDINGS).map(|nth| named(nth, "")).collect(),
        };
        let mut out = Vec::new();
        kin.build(ImageId([7; 16]), 300, &mut out);
        assert!(out.len() <= FrameKind::Kin.limit(), "{}", out.len());
        let frame = frame::open(&out, 300).unwrap();
        assert_eq!(Kin::parse(frame.body), Some(kin));
        assert_eq!(Kin::parse(&frame.body[..frame.body.len() - 1]), None);
        assert_eq!(Kin::parse(&[0; 100]), None);
        assert_eq!(Kin::parse(&[17; 1000]), None);
    }
}
