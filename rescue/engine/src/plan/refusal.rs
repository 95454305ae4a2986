//! Why a request is not carried out.

use std::fmt;

use disk::size::Size;
use serde::Serialize;

use crate::host::Use;
use crate::unlock::Trouble;

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
    /// Keys were given, and none opens anything of what is encrypted.
    Locked {
        disk: String,
        why: String,
    },
    /// What is mounted for writing changes while it is read.
    SourceInUse {
        disk: String,
        uses: Vec<Use>,
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
    /// A sealed image needs one, which nobody has given yet.
    Passphrase {
        text: String,
        wanted: Passphrase,
    },
    /// Said by what failed: already device, fact and remedy.
    Other {
        text: String,
    },
}

/// Which passphrase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Passphrase {
    /// That of an image that is there.
    Known,
    /// One for a new image.
    New,
}

/// A variant without a sentence does not compile.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Refusal::NotFound { name } => not_found(name),
            Refusal::Ambiguous { name, disks } => ambiguous(name, disks),
            Refusal::SourceUnreadable { disk, text } => source_unreadable(disk, text),
            Refusal::Locked { disk, why } => locked(disk, why),
            Refusal::SourceInUse { disk, uses } => source_in_use(disk, uses),
            Refusal::DestinationIsSource { disk } => destination_is_source(disk),
            Refusal::TooSmall {
                disk,
                has_bytes,
                needs_bytes,
            } => too_small(disk, apart(*has_bytes, *needs_bytes)),
            Refusal::BootMedium { disk } => boot_medium(disk),
            Refusal::HoldsImage { disk, image } => holds_image(disk, image),
            Refusal::OnSource { disk, place } => on_source(disk, place),
            Refusal::InUse { disk, uses } => in_use(disk, uses),
            Refusal::ReadOnly { disk } => read_only(disk),
            Refusal::SectorSizes {
                source,
                source_bytes,
                destination,
                destination_bytes,
            } => sector_sizes((source, *source_bytes), (destination, *destination_bytes)),
            Refusal::NoRoom {
                store,
                free_bytes,
                needs_bytes,
            } => no_room(store, apart(*free_bytes, *needs_bytes)),
            Refusal::FileTooLarge {
                store,
                limit_bytes,
                needs_bytes,
            } => file_too_large(store, apart(*limit_bytes, *needs_bytes)),
            Refusal::NameTaken { store, name } => name_taken(store, name),
            Refusal::BadName { name, why } => bad_name(name, why),
            Refusal::ImageMissing { image } => image_missing(image),
            Refusal::ImageUnfinished { image } => image_unfinished(image),
            Refusal::UnfinishedOther { image } => unfinished_other(image),
            Refusal::ImageForeign { image } => image_foreign(image),
            Refusal::ImageNewer { image, version } => image_newer(image, *version),
            Refusal::MapForeign { map, text } => map_foreign(map, text),
            Refusal::CannotGrow { disk, why } => cannot_grow(disk, why),
            Refusal::Passphrase { text, .. } | Refusal::Other { text } => text.clone(),
        })
    }
}

fn not_found(name: &str) -> String {
    format!(
        "{name} is no disk of this machine and no regular file; 'rescue disks' lists what is there"
    )
}

fn source_unreadable(disk: &str, text: &str) -> String {
    format!("{disk} cannot be read: {text}; check its cable and power and try again")
}

fn locked(disk: &str, why: &str) -> String {
    format!("{disk}: {}", Trouble::Locked(why.into()))
}

fn destination_is_source(disk: &str) -> String {
    format!("{disk} is both source and destination; choose another destination")
}

fn too_small(disk: &str, (has, needs): (String, String)) -> String {
    format!("{disk} has {has}; {needs} are needed; choose a disk at least that large")
}

fn boot_medium(disk: &str) -> String {
    format!("{disk} is the medium this system was started from; choose another destination")
}

fn holds_image(disk: &str, image: &str) -> String {
    format!(
        "{disk} holds the image {image} that would be restored onto it; choose another destination"
    )
}

fn on_source(disk: &str, place: &str) -> String {
    format!(
        "{place} lies on {disk}, which is the source and is never written; choose a place on another disk"
    )
}

fn read_only(disk: &str) -> String {
    format!("{disk} is write-protected; release its lock switch or choose another destination")
}

fn sector_sizes(
    (source, source_bytes): (&str, u32),
    (destination, destination_bytes): (&str, u32),
) -> String {
    format!(
        "{destination} has sectors of {destination_bytes} bytes, {source} of {source_bytes}: its partition table would be wrong there; choose a disk with sectors of {source_bytes} bytes"
    )
}

fn no_room(store: &str, (free, needs): (String, String)) -> String {
    format!(
        "{store} has {free} free; about {needs} are needed; free some space or choose another store"
    )
}

fn file_too_large(store: &str, (limit, needs): (String, String)) -> String {
    format!(
        "{store} holds files of at most {limit}; about {needs} are needed; choose a store on ext4, exFAT or NTFS"
    )
}

fn name_taken(store: &str, name: &str) -> String {
    format!("{store} already has {name}; choose another name, or remove that image first")
}

fn bad_name(name: &str, why: &str) -> String {
    format!("'{name}' cannot be the name of an image: {why}; choose another name")
}

fn image_missing(image: &str) -> String {
    format!("{image} is not there; check the path and the name")
}

fn image_unfinished(image: &str) -> String {
    format!("{image} is unfinished; give the command that began it again to finish it")
}

fn unfinished_other(image: &str) -> String {
    format!(
        "{image} was begun for another state of the source, or with other keys or rules of what is left out; choose another name, or remove it to begin anew"
    )
}

fn image_foreign(image: &str) -> String {
    format!("{image} is not an image of this program; name a file that 'rescue image' made")
}

fn image_newer(image: &str, version: u32) -> String {
    format!(
        "{image} is in format version {version}, which this program does not know; use a newer rescue"
    )
}

fn map_foreign(map: &str, text: &str) -> String {
    format!(
        "the map file {map} cannot be gone on from: {text}; name another with --map, or remove it to begin anew"
    )
}

fn cannot_grow(disk: &str, why: &str) -> String {
    format!("the last partition cannot be grown on {disk}: {why}; leave out --grow")
}

fn ambiguous(name: &str, disks: &[String]) -> String {
    format!(
        "{name} names {} disks: {}; name one by its path, or disconnect the others",
        disks.len(),
        disks.join(", ")
    )
}

fn source_in_use(disk: &str, uses: &[Use]) -> String {
    format!(
        "{disk} is written while it would be read ({}), and its files would come out torn; unmount it or mount it read-only, or add --live to copy it all the same",
        joined(uses)
    )
}

fn in_use(disk: &str, uses: &[Use]) -> String {
    format!(
        "{disk} is in use ({}); unmount or release it, or choose another destination",
        joined(uses)
    )
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
