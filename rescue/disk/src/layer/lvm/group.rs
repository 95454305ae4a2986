//! A volume group as its text describes it: which extents of this physical volume hold which volume.

use std::collections::{HashMap, HashSet};

use crate::extent::{Extent, ExtentMap};
use crate::layer::lvm::text::{Section, Value};
use crate::layer::{Mapping, Piece, Volume};

/// Volumes of one group.
const VOLUMES: usize = 4096;
/// Stretches of all volumes together.
const SEGMENTS: usize = 1 << 16;
/// Volumes that are parts of volumes.
const DEPTH: u32 = 8;
const SECTOR: u64 = 512;
/// Types of segments of which it is known where their extents are: in volumes of their own, but for `striped`.
const KNOWN: &[&str] = &[
    "striped",
    "linear",
    "mirror",
    "raid0",
    "raid0_meta",
    "raid1",
    "raid4",
    "raid5",
    "raid5_la",
    "raid5_ls",
    "raid5_n",
    "raid5_ra",
    "raid5_rs",
    "raid6",
    "raid6_la_6",
    "raid6_ls_6",
    "raid6_n_6",
    "raid6_nc",
    "raid6_nr",
    "raid6_ra_6",
    "raid6_rs_6",
    "raid6_zr",
    "raid10",
    "raid10_near",
    "cache",
    "cache-pool",
    "thin",
    "thin-pool",
    "snapshot",
    "vdo",
    "vdo-pool",
    "writecache",
    "integrity",
    "error",
    "zero",
];
/// States of a volume that say nothing against reading it as it stands.
const PLAIN: &[&str] = &["READ", "WRITE", "VISIBLE", "FIXED_MINOR"];
const PLAIN_FLAGS: &[&str] = &["ACTIVATION_SKIP", "WRITE_LOCKED"];

/// What the text says of this physical volume.
#[derive(Debug)]
pub struct Group {
    pub name: String,
    /// Where the extents are; everything outside belongs to LVM itself.
    pub data: Extent,
    pub volumes: Vec<Volume>,
    /// Why no extent can be called free.
    pub doubt: Option<String>,
}

/// The group, or why the text cannot be believed. `pv_uuid` says which of its physical volumes this is.
pub fn read(text: &str, pv_uuid: &str, size_bytes: u64) -> Result<Group, String> {
    let strange = || "its metadata is not as LVM writes it".to_owned();
    let text = Section::parse(text).ok_or_else(strange)?;
    if text.number("version") != Some(1) {
        return Err("its metadata is of a version that is not known here".into());
    }
    let mut groups = text.sections();
    let (name, group) = match (groups.next(), groups.next()) {
        (Some(group), None) => group,
        _ => return Err(strange()),
    };
    let extent_bytes = group
        .number("extent_size")
        .and_then(|sectors| sectors.checked_mul(SECTOR))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(strange)?;
    let disks = group.section("physical_volumes").ok_or_else(strange)?;
    let mut own = disks
        .sections()
        .filter(|(_, disk)| disk.text("id") == Some(pv_uuid));
    let (here, disk) = match (own.next(), own.next()) {
        (Some(disk), None) => disk,
        _ => return Err("its metadata does not know it".into()),
    };
    let data = data_of(disk, extent_bytes, size_bytes)
        .ok_or("its extents reach beyond its end".to_owned())?;
    let reading = Reading {
        here,
        disks: disks.sections().map(|(name, _)| name).collect(),
        data,
        extent_bytes,
        parents: parents(group),
        volumes: group.section("logical_volumes"),
    };
    let (volumes, broken) = match reading.volumes() {
        Ok(volumes) => (volumes, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    Ok(Group {
        name: name.to_owned(),
        data,
        volumes,
        doubt: broken.or_else(|| doubt(group, disks)),
    })
}

fn data_of(disk: &Section<'_>, extent_bytes: u64, size_bytes: u64) -> Option<Extent> {
    let start = disk.number("pe_start")?.checked_mul(SECTOR)?;
    let len = disk.number("pe_count")?.checked_mul(extent_bytes)?;
    Extent::new(start, len).filter(|data| data.end() <= size_bytes)
}

/// What of the group as a whole speaks against calling any extent free.
fn doubt(group: &Section<'_>, disks: &Section<'_>) -> Option<String> {
    let odd = |section: &Section<'_>, plain: &[&str]| {
        let words = section.words("status").zip(section.words("flags"));
        let Some((status, flags)) = words else {
            return Some("not as LVM writes it".to_owned());
        };
        let odd = status.into_iter().find(|word| !plain.contains(word));
        odd.or(flags.into_iter().next()).map(str::to_lowercase)
    };
    if let Some(word) = odd(group, &["READ", "WRITE", "RESIZEABLE"]) {
        return Some(format!("its volume group is {word}"));
    }
    if group
        .get("lock_type")
        .is_some_and(|lock| *lock != Value::Text("none"))
    {
        return Some("its volume group is shared by several machines".into());
    }
    let disk = disks
        .sections()
        .find_map(|(name, disk)| Some((name, odd(disk, &["ALLOCATABLE"])?)));
    if let Some((name, word)) = disk {
        return Some(format!("{name} of its volume group is {word}"));
    }
    let volumes = group.section("logical_volumes")?;
    let moved = volumes.sections().any(|(_, volume)| {
        let words = volume.words("status").unwrap_or_default();
        words.contains(&"PVMOVE") || words.contains(&"LOCKED")
    });
    moved.then(|| "a move of its extents was interrupted".into())
}

/// Which volumes name a volume in their segments: `(parent, type of its segment)`, by the name of the part.
type Parents<'a> = HashMap<&'a str, Vec<(&'a str, &'a str)>>;

fn parents<'a>(group: &Section<'a>) -> Parents<'a> {
    let mut parents = Parents::new();
    for (name, volume) in group
        .section("logical_volumes")
        .into_iter()
        .flat_map(Section::sections)
    {
        for (_, segment) in volume.sections() {
            let kind = segment.text("type").unwrap_or("");
            segment.strings(&mut |part| {
                let known = parents.entry(part).or_default();
                if !known.contains(&(name, kind)) {
                    known.push((name, kind));
                }
            });
        }
    }
    parents
}

struct Reading<'a, 'b> {
    /// The name of this physical volume within the group, and of all.
    here: &'a str,
    disks: HashSet<&'a str>,
    data: Extent,
    extent_bytes: u64,
    parents: Parents<'a>,
    volumes: Option<&'b Section<'a>>,
}

impl<'a> Reading<'a, '_> {
    /// Every volume with extents here.
    fn volumes(&self) -> Result<Vec<Volume>, String> {
        let mut volumes = Vec::new();
        let mut dealt = ExtentMap::new();
        let (mut count, mut segments) = (0, 0);
        for (name, section) in self.volumes.into_iter().flat_map(Section::sections) {
            count += 1;
            segments += section.sections().count();
            if count > VOLUMES || segments > SEGMENTS {
                return Err("its volume group has more volumes than are followed here".into());
            }
            let Some(volume) = self.volume(name, section)? else {
                continue;
            };
            for extent in volume.mapping.everything() {
                if dealt.within(extent).next().is_some() {
                    return Err(format!("{name} shares extents with another volume"));
                }
                dealt.insert(extent);
            }
            volumes.push(volume);
        }
        Ok(volumes)
    }

    /// `None` when nothing of it is here.
    fn volume(&self, name: &str, section: &Section<'a>) -> Result<Option<Volume>, String> {
        if !is_name(name) {
            return Err("a volume has a name that LVM does not give".into());
        }
        let mut pieces = Vec::new();
        let mut loose = Vec::new();
        let mut size_bytes = 0;
        for (_, segment) in section.sections() {
            let extent = self
                .segment_extent(segment)
                .ok_or_else(|| format!("a segment of {name} is not as LVM writes it"))?;
            size_bytes = extent.end().max(size_bytes);
            match self
                .placed(segment, extent)
                .map_err(|why| format!("{name}: {why}"))?
            {
                Placed::Elsewhere => {}
                Placed::Here(piece) => pieces.push(piece),
                Placed::Partly(extents) => loose.extend(extents),
            }
        }
        if pieces.is_empty() && loose.is_empty() {
            return Ok(None);
        }
        pieces.sort_by_key(|piece| piece.extent);
        let mapping = Mapping::with_loose(pieces, loose)
            .ok_or_else(|| format!("segments of {name} overlap"))?;
        let mut volume = match self.kept(name, section) {
            Some(why) => Volume::kept(name.into(), size_bytes, mapping, why),
            None => Volume::unread(name.into(), size_bytes, mapping),
        };
        volume.uuid = section.text("id").map(str::to_owned);
        Ok(Some(volume))
    }

    fn segment_extent(&self, segment: &Section<'a>) -> Option<Extent> {
        let start = segment
            .number("start_extent")?
            .checked_mul(self.extent_bytes)?;
        let len = segment
            .number("extent_count")?
            .checked_mul(self.extent_bytes)?;
        Extent::new(start, len)
    }

    /// Where a segment is. Segments of volumes that are made of volumes have nothing here themselves.
    fn placed(&self, segment: &Section<'a>, extent: Extent) -> Result<Placed, String> {
        let kind = segment.text("type").unwrap_or("");
        if !KNOWN.contains(&kind) {
            return Err(format!("segments of type “{kind}” are not known here"));
        }
        if !matches!(kind, "striped" | "linear") {
            let mut direct = false;
            segment.strings(&mut |word| direct |= self.disks.contains(word));
            return match direct {
                true => Err(format!(
                    "a segment of type “{kind}” is on a physical volume itself"
                )),
                false => Ok(Placed::Elsewhere),
            };
        }
        let strange = || "a segment is not as LVM writes it".to_owned();
        let stripes = segment.list("stripes").ok_or_else(strange)?;
        let count = u64::try_from(stripes.len() / 2).map_err(|_| strange())?;
        let whole =
            count > 0 && stripes.len() % 2 == 0 && segment.number("stripe_count") == Some(count);
        if !whole || !(extent.len() / self.extent_bytes).is_multiple_of(count) {
            return Err(strange());
        }
        let share = extent.len() / count;
        let mut here = Vec::new();
        for pair in stripes.chunks_exact(2) {
            let (Value::Text(disk), Value::Number(first)) = (&pair[0], &pair[1]) else {
                return Err(strange());
            };
            if *disk == self.here {
                here.push(self.run(*first, share).ok_or_else(strange)?);
            }
        }
        if here.is_empty() {
            return Ok(Placed::Elsewhere);
        }
        let columns: Vec<u64> = here.iter().map(|run| run.start()).collect();
        let piece = match (count, columns.as_slice()) {
            (1, [start]) => Some(Piece::linear(extent, *start)),
            (_, all) if all.len() as u64 == count => segment
                .number("stripe_size")
                .and_then(|sectors| sectors.checked_mul(SECTOR))
                .and_then(|bytes| Piece::striped(extent, bytes, columns)),
            _ => None,
        };
        Ok(piece.map_or(Placed::Partly(here), Placed::Here))
    }

    /// A run of extents as bytes of the physical volume.
    fn run(&self, first: u64, len: u64) -> Option<Extent> {
        let start = first
            .checked_mul(self.extent_bytes)?
            .checked_add(self.data.start())?;
        Extent::new(start, len).filter(|run| self.data.covers(*run))
    }

    /// Why what is in a volume says nothing of which of its extents are free.
    fn kept(&self, name: &str, section: &Section<'a>) -> Option<String> {
        let words = section.words("status").zip(section.words("flags"));
        let Some((status, flags)) = words else {
            return Some("its state is not as LVM writes it".into());
        };
        let odd = status.iter().find(|word| !PLAIN.contains(word));
        if let Some(word) = odd.or(flags.iter().find(|word| !PLAIN_FLAGS.contains(word))) {
            return Some(format!("its state is {}", word.to_lowercase()));
        }
        self.part_of(name, DEPTH)
    }

    /// A volume that is a part of another is read alone only where it is a whole copy of that one. A snapshot,
    /// for one, still needs what its origin calls free.
    fn part_of(&self, name: &str, depth: u32) -> Option<String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Some("volumes are parts of each other".into());
        };
        for (parent, kind) in self.parents.get(name).into_iter().flatten() {
            let copy = matches!(*kind, "raid1" | "mirror") && is_copy(name, parent);
            if !copy {
                return Some(format!("it belongs to the {kind} volume {parent}"));
            }
            if let Some(why) = self.part_of(parent, depth) {
                return Some(why);
            }
        }
        None
    }
}

enum Placed {
    Elsewhere,
    Here(Piece),
    /// Runs of stripes whose neighbours are on other disks.
    Partly(Vec<Extent>),
}

/// Copies are named after what they are copies of; metadata and log volumes have other names.
fn is_copy(name: &str, parent: &str) -> bool {
    let tail = name.strip_prefix(parent).unwrap_or("");
    let number = tail
        .strip_prefix("_rimage_")
        .or(tail.strip_prefix("_mimage_"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()))
}

/// lvm(8), VALID NAMES.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
    !name.is_empty() && name.len() <= 127 && !name.starts_with('-') && name.chars().all(plain)
}
