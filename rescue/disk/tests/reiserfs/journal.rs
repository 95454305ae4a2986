//! A journal that waits: as Linux left it when it was switched off, and by reiserfsck, which replays it.

use disk::extent::ExtentMap;
use disk::fs::{Basis, State};

use crate::kernel::{assert_files, by_grub, copy, number_at, restored, text};
use crate::made::{read_at, run_any, write_at};
use crate::{PACKAGE, SUPERBLOCK, dumped, kept, map, read, why_whole};

/// After reiserfsck replayed it.
fn replayed(file: &tempfile::NamedTempFile) -> tempfile::NamedTempFile {
    let copy = copy(file);
    let path = copy.path().to_str().unwrap();
    let args = ["--check", "-y", "-q", path];
    let (code, said) = run_any("reiserfsck", PACKAGE, &args, "");
    assert!(code <= 1 && said.contains("No corruptions found"), "{said}");
    copy
}

#[test]
fn what_waits_in_the_journal_is_in_the_map_as_reiserfsck_replays_it() {
    let file = kept("cut");
    let (basis, used) = map(&file);
    assert_eq!(basis, Basis::Replayed);
    let State::Dirty(why) = read(&file).state else {
        panic!("it is dirty");
    };
    assert!(
        why.contains("its journal was replayed in memory ("),
        "{why}"
    );
    let after = replayed(&file);
    let (basis, theirs) = map(&after);
    assert_eq!(basis, Basis::Records);
    assert_eq!(theirs.difference(&used), ExtentMap::new());
    assert_eq!(dumped(&after).difference(&used), ExtentMap::new());
    // What the disk still calls used without its journal, and what the journal changes.
    let (more, all) = (used.difference(&theirs).total_bytes(), used.total_bytes());
    assert!(more < all / 4, "{more} of {all}");

    let back = replayed(&restored(&file, &used));
    assert_files(&back);
    for number in [100u32, 113, 129] {
        let blocks = usize::try_from(2 + number % 9).unwrap();
        let read = by_grub(&back, &format!("/live{number}"));
        assert!(read == Some(text("live", number, blocks)), "{number}");
    }
}

#[test]
fn a_journal_that_cannot_be_followed_is_kept_whole() {
    let file = kept("cut");
    let place = |at| number_at(&file, SUPERBLOCK + at);
    let (journal, len) = (place(12) * 4096, place(20) * 4096);
    let header = journal + len;
    let start = number_at(&file, header + 4);
    let first = journal + start * 4096;
    assert_eq!(read_at(&file, first + 4084, 8), b"ReIsErLB");

    let bent = |at: u64, bytes: &[u8]| {
        let copy = copy(&file);
        write_at(&copy, at, bytes);
        copy
    };
    let why = |at: u64, bytes: &[u8]| why_whole(&bent(at, bytes));
    assert_eq!(why(first + 4084, b"x"), "its journal cannot be followed");
    assert_eq!(
        why(first + 12, &[18, 0, 0, 0]),
        "its journal writes where it must not"
    );
    assert_eq!(
        why(first + 12, &[0xFF; 4]),
        "its journal writes where it must not"
    );
    // It never was emptied: its first transaction begins it.
    assert_eq!((number_at(&file, header), start), (0, 0));
    assert_eq!(why(header + 8, &[1]), "its journal is damaged");
    assert_eq!(
        why(first + 4, &[0; 4]),
        "its journal does not say where it begins"
    );
    assert_eq!(
        why(header + 28, &[0; 4]),
        "its journal is not the one it was made with"
    );
    // Another transaction than the one that must follow.
    let second = first + (number_at(&file, first + 4) + 2) * 4096;
    let after = second + (number_at(&file, second + 4) + 1) * 4096;
    let copy = bent(second, &[99]);
    write_at(&copy, after, &[99]);
    assert_eq!(why_whole(&copy), "its journal cannot be followed");
}

/// As it is after a later mount: the header says what was taken out of it last.
#[test]
fn a_journal_is_replayed_from_where_its_header_says() {
    let file = kept("cut");
    let place = |at| number_at(&file, SUPERBLOCK + at);
    let journal = place(12) * 4096;
    let header = journal + place(20) * 4096;
    let all = map(&file).1;
    let id = read_at(&file, journal, 4);
    let next = u32::try_from(number_at(&file, journal + 4) + 2).unwrap();
    write_at(&file, header, &[&id[..], &next.to_le_bytes()].concat());
    let (basis, used) = map(&file);
    assert_eq!(basis, Basis::Replayed);
    assert_eq!(used.difference(&all), ExtentMap::new());
    assert_eq!(dumped(&replayed(&file)).difference(&used), ExtentMap::new());
    // Where nothing begins nothing waits.
    write_at(&file, header + 4, &(next + 1).to_le_bytes());
    assert_eq!(
        read(&file).state,
        State::Dirty("it was not unmounted".into())
    );
}
