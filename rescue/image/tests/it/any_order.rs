//! Images whose chunks come in any order, cells that are completed by being appended again.

use disk::extent::{Extent, ExtentMap};
use image::check;
use image::chunk::Kind;
use image::codec::Encoder;
use image::error::ImageError;
use image::head::{Head, Order};
use image::memory::MemoryStore;
use image::reader::{Piece, Reader};
use image::states::{GRANULE, State, States};
use image::store::Store;
use image::writer::Writer;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};

use crate::making::{CHUNK, Disk, extent, manifest, noise, open, restore, rounds, store_with};

const UNFINISHED: &str = "pc.img.zst.unfinished";

/// What an image should hold: the content and the state of every cell that was given.
#[derive(Clone)]
pub struct Model {
    head: Head,
    cells: Vec<Option<(Vec<u8>, States)>>,
    /// What each cell was before.
    older: Vec<Vec<Vec<u8>>>,
}

impl Model {
    pub fn head(&self) -> Head {
        self.head
    }

    /// Every cell is lost in parts, or as it once was.
    pub fn expect_known_states_in(&self, reader: &Reader) {
        let (content, lost) = restore(reader);
        for (nth, older) in self.older.iter().enumerate() {
            let cell = self.cell(nth);
            let same = |was: &Vec<u8>| {
                let known = ExtentMap::from(vec![cell]).difference(&lost);
                known.iter().all(|extent| {
                    let from = usize::try_from(extent.start() - cell.start()).unwrap();
                    let at = usize::try_from(extent.start()).unwrap();
                    let len = usize::try_from(extent.len()).unwrap();
                    content[at..at + len] == was[from..from + len]
                })
            };
            assert!(older.iter().any(same), "cell {nth} is what it never was");
        }
    }

    pub fn new(head: Head) -> Model {
        let cells = head.geometry.size_bytes.div_ceil(u64::from(CHUNK));
        Model {
            head,
            cells: vec![None; usize::try_from(cells).unwrap()],
            older: vec![Vec::new(); usize::try_from(cells).unwrap()],
        }
    }

    fn cell(&self, nth: usize) -> Extent {
        let start = nth as u64 * u64::from(CHUNK);
        extent(start, self.head.cell_len(start))
    }

    /// Content for a cell, as a pass over a failing disk finds it.
    fn make(&self, nth: usize, seed: u64) -> (Vec<u8>, States) {
        let cell = self.cell(nth);
        let len = usize::try_from(cell.len()).unwrap();
        let mut content = noise(len, seed);
        let mut states = States::all(len, State::Kept);
        let uniform = [State::Kept, State::Free, State::Unreadable, State::NotTried];
        match seed % 8 {
            0 => content.fill(0),
            kind @ 1..=3 => {
                content.fill(0);
                states = States::all(len, uniform[usize::try_from(kind).unwrap()]);
            }
            4 | 5 => {
                let granules = len.div_ceil(GRANULE) as u64;
                for (nth, state) in (0u64..).zip(uniform.iter().chain(&uniform[1..])) {
                    let at = (seed / 8 + nth * 7) % granules * GRANULE as u64;
                    let part = extent(cell.start() + at, 1);
                    states.set(cell, part, *state);
                }
                clear(&mut content, cell, &states);
            }
            _ => {}
        }
        (content, states)
    }

    pub fn put(&mut self, writer: &mut Writer<'_>, encoder: &mut Encoder, nth: usize, seed: u64) {
        let (content, states) = self.make(nth, seed);
        let at = self.cell(nth).start();
        writer.store_cell(encoder, at, &content, &states).unwrap();
        self.older[nth].push(content.clone());
        self.cells[nth] = Some((content, states));
    }

    fn zeros(&mut self, writer: &mut Writer<'_>, from: usize, to: usize, kind: Kind) {
        let run = Extent::between(self.cell(from).start(), self.cell(to).end()).unwrap();
        writer.zeros(run, kind).unwrap();
        for nth in from..=to {
            let len = usize::try_from(self.cell(nth).len()).unwrap();
            self.older[nth].push(vec![0; len]);
            self.cells[nth] = Some((vec![0; len], States::all(len, kind.state())));
        }
    }

    pub fn content(&self) -> Vec<u8> {
        let mut content = vec![0; usize::try_from(self.head.geometry.size_bytes).unwrap()];
        for (nth, cell) in self.cells.iter().enumerate() {
            if let Some((bytes, _)) = cell {
                let at = usize::try_from(self.cell(nth).start()).unwrap();
                content[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        content
    }

    /// What of the disk is in this state.
    fn all(&self, state: State) -> ExtentMap {
        let mut all = ExtentMap::new();
        for (nth, cell) in self.cells.iter().enumerate() {
            let place = self.cell(nth);
            match cell {
                Some((_, states)) => states.extents(place, state).for_each(|e| all.insert(e)),
                None if state == State::NotTried => all.insert(place),
                None => {}
            }
        }
        all
    }

    fn expect_read_back(&self, writer: &mut Writer<'_>) {
        let mut content = Vec::new();
        for (nth, cell) in self.cells.iter().enumerate() {
            let found = writer
                .read_back(self.cell(nth).start(), &mut content)
                .unwrap();
            match cell {
                None => assert_eq!((found, content.len()), (None, 0), "cell {nth}"),
                Some((bytes, states)) => {
                    assert_eq!(found.as_ref(), Some(states), "cell {nth}");
                    assert!(content == *bytes, "cell {nth}");
                }
            }
        }
    }

    /// A finished image, or an unfinished one.
    pub fn expect_in(&self, reader: &Reader) {
        let (content, lost) = restore(reader);
        assert!(content == self.content());
        let missing = (0..self.cells.len()).filter(|nth| self.cells[*nth].is_none());
        let missing: ExtentMap = missing.map(|nth| self.cell(nth)).collect();
        if reader.is_finished() {
            assert!(lost.is_empty());
        } else {
            assert_eq!(lost, missing);
        }
        for state in [State::Kept, State::Free, State::Unreadable, State::NotTried] {
            let mut found = ExtentMap::new();
            reader
                .survey(|told, extent| {
                    if told == state {
                        found.insert(extent);
                    }
                })
                .unwrap();
            assert_eq!(found, self.all(state), "{state:?}");
        }
    }
}

fn clear(content: &mut [u8], cell: Extent, states: &States) {
    for state in [State::Free, State::NotTried] {
        for extent in states.extents(cell, state) {
            let from = usize::try_from(extent.start() - cell.start()).unwrap();
            content[from..from + usize::try_from(extent.len()).unwrap()].fill(0);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, u64),
    Zeros(usize, usize, u8),
    Checkpoint,
    ReadBack,
    /// The process is killed: what no page describes is gone, and this much of the tail is torn off too.
    Kill(usize),
    FinishAndReopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any::<usize>(), any::<u64>()).prop_map(|(nth, seed)| Step::Put(nth, seed)),
        3 => (any::<usize>(), any::<usize>(), 2u8..6).prop_map(|(a, b, kind)| Step::Zeros(a, b, kind)),
        3 => proptest::strategy::Just(Step::Checkpoint),
        1 => proptest::strategy::Just(Step::ReadBack),
        1 => (0usize..50_000).prop_map(Step::Kill),
        1 => proptest::strategy::Just(Step::FinishAndReopen),
    ]
}

fn zeros_kind(number: u8) -> Kind {
    [Kind::Zero, Kind::Free, Kind::Unreadable, Kind::NotTried][usize::from(number) - 2]
}

/// Carries out the steps; the model is what the image must hold in the end.
fn carry_out(store: &MemoryStore, head: Head, steps: &[Step]) -> Model {
    let mut encoder = Encoder::new(1).unwrap();
    let mut model = Model::new(head);
    let mut writer = Writer::create(store, "pc", head).unwrap();
    writer.any_order();
    for step in steps {
        let cells = model.cells.len();
        match step {
            Step::Put(nth, seed) => model.put(&mut writer, &mut encoder, nth % cells, *seed),
            Step::Zeros(a, b, kind) => {
                let (a, b) = (a % cells, b % cells);
                model.zeros(&mut writer, a.min(b), a.max(b), zeros_kind(*kind));
            }
            Step::Checkpoint => writer.checkpoint().unwrap(),
            Step::ReadBack => model.expect_read_back(&mut writer),
            Step::Kill(torn) => {
                writer.checkpoint().unwrap();
                let durable_len = store.get(UNFINISHED).unwrap().len();
                let durable = model.clone();
                let (nth, seed) = (torn % cells, *torn as u64);
                model.put(&mut writer, &mut encoder, nth, seed);
                drop(writer);
                let mut bytes = store.get(UNFINISHED).unwrap();
                bytes.truncate(bytes.len().saturating_sub(*torn).max(durable_len));
                store.put(UNFINISHED, bytes);
                writer = Writer::resume(store, "pc", &head).unwrap();
                writer.any_order();
                model = durable;
            }
            Step::FinishAndReopen => {
                writer.finish(&manifest()).unwrap();
                model.fill();
                let reader = open(store);
                model.expect_in(&reader);
                writer = Writer::reopen(store, "pc", &head).unwrap();
                writer.any_order();
            }
        }
    }
    model.expect_read_back(&mut writer);
    writer.checkpoint().unwrap();
    model.expect_in(&Reader::open(store, UNFINISHED).unwrap());
    writer.finish(&manifest()).unwrap();
    model
}

impl Model {
    /// What nobody gave is not tried.
    fn fill(&mut self) {
        for nth in 0..self.cells.len() {
            let len = usize::try_from(self.cell(nth).len()).unwrap();
            self.older[nth].push(vec![0; len]);
            self.cells[nth]
                .get_or_insert_with(|| (vec![0; len], States::all(len, State::NotTried)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: u32::try_from(rounds(30)).unwrap(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_whatever_order_the_newest_counts(steps in proptest::collection::vec(step(), 1..60)) {
        let store = MemoryStore::new();
        let head = Disk::new(21, 4).head();
        let mut model = carry_out(&store, head, &steps);
        model.fill();
        let reader = open(&store);
        assert_eq!(reader.notes(), <[String; 0]>::default());
        model.expect_in(&reader);
        let findings = check::all(&reader, |_| {}).unwrap();
        assert!(findings.is_clean(), "{findings:?}");
    }
}

pub fn model() -> Model {
    Model::new(Disk::new(21, 4).head())
}

/// Cells in an order that jumps, some of them twice, a page after every seven; some are never given.
pub fn sample(seed: u64) -> (Model, Vec<u8>) {
    let store = MemoryStore::new();
    let mut model = model();
    let mut encoder = Encoder::new(1).unwrap();
    let mut writer = Writer::create(&store, "pc", model.head).unwrap();
    for nth in 0..4 {
        model.put(&mut writer, &mut encoder, nth, seed + 8 + nth as u64);
    }
    writer.any_order();
    model.zeros(&mut writer, 8, 20, Kind::Free);
    for step in 0..15usize {
        let nth = (5 + step * 9) % model.cells.len();
        model.put(&mut writer, &mut encoder, nth, seed + 3 * step as u64);
        if step % 7 == 6 {
            writer.checkpoint().unwrap();
        }
    }
    writer.finish(&manifest()).unwrap();
    model.fill();
    (model, store.get("pc.img.zst").unwrap())
}

#[test]
fn disk_order_is_left_only_where_it_must_be() {
    let disk = Disk::new(37, 4);
    let store = MemoryStore::new();
    let mut writer = Writer::create(&store, "pc", disk.head()).unwrap();
    writer.any_order();
    disk.write(&mut writer, 1, 5);
    assert_eq!(writer.order(), Order::Disk);
    writer.finish(&manifest()).unwrap();
    assert!(store.get("pc.img.zst").unwrap() == disk.image_bytes(1, 5));
}

#[test]
fn what_nobody_gave_at_the_end_is_not_tried_and_the_order_stays() {
    let disk = Disk::new(37, 4);
    let store = MemoryStore::new();
    let mut model = Model::new(disk.head());
    let mut encoder = Encoder::new(1).unwrap();
    let mut writer = Writer::create(&store, "pc", disk.head()).unwrap();
    writer.any_order();
    for nth in 0..9 {
        model.put(&mut writer, &mut encoder, nth, 6);
    }
    writer.finish(&manifest()).unwrap();
    model.fill();
    let reader = open(&store);
    assert_eq!(reader.head().order, Order::Disk);
    model.expect_in(&reader);
}

#[test]
fn without_leave_only_disk_order_is_taken() {
    let store = MemoryStore::new();
    let mut model = Model::new(Disk::new(9, 4).head());
    let mut encoder = Encoder::new(1).unwrap();
    let mut writer = Writer::create(&store, "pc", model.head).unwrap();
    let (content, states) = model.make(3, 6);
    let error = writer
        .store_cell(&mut encoder, 3 * u64::from(CHUNK), &content, &states)
        .unwrap_err();
    assert!(matches!(error, ImageError::Order { .. }), "{error}");
    writer.any_order();
    for bad in [
        extent(4096, u64::from(CHUNK)),
        extent(0, 4096),
        extent(1 << 40, 4096),
    ] {
        let error = writer.free(bad).unwrap_err();
        assert!(matches!(error, ImageError::Order { .. }), "{error}");
    }
    model.put(&mut writer, &mut encoder, 3, 6);
    assert_eq!((writer.order(), writer.at()), (Order::Any, 0));
    model.expect_read_back(&mut writer);
}

#[test]
fn the_manifest_says_what_is_missing_in_the_states_of_ddrescue() {
    let store = MemoryStore::new();
    let mut model = Model::new(Disk::new(9, 4).head());
    let mut encoder = Encoder::new(1).unwrap();
    let mut writer = Writer::create(&store, "pc", model.head).unwrap();
    writer.any_order();
    model.put(&mut writer, &mut encoder, 7, 6);
    model.zeros(&mut writer, 2, 4, Kind::Unreadable);
    writer.finish(&manifest()).unwrap();
    let reader = open(&store);
    let story = reader.manifest().unwrap();
    let chunk = u64::from(CHUNK);
    let size = model.head.geometry.size_bytes;
    assert!(!story.in_disk_order);
    assert_eq!(
        story.map,
        [
            (0, 2 * chunk, '?'),
            (2 * chunk, 3 * chunk, '-'),
            (5 * chunk, 2 * chunk, '?'),
            (8 * chunk, size - 8 * chunk, '?'),
        ]
    );
}

#[test]
fn a_finished_image_in_disk_order_is_gone_on_with() {
    let disk = Disk::new(21, 4);
    let store = store_with(disk.image_bytes(1, 5));
    let error = Writer::reopen(&store, "pc", &Disk::new(21, 5).head()).unwrap_err();
    assert!(matches!(error, ImageError::OtherSource { .. }), "{error}");
    assert!(store.exists("pc.img.zst").unwrap());
    let mut writer = Writer::reopen(&store, "pc", &disk.head()).unwrap();
    assert!(!store.exists("pc.img.zst").unwrap());
    assert_eq!(writer.at(), disk.bytes.len() as u64);
    let mut content = Vec::new();
    let mut encoder = Encoder::new(1).unwrap();
    writer.any_order();
    let mut expected = disk.expected();
    for bad in disk.unreadable.iter() {
        let at = bad.start() / u64::from(CHUNK) * u64::from(CHUNK);
        let states = writer.read_back(at, &mut content).unwrap().unwrap();
        let cell = extent(at, content.len() as u64);
        let now = States::all(content.len(), State::Kept);
        assert_ne!(states, now);
        let range = usize::try_from(at).unwrap()..usize::try_from(cell.end()).unwrap();
        expected[range.clone()].copy_from_slice(&disk.bytes[range.clone()]);
        let bytes = &disk.bytes[range];
        writer.store_cell(&mut encoder, at, bytes, &now).unwrap();
    }
    writer.finish(&manifest()).unwrap();
    let reader = open(&store);
    assert_eq!(reader.head().order, Order::Any);
    assert!(restore(&reader).0 == expected);
    let findings = check::all(&reader, |_| {}).unwrap();
    assert!(findings.is_clean(), "{findings:?}");
}

#[test]
fn a_finished_image_with_a_damaged_index_is_not_reopened() {
    let disk = Disk::new(21, 4);
    let mut bytes = disk.image_bytes(1, 5);
    let page = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(b"rescPAGE"))
        .nth(2)
        .unwrap();
    bytes[page + 100] ^= 1;
    let store = store_with(bytes.clone());
    let error = Writer::reopen(&store, "pc", &disk.head()).unwrap_err();
    assert!(matches!(error, ImageError::NotWhole { .. }), "{error}");
    assert_eq!(store.get("pc.img.zst"), Some(bytes));
}

#[test]
fn each_flipped_bit_is_found_and_costs_no_more_than_its_chunk() {
    let (model, bytes) = sample(1);
    let expected = model.content();
    let places = noise(8 * rounds(60), 7);
    let anywhere = places
        .chunks(8)
        .map(|place| u64::from_le_bytes(place.try_into().unwrap()) % (8 * bytes.len() as u64));
    let of_ours = (8..bytes.len())
        .filter(|at| bytes[*at..].starts_with(b"resc"))
        .flat_map(|at| [8 * at as u64, 8 * (at as u64 + 40), 8 * (at as u64 + 130)]);
    for bit in anywhere.chain(of_ours) {
        let at = usize::try_from(bit / 8).unwrap();
        if at >= bytes.len() {
            continue;
        }
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (bit % 8);
        let reader = open(&store_with(bent));
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
        assert!(!findings.is_clean(), "bit {bit} was not found");
        assert_eq!(findings.damage, lost, "bit {bit}");
    }
}

#[test]
fn one_leaf_of_a_damaged_chunk_is_lost_and_the_others_are_not() {
    let store = MemoryStore::new();
    let head = Disk::new(9, 4).head().with_chunk_size(512 << 10);
    let mut encoder = Encoder::new(1).unwrap();
    let mut writer = Writer::create(&store, "pc", head).unwrap();
    writer.any_order();
    let content = noise(512 << 10, 3);
    let kept = States::all(content.len(), State::Kept);
    writer
        .store_cell(&mut encoder, 512 << 10, &content, &kept)
        .unwrap();
    writer.checkpoint().unwrap();
    let mut bytes = store.get(UNFINISHED).unwrap();
    let at = bytes.len() - (200 << 10);
    bytes[at] ^= 1;
    store.put(UNFINISHED, bytes);
    let mut writer = Writer::resume(&store, "pc", &head).unwrap();
    let mut back = Vec::new();
    let states = writer.read_back(512 << 10, &mut back).unwrap().unwrap();
    let cell = extent(512 << 10, 512 << 10);
    let lost: ExtentMap = states.extents(cell, State::NotTried).collect();
    assert_eq!(lost.total_bytes(), 64 << 10);
    for (nth, (a, b)) in back
        .chunks(64 << 10)
        .zip(content.chunks(64 << 10))
        .enumerate()
    {
        let gone = lost.contains(cell.start() + ((nth as u64) << 16));
        assert!(a == b || gone && a.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn an_image_without_its_end_or_its_index_gives_the_newest_of_each_cell() {
    let (model, bytes) = sample(2);
    let find = |name: &[u8]| -> Vec<usize> {
        (8..bytes.len())
            .filter(|at| bytes[*at..].starts_with(name))
            .collect()
    };
    let mut bent = vec![bytes[..find(b"rescROOT")[0] - 8].to_vec()];
    for names in [
        &[&b"rescSORT"[..]][..],
        &[b"rescROOT"],
        &[b"rescROOT", b"rescDONE"],
        &[b"rescSORT", b"rescPAGE"],
        &[b"rescROOT", b"rescPAGE", b"rescSORT"],
        &[b"rescHEAD", b"rescROOT", b"rescDONE"],
        &[b"rescROOT", b"rescPAGE", b"rescSORT", b"rescDONE"],
        &[b"rescHEAD", b"rescSORT"],
    ] {
        let mut bytes = bytes.clone();
        for at in names.iter().flat_map(|name| find(name)) {
            bytes[at + 200] ^= 1;
        }
        bent.push(bytes);
    }
    for bytes in bent {
        let reader = open(&store_with(bytes));
        assert!(restore(&reader).0 == model.content());
        let findings = check::all(&reader, |_| {}).unwrap();
        assert!(findings.damage.is_empty() && !findings.is_clean());
    }
}

#[test]
fn a_chunk_frame_and_its_page_gone_leaves_the_older_one_or_nothing_but_never_garbage() {
    let (model, bytes) = sample(3);
    let reader = open(&store_with(bytes.clone()));
    let entries: Vec<_> = reader
        .pieces()
        .filter_map(|piece| match piece.unwrap() {
            Piece::Entry(entry) => Some(entry),
            Piece::Lost(_) => None,
        })
        .collect();
    for entry in entries.iter().filter(|entry| entry.kind == Kind::Data) {
        let mut bent = bytes.clone();
        bent[usize::try_from(entry.offset).unwrap() + 50] ^= 1;
        let reader = open(&store_with(bent));
        assert!(restore(&reader).0 == model.content());
    }
}
