//! A directory of Clonezilla or Rescuezilla: the table and its surroundings as files, every partition a stream.

mod parts;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use disk::extent::Extent;
use disk::geometry::Geometry;
use disk::source::{self, BlockSource, ReadError, read_vec};

use crate::error::ForeignError;
use crate::packed::Packing;
use crate::partclone::{Header, Image, Plain};
use crate::stream::{Begin, Content, Stream};
use crate::{File, Folder, Opened, Order};
use parts::{Listed, Part, listed};

const NAME: &str = "Clonezilla";
const SECTOR: u64 = 512;
/// Largest file that stands beside the partitions.
const BESIDE_LIMIT: u64 = 16 << 20;
/// Partitions whose streams are kept open: at a border two are read.
const OPEN: usize = 2;

/// A disk, of which every partition is cheap to read in order only. `disk` is its name in the directory (`sda`),
/// which may be left out where there is one.
pub fn open(folder: &dyn Folder, disk: Option<&str>) -> Result<Option<Opened>, ForeignError> {
    let names = folder.names().map_err(unsupported)?;
    let has = |name: &str| names.iter().any(|other| other == name);
    if !has("parts") || !has("disk") {
        return Ok(None);
    }
    let disks = words(folder, "disk")?;
    let disk = match (disk, disks.as_slice()) {
        (Some(disk), _) if disks.iter().any(|other| other == disk) => disk.to_owned(),
        (None, [one]) => one.clone(),
        _ => {
            return Err(unsupported(format!(
                "that holds the disks {}; move the files of all but one into another directory",
                disks.join(", ")
            )));
        }
    };
    let listing = text(folder, &format!("{disk}-pt.sf"))?;
    let listed = listed(&listing, &disk).ok_or_else(|| {
        unsupported(format!(
            "whose {disk}-pt.sf does not list partitions; restore it with Clonezilla and image the disk"
        ))
    })?;
    let mut source = Composed::default();
    let mut notes = Vec::new();
    let saved = words(folder, "parts")?;
    for part in &listed.partitions {
        if !saved.contains(&part.name) {
            continue;
        }
        match stream(folder, &names, part, &mut notes)? {
            Some(stream) => source.streams.push((part.extent, stream)),
            None => notes.push(format!(
                "{} has no image in it and reads as zeros",
                part.name
            )),
        }
    }
    source.streams.sort_by_key(|(extent, _)| extent.start());
    source.beside(folder, &names, &disk, &listed)?;
    Ok(Some(Opened {
        format: NAME,
        order: Order::Forward,
        source: Box::new(source),
        notes,
    }))
}

fn unsupported(what: String) -> ForeignError {
    ForeignError::Unsupported { format: NAME, what }
}

fn bytes(folder: &dyn Folder, name: &str) -> Result<Vec<u8>, ForeignError> {
    let file = folder.open(name);
    let file = file.map_err(|why| unsupported(format!("whose {name} cannot be opened ({why})")))?;
    Ok(read_vec(&file, 0, file.size_bytes().min(BESIDE_LIMIT))?)
}

fn text(folder: &dyn Folder, name: &str) -> Result<String, ForeignError> {
    let bytes = bytes(folder, name)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn words(folder: &dyn Folder, name: &str) -> Result<Vec<String>, ForeignError> {
    let text = text(folder, name)?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// The files `sda1.ext4-ptcl-img.gz.aa`, `.ab`, …, or one without a suffix.
fn stream(
    folder: &dyn Folder,
    names: &[String],
    partition: &Part,
    notes: &mut Vec<String>,
) -> Result<Option<Stream<Device>>, ForeignError> {
    let mut found: Vec<&String> = names
        .iter()
        .filter(|name| {
            let rest = name
                .strip_prefix(&*partition.name)
                .and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|rest| rest.contains("-ptcl-img") || rest.starts_with("dd-img"))
        })
        .collect();
    found.sort();
    let Some(first) = found.first() else {
        return Ok(None);
    };
    let files = found.iter().map(|name| folder.open(name));
    let files: Result<Vec<File>, String> = files.collect();
    let files =
        files.map_err(|why| unsupported(format!("whose {first} cannot be opened ({why})")))?;
    let front = read_vec(&files[0], 0, files[0].size_bytes().min(16))?;
    let packing = Packing::of(&front).ok_or_else(|| {
        unsupported(format!(
            "whose {first} is compressed in a way that is not known here; use gzip, zstd or xz"
        ))
    })?;
    let broken =
        |error: std::io::Error| unsupported(format!("whose {first} cannot be read ({error})"));
    let mut content = packing.open(&files).map_err(broken)?;
    let header = Header::read(&mut content);
    let header =
        header.map_err(|why| unsupported(format!("whose {first} cannot be read: {why}")))?;
    let blind = header.as_ref().and_then(Header::blind);
    notes.extend(blind.map(|why| format!("{} {why}", partition.name)));
    Ok(Some(match header {
        Some(header) => {
            let parts = files;
            Stream::new(Device::Partclone(Image { parts, packing }), header.bytes())
        }
        // What partclone does not know is saved byte for byte.
        None => {
            let parts = files;
            Stream::new(
                Device::Plain(Plain { parts, packing }),
                partition.extent.len(),
            )
        }
    }))
}

enum Device {
    Partclone(Image),
    Plain(Plain),
}

impl Begin for Device {
    fn packed_bytes(&self) -> u64 {
        match self {
            Device::Partclone(image) => image.packed_bytes(),
            Device::Plain(plain) => plain.packed_bytes(),
        }
    }

    fn begin(&self) -> std::io::Result<Box<dyn Content>> {
        match self {
            Device::Partclone(image) => image.begin(),
            Device::Plain(plain) => plain.begin(),
        }
    }
}

/// Streams at their places, bytes beside them, zeros for the rest.
#[derive(Default)]
struct Composed {
    size_bytes: u64,
    /// Ascending, disjoint.
    streams: Vec<(Extent, Stream<Device>)>,
    /// Over everything else, the last first.
    patches: Vec<(u64, Vec<u8>)>,
    /// Numbers of streams that were read last.
    open: Mutex<VecDeque<usize>>,
}

impl Composed {
    /// The boot code, what lies behind it, and the tables at both ends.
    fn beside(
        &mut self,
        folder: &dyn Folder,
        names: &[String],
        disk: &str,
        listed: &Listed,
    ) -> Result<(), ForeignError> {
        let has = |name: &str| names.iter().any(|other| other == name);
        let take = |name: String| match has(&name) {
            true => bytes(folder, &name).map(Some),
            false => Ok(None),
        };
        let end = self.streams.iter().map(|(extent, _)| extent.end()).max();
        let end = listed
            .partitions
            .iter()
            .map(|part| part.extent.end())
            .max()
            .max(end);
        let told = take(format!("{disk}-pt.parted"))?;
        let told = told.and_then(|text| parts::disk_sectors(&String::from_utf8_lossy(&text)));
        let told = told.and_then(|sectors| sectors.checked_mul(SECTOR));
        self.size_bytes = told.unwrap_or(0).max(end.unwrap_or(0));
        if let Some(bytes) = take(format!("{disk}-hidden-data-after-mbr"))? {
            self.patches.push((SECTOR, bytes));
        }
        if let Some(mut bytes) = take(format!("{disk}-mbr"))? {
            bytes.truncate(512);
            self.patches.push((0, bytes));
        }
        if let Some(bytes) = take(format!("{disk}-gpt-1st"))? {
            self.patches.push((0, bytes));
        }
        if let Some(bytes) = take(format!("{disk}-gpt-2nd"))? {
            let at = self.size_bytes.saturating_sub(bytes.len() as u64);
            self.patches.push((at, bytes));
        }
        // EBRs stand in front of the logical partitions.
        if let (Some(bytes), Some(extended)) = (take(format!("{disk}-ebr"))?, listed.extended) {
            self.patches.push((extended.start(), bytes));
        }
        let size = self.size_bytes;
        self.patches
            .retain(|(at, bytes)| at + bytes.len() as u64 <= size);
        if self.size_bytes == 0 {
            return Err(unsupported(
                "that does not say how large its disk was".into(),
            ));
        }
        Ok(())
    }

    fn stream(&self, nth: usize, within: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let gone = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|other| *other != nth);
            open.push_back(nth);
            if open.len() > OPEN {
                open.pop_front()
            } else {
                None
            }
        };
        if let Some((_, stream)) = gone.and_then(|gone| self.streams.get(gone)) {
            stream.rest();
        }
        let (place, stream) = &self.streams[nth];
        let there = stream.size_bytes().saturating_sub(within);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
        let (front, behind) = buf.split_at_mut(there);
        behind.fill(0);
        stream.read_at(within, front).map_err(|error| match error {
            ReadError::Unreadable(lost) => match lost.shifted(place.start()) {
                Some(lost) => ReadError::Unreadable(lost),
                None => error,
            },
            error => error,
        })
    }
}

impl BlockSource for Composed {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn packed_bytes(&self) -> Option<u64> {
        let packed = self.streams.iter().filter_map(|(_, s)| s.packed_bytes());
        Some(packed.fold(0, u64::saturating_add))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let Some(asked) = source::asked(offset, buf.len() as u64, self.size_bytes)? else {
            return Ok(());
        };
        let index = |at: u64| usize::try_from(at - offset).expect("it lies in the buffer");
        buf.fill(0);
        for (nth, (place, _)) in self.streams.iter().enumerate() {
            if let Some(part) = place.intersect(asked) {
                let to = index(part.start())..index(part.end());
                self.stream(nth, part.start() - place.start(), &mut buf[to])?;
            }
        }
        for (at, bytes) in &self.patches {
            let place = Extent::new(*at, bytes.len() as u64);
            if let Some(part) = place.and_then(|place| place.intersect(asked)) {
                let from = usize::try_from(part.start() - at).expect("it lies in the patch");
                let to = index(part.start())..index(part.end());
                // A table never stands in a partition.
                let free = !self
                    .streams
                    .iter()
                    .any(|(place, _)| place.intersect(part).is_some());
                if free || *at == 0 {
                    buf[to.clone()].copy_from_slice(&bytes[from..from + to.len()]);
                }
            }
        }
        Ok(())
    }
}
