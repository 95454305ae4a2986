//! A block device or a regular file, opened: its size, its unit of direct I/O, and what its errors mean.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use disk::extent::Extent;
use disk::geometry::Geometry;
use disk::source::{ReadError, WriteError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::stat::{major, minor};

use crate::host::HostError;
use crate::identity::Identity;
use crate::linux::ioctl;

/// Direct I/O on a file wants whole blocks of its filesystem's device; no device has larger ones.
const FILE_BLOCK: u32 = 4096;

#[derive(Debug)]
pub struct Node {
    pub file: File,
    pub path: PathBuf,
    /// In sentences about its trouble.
    pub title: String,
    pub kind: Kind,
    pub geometry: Geometry,
    /// False once the filesystem below said that it has no direct I/O.
    direct: AtomicBool,
    /// Exists in sysfs as long as the device does.
    presence: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Block,
    File,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
}

impl Node {
    /// Opens what exists. `sysfs` is where the kernel tells whether a device is still there.
    pub fn open(path: &Path, access: Access, sysfs: &Path) -> io::Result<Node> {
        let open = |extra: OFlag| {
            OpenOptions::new()
                .read(true)
                .write(access == Access::Write)
                // A pipe would wait for its other end, a drive for its tray.
                .custom_flags((OFlag::O_NONBLOCK | extra).bits())
                .open(path)
        };
        match open(OFlag::O_DIRECT) {
            // tmpfs and some FUSE and network filesystems have no direct I/O.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Node::of(open(OFlag::empty())?, path, false, sysfs)
            }
            opened => Node::of(opened?, path, true, sysfs),
        }
    }

    /// A file that was just made with this size.
    pub fn of_new_file(file: File, path: &Path) -> io::Result<Node> {
        Node::of(file, path, true, Path::new("/"))
    }

    fn of(file: File, path: &Path, direct: bool, sysfs: &Path) -> io::Result<Node> {
        let found = file.metadata()?;
        let kind = if found.file_type().is_block_device() {
            Kind::Block
        } else if found.is_file() {
            Kind::File
        } else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is neither a block device nor a regular file",
            ));
        };
        let (geometry, presence) = match kind {
            Kind::File => (Geometry::of_file(found.len()), None),
            Kind::Block => {
                let number = format!("{}:{}", major(found.rdev()), minor(found.rdev()));
                let logical_sector = ioctl::logical_sector(&file)?;
                let geometry = Geometry {
                    size_bytes: ioctl::size_bytes(&file)?,
                    logical_sector,
                    physical_sector: ioctl::physical_sector(&file)?.max(logical_sector),
                };
                (geometry, Some(sysfs.join("dev/block").join(number)))
            }
        };
        Ok(Node {
            file,
            title: path.display().to_string(),
            path: path.to_owned(),
            kind,
            geometry,
            direct: AtomicBool::new(direct),
            presence,
        })
    }

    /// The path alone says little: a disk that is connected again often has another one.
    #[must_use]
    pub fn of_disk(mut self, identity: &Identity) -> Node {
        if identity.file.is_none() {
            self.title = format!("{} ({identity})", self.path.display());
        }
        self
    }

    pub fn device_number(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.rdev())
    }

    /// Offsets and lengths of direct I/O are multiples of this.
    pub fn block(&self) -> u32 {
        match self.kind {
            Kind::Block => self.geometry.logical_sector,
            Kind::File => FILE_BLOCK,
        }
    }

    pub fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    /// Goes on through the page cache: the answer to `EINVAL`.
    pub fn leave_direct(&self) -> io::Result<()> {
        self.direct.store(false, Ordering::Relaxed);
        let flags = OFlag::from_bits_retain(fcntl(&self.file, FcntlArg::F_GETFL)?);
        fcntl(&self.file, FcntlArg::F_SETFL(flags - OFlag::O_DIRECT))?;
        Ok(())
    }

    /// Whether the device was pulled. A dead one that is still plugged in is not gone.
    pub fn is_gone(&self) -> bool {
        self.kind == Kind::Block
            && (self.presence.as_ref().is_some_and(|p| !p.exists())
                || ioctl::size_bytes(&self.file).is_ok_and(|size| size == 0))
    }

    pub fn read_trouble(&self, error: &io::Error, extent: Extent) -> ReadError {
        let what = &self.title;
        match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::ENODEV | Errno::ENXIO | Errno::ENOMEDIUM => ReadError::Gone(what.clone()),
            errno if is_medium_error(errno) => {
                if self.is_gone() {
                    ReadError::Gone(what.clone())
                } else {
                    ReadError::Unreadable(extent)
                }
            }
            _ => ReadError::Fault(format!(
                "{what} cannot be read at {}: {error}; repeat the command, or look at the kernel's log",
                extent.start()
            )),
        }
    }

    pub fn write_trouble(&self, error: &io::Error, extent: Extent) -> WriteError {
        let what = self.title.clone();
        match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::ENODEV | Errno::ENXIO | Errno::ENOMEDIUM => WriteError::Gone(what),
            // A pulled NVMe drive answers writes with ENOSPC.
            _ if self.is_gone() => WriteError::Gone(what),
            Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => WriteError::Full(what),
            errno if is_medium_error(errno) => WriteError::Refused {
                extent,
                text: format!("{what} reports an error ({error}); choose another destination"),
            },
            Errno::EPERM | Errno::EROFS | Errno::EACCES => WriteError::Fault(format!(
                "{what} does not take writes: {error}; look for its write-protect switch"
            )),
            _ => WriteError::Fault(format!(
                "{what} cannot be written at {}: {error}; look at the kernel's log",
                extent.start()
            )),
        }
    }
}

/// What the block layer answers when the medium, the drive or the path to it failed (`blk_errors` in
/// block/blk-core.c).
fn is_medium_error(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EIO
            | Errno::ENODATA
            | Errno::EREMOTEIO
            | Errno::EILSEQ
            | Errno::ETIMEDOUT
            | Errno::ENOLINK
            | Errno::EBADE
    )
}

/// Why a disk or file could not be opened, as a sentence. `busy` names who has it.
pub fn open_trouble(path: &Path, error: &io::Error, busy: &str) -> HostError {
    let what = path.display();
    HostError(match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EACCES | Errno::EPERM => {
            format!("{what} cannot be opened: not permitted; run as root")
        }
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => {
            format!("{what} is no longer there; connect it again and repeat the command")
        }
        Errno::ENOMEDIUM => {
            format!("{what} has no medium in it; insert one and repeat the command")
        }
        Errno::EBUSY => format!("{what} is in use: {busy}; unmount or stop that first"),
        Errno::EROFS => format!("{what} is read-only; look for its write-protect switch"),
        _ => format!("{what} cannot be opened: {error}; look at the kernel's log"),
    })
}
