//! State files on this system: replaced whole, or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::host::HostError;

/// Largest state file that is taken into memory.
const LIMIT: u64 = 256 << 20;

pub fn read(path: &Path) -> Result<Option<Vec<u8>>, HostError> {
    let mut bytes = Vec::new();
    let read = match File::open(path) {
        Ok(file) => file.take(LIMIT + 1).read_to_end(&mut bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    };
    match read {
        Ok(_) if bytes.len() as u64 > LIMIT => Err(HostError(format!(
            "{} is too large for a map file; name another with --map",
            path.display()
        ))),
        Ok(_) => Ok(Some(bytes)),
        Err(error) => Err(trouble(path, "cannot be read", &error)),
    }
}

pub fn write(path: &Path, bytes: &[u8]) -> Result<(), HostError> {
    let beside = neighbour(path);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_directory(path)
    });
    written.map_err(|error| {
        // The old state stays; what was begun beside it is of no use to anybody.
        let _ = fs::remove_file(&beside);
        trouble(path, "cannot be written", &error)
    })
}

/// A file of this directory that nobody else can open, and that is gone when it is closed.
pub fn scratch(directory: &Path) -> Result<File, HostError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::EXCL;
    let opened = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR);
    let file = opened.map(File::from).map_err(io::Error::from);
    file.map_err(|error| {
        HostError(format!(
            "{} cannot hold a temporary file: {error}; name another directory in TMPDIR",
            directory.display()
        ))
    })
}

/// Adds to a file, which is made where there is none.
pub fn append(path: &Path, bytes: &[u8]) -> Result<(), HostError> {
    let added = File::options()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_data()
        });
    added.map_err(|error| trouble(path, "cannot be written", &error))
}

pub fn remove(path: &Path) -> Result<(), HostError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(trouble(path, "cannot be removed", &error))
        }
        _ => Ok(()),
    }
}

fn neighbour(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The new name survives a power cut only when its directory does.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn trouble(path: &Path, what: &str, error: &io::Error) -> HostError {
    HostError(format!(
        "the map file {} {what}: {error}; name another with --map",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("job.map");
        assert_eq!(read(&path).unwrap(), None);
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn a_state_file_that_cannot_be_written_is_a_sentence_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let error = write(&directory.path().join("none/job.map"), b"x").unwrap_err();
        assert!(
            error.0.contains("none/job.map cannot be written"),
            "{error}"
        );
    }
}
