//! Regular files that are images of other programs: each the disk that it holds, for reading only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::source::BlockSource;
use foreign::{File, Folder, ForeignError, Opened};

use crate::host::HostError;
use crate::linux::node::{Access, Kind, Node, open_trouble};
use crate::linux::source::DirectSource;

/// `None` where the file is a raw disk, or what is no regular file.
pub fn open(path: &Path, sysfs: &Path) -> Result<Option<Opened>, HostError> {
    if is_directory(path) {
        let folder = Beside {
            directory: path.to_owned(),
            sysfs: sysfs.to_owned(),
        };
        let opened = foreign::clonezilla::open(&folder, None);
        return opened.map_err(|error| HostError(format!("{}: {error}", path.display())));
    }
    let node = Node::open(path, Access::Read, sysfs)
        .map_err(|error| open_trouble(path, &error, "another program has it"))?;
    if node.kind != Kind::File {
        return Ok(None);
    }
    let file: File = Arc::new(DirectSource::new(node));
    let beside = Beside {
        directory: path.parent().unwrap_or(Path::new("/")).to_owned(),
        sysfs: sysfs.to_owned(),
    };
    match foreign::open(&file, &beside) {
        // A raw disk on a failing one may have a bad place just there.
        Err(ForeignError::Read(_)) => Ok(None),
        Err(error) => Err(HostError(format!("{}: {error}", path.display()))),
        Ok(opened) => Ok(opened),
    }
}

/// Whether it is a directory that Clonezilla made.
pub fn is_directory(path: &Path) -> bool {
    path.is_dir() && path.join("parts").is_file() && path.join("disk").is_file()
}

struct Beside {
    directory: PathBuf,
    sysfs: PathBuf,
}

impl Folder for Beside {
    fn open(&self, name: &str) -> Result<File, String> {
        let path = self.directory.join(name);
        let node = Node::open(&path, Access::Read, &self.sysfs);
        let node = node.map_err(|error| error.to_string())?;
        // A device of this name is no part of an image.
        if node.kind != Kind::File {
            return Err("it is no regular file".into());
        }
        Ok(Arc::new(DirectSource::new(node)))
    }

    fn names(&self) -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(&self.directory).map_err(|error| error.to_string())?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| error.to_string())?;
            names.extend(entry.file_name().into_string().ok());
        }
        Ok(names)
    }
}

/// The disk that a file holds; an error where it is no such image any more.
pub fn reopen(path: &Path, sysfs: &Path) -> Result<Box<dyn BlockSource>, HostError> {
    match open(path, sysfs)? {
        Some(opened) => Ok(opened.source),
        None => Err(HostError(format!(
            "{} has changed since it was looked at; repeat the command",
            path.display()
        ))),
    }
}
