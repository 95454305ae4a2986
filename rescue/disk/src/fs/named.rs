//! What is known by name only: filesystems and volumes that no reader here follows. They are kept whole.
//!
//! A line a kind, named as libblkid names it. A signature is long enough that it does not stand there by chance.

use crate::fields::{Fields, text};
use crate::fs::{Filesystem, Reader, State, Used, uuid};
use crate::fs::{array, zfs};
use crate::source::{BlockSource, ReadError, read_vec};

pub const READER: Reader = Reader {
    name: "named",
    read,
    tree: None,
};

struct Known {
    kind: &'static str,
    /// Where the signature stands.
    at: u64,
    magic: &'static [u8],
    uuid: Option<u64>,
    label: Option<(u64, u64)>,
}

const fn known(
    kind: &'static str,
    at: u64,
    magic: &'static [u8],
    uuid: Option<u64>,
    label: Option<(u64, u64)>,
) -> Known {
    Known {
        kind,
        at,
        magic,
        uuid,
        label,
    }
}

const KNOWN: &[Known] = &[
    // Layers first: what they carry may look like a filesystem of its own.
    known(
        "bcache",
        4096 + 24,
        BCACHE,
        Some(4096 + 40),
        Some((4096 + 72, 32)),
    ),
    known(
        "VMFS_volume_member",
        0x10_0000,
        &[0x0D, 0xD0, 0x01, 0xC0],
        None,
        None,
    ),
    known("ReFS", 3, b"ReFS\0\0\0\0", None, None),
    known(
        "reiser4",
        64 << 10,
        b"ReIsEr4",
        Some((64 << 10) + 20),
        Some(((64 << 10) + 36, 16)),
    ),
    known(
        "erofs",
        1024,
        &[0xE2, 0xE1, 0xF5, 0xE0],
        Some(1024 + 48),
        Some((1024 + 64, 16)),
    ),
    known("squashfs", 0, b"hsqs", None, None),
    known("iso9660", (32 << 10) + 1, b"CD001\x01", None, None),
    known(
        "ufs",
        (64 << 10) + 1372,
        &[0x19, 0x01, 0x54, 0x19],
        None,
        None,
    ),
    known(
        "ufs",
        (64 << 10) + 1372,
        &[0x19, 0x54, 0x01, 0x19],
        None,
        None,
    ),
    known("ufs", 8192 + 1372, &[0x54, 0x19, 0x01, 0x00], None, None),
    known("ufs", 8192 + 1372, &[0x00, 0x01, 0x19, 0x54], None, None),
    known(
        "bcachefs",
        4096 + 24,
        BCACHEFS,
        Some(4096 + 56),
        Some((4096 + 72, 32)),
    ),
];

const BCACHE: &[u8] = &[
    0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA, 0x82, 0x65, 0xF5, 0x7F, 0x48, 0xBA, 0x6D, 0x81,
];
const BCACHEFS: &[u8] = &[
    0xC6, 0x85, 0x73, 0xF6, 0x66, 0xCE, 0x90, 0xA9, 0xD9, 0x6A, 0x60, 0xCF, 0x80, 0x3D, 0xF7, 0xEF,
];

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    if let Some(found) = lvm(source)? {
        return Ok(Some(found));
    }
    if let Some(found) = array::member(source)? {
        return Ok(Some(found));
    }
    if let Some(found) = zfs::member(source)? {
        return Ok(Some(found));
    }
    if udf(source)? {
        return Ok(Some(whole("udf", source.size_bytes())));
    }
    for known in KNOWN {
        if let Some(found) = known.read(source)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl Known {
    fn read(&self, source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
        let there = bytes(source, self.at, self.magic.len() as u64)?;
        if there.as_deref() != Some(self.magic) {
            return Ok(None);
        }
        let mut found = whole(self.kind, source.size_bytes());
        if let Some(at) = self.uuid {
            let raw = bytes(source, at, 16)?.and_then(|raw| raw.try_into().ok());
            found.uuid = raw.and_then(uuid);
        }
        if let Some((at, len)) = self.label {
            let raw = bytes(source, at, len)?;
            found.label = raw.map(|raw| text(&raw)).filter(|label| !label.is_empty());
        }
        Ok(Some(found))
    }
}

/// A physical volume of LVM2 has its label in one of the first four sectors.
fn lvm(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    for sector in 0..4u64 {
        let Some(raw) = bytes(source, sector * 512, 512)? else {
            break;
        };
        let fields = Fields(&raw);
        if fields.starts_with(0, b"LABELONE") && fields.starts_with(24, b"LVM2 001") {
            let mut found = whole("LVM2_member", source.size_bytes());
            found.uuid = fields.bytes(32, 32).map(text).map(|id| dashed(&id));
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Of ECMA-167: an NSR descriptor among the volume's first ones, and an anchor in block 256, whatever a block is. A
/// disc that is ISO 9660 too has both.
fn udf(source: &dyn BlockSource) -> Result<bool, ReadError> {
    for block in [2048u64, 512, 1024, 4096] {
        let Some(anchor) = bytes(source, 256 * block, 16)? else {
            continue;
        };
        // The tag: identifier 2, its own block number in the last four bytes.
        let tag = Fields(&anchor);
        if tag.u16(0) != Some(2) || tag.u32(12) != Some(256) {
            continue;
        }
        let step = block.max(2048);
        for nth in 0..16 {
            let Some(descriptor) = bytes(source, (32 << 10) + nth * step, 6)? else {
                break;
            };
            if matches!(&descriptor[1..6], b"NSR02" | b"NSR03") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// LVM writes its identifiers as 6-4-4-4-4-4-6 characters.
fn dashed(id: &str) -> String {
    let mut dashed = String::new();
    for (index, letter) in id.chars().enumerate() {
        if matches!(index, 6 | 10 | 14 | 18 | 22 | 26) {
            dashed.push('-');
        }
        dashed.push(letter);
    }
    dashed
}

pub(super) fn bytes(
    source: &dyn BlockSource,
    at: u64,
    len: u64,
) -> Result<Option<Vec<u8>>, ReadError> {
    let inside = at
        .checked_add(len)
        .is_some_and(|end| end <= source.size_bytes());
    if inside {
        read_vec(source, at, len).map(Some)
    } else {
        Ok(None)
    }
}

pub(super) fn whole(kind: &str, size_bytes: u64) -> Filesystem {
    Filesystem {
        kind: kind.into(),
        variant: None,
        label: None,
        uuid: None,
        block_size: 512,
        size_bytes,
        state: State::Clean,
        used: Used::Whole(format!("{kind} is not read by this program")),
        parts: Box::default(),
    }
}
