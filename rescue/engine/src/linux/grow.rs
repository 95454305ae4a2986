//! Grows ext2/3/4 to its partition, by the kernel, on a destination that was just written.

use std::fs::File;

use disk::fs::{self, Filesystem, State};
use disk::size::Size;
use disk::source::BlockSource;

use crate::host::HostError;
use crate::linux::Linux;
use crate::linux::ioctl;
use crate::linux::mount::{Mode, Mounted};
use crate::linux::node::{Access, Node, open_trouble};
use crate::linux::place;
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
    let protection = place::writable_while_mounted(linux, disk)?;
    let below = linux.places();
    let mounted = Mounted::new(
        &part.node,
        &before.kind,
        &below,
        &part.name,
        Mode::ReadWrite,
        protection,
    )?;
    resize(&mounted, blocks).map_err(|error| {
        HostError(format!(
            "{title} was not grown: {error}; it is whole as it is: grow it with resize2fs {}",
            part.node.display()
        ))
    })?;
    drop(mounted);
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

fn resize(mounted: &Mounted, blocks: u64) -> std::io::Result<()> {
    let root = File::open(mounted.at())?;
    ioctl::grow_ext4(&root, blocks)?;
    Ok(nix::unistd::syncfs(&root)?)
}
