//! Which disks a name means, and which come and go.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Duration;

use libudev as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use udev::{EventType, MonitorBuilder, MonitorSocket};

use crate::host::HostError;
use crate::identity::Identity;
use crate::request::DiskName;

/// Whether a name given by serial or WWN means this disk. A path is the host's to resolve.
pub fn is_named(identity: &Identity, name: &DiskName) -> bool {
    match name {
        DiskName::Serial(serial) => identity.serial.as_deref() == Some(serial.trim()),
        DiskName::Wwn(wwn) => identity
            .wwn
            .as_deref()
            .is_some_and(|w| bare(w) == bare(wwn)),
        DiskName::Path(path) => identity.file.as_ref() == Some(path),
    }
}

/// A WWN is written `naa.5000c500…` by the kernel, `0x5000c500…` by other tools, and bare on the label.
fn bare(wwn: &str) -> String {
    let lower = wwn.trim().to_ascii_lowercase().replace(' ', "");
    let kinds = ["naa.", "eui.", "uuid.", "0x"];
    let rest = kinds.iter().find_map(|kind| lower.strip_prefix(kind));
    rest.map_or(lower.clone(), str::to_owned)
}

/// Something happened to a disk; what is known of it is to be read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A disk came. Its node exists already.
    Added(PathBuf),
    Removed(PathBuf),
    /// A medium, a partition or a flag changed.
    Changed(PathBuf),
    /// More happened than could be told: read everything again.
    Missed,
}

/// Hears the kernel tell of disks. Used by the thread that made it.
pub struct Watch {
    socket: MonitorSocket,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watch({})", self.socket.as_raw_fd())
    }
}

/// Begins to listen. What comes and goes after this is heard: so first this, then `Host::disks`.
pub fn watch() -> Result<Watch, HostError> {
    let socket = MonitorBuilder::new_kernel()
        .and_then(|builder| builder.match_subsystem("block"))
        .and_then(MonitorBuilder::listen);
    match socket {
        Ok(socket) => Ok(Watch { socket }),
        Err(error) => Err(HostError(format!(
            "disks that come and go cannot be watched: {error}; list them again by hand"
        ))),
    }
}

impl Watch {
    /// The next change; `None` when nothing happened for so long.
    pub fn next_within(&self, wait: Duration) -> Result<Option<Change>, HostError> {
        let deadline = std::time::Instant::now() + wait;
        loop {
            if let Some(change) = self.next_now()? {
                return Ok(Some(change));
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.wait(left)?;
        }
    }

    fn next_now(&self) -> Result<Option<Change>, HostError> {
        for event in self.socket.iter() {
            if let Some(change) = change(&event) {
                return Ok(Some(change));
            }
        }
        match Errno::last() {
            Errno::EAGAIN => Ok(None),
            Errno::ENOBUFS => Ok(Some(Change::Missed)),
            errno => Err(failed(errno.into())),
        }
    }

    /// Until there is something to read, or a little longer than `at_most`.
    fn wait(&self, at_most: Duration) -> Result<(), HostError> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // Milliseconds, rounded up.
        let millis = PollTimeout::try_from(at_most + Duration::from_millis(1));
        match poll(&mut fds, millis.unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

fn change(event: &udev::Event) -> Option<Change> {
    let is_disk = event.devtype() == Some(OsStr::new("disk"));
    let whole = if is_disk {
        event.devnode().map(PathBuf::from)
    } else {
        // Of a partition: its disk is the directory above.
        let above = event.syspath().parent()?.file_name()?;
        Some(PathBuf::from("/dev").join(above))
    };
    let whole = whole?;
    if !is_disk_name(whole.file_name()?.to_str()?) {
        return None;
    }
    Some(match event.event_type() {
        EventType::Add if is_disk => Change::Added(whole),
        EventType::Remove if is_disk => Change::Removed(whole),
        _ => Change::Changed(whole),
    })
}

/// Names of what a PC's disks are; loop, zram, ram, dm, md and optical drives are taken only by their path.
pub(crate) fn is_disk_name(name: &str) -> bool {
    const DISKS: &[&str] = &["sd", "nvme", "vd", "mmcblk", "xvd"];
    // The boot areas and the protected area of an eMMC are devices of their own: mmcblk0boot0, mmcblk0rpmb.
    let plain = |rest: &str| !rest.is_empty() && !rest.contains("boot") && !rest.contains("rpmb");
    DISKS
        .iter()
        .any(|kind| name.strip_prefix(kind).is_some_and(plain))
}

fn failed(error: io::Error) -> HostError {
    HostError(format!(
        "disks that come and go are no longer heard of: {error}; list them again by hand"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wwn_is_known_in_every_spelling() {
        for spelled in [
            "naa.5000C500A1B2C3D4",
            "0x5000c500a1b2c3d4",
            "5000 C500 A1B2 C3D4",
        ] {
            assert_eq!(bare(spelled), "5000c500a1b2c3d4");
        }
    }

    #[test]
    fn only_disks_of_a_pc_are_listed() {
        for name in ["sda", "sdaa", "nvme0n1", "vdb", "mmcblk0", "xvda"] {
            assert!(is_disk_name(name), "{name}");
        }
        for name in [
            "loop0",
            "zram0",
            "ram1",
            "dm-0",
            "md127",
            "sr0",
            "mmcblk0boot0",
            "mmcblk0rpmb",
            "nbd0",
            "sd",
        ] {
            assert!(!is_disk_name(name), "{name}");
        }
    }
}
