//! Grows ext2/3/4 to its partition, by the kernel, on a destination that was just written.

use std::fs::File;

use disk::fs::{self, Filesystem, State};
use disk::size::Size;
use disk::source::BlockSource;
use nix::errno::Errno;

use crate::host::{HostError, Protection};
use crate::linux::Linux;
use crate::linux::ioctl;
use crate::linux::mount::{Mode, Mounted};
use crate::linux::node::{Access, Node, open_trouble};
use crate::linux::source::DirectSource;
use crate::linux::sysfs::{SysDisk, SysPartition};

pub fn grow(linux: &Linux, disk: &SysDisk, partition: u32) -> Result<String, HostError> {
    let Some(part) = disk.partitions.iter().find(|p| p.number == partition) else {
        return Err(HostError(format!(
            "the kernel does not show partition {partition} of {}; connect the disk again and grow it from its system",
            disk.node.display()
        )));
    };
    let (before, room) = look(linux, part)?;
    let block = u64::from(before.block_size.max(1));
    let blocks = room / block;
    let title = format!("the {} filesystem of partition {partition}", before.kind);
    if !before.kind.starts_with("ext") {
        return Err(HostError(format!(
            "{title} cannot be grown here; grow it from its own system"
        )));
    }
    if blocks <= before.size_bytes / block {
        return Ok(format!("{title} fills its partition already"));
    }
    if before.state != State::Clean {
        return Err(HostError(format!(
            "{title} is {}; start its system, shut it down, and grow it from there",
            before.state
        )));
    }
    resize(linux, part, &before.kind, blocks).map_err(|errno| {
        HostError(format!(
            "{title} was not grown: {errno}; it is whole as it is: grow it with resize2fs {}",
            part.node.display()
        ))
    })??;
    let (after, _) = look(linux, part)?;
    Ok(format!(
        "{title} was grown from {} to {}",
        Size(before.size_bytes),
        Size(after.size_bytes)
    ))
}

/// What is on the partition, and how large that is.
fn look(linux: &Linux, part: &SysPartition) -> Result<(Filesystem, u64), HostError> {
    let node = Node::open(&part.node, Access::Read, linux.sysfs().root())
        .map_err(|error| open_trouble(&part.node, &error, "another program has it"))?;
    // What the kernel wrote while it was mounted stands in its cache too; both are the same after this.
    let _ = ioctl::flush_buffers(&node.file);
    let source = DirectSource::new(node);
    let found = fs::recognise(&source)
        .map_err(|error| HostError(format!("{}: {error}", part.node.display())))?;
    match found {
        Some((_, filesystem)) => Ok((filesystem, source.size_bytes())),
        None => Err(HostError(format!(
            "{} holds no filesystem that can be grown here; grow it from its own system",
            part.node.display()
        ))),
    }
}

fn resize(
    linux: &Linux,
    part: &SysPartition,
    kind: &str,
    blocks: u64,
) -> Result<Result<(), HostError>, Errno> {
    let lasting = Protection::lasting();
    let mounted = match Mounted::new(
        &part.node,
        kind,
        &linux.places(),
        &part.name,
        Mode::ReadWrite,
        lasting,
    ) {
        Ok(mounted) => mounted,
        Err(error) => return Ok(Err(error)),
    };
    let root = File::open(mounted.at())
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    ioctl::grow_ext4(&root, blocks)?;
    nix::unistd::syncfs(&root)?;
    Ok(Ok(()))
}
