//! What is the same for every screen: the disks, the directories, the terminal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::fs::{Filesystem, Used};
use disk::layout::{Content, Owner, Region};
use disk::table::Partition;
use engine::host::{Disk, Use};
use engine::identity::Identity;
use engine::request::{DiskName, Place};
use ratatui::layout::Rect;

use crate::theme::Theme;

#[derive(Clone, Debug)]
pub struct World {
    pub inventory: Inventory,
    /// Directories that were given as stores, with their free space.
    pub directories: Vec<Directory>,
    pub home: Home,
    pub terminal: Terminal,
}

/// What is known of the machine's disks.
#[derive(Clone, Debug)]
pub enum Inventory {
    Looking,
    Known(Vec<Arc<Disk>>),
    /// The sentence that says why not.
    Failed(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory {
    pub path: PathBuf,
    pub free_bytes: Option<u64>,
}

impl Home {
    /// The live system's own process 1 makes this file and nobody else does.
    pub fn here() -> Home {
        if Path::new("/run/rescue/live").exists() {
            Home::Medium
        } else {
            Home::System
        }
    }
}

/// Where the program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// Booted from its own medium: the machine is ours.
    Medium,
    /// A program among others on somebody's system.
    System,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terminal {
    pub columns: u16,
    pub rows: u16,
    pub theme: Theme,
}

impl Terminal {
    pub fn area(self) -> Rect {
        Rect::new(0, 0, self.columns, self.rows)
    }
}

/// A filesystem or a directory where images can be kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreRow {
    pub place: Place,
    /// `BACKUP, ext4, partition 1`
    pub what: String,
    /// `WD Elements 25A2, ...4F2A, USB`, or where it is mounted.
    pub on: String,
    pub free_bytes: Option<u64>,
}

impl World {
    pub fn disks(&self) -> &[Arc<Disk>] {
        match &self.inventory {
            Inventory::Known(disks) => disks,
            Inventory::Looking | Inventory::Failed(_) => &[],
        }
    }

    pub fn find(&self, identity: &Identity) -> Option<&Arc<Disk>> {
        self.disks()
            .iter()
            .find(|d| d.identity.same_device(identity))
    }

    /// How the request names this disk: by what stays the same when it is plugged in elsewhere, as far as
    /// only this disk answers to it.
    pub fn name_of(&self, disk: &Disk) -> DiskName {
        let alone = |same: &dyn Fn(&Identity) -> bool| {
            self.disks().iter().filter(|d| same(&d.identity)).count() <= 1
        };
        let identity = &disk.identity;
        if let Some(serial) = identity.serial.as_ref().filter(|s| !s.trim().is_empty())
            && alone(&|other| other.serial.as_ref() == Some(serial))
        {
            return DiskName::Serial(serial.clone());
        }
        if let Some(wwn) = &identity.wwn
            && alone(&|other| other.wwn.as_ref() == Some(wwn))
        {
            return DiskName::Wwn(wwn.clone());
        }
        DiskName::Path(disk.path.clone())
    }

    /// What a person calls a place: its label and its disk, where it is one of the known stores.
    pub fn words_of(&self, place: &Place) -> String {
        let rows = self.stores(None);
        match rows.iter().find(|row| row.place == *place) {
            Some(row) if row.on != "directory" => format!("{} ({})", row.what, row.on),
            _ => place.to_string(),
        }
    }

    /// An image by the words of the store it lies in.
    pub fn words_of_image(&self, image: &Place) -> String {
        let rows = self.stores(None);
        let within = rows.iter().filter(|row| row.on != "directory");
        let mut found = within.filter_map(|row| Some((row, below(image, &row.place)?)));
        match found.next() {
            Some((row, path)) => format!("{path} in {} ({})", row.what, row.on),
            None => image.to_string(),
        }
    }

    /// Where images can be, roomiest first; nothing on the disk `but`.
    pub fn stores(&self, but: Option<&Identity>) -> Vec<StoreRow> {
        let mut rows: Vec<StoreRow> = self.directories.iter().map(directory_row).collect();
        for disk in self.disks() {
            if !but.is_some_and(|b| b.same_device(&disk.identity)) {
                rows.extend(disk_rows(disk));
            }
        }
        // The given directories stay first: somebody asked for them.
        rows[self.directories.len()..]
            .sort_by_key(|row| std::cmp::Reverse(row.free_bytes.unwrap_or(0)));
        rows
    }
}

/// The path of an image inside a store, when both are on the same filesystem.
fn below(image: &Place, store: &Place) -> Option<String> {
    let inner = match (image, store) {
        (
            Place::Uuid { uuid, path },
            Place::Uuid {
                uuid: on,
                path: top,
            },
        ) if uuid == on => path.strip_prefix(top).ok()?,
        (
            Place::Label { label, path },
            Place::Label {
                label: on,
                path: top,
            },
        ) if label == on => path.strip_prefix(top).ok()?,
        _ => return None,
    };
    Some(inner.display().to_string())
}

fn directory_row(directory: &Directory) -> StoreRow {
    StoreRow {
        place: Place::Path(directory.path.clone()),
        what: directory.path.display().to_string(),
        on: "directory".into(),
        free_bytes: directory.free_bytes,
    }
}

fn disk_rows(disk: &Disk) -> impl Iterator<Item = StoreRow> + '_ {
    let regions = disk.layout.iter().flat_map(|layout| &layout.regions);
    regions.filter_map(move |region| {
        let (partition, filesystem) = match &region.owner {
            Owner::Partition {
                partition,
                content: Content::Filesystem(f),
            } => (Some(partition), f),
            Owner::Disk(Content::Filesystem(f)) => (None, f),
            _ => return None,
        };
        let firmware = partition.and_then(|p| p.type_name.as_deref()) == Some("EFI system");
        if filesystem.kind == "swap" || firmware {
            return None;
        }
        let device = device_of(disk, partition);
        let (place, on) = match mounted_at(disk, &device) {
            Some(at) => (Place::Path(at.into()), format!("{}", at.display())),
            None => (place_of(filesystem)?, summary(disk)),
        };
        Some(StoreRow {
            place,
            what: filesystem_words(filesystem, partition),
            on,
            free_bytes: free_bytes(filesystem),
        })
    })
}

fn place_of(filesystem: &Filesystem) -> Option<Place> {
    let path = PathBuf::new();
    if let Some(uuid) = filesystem.uuid.clone().filter(|u| !u.is_empty()) {
        return Some(Place::Uuid { uuid, path });
    }
    let label = filesystem.label.clone().filter(|l| !l.is_empty())?;
    Some(Place::Label { label, path })
}

fn filesystem_words(filesystem: &Filesystem, partition: Option<&Partition>) -> String {
    let kind = filesystem.variant.as_ref().unwrap_or(&filesystem.kind);
    let mut words = match filesystem.label.as_deref().filter(|l| !l.is_empty()) {
        Some(label) => format!("{label}, {kind}"),
        None => format!("no label, {kind}"),
    };
    if let Some(partition) = partition {
        words.push_str(&format!(", partition {}", partition.number));
    }
    words
}

/// The device node of a partition, as the kernel composes it: `sda1`, `nvme0n1p1`.
pub fn device_of(disk: &Disk, partition: Option<&Partition>) -> PathBuf {
    let Some(partition) = partition else {
        return disk.path.clone();
    };
    let base = disk.path.to_string_lossy();
    let joint = if base.ends_with(|c: char| c.is_ascii_digit()) {
        "p"
    } else {
        ""
    };
    PathBuf::from(format!("{base}{joint}{}", partition.number))
}

/// Where it stays mounted: a directory of ours goes when nobody looks any more.
fn mounted_at<'a>(disk: &'a Disk, wanted: &Path) -> Option<&'a Path> {
    let mut lasting = disk.uses.iter().filter(|used| !used.is_ours());
    lasting.find_map(|used| match used {
        Use::Mounted { device, at, .. } if device == wanted => Some(at.as_path()),
        _ => None,
    })
}

fn free_bytes(filesystem: &Filesystem) -> Option<u64> {
    used_of(filesystem).map(|used| filesystem.size_bytes.saturating_sub(used))
}

/// Where its own records tell.
pub fn used_bytes(content: &Content) -> Option<u64> {
    match content {
        Content::Filesystem(filesystem) => used_of(filesystem),
        Content::Layer(layer) if layer.whole.is_none() => Some(layer.used().total_bytes()),
        Content::Layer(_) | Content::Unknown(_) => None,
    }
}

fn used_of(filesystem: &Filesystem) -> Option<u64> {
    match &filesystem.used {
        Used::Map { extents, .. } => Some(extents.total_bytes()),
        Used::Whole(_) => None,
    }
}

/// Model, end of the serial, connection: enough to find it on the desk.
pub fn summary(disk: &Disk) -> String {
    let mut words = model(disk);
    if let Some(end) = serial_end(&disk.identity) {
        words.push_str(&format!(" ..{end}"));
    }
    words.push_str(&format!(", {}", disk.transport));
    words
}

/// The name on the label; a file's own name.
pub fn model(disk: &Disk) -> String {
    let file = disk.identity.file.as_ref().and_then(|f| f.file_name());
    if let Some(name) = file {
        return name.to_string_lossy().into_owned();
    }
    let model = disk.identity.model.as_deref().map(str::trim);
    match model.filter(|m| !m.is_empty()) {
        Some(model) => model.to_owned(),
        None => "unnamed disk".to_owned(),
    }
}

/// `1 place`, `2 places`
pub fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

/// The last four characters of the serial number.
pub fn serial_end(identity: &Identity) -> Option<String> {
    let serial = identity.serial.as_deref()?.trim();
    let skip = serial.chars().count().saturating_sub(4);
    let end: String = serial.chars().skip(skip).collect();
    (!end.is_empty()).then_some(end)
}

/// What a person would call the disk by: the systems on it, else labels, else what the table says.
pub fn contents(disk: &Disk) -> String {
    if !disk.systems.is_empty() {
        return disk.systems.join(", ");
    }
    let layout = match &disk.layout {
        Ok(layout) => layout,
        Err(_) => return "cannot be read".into(),
    };
    let filesystems: Vec<&Filesystem> = layout
        .regions
        .iter()
        .filter_map(Region::content)
        .flat_map(Content::filesystems)
        .collect();
    let labels: Vec<&str> = filesystems
        .iter()
        .filter_map(|f| f.label.as_deref().filter(|l| !l.is_empty()))
        .collect();
    if !labels.is_empty() {
        return labels.join(", ");
    }
    let partitions = layout.partitions().count();
    match (filesystems.first(), partitions, &layout.table) {
        (Some(f), 0, _) => format!("{} without a label", f.kind),
        (_, 1, _) => "1 partition".into(),
        (_, n, _) if n > 1 => format!("{n} partitions"),
        (_, _, Some(table)) => format!("empty, {} table", table.scheme),
        _ => "nothing that is known".into(),
    }
}
