//! A regular file that a job makes: under another name until it is finished.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::host::HostError;
use crate::permit::{Target, WritePermit};

/// What it is called until then.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

fn named(permit: &WritePermit) -> Result<&Path, HostError> {
    match permit.target() {
        Target::NewFile { path, .. } => Ok(path),
        Target::Disk(_) | Target::Store { .. } => Err(HostError(
            "the permit is not for a new file; repeat the command".into(),
        )),
    }
}

/// Never one that is there.
pub fn create(permit: &WritePermit) -> Result<File, HostError> {
    let path = unfinished(named(permit)?);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path);
    file.map_err(|error| trouble(&path, "cannot be made", &error))
}

/// As `create`, a directory.
pub fn create_directory(permit: &WritePermit) -> Result<PathBuf, HostError> {
    let path = unfinished(named(permit)?);
    match fs::create_dir(&path) {
        Ok(()) => Ok(path),
        Err(error) => Err(trouble(&path, "cannot be made", &error)),
    }
}

/// As `publish`, a directory of files.
pub fn publish_directory(permit: &WritePermit) -> Result<(), HostError> {
    let path = named(permit)?;
    let from = unfinished(path);
    let synced = || {
        for entry in fs::read_dir(&from)? {
            File::open(entry?.path())?.sync_all()?;
        }
        File::open(&from)
    };
    match synced() {
        Ok(directory) => publish(permit, directory),
        Err(error) => Err(trouble(path, "cannot be finished", &error)),
    }
}

/// As `abandon`, a directory.
pub fn abandon_directory(permit: &WritePermit) {
    if let Ok(path) = named(permit) {
        let _ = fs::remove_dir_all(unfinished(path));
    }
}

/// Gives a finished file its name, durably; never over another.
pub fn publish(permit: &WritePermit, file: File) -> Result<(), HostError> {
    let path = named(permit)?;
    let from = unfinished(path);
    let done = file
        .sync_all()
        .and_then(|()| rename(&from, path))
        .and_then(|()| {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        });
    done.map_err(|error| trouble(path, "cannot be finished", &error))
}

/// Of a job that ended before: nothing of it is of use.
pub fn abandon(permit: &WritePermit) {
    if let Ok(path) = named(permit) {
        let _ = fs::remove_file(unfinished(path));
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Filesystems without that flag: a name that is there is seen all the same.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        Err(error) => Err(error.into()),
    }
}

fn trouble(path: &Path, what: &str, error: &io::Error) -> HostError {
    HostError(format!(
        "{} {what}: {error}; name another file",
        path.display()
    ))
}
