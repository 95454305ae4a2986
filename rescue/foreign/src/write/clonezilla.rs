//! A directory that Clonezilla restores: every partition a stream, the table as its tools wrote it down, in one pass.
//!
//! The names and what stands in them are those of `ocs-sr` of Clonezilla 5; `sfdisk` and `partclone` read the rest.

mod stream;
mod texts;

use std::io::{self, Write};
use std::sync::Arc;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use disk::layout::{Content, Layout, Owner};
use disk::table::{Role, Scheme, Table};

use stream::Stream;

const SECTOR: u64 = 512;
/// The name of the disk in the directory.
const DISK: &str = "sda";
/// Of what stands between an MBR and the first partition.
const HIDDEN_LIMIT: u64 = 1 << 20;

/// Where the files go.
pub trait OutFolder: Send + Sync {
    /// A new file.
    fn create(&self, name: &str) -> io::Result<Box<dyn Write + Send>>;
}

/// Why a disk cannot be written so; `None` where it can.
pub fn refuses(geometry: Geometry, layout: &Layout) -> Option<String> {
    let other = "choose another format, raw for example";
    let Some(table) = &layout.table else {
        return Some(format!(
            "a Clonezilla directory holds a disk with a partition table, and there is none; {other}"
        ));
    };
    if geometry.logical_sector != 512 || table.sector_size != 512 {
        return Some(format!(
            "a Clonezilla directory holds a disk with sectors of 512 bytes; {other}"
        ));
    }
    if !table.trusted {
        return Some(format!(
            "Clonezilla makes the partition table anew from a list, and this one is doubtful; {other}"
        ));
    }
    partitions(layout)
        .is_empty()
        .then(|| format!("a Clonezilla directory holds partitions, and there is none; {other}"))
}

/// What of a disk is not in such a directory.
pub fn left_out(layout: &Layout) -> Option<&'static str> {
    let table = layout.table.as_ref()?;
    let is_gap = |owner: &Owner| matches!(owner, Owner::Gap);
    let gaps = layout.regions.iter().any(|region| is_gap(&region.owner));
    (gaps && table.scheme == Scheme::Gpt)
        .then_some("what stands between the partitions is not part of a Clonezilla directory")
}

/// What of a disk is in such a directory.
pub fn holds(geometry: Geometry, layout: &Layout) -> ExtentMap {
    let Some(table) = &layout.table else {
        return ExtentMap::new();
    };
    let beside = beside(geometry.size_bytes, table);
    let places = beside.into_iter().map(|(_, place)| place);
    let parts = partitions(layout).into_iter().map(|part| part.extent);
    parts.chain(places).collect()
}

/// What stands beside the partitions, and the file of each place.
fn beside(size_bytes: u64, table: &Table) -> Vec<(&'static str, Extent)> {
    let mut places = Vec::new();
    let mut keep = |name, from: u64, to: u64| {
        let place = Extent::between(from, to.min(size_bytes));
        places.extend(place.map(|place| (name, place)));
    };
    keep("mbr", 0, SECTOR);
    match table.scheme {
        Scheme::Gpt => {
            keep("gpt-1st", 0, 34 * SECTOR);
            // With all of its entries: Clonezilla takes one sector less, and writes it to the same end.
            let second = size_bytes.saturating_sub(33 * SECTOR);
            keep("gpt-2nd", second, size_bytes);
        }
        Scheme::Mbr => {
            let first = table.partitions.first();
            let first = first.map_or(HIDDEN_LIMIT, |first| first.extent.start());
            keep("hidden-data-after-mbr", SECTOR, first.min(HIDDEN_LIMIT));
            let mut all = table.partitions.iter();
            if let Some(extended) = all.find(|part| part.role == Role::Extended) {
                let start = extended.extent.start();
                keep("ebr", start, start + SECTOR);
            }
        }
    }
    places
}

/// One that has a stream.
struct Part {
    /// `sda1`
    name: String,
    extent: Extent,
    /// As `blkid` calls it; `None` for what is none.
    filesystem: Option<String>,
    label: Option<String>,
    uuid: Option<String>,
}

fn partitions(layout: &Layout) -> Vec<Part> {
    let parts = layout
        .partitions()
        .filter(|(partition, _)| partition.role != Role::Extended);
    let mut parts: Vec<Part> = parts
        .map(|(partition, content)| {
            let found = match content {
                Content::Filesystem(found) => Some(found),
                Content::Layer(_) | Content::Unknown(_) => None,
            };
            Part {
                name: format!("{DISK}{}", partition.number),
                extent: partition.extent,
                filesystem: found.map(|found| found.kind.clone()),
                label: found.and_then(|found| found.label.clone()),
                uuid: found.and_then(|found| found.uuid.clone()),
            }
        })
        .collect();
    parts.sort_by_key(|part| part.extent.start());
    parts
}

/// The parts of a disk, ascending, then the end.
pub struct Directory {
    folder: Arc<dyn OutFolder>,
    geometry: Geometry,
    table: Table,
    parts: Vec<Part>,
    used: ExtentMap,
    level: i32,
    /// The partition that is written, or will be next.
    nth: usize,
    open: Option<Stream>,
    /// Places beside the partitions and the files that get them.
    beside: Vec<(String, Extent, Vec<u8>)>,
}

impl Directory {
    /// The disk is one that [`refuses`] does not refuse; `used` is what will come of it.
    pub fn new(
        geometry: Geometry,
        layout: &Layout,
        used: &ExtentMap,
        level: i32,
        folder: Arc<dyn OutFolder>,
    ) -> io::Result<Directory> {
        let table = layout.table.clone();
        let table = table.ok_or_else(|| io::Error::other("the disk has no partition table"))?;
        let beside = beside(geometry.size_bytes, &table).into_iter();
        let beside = beside.map(|(name, place)| {
            let len = usize::try_from(place.len()).expect("it is at most 1 MiB");
            (format!("{DISK}-{name}"), place, vec![0; len])
        });
        Ok(Directory {
            folder,
            geometry,
            parts: partitions(layout),
            used: used.clone(),
            level,
            nth: 0,
            open: None,
            beside: beside.collect(),
            table,
        })
    }

    /// Behind what was put before.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(put) = Extent::new(offset, bytes.len() as u64) else {
            return Ok(());
        };
        let at = |offset: u64| usize::try_from(offset - put.start()).expect("it lies in the piece");
        for (_, place, kept) in &mut self.beside {
            if let Some(part) = place.intersect(put) {
                let into = usize::try_from(part.start() - place.start()).expect("it is small");
                let part = &bytes[at(part.start())..at(part.end())];
                kept[into..into + part.len()].copy_from_slice(part);
            }
        }
        while let Some(part) = self.parts.get(self.nth) {
            let place = part.extent;
            if place.start() >= put.end() {
                break;
            }
            if let Some(part) = place.intersect(put) {
                let within = part.start() - place.start();
                self.stream()?
                    .put(within, &bytes[at(part.start())..at(part.end())])?;
            }
            if place.end() > put.end() {
                break;
            }
            self.close()?;
        }
        Ok(())
    }

    fn stream(&mut self) -> io::Result<&mut Stream> {
        let stream = match self.open.take() {
            Some(stream) => stream,
            None => {
                let part = &self.parts[self.nth];
                let used = self.used.within(part.extent);
                let used = used
                    .filter_map(|used| Extent::new(used.start() - part.extent.start(), used.len()));
                let used: ExtentMap = used.collect();
                Stream::new(part, &used, self.level, self.folder.clone())?
            }
        };
        Ok(self.open.insert(stream))
    }

    fn close(&mut self) -> io::Result<()> {
        self.stream()?;
        if let Some(stream) = self.open.take() {
            stream.finish()?;
        }
        self.nth += 1;
        Ok(())
    }

    /// The lists last: without them it is no image.
    pub fn finish(mut self) -> io::Result<()> {
        while self.nth < self.parts.len() {
            self.close()?;
        }
        for (name, _, bytes) in &self.beside {
            self.write(name, bytes)?;
        }
        let first = self
            .beside
            .iter()
            .find(|(name, _, _)| name.ends_with("gpt-1st"));
        let primary = first.map_or(&[][..], |(_, _, bytes)| bytes);
        let sectors = self.geometry.size_bytes / SECTOR;
        self.write(
            &format!("{DISK}-pt.sf"),
            texts::sfdisk(&self.table, primary).as_bytes(),
        )?;
        let parted = texts::parted(&self.table, &self.parts, sectors);
        self.write(&format!("{DISK}-pt.parted"), parted.as_bytes())?;
        self.write(
            &format!("{DISK}-chs.sf"),
            texts::cylinders(sectors).as_bytes(),
        )?;
        self.write("dev-fs.list", texts::filesystems(&self.parts).as_bytes())?;
        self.write(
            "blkdev.list",
            texts::devices(&self.parts, sectors).as_bytes(),
        )?;
        for swap in self
            .parts
            .iter()
            .filter(|part| part.filesystem.as_deref() == Some("swap"))
        {
            let name = format!("swappt-{}.info", swap.name);
            self.write(&name, texts::swap(swap).as_bytes())?;
        }
        self.write("clonezilla-img", texts::ABOUT.as_bytes())?;
        let names: Vec<&str> = self.parts.iter().map(|part| part.name.as_str()).collect();
        self.write("parts", format!("{}\n", names.join(" ")).as_bytes())?;
        self.write("disk", format!("{DISK}\n").as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.folder.create(name)?;
        file.write_all(bytes)?;
        file.flush()
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Directory")
    }
}
