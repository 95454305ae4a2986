//! Objects: one or more blocks under a checksum, with a head that says what they are.

use super::{Trouble, refused};
use crate::fields::Fields;

/// The kinds of objects that are followed, as the low half of `o_type` has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Container = 1,
    Space = 5,
    CibAddresses = 6,
    ChunkInfo = 7,
    Omap = 11,
    CheckpointMap = 12,
    Volume = 13,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Container => "a container superblock",
            Kind::Space => "the space manager",
            Kind::CibAddresses => "a block of chunk-info addresses",
            Kind::ChunkInfo => "a chunk-info block",
            Kind::Omap => "an object map",
            Kind::CheckpointMap => "a checkpoint map",
            Kind::Volume => "a volume superblock",
        }
    }
}

/// What stands in front of every object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub oid: u64,
    pub xid: u64,
    /// Without the flags.
    pub kind: u16,
    pub subkind: u32,
}

impl Head {
    /// `None` where the checksum is another.
    pub fn checked(bytes: &[u8]) -> Option<Head> {
        let fields = Fields(bytes);
        if fields.u64(0)? != sum(bytes.get(8..)?) {
            return None;
        }
        Some(Head {
            oid: fields.u64(8)?,
            xid: fields.u64(16)?,
            kind: u16::try_from(fields.u32(24)? & 0xFFFF).ok()?,
            subkind: fields.u32(28)?,
        })
    }

    /// The head of an object of this kind.
    pub fn of(bytes: &[u8], kind: Kind) -> Result<Head, Trouble> {
        match Head::checked(bytes) {
            None => refused(format!("the checksum of {} is wrong", kind.name())),
            Some(head) if head.kind != kind as u16 => {
                refused(format!("{} is something else", kind.name()))
            }
            Some(head) => Ok(head),
        }
    }
}

/// Fletcher-64 over words of 32 bits, written so that the sum over the object with it in front is zero.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    const MODULUS: u64 = 0xFFFF_FFFF;
    let (mut first, mut second) = (0u64, 0u64);
    // 1024 words at a time stay below 64 bits.
    for piece in bytes.chunks(4096) {
        for word in piece.chunks_exact(4) {
            first += u64::from(u32::from_le_bytes(
                word.try_into().expect("a chunk of four"),
            ));
            second += first;
        }
        first %= MODULUS;
        second %= MODULUS;
    }
    let low = MODULUS - (first + second) % MODULUS;
    let high = MODULUS - (first + low) % MODULUS;
    high << 32 | low
}
