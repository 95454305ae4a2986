//! BitLocker: volumes made here from its public description with python3-cryptography, those of Windows where they are
//! to be had, and all of it with hostile bytes.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

#[path = "../made/ext.rs"]
mod ext;
mod hostile;
#[path = "../made/locked.rs"]
mod locked;
#[path = "../made/mod.rs"]
mod made;
mod made_by;
mod real;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{State, Used};
use disk::layer::{Keys, Limits};
use disk::layout::Layout;
use locked::{key_file, layer_with, reads_as, refused, typed};
use made::{open, read_at, write_at};
use made_by::{PASSWORD, RECOVERY_KEY, Volume, filled, formatted_fat, formatted_ntfs};

const MIB: u64 = 1 << 20;

/// Its bytes are those that were encrypted, and free is what is free in its filesystem and not BitLocker's own.
fn is_read_through(volume: &Volume, keys: &Keys, name: &str) {
    let source = open(&volume.file);
    let layer = layer_with(&source, keys);
    assert_eq!(layer.whole, None, "{name}");
    assert_eq!(layer.state, State::Unlocked);
    let inner = &layer.volumes[0];
    assert!(
        matches!(inner.content.filesystems()[0].used, Used::Map { .. }),
        "{name}"
    );
    let plain = made::all_of(&volume.plain);
    reads_as(&layer, &source, keys, &plain, name);

    let mut kept = ExtentMap::new();
    for (place, len) in volume.places.iter().zip([65536, 65536, 65536, 8192]) {
        kept.insert(Extent::new(*place, len).unwrap());
    }
    kept.insert(Extent::new(0, 8192).unwrap());
    volume
        .conversion
        .iter()
        .for_each(|extent| kept.insert(*extent));
    let used = layer.used();
    assert!(
        kept.difference(&used).is_empty(),
        "{name}: BitLocker's own is kept"
    );
    let granule = u64::from(inner.granule);
    let alone = Layout::read(&open(&volume.plain)).unwrap().used();
    let alone = alone.aligned_out(granule, u64::try_from(plain.len()).unwrap());
    assert_eq!(used, alone.union(&kept), "{name}");
    assert!(used.total_bytes() < layer.size_bytes * 6 / 10, "{name}");
}

#[test]
fn what_is_used_inside_is_known_and_read_right_in_every_method() {
    for (method, sector) in [
        ("8002", 512),
        ("8003", 4096),
        ("8004", 512),
        ("8005", 512),
        ("8004", 4096),
    ] {
        let volume = Volume::new(filled(12 * MIB), method, sector, &["clear"]);
        is_read_through(
            &volume,
            &Keys::none(),
            &format!("{method} in sectors of {sector}"),
        );
    }
    for method in ["8000", "8001"] {
        let volume = Volume::new(formatted_fat(2 * MIB), method, 512, &["clear"]);
        is_read_through(&volume, &Keys::none(), method);
    }
    let volume = Volume::new(formatted_ntfs(12 * MIB), "8004", 512, &["clear"]);
    is_read_through(&volume, &Keys::none(), "ntfs");
    real::are_read_through();
}

#[test]
fn whatever_opens_a_protector_opens_the_volume() {
    let home = tempfile::tempdir().unwrap();
    let stick = home.path().join("stick.bek").to_str().unwrap().to_owned();
    let protectors = [
        "tpm",
        &format!("startup={stick}"),
        &format!("recovery={RECOVERY_KEY}"),
        &format!("password={PASSWORD}"),
    ];
    let volume = Volume::new(filled(6 * MIB), "8004", 512, &protectors);
    let source = open(&volume.file);
    let saved = format!("\u{feff}BitLocker recovery key:\r\n\r\n\t{RECOVERY_KEY}\r\n");
    let saved: Vec<u8> = saved.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for keys in [
        typed(PASSWORD),
        key_file(PASSWORD.as_bytes()),
        typed(RECOVERY_KEY),
        key_file(&saved),
        key_file(&std::fs::read(&stick).unwrap()),
    ] {
        assert_eq!(layer_with(&source, &keys).whole, None, "{keys:?}");
    }
    let why = refused(&source, &Keys::none());
    assert_eq!(
        why,
        "locked; with its recovery key or password only what is used would be imaged"
    );
    let other = RECOVERY_KEY.replace("111111", "111122");
    for keys in [typed("another"), typed(&other), key_file(&[0; 200])] {
        let why = refused(&source, &keys);
        assert_eq!(
            why,
            "locked; no password, recovery key or key file that was given opens it"
        );
    }
    let limits = Limits {
        memory_bytes: 0,
        rounds: 1000,
    };
    let why = refused(&source, &typed(PASSWORD).with_limits(limits));
    assert!(why.contains("takes too long"), "{why}");
    let said = format!(
        "{:?}",
        Layout::read_with(&source, &typed(PASSWORD)).unwrap()
    );
    assert!(!said.contains(PASSWORD));
}

#[test]
fn a_volume_that_is_only_being_encrypted_is_whole() {
    let volume = Volume::in_state(2, formatted_fat(4 * MIB), "8004", 512, &["clear"]);
    let why = refused(&open(&volume.file), &Keys::none());
    assert!(why.contains("let Windows finish"), "{why}");
}

#[test]
fn what_was_never_encrypted_is_read_as_it_stands() {
    for (method, chunks) in [
        ("8004", "01"),
        ("8002", "0110100"),
        ("8004", "1"),
        ("8004", "0"),
    ] {
        let volume = Volume::in_part(filled(12 * MIB), method, chunks);
        is_read_through(&volume, &Keys::none(), &format!("{method}, {chunks}"));
    }
    let volume = Volume::in_part(formatted_ntfs(12 * MIB), "8005", "001");
    is_read_through(&volume, &Keys::none(), "ntfs in part");
}

#[test]
fn a_chunk_that_was_being_converted_or_a_damaged_bitmap_leaves_nothing_free() {
    let volume = Volume::in_part(formatted_fat(8 * MIB), "8004", "011x");
    let why = refused(&open(&volume.file), &Keys::none());
    assert!(why.contains("let Windows finish"), "{why}");
    let volume = Volume::in_part(formatted_fat(8 * MIB), "8004", "011");
    let opens = || layer_with(&open(&volume.file), &Keys::none()).whole;
    assert_eq!(opens(), None);
    let damaged = Some("what says which part of it is encrypted is damaged".to_owned());
    let at = |nth: usize| volume.conversion[nth].start();
    // One of two copies, then the other one.
    write_at(&volume.file, at(0) + 70, b"damage");
    assert_eq!(opens(), None);
    let mut broken = vec![at(1) + 20];
    for region in 0..3 {
        let (bitmap, log) = (at(2 + 2 * region), at(3 + 2 * region));
        broken.extend([bitmap, bitmap + 24, bitmap + 0x100, bitmap + 0x204]);
        broken.extend([
            bitmap + 0x228,
            bitmap + 0x428,
            log,
            log + 20,
            log + 0x204,
            log + 0x60C,
        ]);
    }
    for place in broken {
        let was = read_at(&volume.file, place, 4);
        write_at(&volume.file, place, &[0x5A, 0xA5, 0x77, 0x11]);
        assert_eq!(opens(), damaged, "{place:#x}");
        write_at(&volume.file, place, &was);
    }
    assert_eq!(opens(), None);
}

#[test]
fn one_good_copy_of_the_metadata_is_enough_and_two_that_disagree_are_not() {
    let volume = Volume::new(formatted_fat(4 * MIB), "8004", 512, &["clear"]);
    let opens = || layer_with(&open(&volume.file), &Keys::none()).whole;
    for copy in [0, 1] {
        write_at(&volume.file, volume.places[copy] + 100, b"damage");
        assert_eq!(opens(), None);
    }
    volume.edit(1, |metadata| {
        metadata[100..106].copy_from_slice(&[4, 0x80, 0, 0, 0, 0])
    });
    assert_eq!(opens(), None);
    volume.edit(2, |metadata| metadata[100] = 5);
    assert_eq!(opens().unwrap(), "the copies of its header disagree");
    write_at(&volume.file, volume.places[1] + 100, b"damage");
    write_at(&volume.file, volume.places[2] + 100, b"damage");
    assert_eq!(opens().unwrap(), "its header is damaged");
}

#[test]
fn what_is_not_supported_is_named() {
    let volume = Volume::new(formatted_fat(4 * MIB), "8004", 512, &["clear"]);
    let boot = read_at(&volume.file, 0, 512);
    let refused = || refused(&open(&volume.file), &Keys::none());
    write_at(
        &volume.file,
        160,
        &[0x3B, 0x4D, 0xA8, 0x92, 0x80, 0xDD, 0x0E, 0x4D],
    );
    write_at(
        &volume.file,
        168,
        &[0x9E, 0x4E, 0xB1, 0xE3, 0x28, 0x4E, 0xAE, 0xD8],
    );
    assert_eq!(
        refused(),
        "what says which part of it is encrypted is damaged"
    );
    write_at(&volume.file, 0, &boot);
    write_at(&volume.file, 1, &[0x52]);
    assert!(refused().contains("Windows Vista"));
    write_at(&volume.file, 0, &boot);
    for copy in 0..3 {
        volume.edit(copy, |metadata| {
            metadata[100..102].copy_from_slice(&[7, 0x80])
        });
    }
    assert_eq!(refused(), "its encryption method 0x8007 is not supported");
    for copy in 0..3 {
        volume.edit(copy, |metadata| {
            metadata[16..24].copy_from_slice(&(8 * MIB).to_le_bytes())
        });
    }
    assert!(refused().contains("0x8007"));
    for copy in 0..3 {
        volume.edit(copy, |metadata| metadata[100] = 4);
    }
    assert_eq!(refused(), "its data reach beyond its end");
}

/// To older systems it looks like FAT32, which it is not.
#[test]
fn a_volume_to_go_is_no_fat() {
    let volume = Volume::new(filled(6 * MIB), "8004", 512, &["clear"]);
    let boot = read_at(&volume.file, 0, 512);
    let mut to_go = read_at(&formatted_fat(64 * MIB), 0, 512);
    to_go[0..11].copy_from_slice(b"\xeb\x58\x90MSWIN4.1");
    to_go[0x52..0x5A].copy_from_slice(b"FAT32   ");
    to_go[424..464].copy_from_slice(&boot[160..200]);
    write_at(&volume.file, 0, &to_go);
    is_read_through(&volume, &Keys::none(), "to go");
}
