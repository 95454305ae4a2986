//! A [`Map`] as a file in GNU ddrescue's format (its manual, "Mapfile structure").
//!
//! What the format has no field for stands in a comment, which ddrescue skips: whose map it is, as one line of
//! JSON after `# rescue: `.

use std::io::{self, Write};

use disk::extent::Extent;
use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::map::{Map, Status};
use crate::permit::Target;

const OWNER_LINE: &str = "# rescue: ";
/// Of what stands in that comment. A newer one may mean something else by the same words.
const VERSION: u64 = 1;
/// Longer lines are not of a map file.
const LINE_LIMIT: usize = 16 << 10;

/// Between what a map is: a map of other disks must never be gone on from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ends {
    pub source: Subject,
    pub target: Target,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Disk(Identity),
    /// The id of an image.
    Image(String),
}

/// A map file's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapFile {
    pub map: Map,
    /// `None` in a file that another program made.
    pub ends: Option<Ends>,
}

/// The text of a map file. `command` is the line that goes on from it.
pub fn write(map: &Map, ends: Option<&Ends>, command: &str) -> String {
    let mut text = Vec::new();
    write_to(&mut text, map, ends, command).expect("memory takes every write");
    String::from_utf8(text).expect("only text was written")
}

/// As `write`, for maps of millions of lines: their text is never in memory as a whole.
pub fn write_to(
    out: &mut dyn Write,
    map: &Map,
    ends: Option<&Ends>,
    command: &str,
) -> io::Result<()> {
    let position = map
        .lines()
        .find(|(_, status)| *status == Status::NonTried)
        .map_or(map.size_bytes, |(extent, _)| extent.start());
    let finished = map
        .lines()
        .all(|(_, s)| matches!(s, Status::Finished | Status::Bad));
    writeln!(
        out,
        "# Mapfile. Created by rescue {}",
        env!("CARGO_PKG_VERSION")
    )?;
    writeln!(out, "# Command line: {}", one_line(command))?;
    if let Some(ends) = ends {
        writeln!(out, "{OWNER_LINE}{}", owner(ends))?;
    }
    writeln!(out, "# current_pos  current_status  current_pass")?;
    let status = if finished { '+' } else { '?' };
    writeln!(out, "0x{position:08X}     {status}               1")?;
    writeln!(out, "#      pos        size  status")?;
    for (extent, status) in map.lines() {
        let (start, len) = (extent.start(), extent.len());
        writeln!(out, "0x{start:08X}  0x{len:08X}  {}", sign(status))?;
    }
    Ok(())
}

/// Reads a map file of a disk of `size_bytes`. The text of an error says the line and what is wrong with it.
pub fn read(bytes: &[u8], size_bytes: u64) -> Result<MapFile, String> {
    let mut file = MapFile {
        map: Map::new(size_bytes),
        ends: None,
    };
    let mut lines = 0;
    let mut end = 0;
    let mut status_seen = false;
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let wrong = |what: &str| format!("line {} {what}", number + 1);
        if line.len() > LINE_LIMIT {
            return Err(wrong("is too long for a map file"));
        }
        let line = std::str::from_utf8(line).map_err(|_| wrong("is not text"))?;
        if let Some(owner) = line.strip_prefix(OWNER_LINE) {
            file.ends = Some(owner_of(owner).map_err(wrong)?);
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !status_seen {
            position_line(line).ok_or_else(|| wrong("is no status line of a map file"))?;
            status_seen = true;
            continue;
        }
        let (extent, status) =
            block_line(line).ok_or_else(|| wrong("is no block of a map file"))?;
        if extent.start() < end {
            return Err(wrong("overlaps the one before"));
        }
        if extent.end() > size_bytes {
            return Err(wrong("lies beyond the end of the disk"));
        }
        end = extent.end();
        lines += 1;
        if status != Status::NonTried {
            file.map.set(extent, status);
        }
    }
    if lines == 0 {
        return Err("it has no blocks, so it is no map file".into());
    }
    // Of a map of ours the rest is not tried; one of another program is torn, or of another disk.
    if file.ends.is_none() && end != size_bytes {
        return Err(format!(
            "it is of {end} bytes and the disk has {size_bytes}"
        ));
    }
    Ok(file)
}

/// Whose map it is, in one line.
pub fn owner(ends: &Ends) -> String {
    let mut owner = serde_json::to_value(ends).expect("identities are plain data");
    owner["version"] = VERSION.into();
    owner.to_string()
}

pub fn owner_of(text: &str) -> Result<Ends, &'static str> {
    let unknown = "does not say whose map it is";
    let owner: serde_json::Value = serde_json::from_str(text).map_err(|_| unknown)?;
    match owner.get("version").and_then(serde_json::Value::as_u64) {
        None | Some(VERSION) => serde_json::from_value(owner).map_err(|_| unknown),
        Some(_) => Err("is of a newer version of this program, which has to go on with it"),
    }
}

/// Where the last block of a map file ends: the size of its disk, for who has no other.
pub fn end(bytes: &[u8]) -> u64 {
    let lines = bytes.split(|b| *b == b'\n').rev();
    let blocks = lines.filter_map(|line| block_line(std::str::from_utf8(line).ok()?.trim()));
    blocks.map(|(extent, _)| extent.end()).next().unwrap_or(0)
}

fn position_line(line: &str) -> Option<()> {
    let mut fields = line.split_ascii_whitespace();
    number(fields.next()?)?;
    let status = fields.next()?;
    (status.len() == 1 && "?*/-FG+".contains(status)).then_some(())
}

fn block_line(line: &str) -> Option<(Extent, Status)> {
    let mut fields = line.split_ascii_whitespace();
    let extent = Extent::new(number(fields.next()?)?, number(fields.next()?)?)?;
    let status = status(fields.next()?)?;
    fields.next().is_none().then_some((extent, status))
}

pub fn status(word: &str) -> Option<Status> {
    Some(match word {
        "?" => Status::NonTried,
        "*" => Status::NonTrimmed,
        "/" => Status::NonScraped,
        "-" => Status::Bad,
        "+" => Status::Finished,
        _ => return None,
    })
}

/// Decimal, hexadecimal with `0x`, or octal with a leading zero, as ddrescue reads them.
pub fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        u64::from_str_radix(digits, 16).ok()
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(text, 8).ok()
    } else {
        text.parse().ok()
    }
}

pub fn sign(status: Status) -> char {
    match status {
        Status::NonTried => '?',
        Status::NonTrimmed => '*',
        Status::NonScraped => '/',
        Status::Bad => '-',
        Status::Finished => '+',
    }
}

/// A name with a line break in it must not end the comment.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use disk::extent::ExtentMap;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::identity::Fingerprint;

    fn extent(start: u64, len: u64) -> Extent {
        Extent::new(start, len).unwrap()
    }

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
        fn a_map_is_read_as_it_was_written(sets in proptest::collection::vec((0u64..4000, 1u64..300, 0usize..5), 0..40)) {
            const ALL: [Status; 5] = [Status::NonTried, Status::NonTrimmed, Status::NonScraped, Status::Bad, Status::Finished];
            let mut map = Map::new(5000);
            for (start, len, status) in sets {
                map.set(extent(start, len), ALL[status]);
            }
            let text = write(&map, Some(&ends()), "rescue clone 'a\nb' c");
            let file = read(text.as_bytes(), 5000).unwrap();
            prop_assert_eq!(file, MapFile { map, ends: Some(ends()) });
        }

        #[test]
        fn a_damaged_map_file_is_an_error_or_a_map_never_a_panic(cut in 0usize..400, flip in 0usize..400, to in any::<u8>()) {
            let mut map = Map::new(5000);
            map.set(extent(100, 200), Status::Bad);
            map.set(extent(600, 200), Status::Finished);
            let mut bytes = write(&map, Some(&ends()), "rescue").into_bytes();
            let at = flip % bytes.len();
            bytes[at] = to;
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Ok(file) = read(&bytes, 5000) {
                assert!(file.map.finished.end() <= 5000 && file.map.bad.end() <= 5000);
            }
        }
    }

    #[test]
    fn wrong_maps_are_told_with_their_line() {
        let blocks = |lines: &str| read(format!("0x0 ? 1\n{lines}").as_bytes(), 1000);
        assert_eq!(
            blocks("0 500 +\n400 100 -\n").unwrap_err(),
            "line 3 overlaps the one before"
        );
        assert_eq!(
            blocks("0 0x500 +\n").unwrap_err(),
            "line 2 lies beyond the end of the disk"
        );
        assert_eq!(
            blocks("0 5 x\n").unwrap_err(),
            "line 2 is no block of a map file"
        );
        assert_eq!(
            blocks("0 500 +\n").unwrap_err(),
            "it is of 500 bytes and the disk has 1000"
        );
        let newer = b"# rescue: {\"version\":2}\n0x0 ? 1\n0 1000 +\n";
        assert_eq!(
            read(newer, 1000).unwrap_err(),
            "line 1 is of a newer version of this program, which has to go on with it"
        );
        assert!(read(b"", 1000).is_err());
        assert!(read(&[b'x'; 20_000], 1000).is_err());
        assert!(blocks("18446744073709551615 18446744073709551615 +").is_err());
    }

    #[test]
    fn the_numbers_of_other_writers_are_read() {
        let file = read(b"0 + 1\n0 010 +\n8 0x8 -\n16 84 ?\n", 100).unwrap();
        assert_eq!(file.map.finished.total_bytes(), 8);
        assert_eq!(file.map.bad, ExtentMap::from(vec![extent(8, 8)]));
        assert_eq!(file.ends, None);
    }

    /// GNU ddrescue's own tool reads what we write and counts the same.
    #[test]
    fn ddrescuelog_reads_our_map() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ours.map");
        let mut map = Map::new(1 << 20);
        map.set(extent(0, 512 << 10), Status::Finished);
        map.set(extent(512 << 10, 4096), Status::Bad);
        std::fs::write(&path, write(&map, Some(&ends()), "rescue clone a b")).unwrap();
        let output = Command::new("ddrescuelog")
            .args(["--show-status"])
            .arg(&path)
            .output()
            .expect("ddrescuelog of the package gddrescue runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        let has =
            |what: &str, size: &str| said.lines().any(|l| l.contains(what) && l.contains(size));
        assert!(has("rescued", "524288 B"), "{said}");
        assert!(has("bad-sector", "4096 B"), "{said}");
    }
}
