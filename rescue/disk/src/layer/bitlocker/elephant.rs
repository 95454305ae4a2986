//! The Elephant diffuser: it mixes the words of a sector, without any key (Ferguson, "AES-CBC + Elephant diffuser",
//! 2006, chapter 4).

/// Most words of a sector.
const WORDS: usize = 1024;

/// Takes the mixing of a whole sector back: diffuser B, then A.
pub fn gather(sector: &mut [u8]) {
    let mut words = [0; WORDS];
    let parts = sector.chunks_exact(4);
    let words = &mut words[..parts.len().min(WORDS)];
    for (word, bytes) in words.iter_mut().zip(parts) {
        *word = u32::from_le_bytes(bytes.try_into().expect("it has four bytes"));
    }
    let len = words.len();
    if len == 0 {
        return;
    }
    for _ in 0..3 {
        for at in 0..len {
            let turned = words[(at + 5) % len].rotate_left([0, 10, 0, 25][at % 4]);
            words[at] = words[at].wrapping_add(words[(at + 2) % len] ^ turned);
        }
    }
    for _ in 0..5 {
        for at in 0..len {
            let turned = words[(at + 5 * len - 5) % len].rotate_left([9, 0, 13, 0][at % 4]);
            words[at] = words[at].wrapping_add(words[(at + 2 * len - 2) % len] ^ turned);
        }
    }
    for (bytes, word) in sector.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}
