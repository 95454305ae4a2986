//! LUKS: headers by cryptsetup and qemu-img, ciphertext by an implementation of its own (python3-cryptography), and
//! all of them with hostile bytes.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

#[path = "../made/ext.rs"]
mod ext;
mod hostile;
#[path = "../made/locked.rs"]
mod locked;
#[path = "../made/mod.rs"]
mod made;
mod made_by;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{State, Used};
use disk::layer::{Keys, Limits};
use disk::layout::Layout;
use locked::{layer_with, reads_as, refused, typed};
use made::{open, write_at};
use made_by::{PASSPHRASE, Volume};

const MIB: u64 = 1 << 20;

/// The map is that of the filesystem inside, moved; its bytes are those that were encrypted.
fn is_read_through(volume: &Volume) {
    let source = open(&volume.file);
    let keys = typed(PASSPHRASE);
    let layer = layer_with(&source, &keys);
    assert_eq!(layer.whole, None, "{}", volume.name);
    assert_eq!(layer.state, State::Unlocked);
    let [inner] = &layer.volumes[..] else {
        panic!("{}: {layer:?}", volume.name)
    };
    let alone = Layout::read(&open(&volume.plain)).unwrap().used();
    let inside = inner.content.used(inner.size_bytes);
    let plain = Extent::new(0, volume.plain.as_file().metadata().unwrap().len()).unwrap();
    assert_eq!(
        inside.within(plain).collect::<ExtentMap>(),
        alone,
        "{}",
        volume.name
    );
    assert!(matches!(
        inner.content.filesystems()[0].used,
        Used::Map { .. }
    ));
    let used = layer.used();
    let head = Extent::new(0, volume.payload).unwrap();
    assert!(used.covers(head), "the header and the key slots are kept");
    assert!(
        used.total_bytes() < layer.size_bytes * 6 / 10,
        "{}",
        volume.name
    );
    let granule = u64::from(inner.granule);
    assert!(used.iter().all(|e| e.start().is_multiple_of(granule)));

    let plain = made::all_of(&volume.plain);
    reads_as(&layer, &source, &keys, &plain, &volume.name);
}

#[test]
fn what_is_used_inside_is_known_and_read_right_in_every_cipher_and_derivation() {
    for options in [
        "--type luks1 --cipher aes-xts-plain64 --key-size 512 --hash sha256",
        "--type luks1 --cipher aes-xts-plain --key-size 256 --hash sha512",
        "--type luks1 --cipher aes-cbc-essiv:sha256 --key-size 256 --hash sha1",
        "--type luks1 --cipher aes-cbc-plain64 --key-size 192 --hash sha256",
        "--type luks1 --cipher aes-cbc-plain --key-size 128 --hash sha1",
        "--type luks2 --pbkdf argon2id --pbkdf-memory 2048 --pbkdf-parallel 1",
        "--type luks2 --pbkdf argon2i --pbkdf-memory 1024 --pbkdf-parallel 4 --sector-size 4096",
        "--type luks2 --pbkdf pbkdf2 --hash sha512 --sector-size 1024 --luks2-metadata-size 64k",
        "--type luks2 --pbkdf pbkdf2 --cipher aes-cbc-essiv:sha256 --key-size 256 --label inside",
    ] {
        is_read_through(&Volume::new(options));
    }
}

#[test]
fn a_volume_written_by_qemu_is_read_through() {
    is_read_through(&Volume::by_qemu());
}

#[test]
fn locked_it_is_whole_and_says_what_its_passphrase_would_save() {
    for options in ["--type luks1", "--type luks2 --pbkdf pbkdf2"] {
        let file = made_by::formatted(24 * MIB, options);
        let why = refused(&open(&file), &Keys::none());
        assert_eq!(
            why,
            "locked; with its passphrase only what is used would be imaged"
        );
        let why = refused(&open(&file), &typed("wrong"));
        assert_eq!(
            why,
            "locked; no passphrase or key file that was given opens it"
        );
        let newline = format!("{PASSPHRASE}\n");
        refused(&open(&file), &typed(&newline));
    }
}

#[test]
fn a_key_slot_that_was_added_opens_it_and_one_that_was_killed_does_not() {
    for options in ["--type luks1", "--type luks2 --pbkdf pbkdf2"] {
        let file = made_by::formatted(24 * MIB, options);
        made_by::add_key(&file, "second");
        let layer = layer_with(&open(&file), &typed("second"));
        assert_eq!(layer.whole, None);
        made_by::kill_slot(&file, 0);
        refused(&open(&file), &typed(PASSPHRASE));
        assert_eq!(layer_with(&open(&file), &typed("second")).whole, None);
    }
}

#[test]
fn more_memory_or_time_than_the_limits_is_a_sentence() {
    let file = made_by::formatted(
        24 * MIB,
        "--type luks2 --pbkdf argon2id --pbkdf-memory 65536",
    );
    let limited = |memory_bytes, rounds| {
        typed(PASSPHRASE).with_limits(Limits {
            memory_bytes,
            rounds,
        })
    };
    let why = refused(&open(&file), &limited(16 << 20, 1 << 27));
    assert!(why.contains("memory") && why.contains("16"), "{why}");
    let why = refused(&open(&file), &limited(1 << 30, 1000));
    assert!(why.contains("time"), "{why}");
}

#[test]
fn what_is_not_supported_is_named() {
    let cases: [(&str, &str, &str); 6] = [
        (
            "\"encryption\":\"aes-xts-plain64\",\"sector_size\"",
            "\"encryption\":\"serpent-xts-plain64\",\"sector_size\"",
            "the cipher serpent-xts-plain64 is not supported",
        ),
        ("\"type\":\"crypt\"", "\"type\":\"linear\"", "kind"),
        (
            "\"sector_size\":512",
            "\"integrity\":{\"type\":\"none\"},\"sector_size\":512",
            "integrity",
        ),
        (
            "\"config\":{",
            "\"config\":{\"requirements\":{\"mandatory\":[\"online-reencrypt-v2\"]},",
            "anew",
        ),
        (
            "\"config\":{",
            "\"config\":{\"requirements\":{\"mandatory\":[\"opal\"]},",
            "“opal”",
        ),
        (
            "\"segments\":{",
            "\"segments\":{\"1\":{\"type\":\"crypt\",\"offset\":\"0\",\"size\":\"512\"},",
            "several segments",
        ),
    ];
    for (from, to, word) in cases {
        let file = made_by::formatted(24 * MIB, "--type luks2 --pbkdf pbkdf2");
        made_by::edit(&file, |text| {
            assert!(text.contains(from), "{text}");
            text.replacen(from, to, 1)
        });
        let why = refused(&open(&file), &typed(PASSPHRASE));
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn the_newest_header_counts_and_without_the_first_it_is_whole() {
    let file = made_by::formatted(24 * MIB, "--type luks2 --pbkdf pbkdf2");
    write_at(&file, 16384 + 5000, b"damage");
    assert_eq!(layer_with(&open(&file), &typed(PASSPHRASE)).whole, None);
    write_at(&file, 5000, b"damage");
    let why = refused(&open(&file), &typed(PASSPHRASE));
    assert!(why.contains("first header"), "{why}");
}

#[test]
fn a_second_header_that_is_newer_counts() {
    let file = made_by::formatted(24 * MIB, "--type luks2 --pbkdf pbkdf2");
    let old = made::read_at(&file, 0, 16384);
    made_by::add_key(&file, "second");
    made_by::kill_slot(&file, 0);
    write_at(&file, 0, &old);
    assert_eq!(layer_with(&open(&file), &typed("second")).whole, None);
}

#[test]
fn a_partition_with_the_volume_keeps_its_label_and_uuid() {
    let file = made_by::formatted(24 * MIB, "--type luks2 --pbkdf pbkdf2 --label backups");
    let layer = layer_with(&open(&file), &Keys::none());
    assert_eq!(layer.label.as_deref(), Some("backups"));
    assert_eq!(layer.variant.as_deref(), Some("LUKS2"));
    assert_eq!(layer.uuid.unwrap(), made_by::uuid(&file));
}

/// Everything that leaves the process is searched for both secrets.
#[test]
fn no_secret_is_in_what_is_written_or_shown() {
    let volume = Volume::new("--type luks2 --pbkdf pbkdf2");
    let keys = typed(PASSPHRASE);
    let layout = Layout::read_with(&open(&volume.file), &keys).unwrap();
    let said = format!(
        "{keys:?} {layout:?} {}",
        serde_json::to_string(&layout).unwrap()
    );
    let hex: String = volume
        .key
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(!said.contains(PASSPHRASE) && !said.contains(&hex));
    assert!(said.contains("luks-"));
}
