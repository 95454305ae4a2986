//! An NTFS volume with millions of files, written without a driver.
//!
//! mkntfs makes the volume. This writes what a driver that made and deleted files would leave in the file table: for
//! every file a record of its own in use, with times, a name in the root and its content; the file table's clusters in
//! [`PARTS`] more pieces, its own bitmap, its sizes, the copy of its first records, and every cluster in the volume's
//! bitmap. Every third record made belongs to a deleted file: not in use, its clusters free. Of the files
//! every eighth has its content in the record, every sixteenth in three runs, and every thousandth has an attribute
//! list and its content in a record of its own; the others have one cluster each, and no content is written.
//!
//! What it is not: the root's index does not name the files (they are orphans, as after a lost index), and the times
//! are all the same. `ntfsresize --info`, which counts the owners of every cluster, `ntfsfix`, `ntfsinfo` and
//! `ntfscluster` take it for a sound volume.
//!
//! After the Linux-NTFS project's documentation.

mod record;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use record::{
    BITMAP, DATA, Record, attribute_list, file_name, mapped, resident, standard_information,
};

/// Pieces that the file table grows by.
const PARTS: u64 = 16;
/// As mkntfs makes records and clusters of a volume of up to 16 TB.
const RECORD: u64 = 1024;
const CLUSTER: u64 = 4096;
const BITMAP_RECORD: u64 = 6;
/// The first record that a file of a person's may have.
const FIRST: u64 = 64;
/// Every so many records are written at once.
const PIECE: u64 = 4096;

/// Fills a volume that mkntfs has just made with `files` files that exist, and half as many that were deleted.
pub fn fill(disk: &Path, files: u64) -> io::Result<()> {
    let mut volume = Volume::open(disk)?;
    let mut makers = Maker::default();
    let table = volume.grow_table(records_for(files))?;
    let mut bytes = Vec::new();
    for first in (0..table.records).step_by(usize::try_from(PIECE).expect("it is small")) {
        let end = (first + PIECE).min(table.records);
        bytes.clear();
        for number in first..end {
            let record = match number {
                ..FIRST => Record::unused(number),
                _ => makers.next(number, &mut volume.room, files),
            };
            bytes.extend(record.finish());
        }
        // Those of mkntfs stay as they are.
        let kept = (volume.kept * RECORD).saturating_sub(first * RECORD);
        let kept = kept.min((end - first) * RECORD);
        let from = usize::try_from(kept).expect("a piece is small");
        write_runs(
            &volume.file,
            &table.runs,
            first * RECORD + kept,
            &bytes[from..],
        )?;
    }
    if makers.made != files {
        return Err(other(format!("{} of {files} files were made", makers.made)));
    }
    volume.finish(&table, &makers)
}

/// Three records for two files, one more for a content elsewhere, and whole clusters.
fn records_for(files: u64) -> u64 {
    (FIRST + files * 3 / 2 + files / LISTED + 8).next_multiple_of(CLUSTER / RECORD)
}

fn other(text: String) -> io::Error {
    io::Error::other(text)
}

/// First cluster and count.
type Run = (u64, u64);

struct Volume {
    file: File,
    /// How many records mkntfs made.
    kept: u64,
    first: Record,
    table_start: Vec<Run>,
    mirror: u64,
    bitmap: Vec<Run>,
    room: Room,
}

struct Table {
    records: u64,
    runs: Vec<Run>,
    bitmap: Run,
}

impl Volume {
    fn open(disk: &Path) -> io::Result<Volume> {
        let file = OpenOptions::new().read(true).write(true).open(disk)?;
        let mut boot = [0; 512];
        file.read_exact_at(&mut boot, 0)?;
        let number = |at: usize| u64::from_le_bytes(boot[at..at + 8].try_into().expect("eight"));
        let sector = u64::from(u16::from_le_bytes([boot[11], boot[12]]));
        // 0xF6: two to the power of ten bytes.
        if &boot[3..7] != b"NTFS" || sector * u64::from(boot[13]) != CLUSTER || boot[64] != 0xF6 {
            return Err(other("it is not the volume that mkntfs makes".into()));
        }
        let clusters = number(40) / u64::from(boot[13]);
        let (table, mirror) = (number(48), number(56));
        let read = |record: u64| -> io::Result<Record> {
            let mut bytes = vec![0; usize::try_from(RECORD).expect("it is small")];
            file.read_exact_at(&mut bytes, table * CLUSTER + record * RECORD)?;
            Record::parse(bytes)
                .ok_or_else(|| other(format!("record {record} is not what mkntfs writes")))
        };
        let no_data = || other("mkntfs gave a record no clusters".into());
        let first = read(0)?;
        let (table_start, size) = first.stream(DATA).ok_or_else(no_data)?;
        let (bitmap, len) = read(BITMAP_RECORD)?.stream(DATA).ok_or_else(no_data)?;
        let mut bits = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        read_runs(&file, &bitmap, &mut bits)?;
        Ok(Volume {
            kept: size / RECORD,
            first,
            table_start,
            mirror,
            bitmap,
            room: Room {
                bits,
                clusters,
                next: clusters / 64,
            },
            file,
        })
    }

    /// Takes clusters for a table of so many records and for its bitmap.
    fn grow_table(&mut self, records: u64) -> io::Result<Table> {
        let begun: u64 = self.table_start.iter().map(|run| run.1).sum();
        let more = (records * RECORD / CLUSTER).saturating_sub(begun);
        let mut runs = self.table_start.clone();
        let each = more.div_ceil(PARTS).max(1);
        let mut left = more;
        while left > 0 {
            let len = each.min(left);
            runs.push((self.room.take(len)?, len));
            self.room.next += 7;
            left -= len;
        }
        let len = records.div_ceil(8).div_ceil(CLUSTER);
        Ok(Table {
            records: runs.iter().map(|run| run.1).sum::<u64>() * CLUSTER / RECORD,
            runs,
            bitmap: (self.room.take(len)?, len),
        })
    }

    /// What says where all this is: last.
    fn finish(mut self, table: &Table, makers: &Maker) -> io::Result<()> {
        let mut used = makers.bits.clone();
        let mut own = [0; 8];
        let (place, _) = self
            .first
            .stream(BITMAP)
            .expect("mkntfs gives the table a bitmap");
        read_runs(&self.file, &place, &mut own)?;
        let size =
            usize::try_from(table.records.div_ceil(8).next_multiple_of(8)).expect("it is small");
        used.resize(size, 0);
        for (used, own) in used.iter_mut().zip(own) {
            *used |= own;
        }
        write_runs(&self.file, &[table.bitmap], 0, &used)?;
        self.room.set(place[0], false);
        let len = table.records * RECORD;
        self.first.replace(&[
            mapped(DATA, 1, &table.runs, len),
            mapped(BITMAP, 3, &[table.bitmap], used.len() as u64),
        ]);
        let first = self.first.finish();
        self.file.write_all_at(&first, table.runs[0].0 * CLUSTER)?;
        self.file.write_all_at(&first, self.mirror * CLUSTER)?;
        write_runs(&self.file, &self.bitmap, 0, &self.room.bits)?;
        self.file.sync_all()
    }
}

/// Clusters that nobody has yet.
struct Room {
    bits: Vec<u8>,
    clusters: u64,
    next: u64,
}

impl Room {
    /// The next so many in a row.
    fn take(&mut self, len: u64) -> io::Result<u64> {
        loop {
            let run = (self.next, len);
            if run.0 + len > self.clusters {
                return Err(other("the volume is too small for so many files".into()));
            }
            match (run.0..run.0 + len).rev().find(|n| self.has(*n)) {
                Some(taken) => self.next = taken + 1,
                None => {
                    self.set(run, true);
                    self.next += len;
                    return Ok(run.0);
                }
            }
        }
    }

    fn has(&self, cluster: u64) -> bool {
        self.bits[byte(cluster)] & 1 << (cluster % 8) != 0
    }

    fn set(&mut self, run: Run, used: bool) {
        for n in run.0..run.0 + run.1 {
            match used {
                true => self.bits[byte(n)] |= 1 << (n % 8),
                false => self.bits[byte(n)] &= !(1 << (n % 8)),
            }
        }
    }
}

fn byte(bit: u64) -> usize {
    usize::try_from(bit / 8).expect("the bitmap is in memory")
}

const DELETED: u64 = 3;
const INSIDE: u64 = 8;
const IN_PIECES: u64 = 16;
const LISTED: u64 = 1000;

/// Makes one record after the other.
#[derive(Default)]
struct Maker {
    made: u64,
    count: u64,
    /// The content of the file before, which is to be the next record: number of its file, and its clusters.
    elsewhere: Option<(u64, Run)>,
    /// Records in use.
    bits: Vec<u8>,
}

impl Maker {
    fn next(&mut self, number: u64, room: &mut Room, files: u64) -> Record {
        if let Some((base, run)) = self.elsewhere.take() {
            self.mark(number);
            let data = mapped(DATA, 0, &[run], run.1 * CLUSTER);
            return Record::used(number, Some(base), &[data]);
        }
        self.count += 1;
        if self.made == files {
            return Record::unused(number);
        }
        if self.count.is_multiple_of(DELETED) {
            // Its cluster stays free, and is a gap in the map.
            room.next += 1;
            return Record::unused(number);
        }
        self.made += 1;
        self.mark(number);
        let name = file_name(&format!("file{number:08}"));
        let mut take = |len| (room.take(len).expect("a volume of 1 TB has room"), len);
        if self.made.is_multiple_of(LISTED) {
            self.elsewhere = Some((number, take(3)));
            let list = attribute_list(number, number + 1);
            return Record::used(number, None, &[standard_information(), list, name]);
        }
        let data = if self.made.is_multiple_of(IN_PIECES) {
            let runs = [take(2), take(1), take(3)].map(|run| run);
            mapped(DATA, 2, &runs, 6 * CLUSTER - 100)
        } else if self.made.is_multiple_of(INSIDE) {
            resident(DATA, 2, b"a content that is small enough to lie here", 0)
        } else {
            mapped(DATA, 2, &[take(1)], CLUSTER)
        };
        Record::used(number, None, &[standard_information(), name, data])
    }

    fn mark(&mut self, number: u64) {
        if self.bits.len() <= byte(number) {
            self.bits.resize(byte(number) + 1, 0);
        }
        self.bits[byte(number)] |= 1 << (number % 8);
    }
}

fn read_runs(file: &File, runs: &[Run], bytes: &mut [u8]) -> io::Result<()> {
    let mut rest = bytes;
    for (cluster, count) in runs {
        let len = usize::try_from(count * CLUSTER).map_err(io::Error::other)?;
        let (now, more) = rest.split_at_mut(len.min(rest.len()));
        file.read_exact_at(now, cluster * CLUSTER)?;
        rest = more;
    }
    Ok(())
}

/// `bytes` from `offset` of a stream on.
fn write_runs(file: &File, runs: &[Run], offset: u64, bytes: &[u8]) -> io::Result<()> {
    let (mut at, mut rest, mut first) = (offset, bytes, 0);
    for (cluster, count) in runs {
        let end = first + count * CLUSTER;
        if at < end && !rest.is_empty() {
            let len = usize::try_from(end - at).map_err(io::Error::other)?;
            let (now, more) = rest.split_at(len.min(rest.len()));
            file.write_all_at(now, cluster * CLUSTER + (at - first))?;
            at += now.len() as u64;
            rest = more;
        }
        first = end;
    }
    match rest {
        [] => Ok(()),
        _ => Err(other("a stream is too short for its content".into())),
    }
}

#[cfg(test)]
mod tests;
