//! Parity: what is damaged comes back byte for byte, up to what it promises, and never gets worse.

use disk::extent::ExtentMap;
use image::check;
use image::memory::MemoryStore;
use image::mend::{Mend, Mended, With, interim_name};
use image::reader::{Piece, Reader};
use image::store::Store;
use image::writer::Writer;

use crate::made_good::lost_bytes;
use crate::making::{Disk, Random, manifest, noise, open, restore, rounds, store_with};

const BLOCK: usize = 4096;

pub fn with_parity(disk: &Disk, percent: u8) -> Vec<u8> {
    let store = MemoryStore::new();
    let mut writer = Writer::create(&store, "pc", disk.head().with_parity()).unwrap();
    writer.protect(percent);
    disk.write(&mut writer, 1, 20);
    writer.finish(&manifest()).unwrap();
    store.get("pc.img.zst").unwrap()
}

fn repair(store: &dyn Store) -> Mended {
    let mend = Mend {
        store,
        name: "pc",
        with: With::Parity,
    };
    mend.run(&mut |_| Ok(())).unwrap()
}

fn spoil(bytes: &mut [u8], random: &mut Random) {
    for byte in bytes {
        *byte = u8::try_from(random.below(256)).unwrap();
    }
}

fn becomes_whole(damaged: Vec<u8>, whole: &[u8], what: &str) {
    let store = store_with(damaged);
    let mended = repair(&store);
    assert!(mended.after.is_some(), "{what}: {:?}", mended.before);
    let now = store.get("pc.img.zst").unwrap();
    let other = now.iter().zip(whole).position(|(is, was)| is != was);
    assert_eq!((now.len(), other), (whole.len(), None), "{what}");
    assert!(!store.exists(&interim_name("pc")).unwrap());
}

#[test]
fn an_image_with_parity_is_an_image_for_everybody() {
    let disk = Disk::new(40, 6);
    let bytes = with_parity(&disk, 3);
    let plain = disk.image_bytes(1, 20);
    assert!(zstd::decode_all(bytes.as_slice()).unwrap() == disk.expected());
    let more = bytes.len() - plain.len();
    assert!(
        more > plain.len() * 3 / 100 && more < plain.len() * 5 / 100 + 60_000,
        "{more}"
    );
    let store = store_with(bytes);
    let reader = open(&store);
    assert_eq!(reader.notes(), <[String; 0]>::default());
    assert!(check::all(&reader, |_| {}).unwrap().is_clean());
    let (content, lost) = restore(&reader);
    assert!(lost.is_empty() && content == disk.expected());
    assert!(reader.manifest().is_some());
}

#[test]
fn the_stock_program_unpacks_an_image_with_parity() {
    let disk = Disk::new(40, 6);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pc.img.zst");
    std::fs::write(&path, with_parity(&disk, 3)).unwrap();
    let run = |word: &str| {
        let ran = std::process::Command::new("zstd")
            .arg(word)
            .arg(&path)
            .output();
        ran.unwrap_or_else(|error| {
            panic!("zstd is needed by this test: {error}; install the package zstd")
        })
    };
    let test = run("-t");
    assert!(
        test.status.success(),
        "{}",
        String::from_utf8_lossy(&test.stderr)
    );
    assert!(run("-dc").stdout == disk.expected());
}

#[test]
fn a_lost_run_of_two_percent_comes_back_with_three_percent_of_parity() {
    let whole = with_parity(&Disk::new(100, 6), 3);
    let len = whole.len() / 50;
    let mut random = Random(1);
    let mut starts: Vec<usize> = (0..rounds(6))
        .map(|_| random.below(whole.len() - len))
        .collect();
    starts.extend([0, whole.len() - len, whole.len() * 95 / 100]);
    for at in starts {
        let mut damaged = whole.clone();
        spoil(&mut damaged[at..at + len], &mut random);
        becomes_whole(
            damaged,
            &whole,
            &format!("{len} at {at} of {}", whole.len()),
        );
    }
    becomes_whole(whole[..whole.len() - len].to_vec(), &whole, "cut off");
}

#[test]
fn scattered_blocks_come_back_with_three_percent_of_parity() {
    let whole = with_parity(&Disk::new(100, 6), 3);
    let mut random = Random(2);
    for round in 0..rounds(2) {
        let mut damaged = whole.clone();
        for _ in 0..(whole.len() / BLOCK / 200).max(1) {
            let at = random.below(whole.len() - BLOCK);
            spoil(&mut damaged[at..at + BLOCK], &mut random);
        }
        becomes_whole(damaged, &whole, &format!("round {round}"));
    }
}

/// With 50 percent a window has 64 MiB, so that a small image has several.
#[test]
fn an_image_of_several_windows_loses_a_run_in_each_and_one_over_their_border() {
    if std::env::var_os("RESCUE_TEST_ALL").is_none() {
        return several_windows(66 << 20, 1);
    }
    several_windows(150 << 20, 6);
}

fn several_windows(len: usize, rounds: usize) {
    const WINDOW: usize = 64 << 20;
    let disk = Disk {
        bytes: noise(len, 3),
        used: ExtentMap::whole(len as u64),
        unreadable: ExtentMap::new(),
    };
    let whole = with_parity(&disk, 50);
    let mut random = Random(6);
    for _ in 0..rounds {
        let mut damaged = whole.clone();
        // Over the border, and a third of what else is in each window: two thirds of the percentage come back.
        let border = WINDOW - random.below(1 << 20);
        spoil(&mut damaged[border..border + (1 << 20)], &mut random);
        for start in (0..len).step_by(WINDOW) {
            let rest = WINDOW.min(len - start);
            let run = rest / 4;
            let at = start + random.below(rest - run);
            spoil(&mut damaged[at..at + run], &mut random);
        }
        becomes_whole(damaged, &whole, "several windows");
    }
}

#[test]
fn more_than_parity_can_bring_back_is_no_worse_afterwards() {
    let disk = Disk::new(60, 6);
    let whole = with_parity(&disk, 3);
    let mut random = Random(3);
    for _ in 0..rounds(2) {
        let mut damaged = whole.clone();
        let len = whole.len() / 8;
        let at = random.below(whole.len() - len);
        spoil(&mut damaged[at..at + len], &mut random);
        let one = random.below(whole.len());
        damaged[one] ^= 1;
        let store = store_with(damaged);
        let before = check::all(&open(&store), |_| {}).unwrap();
        repair(&store);
        let after = check::all(&open(&store), |_| {}).unwrap();
        assert!(after.damage.difference(&before.damage).is_empty());
    }
}

#[test]
fn every_fault_is_found_with_parity_and_without_and_is_made_good_with_it() {
    let disk = Disk::new(24, 6);
    let images = [disk.image_bytes(1, 20), with_parity(&disk, 3)];
    let mut random = Random(4);
    for round in 0..rounds(40) {
        let whole = &images[round % 2];
        let mut damaged = whole.clone();
        let what = fault(&mut damaged, &mut random);
        if damaged == *whole {
            continue;
        }
        let store = store_with(damaged);
        let Ok(reader) = Reader::open(&store, "pc.img.zst") else {
            panic!("{what}: does not open");
        };
        let found = check::all(&reader, |_| {}).unwrap();
        assert!(!found.is_clean(), "round {round}, {what}: not found");
        let leaves = found.damage.total_bytes();
        assert!(
            leaves <= 2 * u64::from(crate::making::CHUNK),
            "{what}: {leaves}"
        );
        drop(reader);
        if round % 2 == 1 {
            repair(&store);
            assert!(
                store.get("pc.img.zst").unwrap() == *whole,
                "round {round}, {what}"
            );
        }
    }
}

/// One of those that media and programs have.
fn fault(bytes: &mut Vec<u8>, random: &mut Random) -> String {
    let len = bytes.len();
    let at = random.below(len - 2 * BLOCK);
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = bytes[at].wrapping_add(1 + u8::try_from(random.below(255)).unwrap()),
        2 => bytes[at / 512 * 512..][..512].fill(0),
        3 => bytes[at / BLOCK * BLOCK..][..BLOCK].fill(0xff),
        4 => {
            // Two sectors in each other's place.
            let other = (at / 512 * 512 + 512 * (1 + random.below(7))) % (len - 512);
            let (one, two) = (at / 512 * 512, other / 512 * 512);
            let first = bytes[one..one + 512].to_vec();
            bytes.copy_within(two..two + 512, one);
            bytes[two..two + 512].copy_from_slice(&first);
        }
        _ => bytes.truncate(len - 1 - random.below(len / 100)),
    }
    format!("a fault at {at} of {len}, now {}", bytes.len())
}

#[test]
fn damaged_parity_never_makes_anything_worse() {
    let disk = Disk::new(24, 6);
    let whole = with_parity(&disk, 3);
    let plain = disk.image_bytes(1, 20).len() - 2000;
    let mut random = Random(5);
    for _ in 0..rounds(4) {
        // Nothing but parity is hit, hard, and one byte of the content.
        let mut damaged = whole.clone();
        for _ in 0..30 {
            let at = plain + random.below(whole.len() - plain - 100);
            spoil(&mut damaged[at..at + 100], &mut random);
        }
        let one = 2000 + random.below(plain / 2);
        damaged[one] ^= 1;
        let store = store_with(damaged);
        let before = check::all(&open(&store), |_| {}).unwrap();
        repair(&store);
        let after = check::all(&open(&store), |_| {}).unwrap();
        assert!(after.damage.difference(&before.damage).is_empty());
    }
}

/// Every head of parity with one number of it changed, and a digest that is right again.
fn with_number(whole: &[u8], field: usize, number: u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let name = b"rescPRTH";
    let mut heads = 0;
    for at in 0..bytes.len() - 16 {
        if bytes[at + 8..at + 16] != *name {
            continue;
        }
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize + 8;
        let (body, digest) = bytes[at..at + len].split_at_mut(len - 32);
        body[field..field + 8].copy_from_slice(&number.to_le_bytes());
        digest.copy_from_slice(blake3::hash(body).as_bytes());
        heads += 1;
    }
    assert!(heads >= 4, "{heads}");
    bytes
}

#[test]
fn no_number_in_a_head_of_parity_breaks_anything() {
    let disk = Disk::new(6, 6);
    let whole = with_parity(&disk, 3);
    let mut damaged = whole.clone();
    let content =
        open(&store_with(whole.clone()))
            .pieces()
            .find_map(|piece| match piece.unwrap() {
                Piece::Entry(entry) if entry.kind.has_content() => Some(entry.end() - 100),
                _ => None,
            });
    damaged[usize::try_from(content.unwrap()).unwrap()] ^= 1;
    let again = with_number(&whole, 8, u64::from_le_bytes(*b"rescPRTH"));
    assert!(again == whole, "the digest is not what was taken for it");
    let numbers = [
        0,
        1,
        50,
        51,
        4096,
        1 << 33,
        u64::MAX >> 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    let (mut made_good, mut not) = (0, 0);
    let fields = (40..40 + image::head::HEAD_LEN + 112).step_by(8);
    for (field, number) in fields.flat_map(|field| numbers.map(|number| (field, number))) {
        let store = store_with(with_number(&damaged, field, number));
        let Ok(reader) = Reader::open(&store, "pc.img.zst") else {
            continue;
        };
        let what = format!("{field} {number}");
        let lost = lost_bytes(&reader, &disk.expected());
        (made_good, not) = match reader.met().made_good().is_empty() {
            true => (made_good, not + 1),
            false => (made_good + 1, not),
        };
        drop(reader);
        let mend = Mend {
            store: &store,
            name: "pc",
            with: With::Parity,
        };
        let _ = mend.run(&mut |_| Ok(()));
        let Ok(reader) = Reader::open(&store, "pc.img.zst") else {
            panic!("{what}: it opened before the repair");
        };
        assert!(lost_bytes(&reader, &disk.expected()) <= lost, "{what}");
    }
    // Some of them matter, and some do not: both were met.
    assert!(made_good > 0 && not > 0, "{made_good} {not}");
}
