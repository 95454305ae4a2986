//! Sealed images: nothing can be seen, nothing can be changed unnoticed, and they live as others do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use image::check;
use image::codec::Encoder;
use image::digest::Digest;
use image::memory::MemoryStore;
use image::mend::{Mend, With};
use image::reader::Reader;
use image::seal::{Cost, DataKey, Keyring, Seal, Sealed, Slot, SlotKind, keys_of};
use image::store::{Append, ReadFile, Store, StoreError};
use image::volumes::Volumes;
use image::writer::Writer;

use crate::making::{CHUNK, Disk, Random, extent, manifest, noise, open, restore, rounds};
use crate::tape::{Tape, store_of};

const NAME: &str = "pc.img.zst";
const UNFINISHED: &str = "pc.img.zst.unfinished";
const BLOCK: usize = 64 << 10;
const FIRST: usize = 8 << 10;
const LEAF: usize = 64 << 10;

const CHEAP: Cost = Cost {
    passes: 1,
    memory_kib: 8,
    lanes: 1,
};

/// Never the same twice, and the same in every run but for the order of threads.
fn chance(bytes: &mut [u8]) -> Result<(), String> {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let seed = COUNT.fetch_add(1, Ordering::Relaxed);
    bytes.copy_from_slice(&noise(bytes.len(), seed.wrapping_mul(0x9E37_79B9)));
    Ok(())
}

fn keyring(secrets: &[&str]) -> Arc<Keyring> {
    let keyring = Keyring::new(chance);
    secrets
        .iter()
        .for_each(|secret| keyring.add(secret.as_bytes()));
    Arc::new(keyring)
}

fn slot(secret: &str, key: &DataKey, seed: u8) -> Slot {
    Slot::new(
        SlotKind::Passphrase,
        CHEAP,
        secret.as_bytes(),
        key,
        &[seed; 56],
    )
    .unwrap()
}

fn seal() -> Seal {
    let key = DataKey::from_bytes([0x5A; 32]);
    Seal {
        slots: vec![slot("open sesame", &key, 1)],
        key,
    }
}

/// What is begun in it is sealed.
fn sealing(inner: impl Store + 'static) -> Sealed {
    Sealed::new(Arc::new(inner), keyring(&[]), Some(seal()))
}

/// As somebody opens it who has these passphrases.
fn opened(inner: &MemoryStore, secrets: &[&str]) -> Sealed {
    Sealed::new(Arc::new(inner.clone()), keyring(secrets), None)
}

fn sealed(disk: &Disk) -> MemoryStore {
    let memory = MemoryStore::new();
    disk.image(&sealing(memory.clone()), "pc", 1, 5);
    memory
}

/// All of its chunks, and nothing of what makes it an image.
fn begun(disk: &Disk) -> Vec<u8> {
    let memory = MemoryStore::new();
    let store = sealing(memory.clone());
    let mut writer = Writer::create(&store, "pc", disk.head()).unwrap();
    disk.write(&mut writer, 1, 3);
    drop(writer);
    memory.get(UNFINISHED).unwrap()
}

#[test]
fn nothing_of_the_disk_and_none_of_its_hashes_is_in_the_file() {
    let disk = Disk::new(10, 3);
    let memory = sealed(&disk);
    let bytes = memory.get(NAME).unwrap();
    // Every decoder passes over it.
    assert!(zstd::decode_all(bytes.as_slice()).unwrap().is_empty());
    let all: BTreeSet<&[u8]> = bytes.windows(16).collect();
    let mut looked_for = 0;
    for piece in disk.expected().chunks(CHUNK as usize) {
        for leaf in piece.chunks(LEAF).chain([piece]) {
            if leaf.len() < 16 || leaf.iter().all(|byte| *byte == 0) {
                continue;
            }
            let digest = Digest::of(leaf);
            for secret in [
                &leaf[..16],
                &leaf[leaf.len() - 16..],
                &digest.0[..16],
                &digest.0[16..],
            ] {
                // The keys have zeros behind them, as many files have.
                if secret.iter().any(|byte| *byte != 0) {
                    assert!(!all.contains(secret));
                    looked_for += 1;
                }
            }
        }
    }
    assert!(looked_for > 50, "{looked_for}");
    for word in [&b"rescue test"[..], b"rescHEAD", b"rescCHNK", b"rescTALE"] {
        assert!(!bytes.windows(word.len()).any(|found| found == word));
    }
}

#[test]
fn it_opens_with_its_passphrase_alone() {
    let disk = Disk::new(24, 5);
    let memory = sealed(&disk);
    let store = opened(&memory, &["something else", "open sesame"]);
    let reader = open(&store);
    assert_eq!(reader.notes(), <[String; 0]>::default());
    assert!(check::all(&reader, |_| {}).unwrap().is_clean());
    let (content, lost) = restore(&reader);
    assert!(lost.is_empty() && content == disk.expected());
    for (secrets, words) in [
        (&[][..], "give its passphrase"),
        (&["open  sesame"], "does not open it"),
    ] {
        let error = opened(&memory, secrets).open(NAME).err().unwrap();
        assert!(
            matches!(&error, StoreError::Locked(text) if text.contains(words)),
            "{error}"
        );
    }
    // A file that is not sealed is as it always was.
    let plain = MemoryStore::new();
    disk.image(&plain, "pc", 1, 5);
    let (content, _) = restore(&open(&opened(&plain, &[])));
    assert!(content == disk.expected());
    assert_eq!(keys_of(&plain, NAME), Ok(None));
}

/// What an attacker without a key may do to a file; `other` is sealed with the same key.
fn tamper(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> String {
    let blocks = (bytes.len() - FIRST) / BLOCK;
    let place = |n: usize| FIRST + n * BLOCK;
    match random.below(7) {
        0 => {
            let bit = random.below(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            format!("bit {bit}")
        }
        1 => {
            let bit = random.below(FIRST * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            format!("bit {bit} of the keys")
        }
        2 => {
            let (one, two) = (random.below(blocks), random.below(blocks));
            let kept = bytes[place(one)..place(one + 1)].to_vec();
            bytes.copy_within(place(two)..place(two + 1), place(one));
            bytes[place(two)..place(two + 1)].copy_from_slice(&kept);
            format!("blocks {one} and {two} swapped")
        }
        3 => {
            let from = random.below((other.len() - FIRST) / BLOCK);
            let to = random.below(blocks);
            bytes[place(to)..place(to + 1)].copy_from_slice(&other[place(from)..place(from + 1)]);
            format!("block {from} of another image at {to}")
        }
        4 => {
            let len = random.below(bytes.len());
            bytes.truncate(len);
            format!("cut at {len}")
        }
        5 => {
            let (from, to) = (random.below(blocks), random.below(blocks));
            bytes.copy_within(place(from)..place(from + 1), place(to));
            format!("block {from} once more at {to}")
        }
        _ => {
            bytes[..FIRST].copy_from_slice(&other[..FIRST]);
            "the keys of another image".to_owned()
        }
    }
}

#[test]
fn whatever_is_changed_is_refused_or_told_and_nothing_comes_out_wrong() {
    let (disk, second) = (Disk::new(17, 9), Disk::new(19, 4));
    let whole = sealed(&disk).get(NAME).unwrap();
    let other = sealed(&second).get(NAME).unwrap();
    let expected = disk.expected();
    let mut random = Random(11);
    let (mut refused, mut told, mut same) = (0, 0, 0);
    for _ in 0..rounds(500) {
        let mut bytes = whole.clone();
        let what = tamper(&mut bytes, &other, &mut random);
        if bytes == whole {
            same += 1;
            continue;
        }
        let memory = MemoryStore::new();
        memory.put(NAME, bytes);
        let store = opened(&memory, &["open sesame"]);
        let Ok(reader) = Reader::open(&store, NAME) else {
            refused += 1;
            continue;
        };
        let findings = check::all(&reader, |_| {}).unwrap();
        assert!(!findings.is_clean() || !reader.notes().is_empty(), "{what}");
        told += 1;
        let (content, lost) = restore(&reader);
        for (at, (is, was)) in (0u64..).zip(content.iter().zip(&expected)) {
            assert!(is == was || lost.contains(at), "{what}: byte {at}");
        }
    }
    println!("{refused} refused, {told} told, {same} changed nothing");
    assert!(refused > 0 && told > refused, "{refused} {told}");
}

/// Two ways on from the same unfinished image, of which somebody mixes the blocks.
#[test]
fn an_older_end_of_the_same_file_is_not_believed() {
    let disk = Disk::new(21, 2);
    let begun = begun(&disk);
    let ended = |disk: &Disk, cut: usize| {
        let memory = MemoryStore::new();
        memory.put(UNFINISHED, begun[..cut].to_vec());
        let store = Sealed::new(Arc::new(memory.clone()), keyring(&["open sesame"]), None);
        let mut writer = Writer::resume(&store, "pc", &disk.head()).unwrap();
        disk.write(&mut writer, 1, 3);
        writer.finish(&manifest()).unwrap();
        memory.get(NAME).unwrap()
    };
    // The same disk but for its content.
    let mut changed = Disk::new(21, 2);
    changed.bytes.reverse();
    let half = begun.len() / 2;
    let (old, new) = (ended(&disk, half), ended(&changed, half));
    let mut mixed_up = 0;
    for cut in (FIRST..old.len().min(new.len())).step_by(BLOCK) {
        for (front, back) in [(&old, &new), (&new, &old)] {
            let mut bytes = front[..cut].to_vec();
            bytes.extend_from_slice(&back[cut..]);
            if bytes == old || bytes == new {
                continue;
            }
            let memory = MemoryStore::new();
            memory.put(NAME, bytes);
            let store = opened(&memory, &["open sesame"]);
            let Ok(reader) = Reader::open(&store, NAME) else {
                continue;
            };
            let findings = check::all(&reader, |_| {}).unwrap();
            assert!(!findings.is_clean() || !reader.notes().is_empty(), "{cut}");
            mixed_up += 1;
        }
    }
    assert!(mixed_up > 10, "{mixed_up}");
}

#[test]
fn cut_anywhere_it_goes_on_behind_what_was_durable() {
    let disk = Disk::new(21, 4);
    let begun = begun(&disk);
    let step = (begun.len() / rounds(20)).max(BLOCK / 8);
    let cuts = (FIRST + BLOCK..=begun.len()).rev().step_by(step);
    let mut furthest = 0;
    for cut in cuts {
        let memory = MemoryStore::new();
        memory.put(UNFINISHED, begun[..cut].to_vec());
        let store = opened(&memory, &["open sesame"]);
        let mut writer = Writer::resume(&store, "pc", &disk.head()).unwrap();
        furthest = furthest.max(writer.at());
        disk.write(&mut writer, 1, 7);
        writer.finish(&manifest()).unwrap();
        let reader = open(&store);
        assert_eq!(reader.notes(), <[String; 0]>::default(), "cut at {cut}");
        let (content, lost) = restore(&reader);
        assert!(
            lost.is_empty() && content == disk.expected(),
            "cut at {cut}"
        );
        assert!(keys_of(&memory, NAME).unwrap().is_some());
    }
    assert!(furthest > u64::from(CHUNK) * 6, "{furthest}");
}

/// Whatever was not durable: it goes on, and what comes of it is sealed.
#[test]
fn after_a_power_cut_it_goes_on_sealed() {
    let disk = Disk::new(9, 4);
    let tape = Tape::over(BTreeMap::new());
    let mut commits = vec![(0, 0)];
    {
        let store = sealing(tape.clone());
        let mut writer = Writer::create(&store, "pc", disk.head()).unwrap();
        disk.write_telling(&mut writer, 1, 2, &mut |at| {
            commits.push((tape.changes().len(), at));
        });
        writer.finish(&manifest()).unwrap();
    }
    let all = tape.changes().len();
    let mut random = Random(77);
    let (mut begun_anew, mut went_on) = (0, 0);
    for state in 0..rounds(40) {
        // At its very beginning there may be no keys yet.
        let cut = match state % 4 {
            0 => state / 4 % 8,
            _ => random.below(all + 1),
        };
        let memory = store_of(tape.after_power_cut(cut, &mut |below| random.below(below)));
        let store = Sealed::new(
            Arc::new(memory.clone()),
            keyring(&["open sesame"]),
            Some(seal()),
        );
        if !memory.exists(NAME).unwrap() {
            let mut writer = match memory.exists(UNFINISHED).unwrap() {
                true => Writer::resume(&store, "pc", &disk.head()),
                false => Writer::create(&store, "pc", disk.head()),
            }
            .unwrap();
            let commit = commits.iter().rev().find(|(changes, _)| *changes <= cut);
            assert!(writer.at() >= commit.unwrap().1, "state {state}, cut {cut}");
            match writer.at() {
                0 => begun_anew += 1,
                _ => went_on += 1,
            }
            disk.write(&mut writer, 1, 3);
            writer.finish(&manifest()).unwrap();
        }
        assert!(
            keys_of(&memory, NAME).unwrap().is_some(),
            "state {state}, cut {cut}"
        );
        let (content, lost) = restore(&open(&opened(&memory, &["open sesame"])));
        assert!(
            lost.is_empty() && content == disk.expected(),
            "state {state}, cut {cut}"
        );
    }
    println!("{begun_anew} begun anew, {went_on} gone on with");
    assert!(begun_anew > 5 && went_on > 10, "{begun_anew} {went_on}");
}

/// Notes every block that was ever handed to the store, kept or not.
#[derive(Clone)]
struct Noted {
    memory: MemoryStore,
    blocks: Arc<Mutex<Vec<Vec<u8>>>>,
}

struct NotedFile {
    file: Box<dyn Append>,
    blocks: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Append for NotedFile {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        if data.len() == BLOCK {
            self.blocks.lock().unwrap().push(data.to_vec());
        }
        self.file.append(data)
    }
    fn sync(&mut self) -> Result<(), StoreError> {
        self.file.sync()
    }
}

impl Noted {
    fn noting(&self, file: Box<dyn Append>) -> Box<dyn Append> {
        let blocks = Arc::clone(&self.blocks);
        Box::new(NotedFile { file, blocks })
    }
}

impl Store for Noted {
    fn describe(&self) -> String {
        self.memory.describe()
    }
    fn create(&self, name: &str) -> Result<Box<dyn Append>, StoreError> {
        Ok(self.noting(self.memory.create(name)?))
    }
    fn resume(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError> {
        Ok(self.noting(self.memory.resume(name, len)?))
    }
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StoreError> {
        self.memory.open(name)
    }
    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        self.memory.exists(name)
    }
    fn publish(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.memory.publish(from, to)
    }
    fn replace(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.memory.replace(from, to)
    }
    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.memory.remove(name)
    }
    fn list(&self) -> Result<Vec<String>, StoreError> {
        self.memory.list()
    }
    fn free_bytes(&self) -> Option<u64> {
        None
    }
    fn file_limit(&self) -> Option<u64> {
        None
    }
}

#[test]
fn no_nonce_comes_twice_however_often_it_is_killed_and_goes_on() {
    let noted = Noted {
        memory: MemoryStore::new(),
        blocks: Arc::default(),
    };
    let mut disk = Disk::new(12, 6);
    let store = Sealed::new(Arc::new(noted.clone()), keyring(&[]), Some(seal()));
    drop(Writer::create(&store, "pc", disk.head()).unwrap());
    let mut random = Random(5);
    let cycles = rounds(50);
    for _ in 0..cycles {
        let store = Sealed::new(Arc::new(noted.clone()), keyring(&["open sesame"]), None);
        let mut writer = Writer::resume(&store, "pc", &disk.head()).unwrap();
        disk.write(&mut writer, 1, 2);
        drop(writer);
        // The power goes: what is left ends somewhere, and what follows it next time is something else.
        disk.bytes.rotate_left(1);
        let bytes = noted.memory.get(UNFINISHED).unwrap();
        let least = FIRST + BLOCK;
        let cut = least + random.below(bytes.len() - least + 1);
        noted.memory.put(UNFINISHED, bytes[..cut].to_vec());
    }
    let blocks = noted.blocks.lock().unwrap();
    let mut under: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for block in blocks.iter() {
        if let Some(before) = under.insert(&block[24..48], block) {
            assert!(before == block.as_slice(), "a nonce came twice");
        }
    }
    println!(
        "{} blocks in {cycles} cycles, {} nonces",
        blocks.len(),
        under.len()
    );
    assert_eq!(under.len(), blocks.len());
    assert!(blocks.len() > 2 * cycles);
}

#[test]
fn keys_come_and_go_and_a_torn_change_leaves_one_that_opens() {
    let disk = Disk::new(6, 1);
    let memory = sealed(&disk);
    let opens = |memory: &MemoryStore, secret: &str| opened(memory, &[secret]).open(NAME).is_ok();
    let before = memory.get(NAME).unwrap();
    let store = opened(&memory, &["open sesame"]);
    let key = store.seal_of(NAME).unwrap().unwrap().key;
    store.add_slot(NAME, slot("second", &key, 2)).unwrap();
    assert!(opens(&memory, "open sesame") && opens(&memory, "second"));
    let between = memory.get(NAME).unwrap();
    store.remove_slot(NAME, 0).unwrap();
    assert!(!opens(&memory, "open sesame") && opens(&memory, "second"));
    assert!(
        store
            .remove_slot(NAME, 0)
            .unwrap_err()
            .to_string()
            .contains("only key")
    );
    let after = memory.get(NAME).unwrap();
    // First one copy is written over, then the other; the power goes anywhere.
    for (old, new, secret) in [
        (&before, &between, "open sesame"),
        (&between, &after, "second"),
    ] {
        for cut in (0..=FIRST).step_by(128) {
            let mut torn = old.clone();
            torn[..cut].copy_from_slice(&new[..cut]);
            let memory = MemoryStore::new();
            memory.put(NAME, torn);
            assert!(opens(&memory, secret), "torn at {cut}");
        }
    }
    for seed in 3..10 {
        store.add_slot(NAME, slot("more", &key, seed)).unwrap();
    }
    assert!(store.add_slot(NAME, slot("more", &key, 99)).is_err());
}

#[test]
fn in_any_order_what_has_no_block_yet_is_read_back() {
    let disk = Disk::new(16, 7);
    let memory = MemoryStore::new();
    let store = sealing(memory.clone());
    let mut writer = Writer::create(&store, "pc", disk.head()).unwrap();
    writer.any_order();
    let mut encoder = Encoder::new(1).unwrap();
    let (mut back, expected) = (Vec::new(), disk.expected());
    for nth in (0..=16u64).rev() {
        let at = nth * u64::from(CHUNK);
        let cell = extent(at, disk.head().cell_len(at));
        let range = usize::try_from(at).unwrap()..usize::try_from(cell.end()).unwrap();
        let states = image::states::States::of(cell, &disk.used, &disk.unreadable);
        writer
            .store_cell(&mut encoder, at, &expected[range.clone()], &states)
            .unwrap();
        let read = writer.read_back(at, &mut back).unwrap();
        assert_eq!(read, Some(states));
        assert!(back == expected[range], "cell {nth}");
        if nth % 5 == 0 {
            writer.checkpoint().unwrap();
        }
    }
    writer.finish(&manifest()).unwrap();
    let (content, lost) = restore(&open(&opened(&memory, &["open sesame"])));
    assert!(lost.is_empty() && content == expected);
}

#[test]
fn in_volumes_and_with_parity_it_is_made_whole() {
    let disk = Disk::new(40, 6);
    let memory = MemoryStore::new();
    let volumes = Volumes::of_at_most(Arc::new(memory.clone()), 1_000_000);
    let store = sealing(volumes);
    let mut writer = Writer::create(&store, "pc", disk.head().with_parity()).unwrap();
    writer.protect(10);
    disk.write(&mut writer, 1, 20);
    writer.finish(&manifest()).unwrap();
    assert!(
        memory.exists("pc.img.zst.002of003").unwrap(),
        "{:?}",
        memory.list()
    );
    assert!(check::all(&open(&store), |_| {}).unwrap().is_clean());

    let memory = MemoryStore::new();
    let store = sealing(memory.clone());
    let mut writer = Writer::create(&store, "pc", disk.head().with_parity()).unwrap();
    writer.protect(10);
    disk.write(&mut writer, 1, 20);
    writer.finish(&manifest()).unwrap();
    let mut bytes = memory.get(NAME).unwrap();
    bytes[FIRST + 5 * BLOCK + 999] ^= 1;
    memory.put(NAME, bytes);
    assert!(!check::all(&open(&store), |_| {}).unwrap().is_clean());
    let mend = Mend {
        store: &store,
        name: "pc",
        with: With::Parity,
    };
    mend.run(&mut |_| Ok(())).unwrap();
    let reader = open(&opened(&memory, &["open sesame"]));
    assert!(check::all(&reader, |_| {}).unwrap().is_clean());
    let (content, lost) = restore(&reader);
    assert!(lost.is_empty() && content == disk.expected());
    assert!(keys_of(&memory, NAME).unwrap().is_some());
}
