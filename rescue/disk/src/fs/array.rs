//! Members of an array: what is on them in a row is not what the system sees, so nothing on them is read.
//!
//! Linux RAID: include/uapi/linux/raid/md_p.h; firmware RAID: the signatures that libblkid looks for.

use crate::fields::{Fields, text};
use crate::fs::named::{bytes, whole};
use crate::fs::{Filesystem, uuid};
use crate::source::{BlockSource, ReadError};

const MD: &[u8] = &[0xFC, 0x4E, 0x2B, 0xA9];

/// Signatures at an offset from the start or, negative, from the end.
const FIRMWARE: &[(&str, i64, &[u8])] = &[
    // Dynamic disks of Windows: the database that says where volumes are stands behind all partitions.
    ("ldm", 6 * 512, b"PRIVHEAD"),
    ("isw_raid_member", -1024, b"Intel Raid ISM Cfg Sig. "),
    ("ddf_raid_member", -512, &[0xDE, 0x11, 0xDE, 0x11]),
    ("nvidia_raid_member", -1024, b"NVIDIA  "),
    ("lsi_mega_raid_member", -512, b"$XIDE$"),
    ("adaptec_raid_member", -512, &[0x37, 0xFC, 0x4D, 0x1E]),
    ("hpt45x_raid_member", -11 * 512, &[0xF3, 0x16, 0x78, 0x5A]),
    (
        "hpt37x_raid_member",
        9 * 512 + 32,
        &[0xF0, 0x16, 0x78, 0x5A],
    ),
];
/// Sectors before the end at which Promise's firmware has been seen to put its record.
const PROMISE_SECTORS: [u64; 13] = [
    63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087,
];

/// The array that a disk or partition is part of, if any.
pub fn member(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    if let Some(found) = linux(source)? {
        return Ok(Some(found));
    }
    let size = source.size_bytes();
    for (kind, at, magic) in FIRMWARE {
        let base = if *at < 0 { size } else { 0 };
        if let Some(at) = base.checked_add_signed(*at)
            && bytes(source, at, magic.len() as u64)?.as_deref() == Some(magic)
        {
            return Ok(Some(whole(kind, size)));
        }
    }
    for sectors in PROMISE_SECTORS {
        let magic = b"Promise Technology, Inc.";
        if let Some(at) = (size / 512).checked_sub(sectors)
            && bytes(source, at * 512, magic.len() as u64)?.as_deref() == Some(magic)
        {
            return Ok(Some(whole("promise_fasttrack_raid_member", size)));
        }
    }
    Ok(None)
}

/// The superblock stands at the start (1.1), 4 KiB behind it (1.2), or before the end.
fn linux(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    match linux_at(source, &[0, 4096])? {
        Some(found) => Ok(Some(found)),
        None => linux_behind(source),
    }
}

/// A member of a Linux RAID whose superblock stands behind its data: in the last 12 KiB (1.0) or the last
/// 128 KiB (0.90).
pub fn linux_behind(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let size = source.size_bytes();
    let near_end = (size & !0xFFF).checked_sub(8 << 10);
    if let Some(found) = linux_at(source, near_end.as_slice())? {
        return Ok(Some(found));
    }
    let Some(at) = (size & !0xFFFF).checked_sub(64 << 10) else {
        return Ok(None);
    };
    let raw = bytes(source, at, 64)?.unwrap_or_default();
    let fields = Fields(&raw);
    let word = |index: usize| fields.u32(index * 4).unwrap_or(0);
    let old = fields.starts_with(0, MD) && word(1) == 0 && matches!(word(2), 90 | 91);
    Ok(old.then(|| {
        let mut found = whole("linux_raid_member", size);
        let words = [word(5), word(13), word(14), word(15)];
        found.uuid = uuid(
            words
                .map(u32::to_be_bytes)
                .concat()
                .try_into()
                .unwrap_or([0; 16]),
        );
        found
    }))
}

fn linux_at(source: &dyn BlockSource, places: &[u64]) -> Result<Option<Filesystem>, ReadError> {
    let size = source.size_bytes();
    for at in places.iter().copied() {
        let Some(raw) = bytes(source, at, 512)? else {
            continue;
        };
        let fields = Fields(&raw);
        // It says itself at which sector it stands.
        if fields.starts_with(0, MD)
            && fields.u32(4) == Some(1)
            && fields.u64(144) == Some(at / 512)
        {
            let mut found = whole("linux_raid_member", size);
            found.uuid = fields.array(16).and_then(uuid);
            found.label = fields
                .bytes(32, 32)
                .map(text)
                .filter(|label| !label.is_empty());
            return Ok(Some(found));
        }
    }
    Ok(None)
}
