//! Regular files that are images of other programs: each the disk that it holds, for reading only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::source::{BlockSource, read_vec};
use foreign::{File, Folder, ForeignError, Opened, Order};

use crate::host::HostError;
use crate::identity::Fingerprint;
use crate::linux::fingerprint;
use crate::linux::node::{Access, Kind, Node, open_trouble};
use crate::linux::source::DirectSource;

/// Of the file of an image of ours, in front of which stands an empty Zstandard frame.
const OUR_HEAD: (u64, &[u8]) = (21, b"rescHEAD");

/// `None` where the file is a raw disk, or what is no regular file. `size_bytes` is what an earlier look found.
pub fn open(
    path: &Path,
    sysfs: &Path,
    size_bytes: Option<u64>,
) -> Result<Option<Opened>, HostError> {
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
    is_not_ours(path, &*file)?;
    let beside = Beside {
        directory: path.parent().unwrap_or(Path::new("/")).to_owned(),
        sysfs: sysfs.to_owned(),
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let piped = name.map_or(Ok(None), |name| {
        foreign::piped::open(name, &beside, size_bytes)
    });
    match piped.and_then(|piped| match piped {
        Some(piped) => Ok(Some(piped)),
        None => foreign::open(&file, &beside),
    }) {
        // A raw disk on a failing one may have a bad place just there.
        Err(ForeignError::Read(_)) => Ok(None),
        Err(error) => Err(HostError(format!("{}: {error}", path.display()))),
        Ok(opened) => Ok(opened),
    }
}

/// What an image of ours packs is not taken for a disk: a child of another image would be one with holes.
fn is_not_ours(path: &Path, file: &dyn BlockSource) -> Result<(), HostError> {
    let (at, mark) = OUR_HEAD;
    match read_vec(file, at, mark.len() as u64) {
        Ok(found) if found == mark => Err(HostError(format!(
            "{} is an image of this program, not a disk; name a disk, or restore the image first",
            path.display()
        ))),
        _ => Ok(()),
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
pub fn reopen(path: &Path, sysfs: &Path, size_bytes: u64) -> Result<Opened, HostError> {
    open(path, sysfs, Some(size_bytes))?.ok_or_else(|| {
        HostError(format!(
            "{} has changed since it was looked at; repeat the command",
            path.display()
        ))
    })
}

/// What tells that it is still the same. A packed stream is told by the ends of its file: its own last bytes cost
/// unpacking all of it.
pub fn fingerprint(path: &Path, sysfs: &Path, opened: &Opened) -> Fingerprint {
    if opened.order == Order::Forward
        && path.is_file()
        && let Ok(node) = Node::open(path, Access::Read, sysfs)
    {
        return fingerprint::of(&DirectSource::new(node));
    }
    fingerprint::of(&*opened.source)
}
