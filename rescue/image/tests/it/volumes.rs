//! Images in several volumes: the same bytes, whatever happens while they are written, and what is missing is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use image::memory::MemoryStore;
use image::reader::Reader;
use image::store::{Store, StoreError};
use image::volumes::Volumes;
use image::writer::Writer;

use crate::making::{Disk, manifest, noise, open, restore, rounds};
use crate::tape::{Tape, files, store_of};

const FILE: &str = "pc.img.zst";
const UNFINISHED: &str = "pc.img.zst.unfinished";
const BYTES: u64 = 150_000;

fn volumes(store: &MemoryStore) -> Volumes {
    Volumes::of_at_most(Arc::new(store.clone()), BYTES)
}

fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut bytes = noise(1 << 20, seed).into_iter();
    move |below| {
        let number = (0..4).fold(0, |n, _| n << 8 | usize::from(bytes.next().unwrap_or(7)));
        number % below
    }
}

fn in_volumes(disk: &Disk) -> MemoryStore {
    let store = MemoryStore::new();
    disk.image(&volumes(&store), "pc", 1, 3);
    store
}

fn is_the_disk(store: &dyn Store, disk: &Disk) {
    let (content, lost) = restore(&open(store));
    assert!(lost.is_empty() && content == disk.expected());
}

#[test]
fn volumes_in_the_order_of_their_names_are_the_file() {
    let disk = Disk::new(13, 4);
    let store = in_volumes(&disk);
    let parts = files(&store);
    let count = parts.len();
    assert!(count > 3, "{:?}", parts.keys());
    let all: Vec<u8> = parts.values().flatten().copied().collect();
    assert!(all == disk.image_bytes(1, 3));
    for (nth, (name, bytes)) in parts.iter().enumerate() {
        let wanted = match nth {
            0 => FILE.to_owned(),
            _ => format!("{FILE}.{:03}of{count:03}", nth + 1),
        };
        assert_eq!(*name, wanted);
        assert!(bytes.len() as u64 == BYTES || nth + 1 == count);
    }
    let read = Volumes::new(Arc::new(store.clone()));
    assert_eq!(read.list().unwrap(), [FILE]);
    assert_eq!(read.open(FILE).unwrap().len(), all.len() as u64);
    is_the_disk(&read, &disk);
    read.remove(FILE).unwrap();
    assert_eq!(files(&store).len(), 0);
}

#[test]
fn a_file_of_one_volume_is_as_without_volumes() {
    let disk = Disk::new(1, 4);
    let store = MemoryStore::new();
    disk.image(
        &Volumes::of_at_most(Arc::new(store.clone()), 1 << 30),
        "pc",
        1,
        3,
    );
    assert_eq!(
        files(&store),
        BTreeMap::from([(FILE.to_owned(), disk.image_bytes(1, 3))])
    );
}

#[test]
fn after_a_power_cut_at_any_moment_it_is_unfinished_or_whole_and_is_gone_on_with() {
    let disk = Disk::new(13, 4);
    let tape = Tape::over(BTreeMap::new());
    disk.image(
        &Volumes::of_at_most(Arc::new(tape.clone()), BYTES),
        "pc",
        1,
        3,
    );
    let all = tape.changes().len();
    let mut dice = dice(5);
    let (mut finished, mut gone_on) = (0, 0);
    for state in 0..rounds(150) {
        // The renames at the end are few, and each counts.
        let changes = match state % 3 {
            0 => all - dice(12),
            _ => dice(all + 1),
        };
        let store = volumes(&store_of(tape.after_power_cut(changes, &mut dice)));
        if store.exists(FILE).unwrap() {
            is_the_disk(&store, &disk);
            finished += 1;
            continue;
        }
        let mut writer = match store.exists(UNFINISHED).unwrap() {
            true => Writer::resume(&store, "pc", &disk.head()).unwrap(),
            false => Writer::create(&store, "pc", disk.head()).unwrap(),
        };
        gone_on += u64::from(writer.at() > 0);
        disk.write(&mut writer, 1, 7);
        writer.finish(&manifest()).unwrap();
        is_the_disk(&store, &disk);
    }
    assert!(finished > 3 && gone_on > 20, "{finished} {gone_on}");
}

#[test]
fn a_missing_volume_costs_what_stands_in_it_and_is_named() {
    let disk = Disk::new(13, 4);
    let whole = files(&in_volumes(&disk));
    let names: Vec<&String> = whole.keys().collect();
    let count = names.len();
    for (nth, name) in names.iter().enumerate().skip(1) {
        let mut left = whole.clone();
        left.remove(*name);
        let store = Volumes::new(Arc::new(store_of(left)));
        let file = store.open(FILE).unwrap();
        let mut byte = [0];
        let told = file.read_at(nth as u64 * BYTES, &mut byte);
        let Err(StoreError::Unreadable { text, .. }) = told else {
            panic!("{told:?}");
        };
        let wanted = format!("volume {} of memory/{FILE} is missing", nth + 1);
        assert!(text.contains(&wanted), "{text}");
        if nth + 1 == count {
            continue;
        }
        let reader = open(&store);
        let (content, lost) = restore(&reader);
        let expected = disk.expected();
        // With a page of the index goes what it tells of.
        let most = expected.len() as u64 * 3 / 4;
        assert!(
            !lost.is_empty() && lost.total_bytes() < most,
            "{nth}: {lost:?}"
        );
        for (at, (got, wanted)) in content.iter().zip(&expected).enumerate() {
            assert!(got == wanted || lost.contains(at as u64), "{at}");
        }
    }
}

#[test]
fn volumes_in_each_others_place_are_never_taken_for_right() {
    let disk = Disk::new(13, 4);
    let mut swapped = files(&in_volumes(&disk));
    let names: Vec<String> = swapped.keys().cloned().collect();
    let (second, third) = (swapped[&names[1]].clone(), swapped[&names[2]].clone());
    swapped.insert(names[1].clone(), third);
    swapped.insert(names[2].clone(), second);
    let store = Volumes::new(Arc::new(store_of(swapped)));
    let (content, lost) = restore(&Reader::open(&store, FILE).unwrap());
    assert!(!lost.is_empty());
    for (at, (got, wanted)) in content.iter().zip(&disk.expected()).enumerate() {
        assert!(got == wanted || lost.contains(at as u64), "{at}");
    }
}

#[test]
fn an_append_that_fails_between_two_volumes_is_taken_back() {
    let store = MemoryStore::new();
    let split = Volumes::of_at_most(Arc::new(store.clone()), 10);
    let mut file = split.create("f").unwrap();
    file.append(b"0123456").unwrap();
    // Somebody else's file has the name of the next volume.
    store.put("f.002", b"else".to_vec());
    assert!(matches!(file.append(b"789abc"), Err(StoreError::Taken(_))));
    assert_eq!(file.len(), 7);
    store.remove("f.002").unwrap();
    file.append(b"789abcdefghijklmnop").unwrap();
    file.sync().unwrap();
    drop(file);
    split.publish("f", "g").unwrap();
    let mut all = vec![0; 26];
    split.open("g").unwrap().read_at(0, &mut all).unwrap();
    assert_eq!(all, b"0123456789abcdefghijklmnop");
    assert!(!split.is_replaceable("g").unwrap());
    assert!(split.replace("g", "h").is_err());
}
