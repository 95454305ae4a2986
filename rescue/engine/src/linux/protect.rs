//! The kernel's read-only flag on disks: what is not meant to be written cannot be, by anybody.

use std::fs::{self, File};
use std::path::Path;

use crate::host::{HostError, Protection, Use};
use crate::linux::claim::Claim;
use crate::linux::ioctl;
use crate::linux::sysfs::SysDisk;

/// What a disk would take without the flag that we set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hardware {
    Writable,
    /// A write-protect switch, or a driver that knows better.
    ReadOnly,
}

/// Sets the flag on a disk and its partitions. `None` for one that is in use, which is left as it is: a store that
/// is mounted, a destination that another program of ours writes.
pub fn keep_read_only(disk: &SysDisk, uses: &[Use]) -> Result<Option<Hardware>, HostError> {
    if !uses.is_empty() {
        return Ok(None);
    }
    // Patiently: another program of ours may be doing the same.
    let Ok(claim) = Claim::take_patiently(&disk.node) else {
        return Ok(None);
    };
    // The flag of the driver and ours are read as one; without ours for a moment the driver's is left. Nobody
    // else can have the disk open for writing meanwhile: it is claimed.
    let driver = ioctl::set_read_only(claim.device(), false)
        .and_then(|()| ioctl::is_read_only(claim.device()))
        .map_err(|errno| trouble(disk, errno))?;
    set(disk, true)?;
    Ok(Some(if driver {
        Hardware::ReadOnly
    } else {
        Hardware::Writable
    }))
}

/// On the disk and all its partitions, which have a flag each.
pub fn set(disk: &SysDisk, on: bool) -> Result<(), HostError> {
    for node in disk.nodes() {
        let device = open(node).map_err(|error| trouble(disk, error))?;
        ioctl::set_read_only(&device, on).map_err(|errno| trouble(disk, errno))?;
    }
    let repeats = if on { Repeats::None } else { Repeats::AsUsual };
    repeat_commands(disk, repeats);
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Repeats {
    None,
    AsUsual,
}

/// What the SCSI disk driver does with a command that was aborted. A bad sector of a disk that is only read is not
/// to be asked for six times; whoever writes is served better by the driver's own patience.
fn repeat_commands(disk: &SysDisk, repeats: Repeats) {
    // `SD_MAX_RETRIES` of drivers/scsi/sd.h.
    let value = match repeats {
        Repeats::None => "0",
        Repeats::AsUsual => "5",
    };
    let found = fs::read_dir(disk.syspath.join("device/scsi_disk"));
    for entry in found.into_iter().flatten().flatten() {
        // What is no SCSI disk has none, and a kernel before 5.11 cannot be told.
        let _ = fs::write(entry.path().join("max_retries"), value);
    }
}

/// Sets the flag where it is not set yet and nobody uses the disk, until the guard is dropped. A system that is
/// not ours may forbid it: then the disk is only read, as before, and the report says that it was not protected.
pub fn keep_read_only_for_now(disk: &SysDisk) -> Protection {
    let Ok(claim) = Claim::take(&disk.node) else {
        return Protection::lasting();
    };
    let mut ours = Vec::new();
    for device in disk.nodes().filter_map(|node| open(node).ok()) {
        if ioctl::is_read_only(&device) == Ok(false) && ioctl::set_read_only(&device, true).is_ok()
        {
            ours.push(device);
        }
    }
    drop(claim);
    Protection::until_dropped(move || {
        // The disk first: its flag shows on its partitions too. By what is open, whatever it is called by now.
        for device in ours {
            let _ = ioctl::set_read_only(&device, false);
        }
    })
}

fn open(node: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(node)
}

fn trouble(disk: &SysDisk, error: impl std::fmt::Display) -> HostError {
    HostError(format!(
        "{} cannot be protected against writing: {error}; disconnect it or leave it out",
        disk.node.display()
    ))
}
