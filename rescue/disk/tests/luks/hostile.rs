//! Headers whose bytes were changed by someone who puts the checksums right again.

use std::sync::OnceLock;

use disk::layer::{Keys, Limits};
use disk::memory::MemorySource;
use proptest::prelude::{any, proptest};

use crate::locked::{is_sound, layer_with, typed};
use crate::made::cases;
use crate::made_by::{PASSPHRASE, seal, small};

/// Small enough that a header can ask for nothing that takes long.
fn keys() -> Keys {
    typed(PASSPHRASE).with_limits(Limits {
        memory_bytes: 4 << 20,
        rounds: 20_000,
    })
}

fn one() -> &'static [u8] {
    static VOLUME: OnceLock<Vec<u8>> = OnceLock::new();
    VOLUME.get_or_init(|| small("--type luks1 --key-size 256 --align-payload 8"))
}

fn two() -> &'static [u8] {
    static VOLUME: OnceLock<Vec<u8>> = OnceLock::new();
    VOLUME.get_or_init(|| {
        small("--type luks2 --pbkdf argon2id --pbkdf-memory 64 --key-size 256 --luks2-keyslots-size 256k --offset 1024")
    })
}

#[test]
fn the_volumes_that_are_changed_can_be_opened() {
    for bytes in [one(), two()] {
        let layer = layer_with(&MemorySource::new(bytes.to_vec()), &keys());
        assert_eq!(layer.whole, None);
        assert_eq!(layer.volumes.len(), 1);
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: cases(60), failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_byte_of_a_first_version_header_breaks_anything(flips in proptest::collection::vec((0usize..592, any::<u8>()), 1..4), cut in any::<proptest::sample::Index>(), is_cut in any::<bool>()) {
        let mut bytes = one().to_vec();
        for (at, byte) in flips {
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        is_sound(bytes, &keys())?;
    }

    #[test]
    fn no_byte_of_a_second_version_header_breaks_anything(flips in proptest::collection::vec((0usize..1600, any::<u8>()), 1..4), cut in any::<proptest::sample::Index>(), is_cut in any::<bool>()) {
        let mut bytes = two().to_vec();
        for (at, byte) in flips {
            // The binary header, or the text.
            let at = if at < 512 { at } else { 4096 + at - 512 };
            bytes[at] = byte;
        }
        seal(&mut bytes[..16384]);
        if is_cut {
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        is_sound(bytes, &keys())?;
    }

    #[test]
    fn no_number_in_the_text_breaks_anything(which in any::<proptest::sample::Index>(), number in proptest::sample::select(&["0", "1", "511", "512", "4096", "4294967295", "4294967296", "18446744073709551615", "99999999999999999999", "-1"])) {
        let mut bytes = two().to_vec();
        let end = bytes[4096..].iter().position(|byte| *byte == 0).unwrap();
        let text = String::from_utf8(bytes[4096..4096 + end].to_vec()).unwrap();
        let mut starts: Vec<usize> = (1..text.len())
            .filter(|at| text.as_bytes()[*at].is_ascii_digit() && matches!(text.as_bytes()[at - 1], b'"' | b':'))
            .collect();
        starts.dedup();
        let start = starts[which.index(starts.len())];
        let len = text[start..].bytes().take_while(u8::is_ascii_digit).count();
        let changed = format!("{}{number}{}", &text[..start], &text[start + len..]);
        bytes[4096..16384].fill(0);
        bytes[4096..4096 + changed.len()].copy_from_slice(changed.as_bytes());
        seal(&mut bytes[..16384]);
        is_sound(bytes, &keys())?;
    }
}
