//! HFS, as itself or as the wrapper around an HFS+ volume: known by name, kept whole.

use crate::fields::{Fields, text};
use crate::fs::{Filesystem, State, Used};
use crate::source::{BlockSource, ReadError, read_vec};

/// The master directory block of HFS stands where HFS+ has its volume header (Inside Macintosh: Files, "Master
/// Directory Blocks").
pub(super) fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    if source.size_bytes() < super::header::PLACE + super::header::LEN {
        return Ok(None);
    }
    let sector = read_vec(source, super::header::PLACE, super::header::LEN)?;
    Ok(describe(Fields(&sector), source.size_bytes()))
}

fn describe(fields: Fields<'_>, partition_bytes: u64) -> Option<Filesystem> {
    let block = fields.be32(20)?;
    let size = u64::from(fields.be16(28)?) * 512 + u64::from(block) * u64::from(fields.be16(18)?);
    // Two letters stand there by chance; numbers that fit do not.
    let known = fields.starts_with(0, b"BD")
        && block > 0
        && block.is_multiple_of(512)
        && (1..=partition_bytes).contains(&size);
    if !known {
        return None;
    }
    let wrapped = fields.starts_with(124, b"H+") || fields.starts_with(124, b"HX");
    let name = fields.bytes(37, usize::from(fields.u8(36)?).min(27))?;
    let (kind, why) = match wrapped {
        true => (
            "hfsplus",
            "it is HFS+ inside a wrapper of HFS, which is not followed here",
        ),
        false => ("hfs", "hfs is not read by this program"),
    };
    Some(Filesystem {
        kind: kind.into(),
        variant: None,
        label: Some(text(name)).filter(|label| !label.is_empty() && !wrapped),
        uuid: None,
        block_size: 512,
        size_bytes: size,
        state: State::Clean,
        used: Used::Whole(why.into()),
        parts: Box::default(),
    })
}
