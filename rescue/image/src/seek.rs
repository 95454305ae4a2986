//! The seek table of the Zstandard seekable format: the last frame of the file, so that other readers of that
//! format can seek in an image.

use disk::fields::Fields;

/// Skippable frame with the number that the seekable format reserves.
const MAGIC: u32 = 0x184D_2A5E;

/// The last four bytes of the file.
pub const FOOTER_MAGIC: u32 = 0x8F92_EAB1;

/// Number of frames, descriptor, magic.
pub const FOOTER_LEN: usize = 9;

/// The seekable format's own limit.
pub const FRAMES_LIMIT: u64 = 0x0800_0000;

/// Length of the whole frame for so many entries.
pub fn table_len(frames: u64) -> u64 {
    8 + 8 * frames + FOOTER_LEN as u64
}

pub fn put_start(frames: u64, out: &mut Vec<u8>) {
    let size =
        u32::try_from(table_len(frames) - 8).expect("2^27 entries of 8 bytes are below 4 GiB");
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
}

pub fn put_entry(stored: u32, content: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&stored.to_le_bytes());
    out.extend_from_slice(&content.to_le_bytes());
}

pub fn put_footer(frames: u64, out: &mut Vec<u8>) {
    let frames = u32::try_from(frames).expect("there are at most 2^27 frames");
    out.extend_from_slice(&frames.to_le_bytes());
    // Descriptor: no checksums in the entries; every frame has its own.
    out.push(0);
    out.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
}

/// Length of the seek table's frame, from the last bytes of the file.
pub fn len_from_footer(footer: &[u8]) -> Option<u64> {
    let fields = Fields(footer);
    let known = fields.u8(4)? == 0 && fields.u32(5)? == FOOTER_MAGIC;
    let frames = u64::from(fields.u32(0)?);
    (known && frames <= FRAMES_LIMIT).then(|| table_len(frames))
}
