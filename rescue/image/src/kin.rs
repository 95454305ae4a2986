//! Of whom an image is a child: the frame behind its head.

use disk::fields::Fields;

use crate::digest::{Digest, ImageId};
use crate::frame::{self, FrameKind};
use crate::manifest::Parent;
use crate::scan;
use crate::store::{ReadFile, StoreError};

/// Longest chain: each ancestor of an open image takes memory.
pub const MOST: usize = 16;

/// Longest name of an ancestor, in bytes.
const NAME_LIMIT: usize = 255;

const FIELDS: usize = 8;

/// The nearest ancestor first.
pub fn build(id: ImageId, offset: u64, ancestors: &[Parent], out: &mut Vec<u8>) {
    frame::build(FrameKind::Kin, id, offset, out, |out| {
        let count = u32::try_from(ancestors.len()).expect("there are at most 16");
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for ancestor in ancestors {
            let name = ancestor.name.as_bytes();
            let name = &name[..name.len().min(NAME_LIMIT)];
            out.extend_from_slice(&ancestor.id.0);
            out.extend_from_slice(&ancestor.index.0);
            let len = u16::try_from(name.len()).expect("at most 255");
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(name);
        }
    });
}

/// `None` when it is not what [`build`] makes.
pub fn parse(body: &[u8]) -> Option<Vec<Parent>> {
    let fields = Fields(body);
    let count = usize::try_from(fields.u32(0)?).ok()?;
    if count == 0 || count > MOST {
        return None;
    }
    let mut ancestors = Vec::new();
    let mut at = FIELDS;
    for _ in 0..count {
        let fields = Fields(body.get(at..)?);
        let len = usize::from(fields.u16(48)?);
        let name = String::from_utf8_lossy(fields.bytes(50, len)?);
        ancestors.push(Parent {
            id: ImageId(fields.array(0)?),
            index: Digest(fields.array(16)?),
            name: name.replace(|c: char| c.is_control() || c == '/', "\u{fffd}"),
        });
        at += 50 + len;
    }
    Some(ancestors)
}

/// The ancestors in the frame at `offset`, and its length.
pub fn read(file: &dyn ReadFile, offset: u64) -> Result<Option<(Vec<Parent>, u32)>, StoreError> {
    let mut buf = Vec::new();
    if !scan::read_frame(file, offset, FrameKind::Kin, &mut buf)? {
        return Ok(None);
    }
    let len = u32::try_from(buf.len()).expect("it is below 8 KiB");
    let ancestors = parse(&buf[frame::FRONT..buf.len() - 32]);
    Ok(ancestors.map(|ancestors| (ancestors, len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_read_back_as_they_were_written() {
        let ancestor = |nth: u8| Parent {
            id: ImageId([nth; 16]),
            index: Digest([nth; 32]),
            name: "n".repeat(usize::from(nth) * 17),
        };
        let all: Vec<Parent> = (0..16).map(ancestor).collect();
        let mut out = Vec::new();
        build(ImageId([7; 16]), 300, &all, &mut out);
        assert!(out.len() <= FrameKind::Kin.limit());
        let frame = frame::open(&out, 300).unwrap();
        assert_eq!(parse(frame.body), Some(all));
        assert_eq!(parse(&frame.body[..frame.body.len() - 1]), None);
        assert_eq!(parse(&[0; 100]), None);
        assert_eq!(parse(&[17; 1000]), None);
    }
}
