//! Encrypted volumes: LUKS and BitLocker are named; [`crate::layer`] unlocks them.

use crate::fields::{Fields, text};
use crate::fs::{Filesystem, Reader, State, Used};
use crate::source::{BlockSource, ReadError, read_vec};

pub const READER: Reader = Reader {
    name: "locked",
    read,
    tree: None,
};

/// A LUKS2 volume whose first header was overwritten. Asked last: the second header may be a remnant.
pub const SECOND: Reader = Reader {
    name: "locked, by its second header",
    read: read_second,
    tree: None,
};

const LUKS: &[u8] = b"LUKS\xba\xbe";
/// Where a LUKS2 header keeps its second copy, when the first was overwritten (LUKS2 On-Disk Format, 2.1).
const LUKS2_SECOND: &[u8] = b"SKUL\xba\xbe";
const LUKS2_SECOND_AT: [u64; 9] = [
    0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x10_0000, 0x20_0000, 0x40_0000,
];
/// A BitLocker To Go volume shows a FAT boot sector to older systems; this GUID in it gives it away.
const TO_GO: [u8; 16] = [
    0x3B, 0xD6, 0x67, 0x49, 0x29, 0x2E, 0xD8, 0x4A, 0x83, 0x99, 0xF6, 0xA3, 0x39, 0xE3, 0xD0, 0x01,
];

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let size_bytes = source.size_bytes();
    if size_bytes < 512 {
        return Ok(None);
    }
    let head = read_vec(source, 0, 512)?;
    let fields = Fields(&head);
    if fields.starts_with(0, LUKS) {
        return Ok(Some(luks(fields, size_bytes)));
    }
    if is_bitlocker(fields) {
        return Ok(Some(locked("BitLocker", size_bytes)));
    }
    Ok(None)
}

fn read_second(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let size_bytes = source.size_bytes();
    if size_bytes >= 512 && read_vec(source, 0, 6)? == LUKS {
        // It has its first one, and was met already.
        return Ok(None);
    }
    for at in LUKS2_SECOND_AT {
        if at + 512 > size_bytes {
            break;
        }
        let second = read_vec(source, at, 512)?;
        let fields = Fields(&second);
        if fields.starts_with(0, LUKS2_SECOND) && fields.be64(256) == Some(at) {
            return Ok(Some(luks(fields, size_bytes)));
        }
    }
    Ok(None)
}

pub(super) fn is_bitlocker(fields: Fields<'_>) -> bool {
    fields.starts_with(3, b"-FVE-FS-")
        || (fields.starts_with(3, b"MSWIN4.1") && fields.starts_with(424, &TO_GO))
}

/// Both versions keep the UUID as text at 168; only LUKS2 has a label.
fn luks(fields: Fields<'_>, size_bytes: u64) -> Filesystem {
    let word = |at, len| {
        fields
            .bytes(at, len)
            .map(text)
            .filter(|word| !word.is_empty())
    };
    let version = fields.be16(6);
    Filesystem {
        variant: version.map(|version| format!("LUKS{version}")),
        uuid: word(168, 40),
        label: if version == Some(2) {
            word(24, 48)
        } else {
            None
        },
        ..locked("crypto_LUKS", size_bytes)
    }
}

fn locked(kind: &str, size_bytes: u64) -> Filesystem {
    Filesystem {
        kind: kind.into(),
        variant: None,
        label: None,
        uuid: None,
        block_size: 512,
        size_bytes,
        state: State::Locked,
        used: Used::Whole("it is encrypted".into()),
        parts: Box::default(),
    }
}
