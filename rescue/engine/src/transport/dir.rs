//! A directory as a store.

use std::any::Any;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::size::Size;
use image::store::{Append, ReadFile, Store, StoreError};
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::statfs::{MSDOS_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// FAT's directory entries count a file's bytes in 32 bits.
const FAT_FILE_LIMIT: u64 = u32::MAX as u64;

/// Files of one directory; nothing below or outside it can be named.
#[derive(Clone)]
pub struct DirStore {
    dir: PathBuf,
    file_limit: Option<u64>,
    /// Held by every open file too: a filesystem that was mounted for the store stays until the last is closed.
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for DirStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DirStore({})", self.dir.display())
    }
}

impl DirStore {
    /// The directory must exist.
    pub fn open(dir: &Path) -> Result<DirStore, StoreError> {
        let found = dir.metadata().map_err(|error| match error.kind() {
            ErrorKind::NotFound => StoreError::Missing(format!(
                "there is no directory {}; make it first or name another",
                dir.display()
            )),
            _ => StoreError::Fault(format!("{} cannot be opened: {error}", dir.display())),
        })?;
        if !found.is_dir() {
            return Err(StoreError::Fault(format!(
                "{} is not a directory; name the directory that the images are in",
                dir.display()
            )));
        }
        let fat = statfs(dir).is_ok_and(|s| s.filesystem_type() == MSDOS_SUPER_MAGIC);
        Ok(DirStore {
            dir: dir.to_owned(),
            file_limit: fat.then_some(FAT_FILE_LIMIT),
            keep: None,
        })
    }

    /// Keeps `what` until the store and every file opened from it are closed.
    pub fn keeping(self, what: Arc<dyn Any + Send + Sync>) -> DirStore {
        DirStore {
            keep: Some(what),
            ..self
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let plain = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
        if plain {
            Ok(self.dir.join(name))
        } else {
            Err(StoreError::Fault(format!(
                "'{}' cannot be the name of a file in {}; write a name without /",
                name.escape_default(),
                self.dir.display()
            )))
        }
    }

    fn appending(&self, path: PathBuf, file: File, len: u64, new: bool) -> Box<dyn Append> {
        Box::new(Appended {
            file,
            path,
            len,
            file_limit: self.file_limit,
            name_to_sync: new.then(|| self.dir.clone()),
            _keep: self.keep.clone(),
        })
    }
}

impl Store for DirStore {
    fn describe(&self) -> String {
        self.dir.display().to_string()
    }

    fn create(&self, name: &str) -> Result<Box<dyn Append>, StoreError> {
        let path = self.path(name)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| trouble(&path, "created", &error))?;
        Ok(self.appending(path, file, 0, true))
    }

    fn resume(&self, name: &str, len: u64) -> Result<Box<dyn Append>, StoreError> {
        let path = self.path(name)?;
        let failed = |error| trouble(&path, "continued", &error);
        let file = regular(&path, OpenOptions::new().write(true))?;
        let found = file.metadata().map_err(failed)?.len();
        if found < len {
            return Err(StoreError::Fault(format!(
                "{} has {} where {} were recorded; remove it and start again",
                path.display(),
                Size(found),
                Size(len)
            )));
        }
        file.set_len(len).map_err(failed)?;
        Ok(self.appending(path, file, len, false))
    }

    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StoreError> {
        let path = self.path(name)?;
        let file = regular(&path, OpenOptions::new().read(true))?;
        let len = file
            .metadata()
            .map_err(|error| trouble(&path, "read", &error))?
            .len();
        // What was written before is read from the disk and not from memory: an image that is checked is checked
        // where it lies. Only advice, and wrong nowhere.
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        Ok(Box::new(Opened {
            file,
            path,
            len,
            _keep: self.keep.clone(),
        }))
    }

    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.path(name)?;
        match path.symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(trouble(&path, "looked at", &error)),
        }
    }

    fn publish(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        // nix has this call for glibc only.
        let renamed = renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE);
        match renamed.map_err(|error| Errno::from_raw(error.raw_os_error())) {
            Ok(()) => {}
            // The filesystem does not know the flag: FUSE and network filesystems.
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::ENOTSUP) => rename_unless_taken(&from, &to)?,
            Err(Errno::EEXIST) => return Err(taken(&to)),
            Err(errno) => return Err(trouble(&from, "renamed", &errno.into())),
        }
        sync_directory(&self.dir)
    }

    fn replace(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        std::fs::rename(&from, &to).map_err(|error| trouble(&from, "renamed", &error))?;
        sync_directory(&self.dir)
    }

    fn overwrite(&self, name: &str, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name)?;
        let failed = |error| trouble(&path, "written", &error);
        let file = regular(&path, OpenOptions::new().write(true))?;
        if file.metadata().map_err(failed)?.len() < offset + data.len() as u64 {
            return Err(StoreError::Fault(format!(
                "{} is too short for that; check it",
                path.display()
            )));
        }
        file.write_all_at(data, offset).map_err(failed)?;
        file.sync_data().map_err(failed)
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name)?;
        std::fs::remove_file(&path).map_err(|error| trouble(&path, "removed", &error))?;
        sync_directory(&self.dir)
    }

    fn list(&self) -> Result<Vec<String>, StoreError> {
        let failed = |error: io::Error| trouble(&self.dir, "listed", &error);
        let mut names = Vec::new();
        for entry in self.dir.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is not UTF-8 was not given by us.
            if let Ok(name) = entry.file_name().into_string()
                && entry.path().is_file()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn free_bytes(&self) -> Option<u64> {
        let found = statvfs(&self.dir).ok()?;
        found.blocks_available().checked_mul(found.fragment_size())
    }

    fn file_limit(&self) -> Option<u64> {
        self.file_limit
    }
}

struct Appended {
    file: File,
    path: PathBuf,
    len: u64,
    file_limit: Option<u64>,
    /// The directory whose entry for a new file is not durable yet.
    name_to_sync: Option<PathBuf>,
    _keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl Append for Appended {
    fn len(&self) -> u64 {
        self.len
    }

    fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let end = self.len.saturating_add(data.len() as u64);
        if self.file_limit.is_some_and(|limit| end > limit) {
            return Err(too_large(&self.path));
        }
        // At `len`, not at the end: what a failed append left there is written over.
        self.file
            .write_all_at(data, self.len)
            .map_err(|error| trouble(&self.path, "written", &error))?;
        self.len = end;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|error| trouble(&self.path, "made durable", &error))?;
        if let Some(dir) = &self.name_to_sync {
            sync_directory(dir)?;
            self.name_to_sync = None;
        }
        Ok(())
    }
}

struct Opened {
    file: File,
    path: PathBuf,
    len: u64,
    _keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl ReadFile for Opened {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let len = buf.len() as u64;
        self.file.read_exact_at(buf, offset).map_err(|error| {
            let unreadable = |text| StoreError::Unreadable { offset, len, text };
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                _ if error.kind() == ErrorKind::UnexpectedEof => unreadable(format!(
                    "{} ends at {} bytes; it was cut short; copy it again from where it came from",
                    self.path.display(),
                    self.len
                )),
                Errno::EIO | Errno::ENODATA | Errno::EREMOTEIO | Errno::EILSEQ => {
                    unreadable(format!(
                        "{len} bytes at {offset} of {} cannot be read: {error}; copy it to a healthy disk",
                        self.path.display()
                    ))
                }
                _ => trouble(&self.path, "read", &error),
            }
        })
    }
}

fn regular(path: &Path, how: &mut OpenOptions) -> Result<File, StoreError> {
    // Looked at first: opening a pipe or a device would wait or act.
    let found = path
        .metadata()
        .map_err(|error| trouble(path, "opened", &error))?;
    if !found.is_file() {
        return Err(StoreError::Fault(format!(
            "{} is not a regular file; name the file of an image",
            path.display()
        )));
    }
    how.open(path)
        .map_err(|error| trouble(path, "opened", &error))
}

fn rename_unless_taken(from: &Path, to: &Path) -> Result<(), StoreError> {
    match std::fs::hard_link(from, to) {
        Ok(()) => {
            std::fs::remove_file(from).map_err(|error| trouble(from, "removed", &error))?;
            return Ok(());
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken(to)),
        // No hard links there: look, then rename. Only another program in that very moment could be lost.
        Err(_) => {}
    }
    match to.symlink_metadata() {
        Ok(_) => Err(taken(to)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::rename(from, to).map_err(|error| trouble(from, "renamed", &error))
        }
        Err(error) => Err(trouble(to, "looked at", &error)),
    }
}

fn sync_directory(dir: &Path) -> Result<(), StoreError> {
    let synced = File::open(dir).and_then(|d| d.sync_all());
    match synced {
        Ok(()) => Ok(()),
        // FUSE and network filesystems that have nothing to sync in a directory say so in these ways.
        Err(error)
            if matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::EINVAL | Errno::ENOTSUP | Errno::ENOSYS)
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(trouble(dir, "made durable", &error)),
    }
}

fn taken(path: &Path) -> StoreError {
    StoreError::Taken(format!(
        "{} exists already; choose another name or remove it",
        path.display()
    ))
}

fn too_large(path: &Path) -> StoreError {
    StoreError::Full(format!(
        "{} cannot grow further: its filesystem (FAT) holds files up to 4 GiB; choose a store on ext4, exFAT or NTFS",
        path.display()
    ))
}

/// What an error of the system means for a store.
fn trouble(path: &Path, done: &str, error: &io::Error) -> StoreError {
    let shown = path.display();
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EEXIST => taken(path),
        Errno::ENOENT => StoreError::Missing(format!("there is no {shown}; check the name")),
        Errno::ENOSPC | Errno::EDQUOT => StoreError::Full(format!(
            "there is no room for {shown}; free some or choose another store, what is there is kept"
        )),
        Errno::EFBIG => too_large(path),
        Errno::EROFS => StoreError::Fault(format!(
            "{shown} cannot be {done}: its filesystem is read-only; mount it for writing or choose another store"
        )),
        Errno::EACCES | Errno::EPERM => StoreError::Fault(format!(
            "{shown} cannot be {done}: not permitted; run as root or choose another store"
        )),
        Errno::ENODEV | Errno::ENXIO | Errno::ENOTCONN | Errno::ESTALE => {
            StoreError::Gone(format!(
                "{shown} cannot be {done}: its disk is no longer there; connect it again and repeat the command"
            ))
        }
        Errno::EIO => StoreError::Fault(format!(
            "{shown} cannot be {done}: the disk below reports an error; look at its cable, or choose another store"
        )),
        _ => StoreError::Fault(format!(
            "{shown} cannot be {done}: {error}; look at the store and repeat the command"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stops_at_the_limit_of_its_filesystem() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore {
            file_limit: Some(10),
            ..DirStore::open(dir.path()).unwrap()
        };
        let mut file = store.create("a").unwrap();
        file.append(&[1; 10]).unwrap();
        let error = file.append(&[2]).unwrap_err();
        assert!(
            matches!(&error, StoreError::Full(text) if text.contains("4 GiB")),
            "{error}"
        );
        assert_eq!((file.len(), store.file_limit()), (10, Some(10)));
    }

    #[test]
    fn what_a_pulled_or_broken_disk_answers_is_told_apart() {
        let told = |errno: Errno| trouble(Path::new("/x"), "written", &errno.into());
        assert!(matches!(told(Errno::ENODEV), StoreError::Gone(_)));
        assert!(matches!(told(Errno::ENXIO), StoreError::Gone(_)));
        assert!(matches!(told(Errno::EDQUOT), StoreError::Full(_)));
        assert!(
            matches!(told(Errno::EIO), StoreError::Fault(text) if text.contains("the disk below"))
        );
        assert!(
            matches!(told(Errno::EACCES), StoreError::Fault(text) if text.contains("not permitted"))
        );
    }

    #[test]
    fn a_filesystem_without_the_flag_publishes_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("a"), "new").unwrap();
        std::fs::write(path("b"), "old").unwrap();
        assert!(matches!(
            rename_unless_taken(&path("a"), &path("b")),
            Err(StoreError::Taken(_))
        ));
        rename_unless_taken(&path("a"), &path("c")).unwrap();
        assert_eq!(std::fs::read(path("c")).unwrap(), b"new");
        assert_eq!(std::fs::read(path("b")).unwrap(), b"old");
        assert!(!path("a").exists());
    }
}
