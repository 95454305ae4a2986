//! Journals that were not closed: whatever a replay could put to use is in the map, or nothing is free.

use disk::extent::{Extent, ExtentMap};
use disk::fs::tree::NodeId;
use disk::fs::{Basis, State};
use tempfile::NamedTempFile;

use crate::log::{Change, Log};
use crate::made::{blank, open, run, write_at};
use crate::mkfs::{Mounted, filled, mkntfs};
use crate::{MIB, dirty, map, pieces, read, whole};

const CLUSTER: u64 = 4096;
const SET_BITS: u16 = 0x15;
const CLEAR_BITS: u16 = 0x16;

struct Volume {
    file: NamedTempFile,
    /// What is used when nothing is in the journal.
    before: ExtentMap,
    /// Runs of clusters that nobody uses.
    free: Vec<Extent>,
    journal: Extent,
    bitmap: u64,
}

fn volume() -> Volume {
    let file = filled(64 * MIB, 512, 4096);
    let before = crate::used_by(&open(&file));
    let free = before.complement(64 * MIB);
    let free = free.iter().filter(|extent| extent.len() >= 8 * CLUSTER);
    let place = |number| pieces(&open(&file), NodeId(number))[0].extent;
    Volume {
        free: free.collect(),
        journal: place(2),
        bitmap: place(6).start() / CLUSTER,
        before,
        file,
    }
}

impl Volume {
    fn log(&self, second: bool, page: usize) -> Log {
        Log::new(usize::try_from(self.journal.len()).unwrap(), second, page)
    }

    fn put(&self, log: &[u8]) {
        assert_eq!(log.len() as u64, self.journal.len());
        write_at(&self.file, self.journal.start(), log);
    }

    /// As the volume is now it is mapped, and so is this with it.
    fn holds(&self, extents: &[Extent], name: &str) {
        let found = read(&self.file);
        assert!(
            dirty(&found).contains("its journal was not closed"),
            "{name}"
        );
        let (basis, used) = map(&found);
        assert_eq!(basis, Basis::Union, "{name}");
        let wanted = self.before.union(&extents.iter().copied().collect());
        assert!(
            wanted.difference(used).is_empty(),
            "{name}: a cluster is missing"
        );
        // Only clusters of the records themselves, which are used anyway.
        assert_eq!(*used, wanted, "{name}: too much is kept");
    }

    fn refuses(&self) -> String {
        let found = read(&self.file);
        assert!(matches!(found.state, State::Dirty(_)));
        whole(&found).to_owned()
    }
}

fn range(extent: Extent) -> Vec<u8> {
    let numbers = [extent.start() / CLUSTER, extent.len() / CLUSTER];
    let numbers = numbers.map(|number| u32::try_from(number).unwrap().to_le_bytes());
    numbers.concat()
}

/// Sets or clears the bits of these clusters; the other way round when it is taken back.
fn bits(volume: &Volume, log: &mut Log, operation: u16, extent: Extent) -> u64 {
    let other = SET_BITS + CLEAR_BITS - operation;
    let range = range(extent);
    log.change(&Change {
        redo: (operation, &range),
        undo: (other, &range),
        clusters: &[volume.bitmap],
        ..Change::default()
    })
}

fn part(extent: Extent, nth: u64) -> Extent {
    Extent::new(extent.start() + nth * CLUSTER, CLUSTER).unwrap()
}

/// A change that is none.
fn nothing(log: &mut Log, len: usize) -> u64 {
    log.change(&Change {
        redo: (0, &vec![0x5A; len]),
        ..Change::default()
    })
}

#[test]
fn clusters_that_only_the_journal_names_are_used() {
    let volume = volume();
    for second in [false, true] {
        let last = usize::try_from(volume.journal.len()).unwrap() / 4096 - 1;
        // In the middle of the ring, and over its end.
        for page in [60, last] {
            let mut log = volume.log(second, page);
            let first = volume.free[0];
            bits(&volume, &mut log, SET_BITS, part(first, 0));
            nothing(&mut log, 3000);
            // Over two pages.
            nothing(&mut log, 3000);
            bits(&volume, &mut log, CLEAR_BITS, part(first, 3));
            nothing(&mut log, 9000);
            let end = bits(&volume, &mut log, SET_BITS, part(first, 5));
            assert!(log.written().len() > 3);
            volume.put(&log.finish(end, None, end));
            let wanted = [0, 3, 5].map(|nth| part(first, nth));
            volume.holds(&wanted, &format!("{second} {page}"));
        }
    }
}

/// The newest content stands in a copy only, as on a machine whose power failed between the two.
#[test]
fn copies_of_pages_count_where_they_are_newer_and_where_the_page_is_torn() {
    let volume = volume();
    for (second, homes) in [(false, [2, 3]), (true, [2, 18])] {
        let mut log = volume.log(second, 60);
        bits(&volume, &mut log, SET_BITS, part(volume.free[0], 0));
        nothing(&mut log, 500);
        let older = log.page(60);
        let end = bits(&volume, &mut log, SET_BITS, part(volume.free[0], 2));
        let newer = log.copy(60);
        let wanted = [0, 2].map(|nth| part(volume.free[0], nth));
        let mut torn = older.clone();
        torn[1022] ^= 1;
        for page in [&older, &torn, &vec![0xFF; 4096]] {
            for home in homes {
                let mut bytes = log.finish(end, None, end);
                bytes[60 * 4096..61 * 4096].copy_from_slice(page);
                bytes[home * 4096..(home + 1) * 4096].copy_from_slice(&newer);
                volume.put(&bytes);
                volume.holds(&wanted, &format!("{second} {home}"));
                bytes[home * 4096..(home + 1) * 4096].fill(0xFF);
                volume.put(&bytes);
                volume.refuses();
            }
        }
    }
}

#[test]
fn a_record_that_was_only_begun_is_no_record() {
    let volume = volume();
    let mut log = volume.log(true, 60);
    let end = bits(&volume, &mut log, SET_BITS, part(volume.free[0], 0));
    log.record(1, &vec![0x11; 5000]);
    let mut bytes = log.finish(end, None, end);
    bytes[61 * 4096..62 * 4096].fill(0xFF);
    volume.put(&bytes);
    volume.holds(&[part(volume.free[0], 0)], "cut off");
    // Something behind it ended all the same.
    let last = nothing(&mut log, 30);
    let mut bytes = log.finish(end, None, last);
    bytes[61 * 4096..62 * 4096].fill(0xFF);
    volume.put(&bytes);
    assert!(
        volume
            .refuses()
            .contains("a record of its journal is missing")
    );
}

#[test]
fn what_is_not_understood_in_a_journal_leaves_nothing_free() {
    let volume = volume();
    let refuses = |make: &dyn Fn(&mut Log), edit: &dyn Fn(&mut Vec<u8>), why: &str| {
        let mut log = volume.log(true, 60);
        bits(&volume, &mut log, SET_BITS, part(volume.free[0], 0));
        make(&mut log);
        let end = nothing(&mut log, 20);
        let mut bytes = log.finish(end, None, end);
        edit(&mut bytes);
        volume.put(&bytes);
        let said = volume.refuses();
        assert!(said.contains(why), "{why}: {said}");
    };
    let same = |_: &mut Vec<u8>| {};
    let operation = |number: u16, data: &'static [u8], clusters: Vec<u64>| {
        move |log: &mut Log| {
            log.change(&Change {
                redo: (number, data),
                clusters: &clusters,
                ..Change::default()
            });
        }
    };
    let bitmap = volume.bitmap;
    let far = 64 * MIB / CLUSTER;
    let table = pieces(&open(&volume.file), NodeId(0))[0].extent.start() / CLUSTER;
    refuses(&operation(0x26, &[], vec![5]), &same, "of an unknown kind");
    refuses(&operation(0x17, &[], vec![5]), &same, "gone bad");
    refuses(
        &operation(8, &[0xFF; 8], vec![bitmap]),
        &same,
        "rewrites its bitmap",
    );
    refuses(
        &operation(8, &[0xFF; 8], vec![]),
        &same,
        "rewrites its bitmap",
    );
    refuses(&operation(SET_BITS, &[1, 0], vec![5]), &same, "is damaged");
    refuses(&operation(0, &[], vec![far]), &same, "outside the volume");
    refuses(
        &operation(5, &[0x80, 0, 0, 0, 9, 0, 0, 0], vec![5]),
        &same,
        "an attribute in its journal",
    );
    let moved = |log: &mut Log| {
        // Records 4 to 7 are in this cluster, each of two sectors.
        log.change(&Change {
            redo: (9, &[0x11, 1, 1, 0]),
            clusters: &[table + 1],
            vcn: 1,
            sectors: 4,
            ..Change::default()
        });
    };
    refuses(&moved, &same, "where its bitmap stands");
    let strange = |log: &mut Log| {
        log.record(3, &[0; 40]);
    };
    refuses(&strange, &same, "unknown kind");
    refuses(
        &|_| {},
        &|bytes| bytes[60 * 4096 + 1022] ^= 1,
        "in part only",
    );
    refuses(
        &|_| {},
        &|bytes| bytes[200 * 4096..200 * 4096 + 4].copy_from_slice(b"BAAD"),
        "in part only",
    );
    refuses(
        &|_| {},
        &|bytes| bytes[60 * 4096..61 * 4096].fill(0xFF),
        "does not reach back",
    );
    for (at, value, why) in [
        (26, &[7u8, 0][..], "unknown format"),
        (48 + 38, &[0, 8], "unknown format"),
        (48 + 24, &[0xFF; 8], "unknown format"),
        // Newer than everything in it.
        (48, &[0xFF; 6], "is missing"),
        // The oldest record that is needed is not there.
        (112, &[0x41, 0, 0], "does not reach back"),
    ] {
        let edit = |bytes: &mut Vec<u8>| {
            for page in [0, 4096] {
                bytes[page + at..page + at + value.len()].copy_from_slice(value);
            }
        };
        refuses(&|_| {}, &edit, why);
    }
}

#[test]
fn a_sleeping_windows_with_an_open_journal_leaves_nothing_free() {
    let volume = volume();
    let mounted = Mounted::new(volume.file.path(), "rw");
    std::fs::write(mounted.at("hiberfil.sys"), "hibr".repeat(2000)).unwrap();
    mounted.end();
    let mut log = volume.log(true, 60);
    let end = nothing(&mut log, 20);
    volume.put(&log.finish(end, None, end));
    let found = read(&volume.file);
    assert_eq!(found.state, State::Hibernated);
    assert_eq!(
        whole(&found),
        "its journal was not closed, and Windows sleeps"
    );
}

/// Whatever ntfs-3g's recovery puts to use was in the map before it.
#[test]
fn what_ntfsrecover_replays_is_in_the_map() {
    let volume = volume();
    let mut log = volume.log(false, 59);
    let wanted = part(volume.free[0], 1);
    // A whole page: the next one begins with a record.
    nothing(&mut log, 4096 - 64 - 48 - 40);
    // A mark to begin from, with nothing open and nothing waiting.
    let mut mark = vec![0; 0x68];
    mark[0] = 1;
    let restart = log.record(2, &mark);
    bits(&volume, &mut log, SET_BITS, wanted);
    let end = log.change(&Change {
        redo: (0x1B, &[]),
        undo: (1, &[]),
        ..Change::default()
    });
    let mut bytes = log.finish(restart, Some(restart), end);
    // It wants both copies, and something older in all other pages.
    for copy in [2, 3] {
        bytes[copy * 4096..(copy + 1) * 4096].copy_from_slice(&log.copy(60));
    }
    let mut older = volume.log(false, 4).before();
    while older.written().len() < bytes.len() / 4096 - 4 {
        nothing(&mut older, 1000);
    }
    for page in older
        .written()
        .into_iter()
        .filter(|page| ![59, 60].contains(page))
    {
        bytes[page * 4096..(page + 1) * 4096].copy_from_slice(&older.page(page));
    }
    volume.put(&bytes);
    volume.holds(&[wanted], "before");
    let found = read(&volume.file);
    let path = volume.file.path().to_str().unwrap();
    let said = run("ntfsrecover", "ntfs-3g", &["-s", "-v", path], "");
    let after = read(&volume.file);
    let (basis, used) = map(&after);
    assert_eq!(basis, Basis::Records, "{said}");
    assert!(used.covers(wanted), "it was not replayed: {said}");
    assert!(used.difference(map(&found).1).is_empty());
}

/// Those of Windows: the folder that `RESCUE_NTFS_LOGS` names holds dfir_ntfs' `test_data/LogFile_*.bin`. Each is put
/// into a volume of another size and said to be open, from the first record on that is left in it.
#[test]
fn journals_of_windows_are_followed_to_their_end() {
    let Some(folder) = std::env::var_os("RESCUE_NTFS_LOGS") else {
        println!("RESCUE_NTFS_LOGS is not set: only journals made here are judged");
        return;
    };
    // What that parser finds: how many clusters are set or cleared.
    for (name, oldest, clusters) in [
        ("LogFile_10.bin", Some(0x80_4408u64), 11),
        ("LogFile_7.bin", Some(0x80_081C), 5540),
        ("LogFile_10_large.bin", None, 0),
        ("LogFile_10_downgraded.bin", None, 0),
    ] {
        let mut bytes = std::fs::read(std::path::Path::new(&folder).join(name)).unwrap();
        for page in [0, 4096] {
            bytes[page + 62] = 0;
            if let Some(oldest) = oldest {
                bytes[page + 112..page + 120].copy_from_slice(&oldest.to_le_bytes());
            }
        }
        let file = blank(16 << 30);
        mkntfs(&file, &["-c", "4096"]);
        let place = pieces(&open(&file), NodeId(2))[0].extent;
        let before = crate::used_by(&open(&file));
        write_at(&file, place.start(), &bytes);
        let found = read(&file);
        let (basis, used) = map(&found);
        let added = used.difference(&before).total_bytes() / CLUSTER;
        println!("{name}: {}; {added} clusters more", dirty(&found));
        assert_eq!(basis, Basis::Union);
        // Besides those, the pages that records change; some are in use anyway.
        assert!(added + 40 >= clusters, "{name}");
    }
}
