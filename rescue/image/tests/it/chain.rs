//! Images that hold only what their ancestors do not.

use disk::extent::ExtentMap;
use disk::source::BlockSource;
use image::check;
use image::codec::Encoder;
use image::digest::{Digest, ImageId};
use image::error::ImageError;
use image::head::Head;
use image::memory::MemoryStore;
use image::reader::Reader;
use image::states::{State, States};
use image::store::Store;
use image::writer::Writer;
use proptest::prelude::{ProptestConfig, proptest};

use crate::hostile::{apply, change};
use crate::making::{CHUNK, Disk, extent, manifest, noise, restore, rounds};

/// The disk as it was at each point of a chain, and the images of these points.
pub struct Chain {
    pub store: MemoryStore,
    pub states: Vec<Disk>,
}

pub fn name(nth: usize) -> String {
    format!("point{nth}")
}

pub fn file(nth: usize) -> String {
    format!("{}.img.zst", name(nth))
}

pub fn head(disk: &Disk, nth: usize) -> Head {
    Head {
        id: ImageId([u8::try_from(nth).unwrap() + 1; 16]),
        fingerprint: Digest::of(&disk.bytes),
        ..disk.head()
    }
}

/// The same disk after some of it was written to.
pub fn changed(disk: &Disk, seed: u64) -> Disk {
    let mut bytes = disk.bytes.clone();
    for place in noise(8 * 4, seed).chunks(8) {
        let at = u64::from_le_bytes(place.try_into().unwrap()) % (bytes.len() as u64 - 9000);
        let at = usize::try_from(at).unwrap();
        bytes[at..at + 9000].copy_from_slice(&noise(9000, seed + 1));
    }
    let mut used = disk.used.clone();
    let more = seed % 30 * u64::from(CHUNK) / 2;
    used.insert(extent(more, 8192));
    let used = used.aligned_out(4096, bytes.len() as u64);
    let unreadable = disk.unreadable.clone();
    Disk {
        bytes,
        used,
        unreadable,
    }
}

impl Chain {
    /// A full image and its children, each of the one before (or all of the first).
    pub fn new(points: usize, differential: bool) -> Chain {
        Chain::over(Disk::new(37, 4), points, differential)
    }

    pub fn over(first: Disk, points: usize, differential: bool) -> Chain {
        let store = MemoryStore::new();
        let mut states = vec![first];
        let mut writer = Writer::create(&store, &name(0), head(&states[0], 0)).unwrap();
        states[0].write(&mut writer, 1, 5);
        writer.finish(&manifest()).unwrap();
        for nth in 1..points {
            let disk = changed(&states[nth - 1], nth as u64 * 7);
            let of = if differential { 0 } else { nth - 1 };
            let parent = Reader::open(&store, &file(of)).unwrap();
            let head = head(&disk, nth);
            let mut writer = Writer::create_child(&store, &name(nth), head, &parent).unwrap();
            disk.write(&mut writer, 1, 5);
            writer.finish(&manifest()).unwrap();
            states.push(disk);
        }
        Chain { store, states }
    }

    fn expect_every_point(&self) {
        for (nth, disk) in self.states.iter().enumerate() {
            let reader = Reader::open(&self.store, &file(nth)).unwrap();
            assert_eq!(reader.notes(), <[String; 0]>::default());
            let (content, lost) = restore(&reader);
            assert!(lost.is_empty());
            assert!(content == disk.expected(), "point {nth}");
            let mut bytes = vec![1; content.len()];
            reader.read_at(0, &mut bytes).unwrap();
            assert!(bytes == content, "point {nth}");
            let findings = check::all(&reader, |_| {}).unwrap();
            assert!(findings.is_clean(), "{findings:?}");
            let mut told = States::all(content.len(), State::Kept);
            let whole = extent(0, content.len() as u64);
            reader
                .survey(|state, extent| told.set(whole, extent, state))
                .unwrap();
            assert_eq!(told, States::of(whole, &disk.used, &disk.unreadable));
        }
    }
}

#[test]
fn every_point_of_a_chain_reads_as_a_full_disk() {
    let chain = Chain::new(6, false);
    chain.expect_every_point();
    let last = Reader::open(&chain.store, &file(5)).unwrap();
    let names: Vec<_> = last.ancestors().iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["point4", "point3", "point2", "point1", "point0"]);
    let story = last.manifest().unwrap();
    assert_eq!(story.parent.as_ref(), last.ancestors().first());
    assert!(!story.in_disk_order);
    let full = chain.store.get(&file(0)).unwrap().len();
    let child = chain.store.get(&file(5)).unwrap().len();
    assert!(child < full / 2, "{child} of {full} bytes");
}

#[test]
fn every_differential_reads_with_the_full_image_alone() {
    let chain = Chain::new(4, true);
    for nth in 1..3 {
        chain.store.remove(&file(nth)).unwrap();
    }
    let reader = Reader::open(&chain.store, &file(3)).unwrap();
    assert_eq!(reader.ancestors().len(), 1);
    assert!(restore(&reader).0 == chain.states[3].expected());
}

/// Sixteen leaves of noise in one chunk, all in use, and its image.
fn one_chunk() -> (MemoryStore, Disk) {
    let (store, len) = (MemoryStore::new(), 1 << 20);
    let disk = Disk {
        bytes: noise(len, 3),
        used: ExtentMap::from(vec![extent(0, len as u64)]),
        unreadable: ExtentMap::new(),
    };
    let head = head(&disk, 0).with_chunk_size(1 << 20);
    let mut writer = Writer::create(&store, &name(0), head).unwrap();
    disk.write(&mut writer, 1, 5);
    writer.finish(&manifest()).unwrap();
    (store, disk)
}

fn child_of(store: &MemoryStore, disk: &Disk, nth: usize) -> Vec<u8> {
    let parent = Reader::open(store, &file(nth - 1)).unwrap();
    let mut writer = Writer::create_child(store, &name(nth), head(disk, nth), &parent).unwrap();
    disk.write(&mut writer, 1, 5);
    writer.finish(&manifest()).unwrap();
    let reader = Reader::open(store, &file(nth)).unwrap();
    assert!(restore(&reader).0 == disk.expected());
    let findings = check::all(&reader, |_| {}).unwrap();
    assert!(findings.is_clean(), "{findings:?}");
    store.get(&file(nth)).unwrap()
}

#[test]
fn a_child_stores_the_leaves_that_changed_and_no_others() {
    let (store, mut disk) = one_chunk();
    let leaf = 64 << 10;
    disk.bytes[5 * leaf + 77] ^= 1;
    let first = child_of(&store, &disk, 1);
    assert!(
        (leaf..leaf + 4096).contains(&first.len()),
        "{}",
        first.len()
    );
    // A leaf of the parent's patch, one of the first image, and one that is zeros now.
    disk.bytes[5 * leaf] ^= 1;
    disk.bytes[9 * leaf] ^= 1;
    disk.bytes[11 * leaf..12 * leaf].fill(0);
    let second = child_of(&store, &disk, 2);
    assert!(
        (2 * leaf..2 * leaf + 4096).contains(&second.len()),
        "{}",
        second.len()
    );
    // Nothing but what is in use has changed.
    disk.used.remove(extent(11 * leaf as u64, leaf as u64));
    let third = child_of(&store, &disk, 3);
    assert!(third.len() < 4096, "{}", third.len());
}

#[test]
fn a_damaged_patch_costs_its_own_leaves_and_its_map_is_found_again() {
    let (store, mut disk) = one_chunk();
    let leaf = 64 << 10;
    for nth in [2, 7, 8] {
        disk.bytes[nth * leaf] ^= 1;
    }
    let good = child_of(&store, &disk, 1);
    let chunk = (8..good.len())
        .find(|at| good[*at..].starts_with(b"rescCHNK"))
        .unwrap();
    let mut bent = good.clone();
    // The map of the leaves in the chunk frame.
    bent[chunk - 8 + 40 + 64] ^= 0xFF;
    store.put(&file(1), bent);
    let reader = Reader::open(&store, &file(1)).unwrap();
    let (content, lost) = restore(&reader);
    assert!(lost.is_empty() && content == disk.bytes);
    let mut bent = good;
    bent[chunk + 70_000..chunk + 71_000].fill(0);
    store.put(&file(1), bent);
    let reader = Reader::open(&store, &file(1)).unwrap();
    let (content, lost) = restore(&reader);
    assert!(!lost.is_empty());
    for nth in 0..16 {
        let at = nth * leaf;
        let own = [2, 7, 8].contains(&nth);
        let is_lost = lost.contains(at as u64);
        assert!(own || !is_lost, "leaf {nth}");
        assert!(is_lost || content[at..at + leaf] == disk.bytes[at..at + leaf]);
    }
}

#[test]
fn a_missing_or_another_ancestor_is_refused_with_a_sentence() {
    let chain = Chain::new(3, false);
    let first = chain.store.get(&file(0)).unwrap();
    chain.store.remove(&file(0)).unwrap();
    let error = Reader::open(&chain.store, &file(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "memory/point1.img.zst needs its parent point0 (01010101010101010101010101010101), and it is not in the \
         store; put that image back beside it"
    );
    let other = Chain::new(1, false);
    let mut writer = Writer::create(&chain.store, "point0", head(&other.states[0], 8)).unwrap();
    other.states[0].write(&mut writer, 1, 5);
    writer.finish(&manifest()).unwrap();
    let error = Reader::open(&chain.store, &file(2)).unwrap_err();
    assert!(error.to_string().contains("is another one"), "{error}");
    // The same image, gone on with since.
    chain.store.remove(&file(0)).unwrap();
    chain.store.put(&file(0), first);
    let of = head(&chain.states[0], 0);
    let mut writer = Writer::reopen(&chain.store, "point0", &of).unwrap();
    writer.any_order();
    writer.free(extent(0, u64::from(CHUNK))).unwrap();
    writer.finish(&manifest()).unwrap();
    let error = Reader::open(&chain.store, &file(1)).unwrap_err();
    assert!(error.to_string().contains("has changed since"), "{error}");
}

#[test]
fn only_a_finished_image_of_a_disk_of_this_size_can_be_a_parent() {
    let chain = Chain::new(1, false);
    let parent = Reader::open(&chain.store, &file(0)).unwrap();
    let larger = head(&Disk::new(38, 4), 1);
    let error = Writer::create_child(&chain.store, "x", larger, &parent).unwrap_err();
    assert!(error.to_string().contains("of another size"), "{error}");
    let mut bytes = chain.store.get(&file(0)).unwrap();
    bytes.truncate(bytes.len() - 5000);
    chain.store.put("cut.img.zst", bytes);
    let cut = Reader::open(&chain.store, "cut.img.zst").unwrap();
    let same = head(&chain.states[0], 1);
    let error = Writer::create_child(&chain.store, "x", same, &cut).unwrap_err();
    assert!(matches!(error, ImageError::NoParent { .. }), "{error}");
    assert!(!chain.store.exists("x.img.zst.unfinished").unwrap());
}

#[test]
fn a_chain_has_an_end() {
    let store = MemoryStore::new();
    let disk = Disk::new(3, 4);
    let writer = |nth: usize, parent: Option<&Reader>| {
        let mut writer = match parent {
            None => Writer::create(&store, &name(nth), head(&disk, nth)),
            Some(parent) => Writer::create_child(&store, &name(nth), head(&disk, nth), parent),
        }?;
        disk.write(&mut writer, 1, 5);
        writer.finish(&manifest())
    };
    writer(0, None).unwrap();
    for nth in 1..=16 {
        let parent = Reader::open(&store, &file(nth - 1)).unwrap();
        writer(nth, Some(&parent)).unwrap();
    }
    let last = Reader::open(&store, &file(16)).unwrap();
    assert!(restore(&last).0 == disk.expected());
    let error = writer(17, Some(&last)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("its chain is as long as one can be"),
        "{error}"
    );
}

#[test]
fn an_unfinished_child_goes_on_from_anywhere_with_its_parent_only() {
    let chain = Chain::new(2, false);
    let parent = Reader::open(&chain.store, &file(0)).unwrap();
    let bytes = chain.store.get(&file(1)).unwrap();
    let disk = &chain.states[1];
    let of = head(disk, 1);
    let unfinished = "again.img.zst.unfinished";
    let places = noise(8 * rounds(12), 3);
    let cuts = places.chunks(8).map(|place| {
        let place = u64::from_le_bytes(place.try_into().unwrap());
        usize::try_from(place % bytes.len() as u64).unwrap()
    });
    // Between head and kin, and in them.
    for cut in cuts.chain([0, 5, 340, 346, 350, 420, 460, 500]) {
        chain.store.put(unfinished, bytes[..cut].to_vec());
        let mut writer = Writer::resume_child(&chain.store, "again", &of, &parent).unwrap();
        disk.write(&mut writer, 1, 3);
        writer.finish(&manifest()).unwrap();
        let reader = Reader::open(&chain.store, "again.img.zst").unwrap();
        assert!(restore(&reader).0 == disk.expected(), "cut at {cut}");
        assert!(check::all(&reader, |_| {}).unwrap().is_clean());
        chain.store.remove("again.img.zst").unwrap();
    }
    chain.store.put(unfinished, bytes.clone());
    let error = Writer::resume(&chain.store, "again", &of).unwrap_err();
    assert!(matches!(error, ImageError::OtherSource { .. }), "{error}");
    let other = Reader::open(&chain.store, &file(1)).unwrap();
    let error = Writer::resume_child(&chain.store, "again", &of, &other).unwrap_err();
    assert!(
        error.to_string().contains("its parent was another"),
        "{error}"
    );
    assert_eq!(chain.store.get(unfinished), Some(bytes));
}

#[test]
fn a_child_may_leave_the_order_of_the_disk_and_is_read_back() {
    let chain = Chain::new(1, false);
    let parent = Reader::open(&chain.store, &file(0)).unwrap();
    let disk = changed(&chain.states[0], 9);
    let mut encoder = Encoder::new(1).unwrap();
    let mut writer = Writer::create_child(&chain.store, "child", head(&disk, 1), &parent).unwrap();
    writer.any_order();
    let expected = disk.expected();
    let (mut back, cells) = (Vec::new(), expected.len().div_ceil(CHUNK as usize));
    for step in 0..cells {
        let at = (step * 11 + 5) % cells * CHUNK as usize;
        let cell = &expected[at..(at + CHUNK as usize).min(expected.len())];
        let place = extent(at as u64, cell.len() as u64);
        let states = States::of(place, &disk.used, &disk.unreadable);
        writer
            .store_cell(&mut encoder, at as u64, cell, &states)
            .unwrap();
        let found = writer.read_back(at as u64, &mut back).unwrap();
        assert_eq!(found, Some(states));
        assert!(back == cell);
    }
    writer.finish(&manifest()).unwrap();
    let reader = Reader::open(&chain.store, "child.img.zst").unwrap();
    assert!(restore(&reader).0 == expected);
    let findings = check::all(&reader, |_| {}).unwrap();
    assert!(findings.is_clean(), "{findings:?}");
}

#[test]
fn each_flipped_bit_of_a_child_is_found() {
    let chain = Chain::new(2, false);
    let bytes = chain.store.get(&file(1)).unwrap();
    let expected = chain.states[1].expected();
    let places = noise(8 * rounds(20), 7);
    let anywhere = places
        .chunks(8)
        .map(|place| u64::from_le_bytes(place.try_into().unwrap()) % (8 * bytes.len() as u64));
    let of_ours = (8..bytes.len())
        .filter(|at| bytes[*at..].starts_with(b"resc"))
        .flat_map(|at| [8 * at as u64, 8 * (at as u64 + 60)]);
    for bit in anywhere.chain(of_ours) {
        let at = usize::try_from(bit / 8).unwrap();
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (bit % 8);
        chain.store.put("bent.img.zst", bent);
        let reader = Reader::open(&chain.store, "bent.img.zst").unwrap();
        let (content, lost) = restore(&reader);
        assert!(
            lost.total_bytes() <= u64::from(CHUNK),
            "bit {bit}: {lost:?}"
        );
        for extent in lost.complement(expected.len() as u64).iter() {
            let range =
                usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap();
            assert!(content[range.clone()] == expected[range], "bit {bit}");
        }
        let findings = check::all(&reader, |_| {}).unwrap();
        assert!(
            !findings.is_clean(),
            "bit {bit} of {} was not found",
            bytes.len()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: u32::try_from(rounds(30)).unwrap(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_bent_child_is_refused_or_never_gives_wrong_bytes(changes in proptest::collection::vec(change(), 1..6)) {
        let chain = Chain::new(2, false);
        let mut bytes = chain.store.get(&file(1)).unwrap();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        chain.store.put("bent.img.zst", bytes.clone());
        let expected = chain.states[1].expected();
        if let Ok(reader) = Reader::open(&chain.store, "bent.img.zst") {
            let (content, lost) = restore(&reader);
            for extent in lost.complement(expected.len() as u64).iter() {
                let range = usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap();
                assert!(content[range.clone()] == expected[range], "wrong bytes in {extent:?}");
            }
            check::all(&reader, |_| {}).unwrap();
        }
        chain.store.put("bent.img.zst.unfinished", bytes);
        chain.store.remove("bent.img.zst").unwrap();
        let parent = Reader::open(&chain.store, &file(0)).unwrap();
        let of = head(&chain.states[1], 1);
        if let Ok(mut writer) = Writer::resume_child(&chain.store, "bent", &of, &parent) {
            chain.states[1].write(&mut writer, 1, 3);
            writer.finish(&manifest()).unwrap();
        }
    }
}
