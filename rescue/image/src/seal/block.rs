//! A block of a sealed file: a part of the image, encrypted, in a skippable frame of one length.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{Key, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use disk::fields::Fields;
use zeroize::Zeroizing;

use crate::digest::ImageId;
use crate::seal::keys::DataKey;

/// One of the magic numbers that every Zstandard decoder skips; our other frames have another.
pub const SKIPPABLE: u32 = 0x184D_2A5C;
const NAME: &[u8; 8] = b"rescSEAL";

/// Of a whole block.
pub const BLOCK: usize = 64 << 10;
const START_AT: usize = 16;
const NONCE_AT: usize = 24;
const SECRET_AT: usize = 48;
const TAG_AT: usize = BLOCK - 16;
/// The first of what is encrypted is the length of the part of the image.
const CONTENT_AT: usize = SECRET_AT + 4;
/// Most of the image that a block holds.
pub const ROOM: usize = TAG_AT - CONTENT_AT;

pub const NONCE: usize = 24;

/// What encrypts the blocks of one file.
pub struct FileKey {
    id: ImageId,
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for FileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileKey({})", self.id)
    }
}

impl FileKey {
    /// Files of one data key have keys of their own.
    pub fn new(data: &DataKey, id: ImageId) -> FileKey {
        const CONTEXT: &str = "Rescue 2026-11 sealed image, key of a file";
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(data.bytes()).update(&id.0);
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        FileKey {
            id,
            cipher: XChaCha20Poly1305::new(&Key::from(*key)),
        }
    }

    /// Its place in the file, and where its part of the image begins, are authenticated.
    fn bound(&self, number: u64, start: u64) -> [u8; 32] {
        let mut bound = [0; 32];
        bound[..16].copy_from_slice(&self.id.0);
        bound[16..24].copy_from_slice(&number.to_le_bytes());
        bound[24..].copy_from_slice(&start.to_le_bytes());
        bound
    }

    /// A whole block in `out`, with at most [`ROOM`] bytes of the image. No nonce may ever come twice.
    pub fn seal(
        &self,
        number: u64,
        start: u64,
        nonce: [u8; NONCE],
        content: &[u8],
        out: &mut Vec<u8>,
    ) {
        let size = u32::try_from(BLOCK - 8).expect("a block is 64 KiB");
        let len = u32::try_from(content.len()).expect("content fits in a block");
        out.clear();
        out.extend_from_slice(&SKIPPABLE.to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(NAME);
        out.extend_from_slice(&start.to_le_bytes());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(content);
        out.resize(TAG_AT, 0);
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &XNonce::from(nonce),
                &self.bound(number, start),
                (&mut out[SECRET_AT..]).into(),
            )
            .expect("a block is far below the cipher's limit");
        out.extend_from_slice(&tag);
    }

    /// What a block holds; its content moves to the front of `block`. `None` for anything but a block of this key in
    /// this place.
    pub fn open(&self, number: u64, block: &mut [u8]) -> Option<Opened> {
        let start = start_of(block)?;
        let nonce: [u8; NONCE] = Fields(block).array(NONCE_AT)?;
        let tag: [u8; 16] = Fields(block).array(TAG_AT)?;
        self.cipher
            .decrypt_inout_detached(
                &XNonce::from(nonce),
                &self.bound(number, start),
                (&mut block[SECRET_AT..TAG_AT]).into(),
                &Tag::from(tag),
            )
            .ok()?;
        let len = usize::try_from(Fields(block).u32(SECRET_AT)?).ok()?;
        let end = CONTENT_AT.checked_add(len).filter(|end| *end <= TAG_AT)?;
        block.copy_within(CONTENT_AT..end, 0);
        Some(Opened { start, len })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Offset in the image.
    pub start: u64,
    pub len: usize,
}

/// Where a block says that its part of the image begins; nothing else of it has been looked at.
pub fn start_of(block: &[u8]) -> Option<u64> {
    let fields = Fields(block);
    let ours = fields.u32(0)? == SKIPPABLE
        && usize::try_from(fields.u32(4)?).ok()? == BLOCK - 8
        && fields.starts_with(8, NAME);
    ours.then(|| fields.u64(START_AT)).flatten()
}

/// So much of a block tells [`start_of`].
pub const FRONT: usize = NONCE_AT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_opens_only_whole_in_its_place_and_with_its_key() {
        let id = ImageId([7; 16]);
        let key = FileKey::new(&DataKey::from_bytes([1; 32]), id);
        let mut block = Vec::new();
        key.seal(3, 99, [5; NONCE], b"a part of an image", &mut block);
        assert_eq!(block.len(), BLOCK);
        let opened = |key: &FileKey, number, block: &[u8]| {
            let mut block = block.to_vec();
            key.open(number, &mut block)
                .map(|o| (o.start, block[..o.len].to_vec()))
        };
        let content = b"a part of an image".to_vec();
        assert_eq!(opened(&key, 3, &block), Some((99, content)));
        assert_eq!(opened(&key, 4, &block), None);
        let other = FileKey::new(&DataKey::from_bytes([2; 32]), id);
        assert_eq!(opened(&other, 3, &block), None);
        let other = FileKey::new(&DataKey::from_bytes([1; 32]), ImageId([8; 16]));
        assert_eq!(opened(&other, 3, &block), None);
        for bit in (0..600).chain((0..BLOCK * 8).step_by(4099)) {
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opened(&key, 3, &block), None, "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(!block.windows(7).any(|bytes| bytes == b"a part "));
    }
}
