//! BLAKE3 of a chunk and of its 64 KiB leaves, from one pass over the bytes.

use std::fmt;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use serde::{Deserialize, Serialize};

/// Unit of comparing with a parent and of damage; a whole subtree of BLAKE3's hash tree.
pub const LEAF: usize = 64 << 10;

/// The first half of a leaf's chaining value.
pub type LeafValue = [u8; 16];

/// A BLAKE3 hash, in text as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

/// What makes an image this image; chosen at random when it is created.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(pub [u8; 16]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }
}

/// The hash of `content`, and in `leaves` the value of each of its leaves; none when it is a single leaf,
/// whose value would be the hash itself.
pub fn hash(content: &[u8], leaves: &mut Vec<LeafValue>) -> Digest {
    leaves.clear();
    if content.len() <= LEAF {
        return Digest::of(content);
    }
    let values: Vec<ChainingValue> = content
        .chunks(LEAF)
        .zip(0u64..)
        .map(|(leaf, nth)| chaining_value(leaf, nth))
        .collect();
    leaves.extend(values.iter().map(shortened));
    let (left, right) = values.split_at(left_leaves(values.len()));
    Digest(*merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes())
}

/// The value of the `nth` leaf of a chunk that has several.
pub fn leaf_value(leaf: &[u8], nth: u64) -> LeafValue {
    shortened(&chaining_value(leaf, nth))
}

/// How many leaf values a chunk of this length has.
pub fn leaf_count(len: usize) -> usize {
    if len <= LEAF { 0 } else { len.div_ceil(LEAF) }
}

fn shortened(value: &ChainingValue) -> LeafValue {
    let mut short = LeafValue::default();
    short.copy_from_slice(&value[..16]);
    short
}

fn chaining_value(leaf: &[u8], nth: u64) -> ChainingValue {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(nth * LEAF as u64);
    hasher.update(leaf);
    hasher.finalize_non_root()
}

/// Merges the values of consecutive leaves into that of the subtree over all of them.
fn subtree(values: &[ChainingValue]) -> ChainingValue {
    if let [only] = values {
        return *only;
    }
    let (left, right) = values.split_at(left_leaves(values.len()));
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// The left subtree is the largest power of two that leaves something for the right one.
fn left_leaves(leaves: usize) -> usize {
    leaves.next_power_of_two() / 2
}

macro_rules! as_hexadecimal {
    ($name:ident, $len:literal, $wrong:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;
            fn try_from(text: String) -> Result<$name, &'static str> {
                let mut bytes = [0; $len];
                if text.len() != 2 * $len || !text.is_ascii() {
                    return Err($wrong);
                }
                for (i, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| $wrong)?;
                }
                Ok($name(bytes))
            }
        }
    };
}

as_hexadecimal!(Digest, 32, "a digest is 64 hexadecimal digits");
as_hexadecimal!(ImageId, 16, "an image id is 32 hexadecimal digits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_merge_to_the_plain_hash_of_the_content() {
        let content: Vec<u8> = (0..1_000_003u32)
            .flat_map(|i| i.wrapping_mul(7919).to_le_bytes())
            .collect();
        let mut leaves = Vec::new();
        for len in [
            0,
            1,
            LEAF - 1,
            LEAF,
            LEAF + 1,
            2 * LEAF,
            2 * LEAF + 1,
            3 * LEAF,
            5 * LEAF + 1000,
            37 * LEAF + 1,
            61 * LEAF,
        ] {
            assert_eq!(
                hash(&content[..len], &mut leaves),
                Digest::of(&content[..len]),
                "{len}"
            );
            assert_eq!(leaves.len(), leaf_count(len));
            for (nth, leaf) in content[..len].chunks(LEAF).enumerate().take(leaves.len()) {
                assert_eq!(leaf_value(leaf, nth as u64), leaves[nth]);
            }
        }
    }

    #[test]
    fn digests_survive_their_text_form() {
        let digest = Digest::of(b"x");
        assert_eq!(Digest::try_from(digest.to_string()), Ok(digest));
        assert!(Digest::try_from("é".repeat(32)).is_err());
        assert!(ImageId::try_from("zz".repeat(16)).is_err());
    }
}
