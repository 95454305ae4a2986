//! The whole disks of the machine, as udev and sysfs show them: nothing is opened.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use disk::extent::Extent;
use disk::geometry::Geometry;
use libudev as _;
use udev::Device;

use crate::host::{HostError, Transport};
use crate::identity::{Fingerprint, Identity};
use crate::inventory::is_disk_name;
use crate::linux::hardware::{self, Hardware};

/// Sysfs counts in these units whatever the disk's sectors are.
const UNIT: u64 = 512;

/// A whole block device, and what the kernel knows of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SysDisk {
    /// The kernel's name, good for this moment: `sda`.
    pub name: String,
    pub number: u64,
    /// Its directory in sysfs.
    pub syspath: PathBuf,
    pub node: PathBuf,
    pub geometry: Geometry,
    pub rotational: Option<bool>,
    pub read_only: bool,
    pub removable: bool,
    pub hardware: Hardware,
    pub partitions: Vec<SysPartition>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SysPartition {
    pub number: u32,
    pub extent: Extent,
    pub device_number: u64,
    pub name: String,
    pub node: PathBuf,
    pub syspath: PathBuf,
}

/// Sysfs and the nodes that belong to it.
#[derive(Clone, Debug)]
pub struct Sysfs {
    root: PathBuf,
    dev: PathBuf,
}

impl Sysfs {
    pub fn at(root: &Path, dev: &Path) -> Sysfs {
        Sysfs {
            root: root.to_owned(),
            dev: dev.to_owned(),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The machine's disks, by name.
    pub fn disks(&self) -> Result<Vec<SysDisk>, HostError> {
        let is_one = |disk: &SysDisk| is_disk_name(&disk.name) && disk.geometry.size_bytes > 0;
        Ok(self.whole()?.into_iter().filter(is_one).collect())
    }

    /// Every whole block device: what stands behind a path may be any.
    pub fn whole(&self) -> Result<Vec<SysDisk>, HostError> {
        libudev::within(&self.root, || self.scan()).map_err(|error| {
            HostError(format!(
                "the disks of this machine cannot be listed: {error}; look whether {} is mounted",
                self.root.display()
            ))
        })
    }

    fn scan(&self) -> std::io::Result<Vec<SysDisk>> {
        let mut enumerator = udev::Enumerator::new()?;
        enumerator.match_subsystem("block")?;
        let mut disks = Vec::new();
        let mut partitions = Vec::new();
        for device in enumerator.scan_devices()? {
            match device.devtype().and_then(OsStr::to_str) {
                Some("disk") => disks.extend(self.disk(&device)),
                Some("partition") => partitions.extend(self.partition(&device)),
                _ => {}
            }
        }
        for partition in partitions {
            let of = |d: &&mut SysDisk| partition.syspath.parent() == Some(d.syspath.as_path());
            if let Some(disk) = disks.iter_mut().find(of) {
                disk.partitions.push(partition);
            }
        }
        for disk in &mut disks {
            disk.partitions.sort_by_key(|p| p.number);
        }
        disks.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        Ok(disks)
    }

    /// `None` for one that has no node or that the kernel hides (a path of a multipath NVMe drive).
    fn disk(&self, device: &Device) -> Option<SysDisk> {
        if flag(device, "hidden") == Some(true) {
            return None;
        }
        let hardware = hardware::of(device, &self.root);
        let sector = |name: &str| number(device, name).and_then(|n| u32::try_from(n).ok());
        let logical_sector = sector("queue/logical_block_size").unwrap_or(512).max(512);
        // USB sticks and virtual disks say that they rotate.
        let says_truth = !matches!(
            hardware.transport,
            Transport::Usb | Transport::Virtio | Transport::Loop
        );
        Some(SysDisk {
            name: device.sysname().to_str()?.to_owned(),
            number: device.devnum()?,
            node: self.node(device)?,
            geometry: Geometry {
                size_bytes: number(device, "size")?.checked_mul(UNIT)?,
                logical_sector,
                physical_sector: sector("queue/physical_block_size")
                    .unwrap_or(0)
                    .max(logical_sector),
            },
            rotational: flag(device, "queue/rotational").filter(|_| says_truth),
            read_only: flag(device, "ro").unwrap_or(false),
            removable: flag(device, "removable").unwrap_or(false),
            syspath: device.syspath().to_owned(),
            hardware,
            partitions: Vec::new(),
        })
    }

    fn partition(&self, device: &Device) -> Option<SysPartition> {
        let bytes = |name| number(device, name)?.checked_mul(UNIT);
        Some(SysPartition {
            extent: Extent::new(bytes("start")?, bytes("size")?)?,
            number: u32::try_from(number(device, "partition")?).ok()?,
            device_number: device.devnum()?,
            name: device.sysname().to_str()?.to_owned(),
            node: self.node(device)?,
            syspath: device.syspath().to_owned(),
        })
    }

    /// Where the kernel's devtmpfs has it.
    fn node(&self, device: &Device) -> Option<PathBuf> {
        let below = device.devnode()?.strip_prefix("/dev").ok()?;
        Some(self.dev.join(below))
    }

    /// The disk below a block device by its number: the disk itself, that of a partition, or the first below a
    /// device that is made of others (dm, md). The depth is bounded: a made tree could go in circles.
    pub fn below(&self, device: u64, disks: &[SysDisk]) -> Option<SysDisk> {
        let mut device = device;
        for _ in 0..8 {
            let owner = disks.iter().find(|disk| {
                disk.number == device || disk.partitions.iter().any(|p| p.device_number == device)
            })?;
            match first_slave(&owner.syspath) {
                None => return Some(owner.clone()),
                Some(number) => device = number,
            }
        }
        None
    }

    /// The kernel's count of 512-byte sectors written, the 7th field (Documentation/block/stat.rst).
    pub fn sectors_written(disk: &SysDisk) -> Option<u64> {
        let stat = fs::read_to_string(disk.syspath.join("stat")).ok()?;
        stat.split_ascii_whitespace().nth(6)?.parse().ok()
    }
}

impl SysDisk {
    pub fn identity(&self, fingerprint: Fingerprint) -> Identity {
        Identity {
            serial: self.hardware.serial.clone(),
            wwn: self.hardware.wwn.clone(),
            model: self.hardware.model.clone(),
            location: self.hardware.location.clone(),
            size_bytes: self.geometry.size_bytes,
            fingerprint,
            file: None,
        }
    }

    /// The device and its partitions.
    pub fn nodes(&self) -> impl Iterator<Item = &Path> {
        let partitions = self.partitions.iter().map(|p| p.node.as_path());
        std::iter::once(self.node.as_path()).chain(partitions)
    }
}

fn first_slave(syspath: &Path) -> Option<u64> {
    let slaves = fs::read_dir(syspath.join("slaves")).ok()?;
    let mut paths: Vec<PathBuf> = slaves.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let number = fs::read_to_string(paths.first()?.join("dev")).ok()?;
    let (major, minor) = number.trim().split_once(':')?;
    Some(nix::sys::stat::makedev(
        major.parse().ok()?,
        minor.parse().ok()?,
    ))
}

fn number(device: &Device, name: &str) -> Option<u64> {
    device.attribute_value(name)?.to_str()?.trim().parse().ok()
}

fn flag(device: &Device, name: &str) -> Option<bool> {
    number(device, name).map(|n| n != 0)
}
