//! Makes the kernel see the partitions that were written to a disk.

use std::thread::sleep;
use std::time::Duration;

use disk::extent::Extent;
use disk::table::{self, Partition, Role};
use nix::errno::Errno;

use crate::host::HostError;
use crate::linux::ioctl;
use crate::linux::node::{Access, Node};
use crate::linux::source::DirectSource;
use crate::linux::sysfs::{SysDisk, Sysfs};

/// By itself; and entry by entry where it will not, since somebody looks at a partition just now, or where it
/// does not know the table.
pub fn reread(disk: &SysDisk, sysfs: &Sysfs) -> Result<(), HostError> {
    let failed = |error: std::io::Error| trouble(disk, &error.to_string());
    let node = Node::open(&disk.node, Access::Read, sysfs.root()).map_err(failed)?;
    let device = node.file.try_clone().map_err(failed)?;
    // A udevd that was told of the write reads the disk too, for a moment.
    const TRIES: u32 = 20;
    for _ in 0..TRIES {
        match ioctl::reread_table(&device) {
            Err(Errno::EBUSY) => sleep(Duration::from_millis(50)),
            _ => break,
        }
    }
    let table =
        table::read(&DirectSource::new(node)).map_err(|error| trouble(disk, &error.to_string()))?;
    let wanted: Vec<Shown> = table
        .iter()
        .flat_map(|t| &t.partitions)
        .filter_map(Shown::of)
        .collect();
    let shown = shown(disk, sysfs)?;
    for old in shown.iter().filter(|old| !wanted.contains(old)) {
        match ioctl::forget_partition(&device, old.number) {
            Ok(()) | Err(Errno::ENXIO) => {}
            Err(errno) => {
                return Err(trouble(
                    disk,
                    &format!("partition {} is in use ({errno})", old.number),
                ));
            }
        }
    }
    for new in wanted.iter().filter(|new| !shown.contains(new)) {
        ioctl::add_partition(&device, new.number, new.extent)
            .map_err(|errno| trouble(disk, &format!("partition {}: {errno}", new.number)))?;
    }
    Ok(())
}

/// A partition as Linux shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shown {
    number: u32,
    extent: Extent,
}

impl Shown {
    /// Of an extended partition Linux shows only its first 1024 bytes, for boot loaders.
    fn of(partition: &Partition) -> Option<Shown> {
        let len = match partition.role {
            Role::Extended => partition.extent.len().min(1024),
            Role::Primary | Role::Logical => partition.extent.len(),
        };
        Some(Shown {
            number: partition.number,
            extent: Extent::new(partition.extent.start(), len)?,
        })
    }
}

fn shown(disk: &SysDisk, sysfs: &Sysfs) -> Result<Vec<Shown>, HostError> {
    let all = sysfs.whole()?;
    let now = all.iter().find(|d| d.number == disk.number);
    let partitions = now.into_iter().flat_map(|d| &d.partitions);
    Ok(partitions
        .map(|p| Shown {
            number: p.number,
            extent: p.extent,
        })
        .collect())
}

fn trouble(disk: &SysDisk, why: &str) -> HostError {
    HostError(format!(
        "the kernel does not see the new partitions of {} yet: {why}; disconnect it and connect it again, or restart",
        disk.node.display()
    ))
}
