//! Why a request is not carried out.

use std::fmt;

use disk::size::Size;
use serde::Serialize;

use crate::host::Use;

/// A reason against a request, found before anything was written. `Display` says device, fact and remedy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "refusal")]
pub enum Refusal {
    /// No disk has this name.
    NotFound {
        name: String,
    },
    /// Several disks have it.
    Ambiguous {
        name: String,
        disks: Vec<String>,
    },
    SourceUnreadable {
        disk: String,
        text: String,
    },
    DestinationIsSource {
        disk: String,
    },
    TooSmall {
        disk: String,
        has_bytes: u64,
        needs_bytes: u64,
    },
    BootMedium {
        disk: String,
    },
    /// The destination holds the image that would be restored onto it.
    HoldsImage {
        disk: String,
        image: String,
    },
    /// What would be written lies on the disk that is to be read, which is never written.
    OnSource {
        disk: String,
        place: String,
    },
    InUse {
        disk: String,
        uses: Vec<Use>,
    },
    ReadOnly {
        disk: String,
    },
    SectorSizes {
        source: String,
        source_bytes: u32,
        destination: String,
        destination_bytes: u32,
    },
    NoRoom {
        store: String,
        free_bytes: u64,
        needs_bytes: u64,
    },
    /// The filesystem of the store cannot hold a file as large as the image may become.
    FileTooLarge {
        store: String,
        limit_bytes: u64,
        needs_bytes: u64,
    },
    NameTaken {
        store: String,
        name: String,
    },
    BadName {
        name: String,
        why: &'static str,
    },
    ImageMissing {
        image: String,
    },
    ImageUnfinished {
        image: String,
    },
    /// An unfinished image of this name was begun for another disk, or the disk has changed.
    UnfinishedOther {
        image: String,
    },
    ImageForeign {
        image: String,
    },
    ImageNewer {
        image: String,
        version: u32,
    },
    /// The map file is of another job, or is none.
    MapForeign {
        map: String,
        text: String,
    },
    /// Only the table can be changed where there is one, and only a larger disk has room to grow into.
    CannotGrow {
        disk: String,
        why: String,
    },
    /// Said by what failed: already device, fact and remedy.
    Other {
        text: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotFound { name } => write!(
                f,
                "{name} is no disk of this machine and no regular file; 'rescue disks' lists what is there"
            ),
            Refusal::Ambiguous { name, disks } => write!(
                f,
                "{name} names {} disks: {}; name one by its path, or disconnect the others",
                disks.len(),
                disks.join(", ")
            ),
            Refusal::SourceUnreadable { disk, text } => write!(
                f,
                "{disk} cannot be read: {text}; check its cable and power and try again"
            ),
            Refusal::DestinationIsSource { disk } => write!(
                f,
                "{disk} is both source and destination; choose another destination"
            ),
            Refusal::BootMedium { disk } => write!(
                f,
                "{disk} is the medium this system was started from; choose another destination"
            ),
            Refusal::ReadOnly { disk } => write!(
                f,
                "{disk} is write-protected; release its lock switch or choose another destination"
            ),
            Refusal::InUse { disk, uses } => write!(
                f,
                "{disk} is in use ({}); unmount or release it, or choose another destination",
                joined(uses)
            ),
            Refusal::Other { text } => f.write_str(text),
            other => other.fmt_sizes(f),
        }
    }
}

impl Refusal {
    /// The reasons about room.
    fn fmt_sizes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::TooSmall {
                disk,
                has_bytes,
                needs_bytes,
            } => {
                let (has, needs) = apart(*has_bytes, *needs_bytes);
                write!(
                    f,
                    "{disk} has {has}; {needs} are needed; choose a disk at least that large"
                )
            }
            Refusal::NoRoom {
                store,
                free_bytes,
                needs_bytes,
            } => {
                let (free, needs) = apart(*free_bytes, *needs_bytes);
                write!(
                    f,
                    "{store} has {free} free; about {needs} are needed; free some space or choose another store"
                )
            }
            Refusal::FileTooLarge {
                store,
                limit_bytes,
                needs_bytes,
            } => {
                let (limit, needs) = apart(*limit_bytes, *needs_bytes);
                write!(
                    f,
                    "{store} holds files of at most {limit}; about {needs} are needed; choose a store on ext4, exFAT or NTFS"
                )
            }
            Refusal::SectorSizes {
                source,
                source_bytes,
                destination,
                destination_bytes,
            } => write!(
                f,
                "{destination} has sectors of {destination_bytes} bytes, {source} of {source_bytes}: its partition table would be wrong there; choose a disk with sectors of {source_bytes} bytes"
            ),
            Refusal::CannotGrow { disk, why } => write!(
                f,
                "the last partition cannot be grown on {disk}: {why}; leave out --grow"
            ),
            other => other.fmt_places(f),
        }
    }

    /// The reasons about images, stores and maps.
    fn fmt_places(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::HoldsImage { disk, image } => write!(
                f,
                "{disk} holds the image {image} that would be restored onto it; choose another destination"
            ),
            Refusal::OnSource { disk, place } => write!(
                f,
                "{place} lies on {disk}, which is the source and is never written; choose a place on another disk"
            ),
            Refusal::NameTaken { store, name } => write!(
                f,
                "{store} already has {name}; choose another name, or remove that image first"
            ),
            Refusal::BadName { name, why } => {
                write!(
                    f,
                    "'{name}' cannot be the name of an image: {why}; choose another name"
                )
            }
            Refusal::ImageMissing { image } => {
                write!(f, "{image} is not there; check the path and the name")
            }
            Refusal::ImageUnfinished { image } => write!(
                f,
                "{image} is unfinished; give the command that began it again to finish it"
            ),
            Refusal::UnfinishedOther { image } => write!(
                f,
                "{image} was begun for another state of the source; choose another name, or remove it to begin anew"
            ),
            Refusal::ImageForeign { image } => write!(
                f,
                "{image} is not an image of this program; name a file that 'rescue image' made"
            ),
            Refusal::ImageNewer { image, version } => write!(
                f,
                "{image} is in format version {version}, which this program does not know; use a newer rescue"
            ),
            Refusal::MapForeign { map, text } => write!(
                f,
                "the map file {map} cannot be gone on from: {text}; name another with --map, or remove it to begin anew"
            ),
            _ => unreachable!("the other reasons have their sentences above"),
        }
    }
}

fn joined(uses: &[Use]) -> String {
    let said: Vec<String> = uses.iter().map(ToString::to_string).collect();
    said.join(", ")
}

/// Two sizes as people read them; in bytes where they would read the same.
fn apart(one: u64, other: u64) -> (String, String) {
    let (a, b) = (Size(one).to_string(), Size(other).to_string());
    if a == b && one != other {
        (format!("{one} bytes"), format!("{other} bytes"))
    } else {
        (a, b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_would_read_the_same_are_told_in_bytes() {
        let refusal = Refusal::TooSmall {
            disk: "/dev/sdb".into(),
            has_bytes: 512_110_190_080,
            needs_bytes: 512_110_190_592,
        };
        assert_eq!(
            refusal.to_string(),
            "/dev/sdb has 512110190080 bytes; 512110190592 bytes are needed; choose a disk at least that large"
        );
    }
}
