//! An image whose head, index or tail is lost becomes what it was, byte for byte.

use image::check;
use image::memory::MemoryStore;
use image::mend::{Mend, Mended, With, interim_name};
use image::reader::Reader;
use image::store::{Store, StoreError};

use crate::making::{Disk, noise, open, restore, store_with};

fn mend(store: &dyn Store) -> Mended {
    Mend {
        store,
        name: "pc",
        with: With::Index,
    }
    .run(&mut |_| Ok(()))
    .unwrap()
}

/// Where frames of this kind begin, and how long they are.
fn frames(bytes: &[u8], kind: &[u8; 8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(front) = bytes.get(at..at + 40) {
        let own = u64::from_le_bytes(front[32..40].try_into().unwrap());
        if front[8..16] == *kind && own == at as u64 {
            let len = u32::from_le_bytes(front[4..8].try_into().unwrap()) as usize + 8;
            found.push((at, len));
        }
        at += 1;
    }
    found
}

fn wiped(bytes: &[u8], at: usize, len: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + len].fill(0);
    bytes
}

fn becomes_whole(damaged: Vec<u8>, whole: &[u8], what: &str) {
    let store = store_with(damaged);
    let found = check::all(&open(&store), |_| {}).unwrap();
    assert!(!found.is_clean(), "{what}: not even noticed");
    let mended = mend(&store);
    assert!(mended.after.is_some(), "{what}: {:?}", mended.before);
    let now = store.get("pc.img.zst").unwrap();
    let other = now.iter().zip(whole).position(|(is, was)| is != was);
    assert_eq!((now.len(), other), (whole.len(), None), "{what}");
    assert!(!store.exists(&interim_name("pc")).unwrap());
}

#[test]
fn head_index_manifest_and_tail_are_made_again_as_they_were() {
    let whole = Disk::new(40, 3).image_bytes(1, 9);
    for kind in [
        b"rescHEAD",
        b"rescCHNK",
        b"rescLEAF",
        b"rescPAGE",
        b"rescTALE",
        b"rescROOT",
        b"rescDONE",
    ] {
        let all = frames(&whole, kind);
        assert!(!all.is_empty());
        for (at, len) in all {
            let body = &whole[at + 40..at + len - 32];
            if kind == b"rescCHNK" && body[17] & 1 == 1 {
                // Its map of the states stands nowhere else.
                continue;
            }
            let what = format!("{} at {at}", String::from_utf8_lossy(kind));
            becomes_whole(wiped(&whole, at, len), &whole, &what);
        }
    }
    becomes_whole(wiped(&whole, 0, 13), &whole, "lead");
    let (end, len) = frames(&whole, b"rescDONE")[0];
    let table = end + len;
    becomes_whole(wiped(&whole, table, whole.len() - table), &whole, "table");
    becomes_whole(wiped(&whole, end, whole.len() - end), &whole, "both");
    becomes_whole(whole[..end].to_vec(), &whole, "cut in front of the end");
    becomes_whole(whole[..end - 20].to_vec(), &whole, "cut before that");
    let (root, _) = frames(&whole, b"rescROOT")[0];
    becomes_whole(whole[..root + 30].to_vec(), &whole, "cut in the root");
    let (page, len) = frames(&whole, b"rescPAGE")[1];
    let both = wiped(&wiped(&whole, page, len), root, 100);
    becomes_whole(both, &whole, "a page and the root");
}

#[test]
fn an_image_that_lost_its_story_altogether_has_its_content_and_an_end_again() {
    let disk = Disk::new(24, 5);
    let whole = disk.image_bytes(1, 9);
    let (first, len) = frames(&whole, b"rescTALE")[0];
    let (second, _) = frames(&whole, b"rescTALE")[1];
    let cut = whole[..first + 50].to_vec();
    let torn = wiped(&wiped(&whole, first, len), second, 60);
    for damaged in [cut, torn] {
        let store = store_with(damaged);
        let mended = mend(&store);
        assert!(mended.after.is_some_and(|found| found.is_clean()));
        let reader = open(&store);
        let (content, lost) = restore(&reader);
        assert!(lost.is_empty());
        assert!(content == disk.expected());
        let story = reader.manifest().unwrap();
        assert!(
            story.warnings[0].starts_with("the manifest was lost"),
            "{story:?}"
        );
        let stream = store.get("pc.img.zst").unwrap();
        assert!(zstd::decode_all(stream.as_slice()).unwrap() == disk.expected());
    }
}

#[test]
fn what_cannot_be_made_better_stays_as_it_is() {
    let whole = Disk::new(24, 5).image_bytes(1, 9);
    let store = store_with(whole.clone());
    let mended = mend(&store);
    assert!(mended.before.is_clean() && mended.after.is_none());
    assert!(store.get("pc.img.zst").unwrap() == whole);

    let (chunk, len) = frames(&whole, b"rescCHNK")[0];
    let mut damaged = whole.clone();
    damaged[chunk + len + 4000..][..50].fill(7);
    let store = store_with(damaged.clone());
    let mended = mend(&store);
    assert!(!mended.before.is_clean() && mended.after.is_none());
    assert!(store.get("pc.img.zst").unwrap() == damaged);
    assert!(!store.exists(&interim_name("pc")).unwrap());
}

#[test]
fn a_killed_one_goes_on_and_the_old_image_is_never_touched() {
    let whole = Disk::new(24, 5).image_bytes(1, 9);
    let (root, _) = frames(&whole, b"rescROOT")[0];
    let damaged = wiped(&whole, root, 200);
    for keep in (0..whole.len() + 5000).step_by(whole.len() / 40) {
        let store = MemoryStore::new();
        store.put("pc.img.zst", damaged.clone());
        // What an earlier run has left: as far as it came, and then nothing sensible.
        let mut left = whole[..keep.min(whole.len())].to_vec();
        left.extend(noise(keep % 7000, 1));
        store.put(&interim_name("pc"), left);
        assert!(Reader::open(&store, "pc.img.zst").is_ok());
        assert!(mend(&store).after.is_some(), "{keep}");
        assert!(store.get("pc.img.zst").unwrap() == whole, "{keep}");
    }
}

#[test]
fn a_full_store_ends_it_with_a_sentence_and_the_old_image_stays() {
    let whole = Disk::new(24, 5).image_bytes(1, 9);
    let (root, _) = frames(&whole, b"rescROOT")[0];
    let damaged = wiped(&whole, root, 200);
    let store = MemoryStore::limited(whole.len() as u64 / 2);
    store.put("pc.img.zst", damaged.clone());
    let one = Mend {
        store: &store,
        name: "pc",
        with: With::Index,
    };
    let error = one.run(&mut |_| Ok(())).unwrap_err();
    assert!(matches!(
        error,
        image::error::ImageError::Store(StoreError::Full(_))
    ));
    assert!(store.get("pc.img.zst").unwrap() == damaged);
}
