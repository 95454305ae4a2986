//! A directory of this system that files are copied into: nothing that was there is changed, and no link that came
//! out of a disk is followed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::libc::O_NOFOLLOW;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// A file has this name until it is whole.
const PARTIAL: &str = ".rescue-partial";

#[derive(Debug)]
pub struct Folder {
    top: PathBuf,
}

/// What was found where something was to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Made {
    New,
    /// The same was there: an earlier run made it.
    Before,
}

impl Folder {
    pub fn new(top: &Path) -> Folder {
        Folder {
            top: top.to_owned(),
        }
    }

    /// Where a file of this path goes. Its names come from a disk: each is one plain name or an error.
    pub fn place(&self, path: &str) -> io::Result<PathBuf> {
        let mut place = self.top.clone();
        for name in path.split('/') {
            let plain = !matches!(name, "" | "." | ".." | PARTIAL) && !name.contains('\0');
            if !plain {
                return Err(io::Error::new(
                    ErrorKind::InvalidFilename,
                    "its name cannot be a file's name here",
                ));
            }
            place.push(name);
        }
        Ok(place)
    }

    /// A directory that is there is gone on with; anything else of its name is in the way.
    pub fn directory(&self, place: &Path) -> io::Result<Made> {
        match DirBuilder::new().create(place) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if fs::symlink_metadata(place)?.is_dir() {
                    Ok(Made::Before)
                } else {
                    Err(error)
                }
            }
            made => made.map(|()| Made::New),
        }
    }

    pub fn link(&self, place: &Path, target: &str) -> io::Result<Made> {
        match symlink(target, place) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if fs::read_link(place).is_ok_and(|there| there == Path::new(target)) {
                    Ok(Made::Before)
                } else {
                    Err(error)
                }
            }
            made => made.map(|()| Made::New),
        }
    }

    /// A file to be filled; `None` where an earlier run made it: the same size, and the same time where it has one.
    pub fn file(
        &self,
        place: &Path,
        size_bytes: u64,
        modified: Option<i64>,
    ) -> io::Result<Option<Filling>> {
        match fs::symlink_metadata(place) {
            Ok(there) => {
                let time = modified.and_then(time);
                let same = there.is_file()
                    && there.len() == size_bytes
                    && time.is_none_or(|time| there.modified().is_ok_and(|m| near(m, time)));
                if same {
                    return Ok(None);
                }
                return Err(io::Error::new(
                    ErrorKind::AlreadyExists,
                    "another file of this name is there",
                ));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let partial = place.with_file_name(PARTIAL);
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .custom_flags(O_NOFOLLOW)
            .open(&partial)?;
        Ok(Some(Filling {
            file,
            partial,
            place: place.to_owned(),
            size_bytes,
            modified,
        }))
    }

    /// Everything in the folder survives a power cut after this.
    pub fn sync(&self) -> io::Result<()> {
        let folder = File::open(&self.top)?;
        rustix::fs::syncfs(&folder).map_err(io::Error::from)
    }
}

/// A file that is not whole yet.
#[derive(Debug)]
pub struct Filling {
    file: File,
    partial: PathBuf,
    place: PathBuf,
    size_bytes: u64,
    modified: Option<i64>,
}

impl Filling {
    /// Zeros are left out: nothing was there.
    pub fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        self.file.write_all_at(bytes, at)
    }

    /// Nothing of it stays.
    pub fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.partial)
    }

    pub fn finish(self) -> io::Result<()> {
        self.file.set_len(self.size_bytes)?;
        if let Some(time) = self.modified.and_then(time) {
            self.file.set_modified(time)?;
        }
        match renameat_with(CWD, &self.partial, CWD, &self.place, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            // Filesystems without that flag: nobody else writes here.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                fs::rename(&self.partial, &self.place)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn time(seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

/// FAT counts in steps of two seconds.
fn near(a: SystemTime, b: SystemTime) -> bool {
    let apart = a.duration_since(b).unwrap_or_else(|error| error.duration());
    apart < Duration::from_secs(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_from_a_disk_leads_out_of_the_folder() {
        let folder = Folder::new(Path::new("/to"));
        for bad in ["../x", "a/../../x", "/etc/passwd", "a//b", "a\0b", "", "."] {
            assert!(folder.place(bad).is_err(), "{bad:?}");
        }
        assert_eq!(folder.place("a/b").unwrap(), Path::new("/to/a/b"));
    }

    #[test]
    fn a_link_is_never_entered_and_never_written_through() {
        let made = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let folder = Folder::new(made.path());
        let place = folder.place("a").unwrap();
        let target = outside.path().to_str().unwrap();
        assert_eq!(folder.link(&place, target).unwrap(), Made::New);
        assert_eq!(folder.link(&place, target).unwrap(), Made::Before);
        assert!(folder.directory(&place).is_err());
        assert!(folder.file(&place, 3, None).is_err());
        assert_eq!(outside.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole_and_is_not_made_twice() {
        let made = tempfile::tempdir().unwrap();
        let folder = Folder::new(made.path());
        let place = folder.place("a").unwrap();
        let filling = folder.file(&place, 6, Some(-5)).unwrap().unwrap();
        filling.write(b"abc", 1).unwrap();
        assert!(!place.exists());
        // As after a crash: begun anew.
        drop(filling);
        let filling = folder.file(&place, 6, Some(-5)).unwrap().unwrap();
        filling.write(b"abc", 1).unwrap();
        filling.finish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"\0abc\0\0");
        assert!(folder.file(&place, 6, Some(-5)).unwrap().is_none());
        assert!(folder.file(&place, 7, Some(-5)).is_err());
        assert!(folder.file(&place, 6, Some(900)).is_err());
    }
}
