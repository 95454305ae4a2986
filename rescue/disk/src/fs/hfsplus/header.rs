//! The volume header: where everything is, and how the volume was left.

use md5::{Digest, Md5};

use super::fork::Fork;
use super::{Trouble, refused};
use crate::fields::Fields;
use crate::fs::uuid as printed;
use crate::source::{BlockSource, ReadError, read_vec};

/// From the start of the volume, and a copy as far from its end.
pub(super) const PLACE: u64 = 1024;
pub(super) const LEN: u64 = 512;

const UNMOUNTED: u32 = 1 << 8;
const INCONSISTENT: u32 = 1 << 11;
const JOURNALED: u32 = 1 << 13;
const LARGEST_BLOCK: u64 = 1 << 20;

/// What libblkid puts before the eight bytes of the identifier, to make a UUID of both.
const NAMESPACE: [u8; 16] = [
    0xB3, 0xE2, 0x0F, 0x39, 0xF2, 0x92, 0x11, 0xD6, 0x97, 0xA4, 0x00, 0x30, 0x65, 0x43, 0xEC, 0xAC,
];

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub unmounted: bool,
    pub inconsistent: bool,
    /// The block with the journal's place, on a journaled volume.
    pub journal_info: Option<u64>,
    /// Who mounted it last keeps the journal.
    pub journal_kept: bool,
    pub block_size: u64,
    pub blocks: u64,
    pub free_blocks: u64,
    pub allocation: Fork,
    pub extents: Fork,
    pub catalog: Fork,
    pub attributes: Fork,
    pub startup: Fork,
}

/// The sector of the header, if it is one of HFS+ or HFSX.
pub(super) fn primary(source: &dyn BlockSource) -> Result<Option<Vec<u8>>, ReadError> {
    if source.size_bytes() < PLACE + LEN {
        return Ok(None);
    }
    let sector = read_vec(source, PLACE, LEN)?;
    let known = sector.starts_with(b"H+\x00\x04") || sector.starts_with(b"HX\x00\x05");
    Ok(known.then_some(sector))
}

/// As libblkid makes it of the identifier in the Finder's information; all zeros is none.
pub(super) fn uuid(sector: &[u8]) -> Option<String> {
    let identifier: [u8; 8] = Fields(sector).array(104)?;
    if identifier == [0; 8] {
        return None;
    }
    let mut sum = Md5::new();
    sum.update(NAMESPACE);
    sum.update(identifier);
    let mut bytes: [u8; 16] = sum.finalize().into();
    // Version 3 and the variant of RFC 4122.
    bytes[6] = bytes[6] & 0x0F | 0x30;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    printed(bytes)
}

impl Header {
    pub fn parse(source: &dyn BlockSource, sector: &[u8]) -> Result<Header, Trouble> {
        let Some(header) = Header::fields(Fields(sector)) else {
            return refused("its volume header is cut off");
        };
        let size = header.block_size;
        let sensible = size.is_power_of_two()
            && (512..=LARGEST_BLOCK).contains(&size)
            && header.free_blocks <= header.blocks
            && header.size_bytes() >= 2 * PLACE;
        if !sensible {
            return refused("the numbers in its volume header contradict each other");
        }
        if header.size_bytes() > source.size_bytes() {
            return refused("its volume header claims more than the partition has");
        }
        Ok(header)
    }

    fn fields(fields: Fields<'_>) -> Option<Header> {
        let attributes = fields.be32(4)?;
        let info = u64::from(fields.be32(12)?);
        let fork = |at| Fork::parse(fields.bytes(at, Fork::LEN)?);
        Some(Header {
            unmounted: attributes & UNMOUNTED != 0,
            inconsistent: attributes & INCONSISTENT != 0,
            journal_info: (attributes & JOURNALED != 0).then_some(info),
            journal_kept: fields.starts_with(8, b"HFSJ"),
            block_size: fields.be32(40)?.into(),
            blocks: fields.be32(44)?.into(),
            free_blocks: fields.be32(48)?.into(),
            allocation: fork(112)?,
            extents: fork(192)?,
            catalog: fork(272)?,
            attributes: fork(352)?,
            startup: fork(432)?,
        })
    }

    pub fn size_bytes(&self) -> u64 {
        self.blocks * self.block_size
    }

    /// True when a replay left alone where the bitmap is and what it covers.
    pub fn same_shape(&self, other: &Header) -> bool {
        self.block_size == other.block_size
            && self.blocks == other.blocks
            && self.allocation == other.allocation
            && self.journal_info == other.journal_info
    }
}
