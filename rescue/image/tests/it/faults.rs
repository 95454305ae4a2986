//! Random faults of media and programs, on every form of image: each is found, costs what it hit, and parity makes it good.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use disk::extent::{Extent, ExtentMap};
use image::check;
use image::codec::Encoder;
use image::memory::MemoryStore;
use image::mend::{Mend, With};
use image::reader::{Piece, Reader};
use image::states::States;
use image::store::Store;
use image::volumes::Volumes;
use image::writer::Writer;

use crate::chain::changed;
use crate::making::{Disk, extent, manifest, restore};
use crate::power::{cuts, dice};
use crate::tape::{files, store_of};

const FILE: &str = "pc.img.zst";
const BLOCK: usize = 4096;
const VOLUME: u64 = 300_000;

type Dice<'d> = &'d mut dyn FnMut(usize) -> usize;

/// An image as it was written, and what each part of its file holds.
struct Form {
    what: &'static str,
    expected: Vec<u8>,
    /// What else is in the store.
    parent: BTreeMap<String, Vec<u8>>,
    whole: Vec<u8>,
    holds: Vec<(Range<usize>, Extent)>,
    parity: bool,
    in_volumes: bool,
}

/// Of a damaged file.
struct Fault {
    what: &'static str,
    /// Nothing else of the file is other than it was; `None`: it is longer or shorter.
    hit: Option<Vec<Range<usize>>>,
    missing: Option<String>,
}

impl Form {
    fn new(what: &'static str, parity: bool) -> Form {
        let store = MemoryStore::new();
        let first = Disk::new(24, 6);
        let mut disk = Disk::new(24, 6);
        let mut parent = None;
        if what == "child" {
            first.image(&store, "first", 1, 20);
            parent = Some(Reader::open(&store, "first.img.zst").unwrap());
            disk = (1..40).fold(disk, |disk, seed| changed(&disk, seed));
        }
        let before = files(&store);
        let head = match parity {
            true => disk.head().with_parity(),
            false => disk.head(),
        };
        let head = image::head::Head {
            id: image::digest::ImageId([7; 16]),
            ..head
        };
        let mut writer = match &parent {
            Some(parent) => Writer::create_child(&store, "pc", head, parent).unwrap(),
            None => Writer::create(&store, "pc", head).unwrap(),
        };
        writer.protect(3);
        match what {
            "any order" => scattered(&disk, &mut writer),
            _ => disk.write(&mut writer, 1, 20),
        }
        writer.finish(&manifest()).unwrap();
        let reader = Reader::open(&store, FILE).unwrap();
        let whole = store.get(FILE).unwrap();
        let holds = reader.pieces().filter_map(|piece| match piece.unwrap() {
            Piece::Entry(entry) if is_here(&whole, entry.offset) => {
                let start = usize::try_from(entry.offset).unwrap();
                let len = entry.header_len as usize + entry.stored_len as usize;
                Some((start..start + len, entry.extent))
            }
            _ => None,
        });
        Form {
            what,
            expected: disk.expected(),
            parent: before,
            holds: holds.collect(),
            whole,
            parity,
            in_volumes: what == "volumes",
        }
    }

    /// The store with this file in it, and the same store as its reader sees it.
    fn store(&self, damaged: &[u8], missing: Option<&str>) -> (MemoryStore, Box<dyn Store>) {
        let mut all = self.parent.clone();
        if !self.in_volumes {
            all.insert(FILE.to_owned(), damaged.to_vec());
            let store = store_of(all);
            return (store.clone(), Box::new(store));
        }
        let parts: Vec<&[u8]> = damaged.chunks(usize::try_from(VOLUME).unwrap()).collect();
        for (nth, part) in parts.iter().enumerate() {
            all.insert(volume(nth, parts.len()), part.to_vec());
        }
        all.retain(|name, _| Some(name.as_str()) != missing);
        let store = store_of(all);
        (store.clone(), Box::new(Volumes::new(Arc::new(store))))
    }

    /// One of those that media and programs have.
    fn fault(&self, bytes: &mut Vec<u8>, dice: Dice<'_>) -> Fault {
        let len = bytes.len();
        let mut missing = None;
        let at = dice(len - 4 * BLOCK);
        let sector = at / 512 * 512..at / 512 * 512 + 512;
        let block = at / BLOCK * BLOCK..(at / BLOCK + 1) * BLOCK;
        let other = dice(len / BLOCK) * BLOCK;
        let (what, hit) = match dice(if self.in_volumes { 10 } else { 9 }) {
            0 => {
                bytes[at] ^= 1 << dice(8);
                ("bit", Some(only(at..at + 1)))
            }
            1 => {
                bytes[at] = bytes[at].wrapping_add(1 + u8::try_from(dice(255)).unwrap());
                ("byte", Some(only(at..at + 1)))
            }
            2 => {
                bytes[sector.clone()].fill(0);
                ("sector", Some(vec![sector]))
            }
            3 => {
                bytes[block.clone()].fill(0xff);
                ("4 KiB", Some(vec![block]))
            }
            4 => {
                let there = other..other + BLOCK;
                let first = bytes[block.clone()].to_vec();
                bytes.copy_within(there.clone(), block.start);
                bytes[there.clone()].copy_from_slice(&first);
                ("swap of blocks", Some(vec![block, there]))
            }
            5 => {
                bytes.copy_within(other..other + BLOCK, block.start);
                ("duplicate block", Some(vec![block]))
            }
            6 => swap_frames(&self.holds, bytes, dice),
            7 => {
                let again = bytes[block.clone()].to_vec();
                bytes.splice(block.end..block.end, again);
                ("inserted block", None)
            }
            8 => {
                bytes.truncate(len - 1 - dice(len / 100));
                ("truncated", None)
            }
            _ => {
                let count = len.div_ceil(usize::try_from(VOLUME).unwrap());
                missing = Some(volume(1 + dice(count - 1), count));
                ("missing volume", None)
            }
        };
        Fault { what, hit, missing }
    }

    /// Whether the fault was there at all, and was made good.
    fn round(&self, dice: Dice<'_>) -> (&'static str, bool, bool) {
        let mut damaged = self.whole.clone();
        let fault = self.fault(&mut damaged, dice);
        let what = format!("{}, {}", self.what, fault.what);
        if damaged == self.whole && fault.missing.is_none() {
            return (fault.what, false, false);
        }
        let (raw, store) = self.store(&damaged, fault.missing.as_deref());
        match Reader::open(&*store, FILE) {
            // Too much is gone, and it says so: only where a whole volume is.
            Err(error) => assert!(fault.missing.is_some(), "{what}: {error}"),
            Ok(reader) => self.expect(&reader, &fault, &what),
        }
        if !self.parity {
            return (fault.what, true, false);
        }
        let mend = Mend {
            store: &*store,
            name: "pc",
            with: With::Parity,
        };
        mend.run(&mut |_| Ok(())).unwrap();
        let good = raw.get(FILE).unwrap() == self.whole;
        let most = fault
            .hit
            .iter()
            .flatten()
            .map(|range| range.len())
            .sum::<usize>();
        let few = most <= 2 * BLOCK && fault.what != "inserted block";
        assert!(good || !few, "{what}: not made good");
        (fault.what, true, good)
    }

    fn expect(&self, reader: &Reader, fault: &Fault, what: &str) {
        let (content, lost) = restore(reader);
        for at in (0..self.expected.len()).step_by(512) {
            let end = (at + 512).min(self.expected.len());
            let same = content[at..end] == self.expected[at..end];
            assert!(same || lost.contains(at as u64), "{what}: wrong at {at}");
        }
        if let Some(hit) = &fault.hit {
            let touched = self.holds.iter().filter(|(holds, _)| {
                hit.iter()
                    .any(|hit| hit.start < holds.end && holds.start < hit.end)
            });
            let most: ExtentMap = touched.map(|(_, extent)| *extent).collect();
            let more = lost.difference(&most);
            assert!(more.is_empty(), "{what}: {more:?} is lost besides");
        }
        let found = check::all(reader, |_| {}).unwrap();
        assert!(!found.is_clean(), "{what}: not found");
        assert_eq!(found.damage, lost, "{what}");
    }
}

/// Whether it is a chunk of this file, and not of its parent's.
fn is_here(file: &[u8], offset: u64) -> bool {
    let at = usize::try_from(offset).unwrap();
    file.get(at..at + 40)
        .is_some_and(|front| front[8..16] == *b"rescCHNK" && front[32..] == offset.to_le_bytes())
}

fn volume(nth: usize, count: usize) -> String {
    match nth {
        0 => FILE.to_owned(),
        _ => format!("{FILE}.{:03}of{count:03}", nth + 1),
    }
}

fn only(range: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(range).collect()
}

/// Two chunks, with all that stands before them, in each other's place.
fn swap_frames(
    holds: &[(Range<usize>, Extent)],
    bytes: &mut Vec<u8>,
    dice: Dice<'_>,
) -> (&'static str, Option<Vec<Range<usize>>>) {
    let (one, two) = (dice(holds.len()), dice(holds.len()));
    let mut ranges = [holds[one].0.clone(), holds[two].0.clone()];
    ranges.sort_by_key(|range| range.start);
    let [one, two] = ranges;
    let mut swapped = bytes[..one.start].to_vec();
    if one != two {
        swapped.extend_from_slice(&bytes[two.clone()]);
        swapped.extend_from_slice(&bytes[one.end..two.start]);
    }
    swapped.extend_from_slice(&bytes[one.clone()]);
    swapped.extend_from_slice(&bytes[two.end..]);
    *bytes = swapped;
    // What lies between them has moved when they are not of one length.
    ("swap of frames", Some(only(one.start..two.end)))
}

/// All of the disk, cell by cell, the odd ones first.
fn scattered(disk: &Disk, writer: &mut Writer<'_>) {
    writer.any_order();
    let expected = disk.expected();
    let mut encoder = Encoder::new(1).unwrap();
    let chunk = u64::from(crate::making::CHUNK);
    let cells = (disk.bytes.len() as u64).div_ceil(chunk);
    for nth in (1..cells).step_by(2).chain((0..cells).step_by(2)) {
        let cell = extent(nth * chunk, writer.head().cell_len(nth * chunk));
        let states = States::of(cell, &disk.used, &disk.unreadable);
        let range = usize::try_from(cell.start()).unwrap()..usize::try_from(cell.end()).unwrap();
        writer
            .store_cell(&mut encoder, cell.start(), &expected[range], &states)
            .unwrap();
        if nth % 9 == 0 {
            writer.checkpoint().unwrap();
        }
    }
}

#[test]
fn every_random_fault_is_found_costs_what_it_hit_and_parity_makes_it_good() {
    let forms = [
        Form::new("plain", false),
        Form::new("plain", true),
        Form::new("any order", false),
        Form::new("any order", true),
        Form::new("child", false),
        Form::new("child", true),
        Form::new("volumes", false),
    ];
    let mut dice = dice(31);
    let mut counts: BTreeMap<(&str, &str), [usize; 2]> = BTreeMap::new();
    let mut rounds = 0;
    while rounds < cuts(210, 10_000) {
        let form = &forms[rounds % forms.len()];
        let (fault, real, good) = form.round(&mut dice);
        if real {
            let parity = if form.parity { "3 %" } else { "none" };
            let count = counts.entry((fault, parity)).or_default();
            count[0] += 1;
            count[1] += usize::from(good);
            rounds += 1;
        } else {
            // Nothing was changed by it: two equal blocks.
            let _ = dice(7);
        }
    }
    println!("{rounds} faults, all found");
    for ((fault, parity), [found, good]) in counts {
        println!("{fault}, parity {parity}: {found} found, {good} made good");
    }
}
