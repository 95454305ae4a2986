//! What a user asks for, in the words of the command line.

mod format;
mod listen;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use disk::layer::{Keys, Secret};
use serde::{Deserialize, Serialize, Serializer};

use crate::limits::Limits;

pub use format::Format;
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
    /// An image as a block device of the network.
    Serve {
        image: Place,
        listen: Listen,
        writes: Writes,
    },
    /// Single files, into a directory.
    Extract {
        from: Origin,
        /// From the root of the disk: `2/home/user`.
        paths: Vec<String>,
        to: Place,
    },
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
    pub growth: Growth,
    pub verification: Verification,
    pub liveness: Liveness,
    /// A note for the image's manifest.
    pub note: Option<String>,
    /// The image in the same store to which a new one leaves what is still the same; a full image without.
    pub parent: Option<String>,
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
            growth: Growth::Keep,
            verification: Verification::ReadBack,
            liveness: Liveness::AtRest,
            note: None,
            parent: None,
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

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rescue {}{}", self.action, self.options)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Clone {
                source,
                destination,
            } => write!(f, "clone {} {}", quoted(source), quoted(destination))?,
            Action::Image {
                source,
                store,
                name,
            } => {
                write!(
                    f,
                    "image {} {} --name {}",
                    quoted(source),
                    quoted(store),
                    quoted(name)
                )?;
            }
            Action::Restore { image, destination } => {
                write!(f, "restore {} {}", quoted(image), quoted(destination))?
            }
            Action::Verify { against, disk } => {
                write!(f, "verify {} {}", quoted(against), quoted(disk))?;
            }
            Action::Extract { from, paths, to } => {
                write!(f, "cp {}", quoted(from))?;
                paths
                    .iter()
                    .try_for_each(|path| write!(f, " {}", quoted(path)))?;
                write!(f, " {}", quoted(to))?;
            }
            Action::Check { image } => write!(f, "check {}", quoted(image))?,
            Action::Export { from, file, format } => {
                let file = quoted(file.display());
                write!(f, "export {} {file} --format {format}", quoted(from))?;
            }
            Action::Serve {
                image,
                listen,
                writes,
            } => {
                write!(f, "serve {}", quoted(image))?;
                match listen {
                    Listen::Tcp(address) => write!(f, " --listen {address}")?,
                    Listen::Unix(path) => write!(f, " --socket {}", quoted(path.display()))?,
                }
                if *writes == Writes::ThrownAway {
                    f.write_str(" --overlay")?;
                }
            }
        }
        Ok(())
    }
}

/// Those that are not as usual, each after a space.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Options::default();
        if self.level != usual.level {
            write!(f, " --level {}", self.level)?;
        }
        if self.coverage == Coverage::Exact {
            f.write_str(" --exact")?;
        }
        if self.growth == Growth::LastPartition {
            f.write_str(" --grow")?;
        }
        if self.verification == Verification::Skip {
            f.write_str(" --no-verify")?;
        }
        if self.liveness == Liveness::Live {
            f.write_str(" --live")?;
        }
        for file in &self.unlock.files {
            write!(f, " --key-file {}", quoted(file.display()))?;
        }
        if self.unlock.was_asked() {
            f.write_str(" --unlock")?;
        }
        if let Some(map) = &self.map {
            write!(f, " --map {}", quoted(map.display()))?;
        }
        if let Some(note) = &self.note {
            write!(f, " --note {}", quoted(note))?;
        }
        if let Some(parent) = &self.parent {
            write!(f, " --parent {}", quoted(parent))?;
        }
        self.limits.fmt(f)
    }
}

/// As the command line that asks for it.
impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As a POSIX shell reads it back.
fn quoted(word: impl fmt::Display) -> String {
    let word = word.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
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
