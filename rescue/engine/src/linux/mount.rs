//! Mounting a filesystem for as long as something in it is open.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::host::{HostError, Protection};

/// How it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Not one byte of the disk changes: no journal is replayed.
    ReadOnly,
    ReadWrite,
}

/// Unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    /// Given back after it is unmounted.
    _protection: Protection,
}

impl Mounted {
    /// `kind` is a filesystem as `blkid` names it; `below` is the directory where a place for it is made.
    pub fn new(
        node: &Path,
        kind: &str,
        below: &Path,
        name: &str,
        mode: Mode,
        protection: Protection,
    ) -> Result<Mounted, HostError> {
        let driver = driver(kind).ok_or_else(|| {
            HostError(format!(
                "{} holds {kind}, which has no files to keep images in; choose another filesystem",
                node.display()
            ))
        })?;
        let at = make_place(below, name)?;
        let security =
            MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        let flags = match mode {
            Mode::ReadOnly => security | MsFlags::MS_RDONLY,
            Mode::ReadWrite => security,
        };
        let data = options(driver, mode);
        patiently(|| mount(Some(node), &at, Some(driver), flags, Some(data))).map_err(|errno| {
            let _ = fs::remove_dir(&at);
            trouble(node, kind, mode, errno)
        })?;
        Ok(Mounted {
            at,
            _protection: protection,
        })
    }

    pub fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Ok(directory) = File::open(&self.at) {
            let _ = nix::unistd::syncfs(&directory);
        }
        // Never lazily: what cannot be unmounted now is unmounted when the system goes down.
        if umount2(&self.at, MntFlags::UMOUNT_NOFOLLOW).is_ok() {
            let _ = fs::remove_dir(&self.at);
        }
    }
}

/// Waits for those who hold a device for a moment only, to look at it.
fn patiently(mount: impl Fn() -> nix::Result<()>) -> nix::Result<()> {
    const TRIES: u32 = 40;
    for _ in 0..TRIES {
        match mount() {
            Err(Errno::EBUSY) => sleep(Duration::from_millis(25)),
            done => return done,
        }
    }
    mount()
}

/// The kernel's driver; it loads by itself.
fn driver(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ext2" | "ext3" | "ext4" => "ext4",
        "ntfs" => "ntfs3",
        "vfat" => "vfat",
        "exfat" => "exfat",
        "xfs" => "xfs",
        "btrfs" => "btrfs",
        "f2fs" => "f2fs",
        "hfsplus" => "hfsplus",
        "udf" => "udf",
        "iso9660" => "iso9660",
        _ => return None,
    })
}

fn options(driver: &str, mode: Mode) -> &'static str {
    match (driver, mode) {
        ("ext4", Mode::ReadOnly) => "noload",
        ("xfs", Mode::ReadOnly) => "norecovery",
        ("btrfs", Mode::ReadOnly) => "rescue=nologreplay",
        ("vfat", _) => "utf8",
        _ => "",
    }
}

/// An empty directory nothing is mounted on.
fn make_place(below: &Path, name: &str) -> Result<PathBuf, HostError> {
    // Two at a time would choose the same.
    static CHOOSING: Mutex<()> = Mutex::new(());
    let _choosing = CHOOSING.lock().unwrap_or_else(PoisonError::into_inner);
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let plain = plain.trim_start_matches('.');
    let failed = |error: std::io::Error| {
        HostError(format!(
            "{} cannot be used to mount in: {error}; run as root",
            below.display()
        ))
    };
    fs::create_dir_all(below).map_err(failed)?;
    for n in 1..1000 {
        let at = if n == 1 {
            below.join(plain)
        } else {
            below.join(format!("{plain}-{n}"))
        };
        match fs::create_dir(&at) {
            Ok(()) => return Ok(at),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(HostError(format!(
        "{} is full of mounts; unmount some",
        below.display()
    )))
}

fn trouble(node: &Path, kind: &str, mode: Mode, errno: Errno) -> HostError {
    let what = node.display();
    HostError(match (errno, mode) {
        (Errno::EPERM | Errno::EACCES, _) => {
            format!(
                "{what} cannot be mounted: not permitted; run as root, or mount it and name the directory"
            )
        }
        (Errno::ENODEV, _) => {
            format!(
                "{what} cannot be mounted: this kernel has no driver for {kind}; choose another filesystem"
            )
        }
        (Errno::EBUSY, _) => {
            format!("{what} is in use; unmount it, or name the directory it is mounted at")
        }
        (Errno::EROFS, Mode::ReadWrite) => {
            format!(
                "{what} is read-only; look for its write-protect switch, or choose another disk"
            )
        }
        (_, Mode::ReadWrite) => format!(
            "{what} ({kind}) cannot be mounted for writing: {errno}; it may be damaged or hibernated: start its \
             system and shut it down, or choose another disk"
        ),
        (_, Mode::ReadOnly) => format!(
            "{what} ({kind}) cannot be mounted: {errno}; it may be damaged: repair it, or choose another disk"
        ),
    })
}
