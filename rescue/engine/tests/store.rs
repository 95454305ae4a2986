//! A directory as a store, on real filesystems.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

use std::fs;

use engine::transport::dir::DirStore;
use image::store::{Store, StoreError};

fn store() -> (tempfile::TempDir, DirStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path()).unwrap();
    (dir, store)
}

#[test]
fn a_file_is_appended_synced_published_and_read_back() {
    let (dir, store) = store();
    let mut file = store.create("a.part").unwrap();
    assert!(file.is_empty());
    file.append(b"one").unwrap();
    file.append(b"two").unwrap();
    assert_eq!(file.len(), 6);
    file.sync().unwrap();
    store.publish("a.part", "a").unwrap();
    assert_eq!(store.list().unwrap(), ["a"]);
    let read = store.open("a").unwrap();
    let mut middle = [0; 4];
    read.read_at(1, &mut middle).unwrap();
    assert_eq!((read.len(), &middle), (6, b"netw"));
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"onetwo");
    store.remove("a").unwrap();
    assert!(!store.exists("a").unwrap());
}

#[test]
fn a_name_that_is_taken_is_never_replaced() {
    let (dir, store) = store();
    fs::write(dir.path().join("old"), "keep").unwrap();
    fs::write(dir.path().join("new"), "new").unwrap();
    assert!(matches!(store.create("old"), Err(StoreError::Taken(_))));
    assert!(matches!(
        store.publish("new", "old"),
        Err(StoreError::Taken(_))
    ));
    assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"keep");
    assert_eq!(fs::read(dir.path().join("new")).unwrap(), b"new");
}

#[test]
fn resuming_cuts_the_file_and_goes_on() {
    let (dir, store) = store();
    fs::write(dir.path().join("a"), "kept+torn").unwrap();
    let mut file = store.resume("a", 4).unwrap();
    file.append(b"!").unwrap();
    file.sync().unwrap();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"kept!");
    let error = store.resume("a", 100).err().unwrap();
    assert!(
        matches!(&error, StoreError::Fault(text) if text.contains("5 bytes where 100 bytes were recorded")),
        "{error}"
    );
}

#[test]
fn names_stay_inside_the_directory() {
    let (_dir, store) = store();
    for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b"] {
        assert!(
            matches!(store.create(name), Err(StoreError::Fault(_))),
            "{name:?}"
        );
        assert!(
            matches!(store.open(name), Err(StoreError::Fault(_))),
            "{name:?}"
        );
        assert!(store.remove(name).is_err() && store.resume(name, 0).is_err());
        assert!(store.publish("x", name).is_err() && store.publish(name, "x").is_err());
    }
}

#[test]
fn what_is_missing_or_no_file_is_said() {
    let (dir, store) = store();
    fs::create_dir(dir.path().join("sub")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(store.open("none"), Err(StoreError::Missing(_))));
    assert!(matches!(store.remove("none"), Err(StoreError::Missing(_))));
    assert!(matches!(store.open("sub"), Err(StoreError::Fault(_))));
    // Would wait for a writer for ever.
    assert!(matches!(store.open("pipe"), Err(StoreError::Fault(_))));
    assert!(matches!(
        DirStore::open(&dir.path().join("none")),
        Err(StoreError::Missing(_))
    ));
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn reading_past_the_end_names_the_range() {
    let (dir, store) = store();
    fs::write(dir.path().join("a"), "abc").unwrap();
    let error = store.open("a").unwrap().read_at(2, &mut [0; 2]);
    assert!(matches!(
        error,
        Err(StoreError::Unreadable {
            offset: 2,
            len: 2,
            ..
        })
    ));
}

#[test]
fn free_space_is_what_statvfs_says() {
    let (dir, store) = store();
    let free = store.free_bytes().unwrap();
    let found = nix::sys::statvfs::statvfs(dir.path()).unwrap();
    let said = found.blocks_available() * found.fragment_size();
    // Other programs write meanwhile.
    assert!(free.abs_diff(said) < 1 << 30, "{free} {said}");
    assert_eq!(store.file_limit(), None);
}
