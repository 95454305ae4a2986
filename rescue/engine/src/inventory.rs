//! Which disks a name means, and which come and go.

use crate::host::Disk;
use crate::request::DiskName;

/// Whether a name given by serial or WWN means this disk. A path is the host's to resolve.
pub fn is_named(disk: &Disk, name: &DiskName) -> bool {
    match name {
        DiskName::Serial(serial) => disk.identity.serial.as_deref() == Some(serial),
        DiskName::Wwn(wwn) => disk.identity.wwn.as_deref() == Some(wwn),
        DiskName::Path(path) => disk.path == *path,
    }
}
