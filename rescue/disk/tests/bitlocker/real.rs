//! Volumes that Windows made: cryptsetup's `tests/bitlk-images.tar.xz`, unpacked in the folder that
//! `RESCUE_BITLK_IMAGES` names. Its `images.conf` says what opens each, and the SHA-256 of what is inside. Without the
//! folder only volumes made here are judged, and the output says so. With them there may be `eow_partial.bin`, which is
//! dissect.fve's `tests/_data/bde/eow_partial.bin.gz`: a volume of which a part is encrypted.

use std::fs;
use std::path::Path;

use disk::fs::State;
use disk::layer::{Keys, Secret};
use disk::source::BlockSource;
use sha2::{Digest, Sha256};

use crate::locked::{layer_with, typed};
use crate::made::FileSource;

struct Fact {
    name: String,
    password: String,
    recovery_key: String,
    digest: String,
}

fn facts(folder: &Path) -> Vec<Fact> {
    let text = fs::read_to_string(folder.join("images.conf")).unwrap();
    let sections = text.split("\n[").map(|section| {
        let (name, lines) = section.trim_start_matches('[').split_once(']').unwrap();
        let value = |wanted: &str| {
            let values = lines.lines().filter_map(|line| line.split_once('='));
            let found = values.into_iter().find(|(key, _)| *key == wanted);
            found.map_or(String::new(), |(_, value)| value.to_owned())
        };
        Fact {
            name: name.to_owned(),
            password: value("PW"),
            recovery_key: value("RP"),
            digest: value("SHA256SUM"),
        }
    });
    sections.collect()
}

/// Everything that opens it.
fn keys(fact: &Fact, folder: &Path) -> Vec<Keys> {
    let mut keys = vec![typed(&fact.recovery_key)];
    if !fact.password.is_empty() {
        keys.push(typed(&fact.password));
    }
    if fact.name.contains("startup-key") {
        let files = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "BEK"));
        let secrets = files.map(|path| Secret::KeyFile(fs::read(path).unwrap().into()));
        keys.push(Keys::new(secrets.collect()));
    }
    keys
}

fn digest(source: &dyn BlockSource) -> String {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    for at in (0..source.size_bytes()).step_by(piece.len()) {
        source.read_at(at, &mut piece).unwrap();
        hash.update(&piece);
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn is_read_through(fact: &Fact, source: &FileSource, keys: &Keys) -> String {
    let name = &fact.name;
    let layer = layer_with(source, keys);
    assert_eq!(layer.whole, None, "{name}");
    assert_eq!(layer.state, State::Unlocked, "{name}");
    let inner = &layer.volumes[0];
    let opened = layer.open(source, keys).unwrap();
    let found = digest(&*opened.volume(source, inner));
    assert!(
        fact.digest.is_empty() || found == fact.digest,
        "{name}: {found}"
    );
    let [filesystem] = &inner.content.filesystems()[..] else {
        panic!("{name}: {:?}", inner.content)
    };
    // Most of what is in them was taken out to make them small: not all of their filesystems can be mapped.
    let used = layer.used().total_bytes();
    let whole = inner.content.whole().unwrap_or("mapped");
    format!(
        "{}, {used} of {}, {whole}",
        filesystem.kind, layer.size_bytes
    )
}

/// Called by the test of all methods.
pub fn are_read_through() {
    let Some(folder) = std::env::var_os("RESCUE_BITLK_IMAGES") else {
        println!("RESCUE_BITLK_IMAGES is not set: only volumes made here are judged");
        return;
    };
    let folder = Path::new(&folder);
    for fact in facts(folder) {
        let source = FileSource::open(&folder.join(format!("{}.img", fact.name)), 512);
        if is_in_part(&source) {
            let why = layer_with(&source, &typed(&fact.recovery_key))
                .whole
                .unwrap();
            println!("{}: {why}", fact.name);
            // Made small: what says which part is encrypted was taken out.
            assert!(why.contains("which part of it is encrypted"), "{why}");
            continue;
        }
        let suspended = fact.name.contains("clearkey");
        let alone = layer_with(&source, &Keys::none());
        assert_eq!(alone.whole.is_some(), !suspended, "{}", fact.name);
        for keys in keys(&fact, folder) {
            println!(
                "{}: {keys:?}: {}",
                fact.name,
                is_read_through(&fact, &source, &keys)
            );
        }
    }
    let partial = folder.join("eow_partial.bin");
    if partial.exists() {
        is_in_part_and_read_through(&partial);
    }
}

fn is_in_part(source: &FileSource) -> bool {
    let mut boot = [0; 512];
    source.read_at(0, &mut boot).unwrap();
    boot[160..164] == [0x3B, 0x4D, 0xA8, 0x92]
}

/// The file is cut off behind the last byte that is not zero.
fn is_in_part_and_read_through(file: &Path) {
    let size = 1_072_627_712;
    let whole = tempfile::NamedTempFile::new().unwrap();
    fs::copy(file, whole.path()).unwrap();
    whole.as_file().set_len(size).unwrap();
    let source = FileSource::open(whole.path(), 512);
    assert!(is_in_part(&source));
    assert!(layer_with(&source, &Keys::none()).whole.is_some());
    let keys = typed("password12!@");
    let layer = layer_with(&source, &keys);
    println!("{}: {:?}", file.display(), layer.volumes[0].content.whole());
    assert_eq!(
        (layer.whole.as_deref(), layer.state.clone()),
        (None, State::Unlocked)
    );
    let opened = layer.open(&source, &keys).unwrap();
    let volume = opened.volume(&source, &layer.volumes[0]);
    let read = |at: u64| {
        let mut sector = [0; 512];
        volume.read_at(at, &mut sector).unwrap();
        sector
    };
    // In the clear, where it stands and where it is kept.
    assert_eq!(&read(0)[3..11], b"NTFS    ");
    assert_eq!(&read(8192)[..5], b"FILE0");
    // BitLocker's own, what was never written to, and what is encrypted: zeros that were taken for it.
    assert_eq!(read(0x021F_0000), [0; 512]);
    assert_eq!(read(0x0A00_0000), [0; 512]);
    assert_ne!(read(0x0C40_2000), [0; 512]);
}
