//! Places where images are: directories, and filesystems that are mounted for it.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use disk::fs::Filesystem;
use disk::layout::{Content, Owner, Region};
use image::store::Store;
use image::volumes::Volumes;

use crate::host::{Disk, Host, HostError, OpenPlace, Protection};
use crate::identity::Identity;
use crate::linux::Linux;
use crate::linux::mount::{Mode, Mounted};
use crate::linux::protect;
use crate::linux::sysfs::SysDisk;
use crate::linux::uses::{Mount, Uses};
use crate::permit::{Target, WritePermit};
use crate::request::Place;
use crate::transport::dir::DirStore;

pub fn open(
    linux: &Linux,
    place: &Place,
    permit: Option<&WritePermit>,
) -> Result<OpenPlace, HostError> {
    let (top, path, keep) = match place {
        Place::Path(path) => (PathBuf::from("."), path, None),
        Place::Uuid { path, .. } | Place::Label { path, .. } => {
            let (top, keep) = mounted(linux, place, permit)?;
            (top, path, keep)
        }
    };
    let (dir, name) = split(&top.join(path), &top)?;
    let disk = disk_below(linux, &dir)?;
    if let (Some(Target::Store { disk: Some(meant) }), Some(found)) =
        (permit.map(WritePermit::target), &disk)
        && !found.same_device(meant)
    {
        return Err(HostError(format!(
            "{place} is on {found} now, and was on {meant} when the plan was shown; repeat the command"
        )));
    }
    let store = DirStore::open(&dir).map_err(|error| HostError(error.to_string()))?;
    let store = match keep {
        Some(mounted) => store.keeping(Arc::new(mounted)),
        None => store,
    };
    let store: Arc<dyn Store> = Arc::new(store);
    let store: Arc<dyn Store> = Arc::new(Volumes::new(store));
    Ok(OpenPlace {
        directory: Some(dir),
        disk,
        ..OpenPlace::new(store, linux.keyring(), name)
    })
}

/// A directory, or the directory of a file and its name. Links on a filesystem that was mounted for this do not
/// lead out of it.
fn split(path: &Path, top: &Path) -> Result<(PathBuf, String), HostError> {
    let is_dir = path.is_dir() || path.components().next_back() == Some(Component::ParentDir);
    let (dir, name) = match path.file_name() {
        Some(name) if !is_dir => (
            path.parent().unwrap_or(top),
            name.to_string_lossy().into_owned(),
        ),
        _ => (path, String::new()),
    };
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let missing = |_| {
        HostError(format!(
            "there is no directory {}; make it first or name another",
            dir.display()
        ))
    };
    let real = dir.canonicalize().map_err(missing)?;
    let outside =
        top != Path::new(".") && !top.canonicalize().is_ok_and(|top| real.starts_with(top));
    if outside {
        return Err(HostError(format!(
            "{} leads out of its filesystem; name a directory without links",
            dir.display()
        )));
    }
    Ok((real, name))
}

/// Whose sectors a directory's files take.
fn disk_below(linux: &Linux, dir: &Path) -> Result<Option<Identity>, HostError> {
    let Ok(found) = dir.metadata() else {
        return Ok(None);
    };
    let disks = linux.sysfs().whole()?;
    let by_number = linux.sysfs().below(found.dev(), &disks);
    let by_mount = || {
        // btrfs gives each subvolume a number that no device has; its mount names the device.
        let uses = Uses::read(&linux.roots().proc);
        let mount = uses
            .mounts
            .into_iter()
            .find(|m| m.device_number == found.dev())?;
        let node = mount.source.metadata().ok()?.rdev();
        linux.sysfs().below(node, &disks)
    };
    Ok(by_number
        .or_else(by_mount)
        .map(|disk| linux.identity_of(&disk)))
}

/// Where the filesystem of a place is, mounted now or already before.
fn mounted(
    linux: &Linux,
    place: &Place,
    permit: Option<&WritePermit>,
) -> Result<(PathBuf, Option<Mounted>), HostError> {
    let found = the_one(linux, place)?;
    let uses = Uses::read(&linux.roots().proc);
    let of_it = |m: &&Mount| m.is_of(found.number, &found.node) && m.root == Path::new("/");
    let mode = if permit.is_some() {
        Mode::ReadWrite
    } else {
        Mode::ReadOnly
    };
    match uses.mounts.iter().find(of_it) {
        Some(mount) if mode == Mode::ReadWrite && mount.read_only => Err(HostError(format!(
            "{} is mounted read-only at {}; unmount it and repeat the command",
            found.node.display(),
            mount.at.display()
        ))),
        Some(mount) => Ok((mount.at.clone(), None)),
        None => {
            let protection = match mode {
                Mode::ReadOnly => Protection::lasting(),
                Mode::ReadWrite => writable_while_mounted(linux, &found.disk)?,
            };
            let below = linux.places();
            let mounted = Mounted::new(
                &found.node,
                &found.kind,
                &below,
                &found.name,
                mode,
                protection,
            )?;
            Ok((mounted.at().to_owned(), Some(mounted)))
        }
    }
}

/// In the live system every disk is read-only until it is asked to be written, and again afterwards.
pub fn writable_while_mounted(linux: &Linux, disk: &SysDisk) -> Result<Protection, HostError> {
    if !linux.is_live() {
        return Ok(Protection::lasting());
    }
    protect::set(disk, false)?;
    let disk = disk.clone();
    Ok(Protection::until_dropped(move || {
        // In use again, or gone: then there is nothing to protect.
        let _ = protect::keep_read_only(&disk, &[]);
    }))
}

/// A filesystem and its device.
struct Found {
    disk: SysDisk,
    node: PathBuf,
    number: u64,
    kind: String,
    name: String,
}

fn the_one(linux: &Linux, place: &Place) -> Result<Found, HostError> {
    let devices = linux.sysfs().whole()?;
    let all = linux.disks()?;
    let mut found: Vec<Found> = all
        .iter()
        .flat_map(|disk| candidates(disk, place, &devices))
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(HostError(format!(
            "no filesystem of this machine is {}; connect its disk, or look at the list of disks",
            title(place)
        ))),
        (Some(last), false) => {
            let nodes: Vec<String> = found
                .iter()
                .chain([&last])
                .map(|f| f.node.display().to_string())
                .collect();
            Err(HostError(format!(
                "{} is there more than once: {}; disconnect the disk that is not meant, or name it by its path",
                title(place),
                nodes.join(", ")
            )))
        }
    }
}

fn candidates(disk: &Disk, place: &Place, devices: &[SysDisk]) -> Vec<Found> {
    let Some(device) = devices.iter().find(|d| d.node == disk.path) else {
        return Vec::new();
    };
    let regions = disk
        .layout
        .as_ref()
        .map_or(&[][..], |layout| &layout.regions);
    let found = |region: &Region| {
        let (Owner::Partition { content, .. } | Owner::Disk(content)) = &region.owner else {
            return None;
        };
        let Content::Filesystem(filesystem) = content else {
            return None;
        };
        let name = named(filesystem, place)?;
        let (node, number) = match &region.owner {
            Owner::Partition { partition, .. } => {
                let shown = device
                    .partitions
                    .iter()
                    .find(|p| p.number == partition.number)?;
                (shown.node.clone(), shown.device_number)
            }
            _ => (device.node.clone(), device.number),
        };
        Some(Found {
            disk: device.clone(),
            node,
            number,
            kind: filesystem.kind.clone(),
            name,
        })
    };
    regions.iter().filter_map(found).collect()
}

fn named(filesystem: &Filesystem, place: &Place) -> Option<String> {
    match place {
        Place::Path(_) => None,
        Place::Uuid { uuid, .. } => filesystem
            .uuid
            .clone()
            .filter(|u| u.eq_ignore_ascii_case(uuid)),
        Place::Label { label, .. } => filesystem.label.clone().filter(|l| l == label),
    }
}

fn title(place: &Place) -> String {
    match place {
        Place::Path(path) => path.display().to_string(),
        Place::Uuid { uuid, .. } => format!("uuid:{uuid}"),
        Place::Label { label, .. } => format!("label:{label}"),
    }
}
