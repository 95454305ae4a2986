//! The story of a rescue, read by read, in a file that only grows.
//!
//! A map file says how a disk stands and is replaced whole; this says how it came to that, and costs a few bytes a
//! read. It stands beside the map file, and what it has is newer. A line:
//!
//! ```text
//! 0x1C8000  0x1000  -  12040  medium  9f0c31aa
//! ```
//!
//! start, length, status as in a map file, milliseconds, the kind of error or `ok`, and the CRC-32 of all before. A
//! line that is torn or damaged ends what is believed. The first line says between what disks the rescue goes on.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use disk::extent::Extent;

use crate::map::{Map, Status};
use crate::mapfile::{self, Ends};

/// Where the journal beside a map file stands.
pub fn beside(map: &Path) -> PathBuf {
    let mut name = map.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

const TITLE: &str = "# Journal. Created by rescue: ";
/// Longer lines are none of ours.
const LINE_LIMIT: usize = 16 << 10;

/// One read and what became of the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub extent: Extent,
    pub status: Status,
    pub millis: u64,
    pub error: Error,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    None,
    /// The disk said that it cannot read this.
    Medium,
    /// Something on the way to the disk failed.
    Path,
}

impl Error {
    fn word(self) -> &'static str {
        match self {
            Error::None => "ok",
            Error::Medium => "medium",
            Error::Path => "path",
        }
    }

    fn of(word: &str) -> Option<Error> {
        [Error::None, Error::Medium, Error::Path]
            .into_iter()
            .find(|error| error.word() == word)
    }
}

/// The first line.
pub fn title(ends: &Ends) -> String {
    sealed(format!("{TITLE}{}  ", mapfile::owner(ends)))
}

pub fn line(entry: &Entry) -> String {
    let (start, len) = (entry.extent.start(), entry.extent.len());
    sealed(format!(
        "0x{start:X}  0x{len:X}  {}  {}  {}  ",
        mapfile::sign(entry.status),
        entry.millis,
        entry.error.word()
    ))
}

/// Between what disks it goes on, where the first line is whole.
pub fn owner(bytes: &[u8]) -> Option<Result<Ends, &'static str>> {
    let first = whole(bytes.split(|b| *b == b'\n').next()?)?;
    Some(mapfile::owner_of(first.strip_prefix(TITLE)?.trim_end()))
}

/// Puts every line that is whole over the map, until the first that is not.
pub fn replay(bytes: &[u8], map: &mut Map) {
    let lines = bytes.split(|b| *b == b'\n').skip(1);
    for entry in lines.map_while(|line| entry(whole(line)?)) {
        if entry.extent.end() > map.size_bytes {
            return;
        }
        map.set(entry.extent, entry.status);
    }
}

fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.split_ascii_whitespace();
    let start = mapfile::number(fields.next()?)?;
    let extent = Extent::new(start, mapfile::number(fields.next()?)?)?;
    Some(Entry {
        extent,
        status: mapfile::status(fields.next()?)?,
        millis: fields.next()?.parse().ok()?,
        error: Error::of(fields.next()?)?,
    })
}

fn sealed(mut line: String) -> String {
    let sum = crc32fast::hash(line.as_bytes());
    writeln!(line, "{sum:08x}").expect("memory takes every write");
    line
}

/// The line without its checksum, where that is right.
fn whole(line: &[u8]) -> Option<&str> {
    let line = (line.len() <= LINE_LIMIT).then(|| std::str::from_utf8(line).ok())??;
    let (text, sum) = line.split_at_checked(line.len().checked_sub(8)?)?;
    (u32::from_str_radix(sum, 16) == Ok(crc32fast::hash(text.as_bytes()))).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::identity::{Fingerprint, Identity};
    use crate::mapfile::Subject;
    use crate::permit::Target;

    fn ends() -> Ends {
        let identity = Identity {
            serial: Some("S3Z9".into()),
            wwn: None,
            model: Some("a\nname".into()),
            location: None,
            size_bytes: 1 << 20,
            fingerprint: Fingerprint([7; 32]),
            file: None,
        };
        Ends {
            source: Subject::Disk(identity),
            target: Target::NewFile {
                path: "copy.img".into(),
                size_bytes: 1 << 20,
            },
        }
    }

    proptest! {
        #[test]
        fn what_was_written_before_a_torn_or_bent_line_is_believed_and_nothing_after(
            reads in proptest::collection::vec((0u64..4000, 1u64..300, 0usize..4, 0u64..90_000), 1..40),
            at in any::<proptest::sample::Index>(),
            flip in any::<bool>(),
        ) {
            const ALL: [Status; 4] = [Status::Finished, Status::Bad, Status::NonTrimmed, Status::NonScraped];
            let mut text = title(&ends());
            let mut after = vec![text.len()];
            let mut maps = vec![Map::new(5000)];
            for (start, len, status, millis) in reads {
                let extent = Extent::new(start, len).unwrap();
                let error = if status == 0 { Error::None } else { Error::Medium };
                let entry = Entry { extent, status: ALL[status], millis, error };
                text.push_str(&line(&entry));
                after.push(text.len());
                let mut map = maps.last().unwrap().clone();
                map.set(extent, ALL[status]);
                maps.push(map);
            }
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            if flip {
                bytes[at] ^= 0x15;
            } else {
                bytes.truncate(at);
            }
            // Of a line only the end of line may be missing.
            let whole = after.iter().filter(|end| if flip { **end <= at } else { **end - 1 <= at }).count();
            match owner(&bytes) {
                Some(read) => {
                    prop_assert_eq!(read.unwrap(), ends());
                    let mut map = Map::new(5000);
                    replay(&bytes, &mut map);
                    prop_assert_eq!(map, maps[whole - 1].clone());
                }
                None => prop_assert_eq!(whole, 0),
            }
        }
    }

    #[test]
    fn a_line_beyond_the_end_of_the_disk_is_not_believed() {
        let extent = Extent::new(4096, 4096).unwrap();
        let entry = Entry {
            extent,
            status: Status::Finished,
            millis: 1,
            error: Error::None,
        };
        let text = title(&ends()) + &line(&entry);
        let mut map = Map::new(5000);
        replay(text.as_bytes(), &mut map);
        assert_eq!(map, Map::new(5000));
    }
}
