//! What a user asks for, in the words of the command line.

mod ancestor;
mod format;
pub(crate) mod glob;
mod leave_out;
mod listen;
mod spoken;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use disk::layer::{Keys, Secret};
use image::retain::Keep;
use serde::{Deserialize, Serialize};

use crate::limits::Limits;

pub use ancestor::Ancestor;
pub use format::Format;
pub use glob::Glob;
pub use leave_out::{LeaveOut, Set};
pub use listen::{Listen, PORT, Writes};

/// One job. Its `Display` is the command line that asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub action: Action,
    pub options: Options,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    Clone {
        source: DiskName,
        destination: DiskName,
    },
    Image {
        source: DiskName,
        store: Place,
        name: String,
    },
    Restore {
        image: Place,
        destination: DiskName,
    },
    Verify {
        against: Origin,
        disk: DiskName,
    },
    Check {
        image: Place,
    },
    /// Into an image of another program, a new file.
    Export {
        from: Origin,
        file: PathBuf,
        format: Format,
    },
    /// An image anew, as a full one or over a farther ancestor, in the place of the one before.
    Merge {
        image: Place,
        onto: Option<String>,
    },
    /// A damaged image made whole, in the place of the one before.
    Mend {
        image: Place,
        with: Remedy,
    },
    /// Removes what no rule keeps.
    Prune {
        store: Place,
        keep: Keep,
    },
    /// An image as a block device of the network.
    Serve {
        image: Place,
        listen: Listen,
        writes: Writes,
    },
    /// An image as files, the disk and each partition, in a directory that is mounted.
    Mount {
        image: Place,
        directory: PathBuf,
    },
    /// Single files, into a directory.
    Extract {
        from: Origin,
        /// From the root of the disk: `2/home/user`.
        paths: Vec<String>,
        to: Place,
    },
}

/// With what a damaged image is made whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// What is left of the image: the index from the chunk frames, the rest from copies.
    Index,
    /// Parity too, where the image has it.
    Parity,
}

/// What is read: a disk, or the image of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    Image(Place),
    Disk(DiskName),
}

/// An image is named by a place on a filesystem that is not mounted, or by a path that ends in `.zst`;
/// everything else is a disk.
impl FromStr for Origin {
    type Err = String;
    fn from_str(text: &str) -> Result<Origin, String> {
        let is_image =
            text.starts_with("uuid:") || text.starts_with("label:") || text.ends_with(".zst");
        if is_image && !text.starts_with("serial:") && !text.starts_with("wwn:") {
            Place::from_str(text).map(Origin::Image)
        } else {
            DiskName::from_str(text).map(Origin::Disk)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Image(place) => place.fmt(f),
            Origin::Disk(name) => name.fmt(f),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    pub level: i32,
    pub coverage: Coverage,
    /// Where the job's state is kept; beside the destination when not given.
    pub map: Option<PathBuf>,
    /// The map that another rescue left beside the image that is read: what of it is the disk's.
    pub rescued: Option<PathBuf>,
    pub growth: Growth,
    pub verification: Verification,
    /// Of the restore of an image.
    pub at_damage: AtDamage,
    /// Of the check of an image.
    pub depth: Depth,
    pub liveness: Liveness,
    /// A note for the image's manifest.
    pub note: Option<String>,
    /// Of an image, in percent of its file: what of it is damaged one day can be computed again.
    pub parity: Option<u8>,
    /// To whom a new image leaves what is still the same.
    pub parent: Ancestor,
    /// Longest file that a new image may have; it lies in as many as it needs.
    pub volume_bytes: Option<u64>,
    /// Of a new image.
    pub sealing: Sealing,
    /// What of its files a new image does not get.
    pub leave_out: Vec<LeaveOut>,
    pub unlock: Unlock,
    pub limits: Box<Limits>,
}

/// What opens encrypted volumes of what is read. Only where it came from is ever shown or written down.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Unlock {
    pub keys: Keys,
    /// The files that keys came from.
    pub files: Vec<PathBuf>,
}

impl Unlock {
    fn was_asked(&self) -> bool {
        let typed = |secret: &Secret| matches!(secret, Secret::Passphrase(_));
        self.keys.iter().any(typed)
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            level: 1,
            coverage: Coverage::Used,
            map: None,
            rescued: None,
            growth: Growth::Keep,
            verification: Verification::ReadBack,
            at_damage: AtDamage::Stop,
            depth: Depth::Chunks,
            liveness: Liveness::AtRest,
            note: None,
            parity: None,
            parent: Ancestor::None,
            volume_bytes: None,
            sealing: Sealing::Open,
            leave_out: Vec::new(),
            unlock: Unlock::default(),
            limits: Box::default(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// What a filesystem uses; what none uses reads as zeros.
    Used,
    /// Every sector.
    Exact,
}

/// What happens with the space that a larger destination has behind the last partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    Keep,
    LastPartition,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    ReadBack,
    Skip,
}

/// What a restore does where its image is damaged beyond what parity makes good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtDamage {
    /// It ends there: nobody takes a disk with holes for a whole one.
    Stop,
    /// It finishes, with zeros there, and lists them.
    KeepGoing,
}

/// Who can read a new image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sealing {
    /// Everybody; but as its parent is.
    Open,
    /// Whoever has the passphrase.
    Sealed,
}

/// How much of an image is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Every chunk.
    Chunks,
    /// And every filesystem, file by file.
    Filesystems,
}

/// Whether a source may change while it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// One that is mounted for writing is refused.
    AtRest,
    /// It is copied all the same.
    Live,
}

/// How a user names a disk: `serial:…`, `wwn:…`, or the path of a device or a regular file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskName {
    Serial(String),
    Wwn(String),
    Path(PathBuf),
}

impl FromStr for DiskName {
    type Err = String;
    fn from_str(text: &str) -> Result<DiskName, String> {
        match text.split_once(':') {
            Some(("serial", "")) | Some(("wwn", "")) => Err(format!(
                "'{text}' names no disk; write serial:S3Z9… or a path"
            )),
            Some(("serial", rest)) => Ok(DiskName::Serial(rest.into())),
            Some(("wwn", rest)) => Ok(DiskName::Wwn(rest.into())),
            _ if text.is_empty() => {
                Err("the name of a disk is empty; write serial:S3Z9… or a path".into())
            }
            _ => Ok(DiskName::Path(text.into())),
        }
    }
}

impl fmt::Display for DiskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskName::Serial(s) => write!(f, "serial:{s}"),
            DiskName::Wwn(s) => write!(f, "wwn:{s}"),
            DiskName::Path(p) => write!(f, "{}", p.display()),
        }
    }
}

/// A directory or a file in one: a path of this system, or a path on a filesystem that is not mounted yet,
/// named by its UUID or label (`uuid:1234-ABCD/backups`, `label:BACKUP`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Path(PathBuf),
    Uuid { uuid: String, path: PathBuf },
    Label { label: String, path: PathBuf },
}

impl FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> Result<Place, String> {
        let Some((scheme @ ("uuid" | "label"), rest)) = text.split_once(':') else {
            return if text.is_empty() {
                Err("the place is empty; write a path, uuid:… or label:…".into())
            } else {
                Ok(Place::Path(text.into()))
            };
        };
        let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(format!(
                "'{text}' names no filesystem; write {scheme}:NAME or {scheme}:NAME/directory"
            ));
        }
        let path = PathBuf::from(path);
        if path
            .components()
            .any(|c| !matches!(c, std::path::Component::Normal(_)))
        {
            return Err(format!(
                "'{text}' leaves its filesystem; write a path without .."
            ));
        }
        Ok(match scheme {
            "uuid" => Place::Uuid {
                uuid: name.into(),
                path,
            },
            _ => Place::Label {
                label: name.into(),
                path,
            },
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, name, path) = match self {
            Place::Path(path) => return write!(f, "{}", path.display()),
            Place::Uuid { uuid, path } => ("uuid", uuid, path),
            Place::Label { label, path } => ("label", label, path),
        };
        write!(f, "{scheme}:{name}")?;
        if path.as_os_str().is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", path.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_and_a_disk_are_told_apart_by_their_words() {
        let parse = Origin::from_str;
        assert!(matches!(
            parse("a/b.img.zst"),
            Ok(Origin::Image(Place::Path(_)))
        ));
        assert!(matches!(
            parse("label:B/b.img.zst"),
            Ok(Origin::Image(Place::Label { .. }))
        ));
        assert!(matches!(
            parse("serial:X.zst"),
            Ok(Origin::Disk(DiskName::Serial(_)))
        ));
        assert!(matches!(
            parse("/dev/sda"),
            Ok(Origin::Disk(DiskName::Path(_)))
        ));
        assert!(parse("").is_err());
    }
}
