//! Metadata whose bytes were changed by someone who puts the checksums right again.

use std::sync::OnceLock;

use disk::layer::{Keys, Limits};
use disk::memory::MemorySource;
use proptest::prelude::{any, proptest};

use crate::locked::{is_sound, layer_with};
use crate::made::{all_of, cases};
use crate::made_by::{Volume, formatted_fat, seal};

/// Its bytes, and where its metadata stand.
fn volume() -> &'static (Vec<u8>, [usize; 3]) {
    static VOLUME: OnceLock<(Vec<u8>, [usize; 3])> = OnceLock::new();
    VOLUME.get_or_init(|| {
        let volume = Volume::new(formatted_fat(2 << 20), "8004", 512, &["clear"]);
        let [a, b, c, _] = volume.places.map(|place| usize::try_from(place).unwrap());
        (all_of(&volume.file), [a, b, c])
    })
}

/// Too little to stretch any password.
fn keys() -> Keys {
    Keys::none().with_limits(Limits {
        memory_bytes: 0,
        rounds: 1000,
    })
}

#[test]
fn the_volume_that_is_changed_can_be_opened() {
    let layer = layer_with(&MemorySource::new(volume().0.clone()), &keys());
    assert_eq!((layer.whole, layer.volumes.len()), (None, 1));
}

/// One of which only a part is encrypted.
fn in_part() -> &'static (Vec<u8>, Vec<usize>) {
    static VOLUME: OnceLock<(Vec<u8>, Vec<usize>)> = OnceLock::new();
    VOLUME.get_or_init(|| {
        let volume = Volume::in_part(formatted_fat(2 << 20), "8004", "011");
        let places = volume.conversion.iter().map(|extent| extent.start());
        let places = places.map(|place| usize::try_from(place).unwrap());
        (all_of(&volume.file), places.collect())
    })
}

/// The checksum with zeros in its place.
fn sum(bytes: &mut [u8], place: usize) {
    bytes[place..place + 4].fill(0);
    let sum = crc32fast::hash(bytes);
    bytes[place..place + 4].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn the_volume_in_part_can_be_opened() {
    let layer = layer_with(&MemorySource::new(in_part().0.clone()), &keys());
    assert_eq!((layer.whole, layer.volumes.len()), (None, 1));
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: cases(150), failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_byte_of_the_boot_sector_breaks_anything(flips in proptest::collection::vec((0usize..512, any::<u8>()), 1..6), cut in any::<proptest::sample::Index>(), is_cut in any::<bool>()) {
        let mut bytes = volume().0.clone();
        for (at, byte) in flips {
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        is_sound(bytes, &keys())?;
    }

    #[test]
    fn no_byte_of_the_metadata_breaks_anything(flips in proptest::collection::vec((0usize..420, any::<u8>()), 1..5), copies in 1usize..4) {
        let (bytes, places) = volume();
        let mut bytes = bytes.clone();
        for place in &places[..copies] {
            for (at, byte) in &flips {
                bytes[place + at] = *byte;
            }
            seal(&mut bytes[*place..place + 65536]);
        }
        is_sound(bytes, &keys())?;
    }

    #[test]
    fn no_place_in_the_metadata_breaks_anything(which in proptest::sample::select(&[16usize, 32, 40, 48, 56]), number in proptest::sample::select(&[0u64, 1, 511, 512, 8192, 65536, 1 << 20, (2 << 20) - 512, 2 << 20, u64::MAX - 511, u64::MAX]), both in any::<bool>()) {
        let (bytes, places) = volume();
        let mut bytes = bytes.clone();
        for place in places {
            bytes[place + which..place + which + 8].copy_from_slice(&number.to_le_bytes());
            seal(&mut bytes[*place..place + 65536]);
        }
        if both && (32..56).contains(&which) {
            bytes[144 + which..152 + which].copy_from_slice(&number.to_le_bytes());
        }
        is_sound(bytes, &keys())?;
    }

    #[test]
    fn no_byte_of_what_says_which_part_is_encrypted_breaks_anything(piece in 0usize..8, flips in proptest::collection::vec((0usize..0x600, any::<u8>()), 1..5), sealed in any::<bool>()) {
        let (bytes, places) = in_part();
        let mut bytes = bytes.clone();
        for (at, byte) in flips {
            let at = if piece < 2 { at % 80 } else { at };
            bytes[places[piece] + at] = byte;
        }
        if sealed && piece < 2 {
            sum(&mut bytes[places[piece]..places[piece] + 80], 36);
        } else if sealed && piece % 2 == 0 {
            let block = &mut bytes[places[piece]..places[piece] + 0x600];
            sum(&mut block[..0x200], 56);
            sum(&mut block[0x200..0x400], 32);
            sum(&mut block[0x400..], 32);
        }
        is_sound(bytes, &keys())?;
    }
}
