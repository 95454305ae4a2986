//! Which disks there are, and which of them a name or an identity means.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;

use ::foreign::{Opened, Order};
use disk::geometry::Geometry;
use disk::source::BlockSource;

use crate::host::{Disk, HostError, Transport};
use crate::identity::Identity;
use crate::inventory;
use crate::linux::Linux;
use crate::linux::fingerprint;
use crate::linux::foreign;
use crate::linux::health;
use crate::linux::node::{Access, Node, open_trouble};
use crate::linux::probe::{Probed, probe, probe_source};
use crate::linux::protect::{self, Hardware};
use crate::linux::source::DirectSource;
use crate::linux::sysfs::{SysDisk, SysPartition};
use crate::linux::uses::Uses;
use crate::request::DiskName;

const BUSY: &str = "another program has it";

/// Every disk of the machine.
pub fn all(linux: &Linux) -> Result<Vec<Disk>, HostError> {
    look_at_all(linux, linux.sysfs().disks()?)
}

pub fn named(linux: &Linux, name: &DiskName) -> Result<Vec<Disk>, HostError> {
    if let DiskName::Path(path) = name {
        return at_path(linux, path);
    }
    let mut disks = linux.sysfs().disks()?;
    disks.retain(|disk| inventory::is_named(&disk.identity(fingerprint::UNKNOWN), name));
    look_at_all(linux, disks)
}

/// At the same time: one that does not answer keeps only itself waiting.
fn look_at_all(linux: &Linux, disks: Vec<SysDisk>) -> Result<Vec<Disk>, HostError> {
    let uses = Uses::read(&linux.roots().proc);
    thread::scope(|scope| {
        let threads: Vec<_> = disks
            .iter()
            .map(|disk| scope.spawn(|| look_at(linux, disk, &uses)))
            .collect();
        threads
            .into_iter()
            .map(|t| {
                t.join()
                    .expect("looking at a disk ends with what was seen or an error")
            })
            .collect()
    })
}

/// The device of an identity, wherever it is now; its content is not looked at.
pub fn device(linux: &Linux, identity: &Identity) -> Result<SysDisk, HostError> {
    let same = |disk: &SysDisk| disk.identity(fingerprint::UNKNOWN).same_device(identity);
    let mut found: Vec<SysDisk> = linux.sysfs().whole()?.into_iter().filter(same).collect();
    match (found.pop(), found.as_slice()) {
        (Some(one), []) => Ok(one),
        (None, _) => Err(HostError(format!(
            "{identity} is no longer there; connect it again and repeat the command"
        ))),
        (Some(last), others) => {
            let nodes: Vec<String> = others
                .iter()
                .chain([&last])
                .map(|d| d.node.display().to_string())
                .collect();
            Err(HostError(format!(
                "{identity} is there more than once: {}; disconnect the one that is not meant",
                nodes.join(", ")
            )))
        }
    }
}

pub fn path_of(linux: &Linux, identity: &Identity) -> Result<PathBuf, HostError> {
    match &identity.file {
        Some(file) => {
            file_identity(linux, file, identity)?;
            Ok(file.clone())
        }
        None => Ok(device(linux, identity)?.node),
    }
}

/// Of a regular file as it is now; an error when it has another size or is gone.
pub fn file_identity(linux: &Linux, file: &Path, known: &Identity) -> Result<Identity, HostError> {
    let sysfs = linux.sysfs().root();
    let (size_bytes, fingerprint) = match known.format() {
        Some(_) => {
            let opened = foreign::reopen(file, sysfs, known.size_bytes)?;
            let fingerprint = foreign::fingerprint(file, sysfs, &opened);
            (opened.source.size_bytes(), fingerprint)
        }
        None => {
            let node = Node::open(file, Access::Read, sysfs);
            let node = node.map_err(|error| open_trouble(file, &error, BUSY))?;
            let source = DirectSource::new(node);
            (source.size_bytes(), fingerprint::of(&source))
        }
    };
    let found = Identity {
        model: known.model.clone(),
        ..identity_of_file(file, size_bytes, fingerprint)
    };
    if found.same_device(known) {
        return Ok(found);
    }
    Err(HostError(format!(
        "{} has changed since it was looked at; repeat the command",
        file.display()
    )))
}

fn at_path(linux: &Linux, path: &Path) -> Result<Vec<Disk>, HostError> {
    let failed = |error| open_trouble(path, &error, BUSY);
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if path.starts_with(&linux.roots().dev) {
                return Err(HostError(format!(
                    "there is no {}; `rescue disks` lists the disks of this machine",
                    path.display()
                )));
            }
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let real = path.canonicalize().map_err(failed)?;
    let devices = linux.sysfs().whole()?;
    let uses = Uses::read(&linux.roots().proc);
    let kind = found.file_type();
    let number = kind.is_block_device().then(|| found.rdev());
    let is_it = |disk: &&SysDisk| disk.node == real || Some(disk.number) == number;
    if let Some(device) = devices.iter().find(is_it) {
        return Ok(vec![look_at(linux, device, &uses)?]);
    }
    if kind.is_file() || foreign::is_directory(&real) {
        return Ok(vec![file(linux, &real, &uses, &devices)?]);
    }
    let whole = devices
        .iter()
        .find(|d| d.partitions.iter().any(|p| Some(p.device_number) == number));
    Err(HostError(no_disk(path, kind, whole)))
}

/// The disk of a partition's device, and the partition's number there.
pub fn partition(linux: &Linux, path: &Path) -> Option<(PathBuf, u32)> {
    let found = path.metadata().ok()?;
    if !found.file_type().is_block_device() {
        return None;
    }
    let disks = linux.sysfs().whole().ok()?;
    disks.into_iter().find_map(|disk| {
        let is_it = |p: &&SysPartition| p.device_number == found.rdev();
        let number = disk.partitions.iter().find(is_it)?.number;
        Some((disk.node, number))
    })
}

fn no_disk(path: &Path, kind: std::fs::FileType, whole: Option<&SysDisk>) -> String {
    let shown = path.display();
    match whole {
        Some(disk) => format!(
            "{shown} is a partition; name its disk, {}",
            disk.node.display()
        ),
        None if kind.is_dir() => {
            format!("{shown} is a directory, not a disk; name a disk or a regular file")
        }
        None if kind.is_block_device() => {
            format!("{shown} is not a disk; `rescue disks` lists the disks of this machine")
        }
        None => {
            format!("{shown} is neither a disk nor a regular file; `rescue disks` lists the disks")
        }
    }
}

/// A device with everything that is known of it. In the live system it is set read-only before its first byte is
/// read.
fn look_at(linux: &Linux, disk: &SysDisk, uses: &Uses) -> Result<Disk, HostError> {
    let uses = uses.of_disk(disk);
    let guarded = linux.is_live() && !linux.is_released(disk);
    let hardware = if guarded {
        protect::keep_read_only(disk, &uses)?
    } else {
        None
    };
    // What is in use cannot be tried out, and the flag in the kernel is our own protection: its use is told instead.
    let read_only = hardware.map_or(disk.read_only && !guarded, |hardware| {
        hardware == Hardware::ReadOnly
    });
    let Probed {
        geometry,
        fingerprint,
        layout,
        systems,
        boot_medium,
    } = probe(&disk.node, linux.sysfs().root(), linux.media());
    Ok(Disk {
        path: disk.node.clone(),
        identity: disk.identity(fingerprint),
        transport: disk.hardware.transport,
        vendor: disk.hardware.vendor.clone(),
        firmware: disk.hardware.firmware.clone(),
        health: health::of(disk),
        geometry: geometry.unwrap_or(disk.geometry),
        rotational: disk.rotational,
        read_only,
        removable: disk.removable,
        boot_medium,
        uses,
        layout,
        systems,
    })
}

/// What is on it is not looked at: every look would decode it from its beginning.
fn forward(linux: &Linux, path: &Path, image: &Opened) -> Probed {
    let mut why = format!(
        "{} is read in order only; make an image of it and look at that",
        path.display()
    );
    for note in &image.notes {
        why = format!("{why}; {note}");
    }
    Probed {
        geometry: Some(image.source.geometry()),
        fingerprint: foreign::fingerprint(path, linux.sysfs().root(), image),
        layout: Err(why),
        systems: Vec::new(),
        boot_medium: false,
    }
}

/// A regular file as a disk.
fn file(linux: &Linux, path: &Path, uses: &Uses, devices: &[SysDisk]) -> Result<Disk, HostError> {
    let size_bytes = path
        .metadata()
        .map_err(|error| open_trouble(path, &error, BUSY))?
        .len();
    let image = foreign::open(path, linux.sysfs().root(), None)?;
    let mut probed = match &image {
        Some(image) if image.order == Order::Forward => forward(linux, path, image),
        Some(image) => probe_source(&*image.source, path, linux.media()),
        None => probe(path, linux.sysfs().root(), linux.media()),
    };
    if let (Some(image), Ok(layout)) = (&image, &mut probed.layout) {
        layout.notes.extend(image.notes.iter().cloned());
    }
    let geometry = probed.geometry.unwrap_or(Geometry::of_file(size_bytes));
    Ok(Disk {
        path: path.to_owned(),
        identity: Identity {
            model: image.map(|image| image.format.to_owned()),
            ..identity_of_file(path, geometry.size_bytes, probed.fingerprint)
        },
        transport: Transport::File,
        vendor: None,
        firmware: None,
        health: None,
        geometry,
        rotational: None,
        read_only: nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_err(),
        removable: false,
        boot_medium: false,
        uses: uses.of_file(path, devices),
        layout: probed.layout,
        systems: probed.systems,
    })
}

fn identity_of_file(
    path: &Path,
    size_bytes: u64,
    fingerprint: crate::identity::Fingerprint,
) -> Identity {
    Identity {
        serial: None,
        wwn: None,
        model: None,
        location: None,
        size_bytes,
        fingerprint,
        file: Some(path.to_owned()),
    }
}
