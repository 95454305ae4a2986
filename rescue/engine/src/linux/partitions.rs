//! Makes the kernel see the partitions that were written to a disk.

use std::fs::File;
use std::thread::sleep;
use std::time::Duration;

use disk::extent::Extent;
use disk::table::{self, Role};
use nix::errno::Errno;

use crate::host::HostError;
use crate::linux::ioctl;
use crate::linux::node::{Access, Node};
use crate::linux::source::DirectSource;
use crate::linux::sysfs::{SysDisk, Sysfs};

/// By itself, and where it will not (somebody looks at a partition just now) entry by entry.
pub fn reread(disk: &SysDisk, sysfs: &Sysfs) -> Result<(), HostError> {
    let failed = |error: std::io::Error| trouble(disk, &error.to_string());
    let node = Node::open(&disk.node, Access::Read, sysfs.root()).map_err(failed)?;
    // A udevd that was told of the write reads it too, for a moment.
    const TRIES: u32 = 20;
    for _ in 0..TRIES {
        match ioctl::reread_table(&node.file) {
            Ok(()) => return Ok(()),
            Err(Errno::EBUSY) => sleep(Duration::from_millis(50)),
            // A loop device that shows no partitions has none to forget.
            Err(Errno::EINVAL) if disk.partitions.is_empty() => return Ok(()),
            Err(_) => break,
        }
    }
    replace(disk, node)
}

fn replace(disk: &SysDisk, node: Node) -> Result<(), HostError> {
    let device = node
        .file
        .try_clone()
        .map_err(|error| trouble(disk, &error.to_string()))?;
    for old in &disk.partitions {
        match ioctl::forget_partition(&device, old.number) {
            Ok(()) | Err(Errno::ENXIO) => {}
            Err(errno) => {
                return Err(trouble(
                    disk,
                    &format!("{} is in use ({errno})", old.node.display()),
                ));
            }
        }
    }
    let source = DirectSource::new(node);
    let table = table::read(&source).map_err(|error| trouble(disk, &error.to_string()))?;
    for partition in table.iter().flat_map(|table| &table.partitions) {
        // Of an extended partition Linux shows only its first sectors, for boot loaders.
        let shown = match partition.role {
            Role::Extended => {
                Extent::new(partition.extent.start(), partition.extent.len().min(1024))
            }
            Role::Primary | Role::Logical => Some(partition.extent),
        };
        add(&device, partition.number, shown)
            .map_err(|errno| trouble(disk, &format!("partition {}: {errno}", partition.number)))?;
    }
    Ok(())
}

fn add(device: &File, number: u32, extent: Option<Extent>) -> nix::Result<()> {
    extent.map_or(Err(Errno::EINVAL), |extent| {
        ioctl::add_partition(device, number, extent)
    })
}

fn trouble(disk: &SysDisk, why: &str) -> HostError {
    HostError(format!(
        "the kernel does not see the new partitions of {} yet: {why}; disconnect it and connect it again, or restart",
        disk.node.display()
    ))
}
