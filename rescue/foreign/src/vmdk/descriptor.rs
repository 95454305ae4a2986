//! The text that says what a VMDK consists of.

use super::{damaged, unsupported};
use crate::error::ForeignError;

#[derive(Debug, Default)]
pub struct Descriptor {
    pub kind: String,
    parent: Option<String>,
    pub extents: Vec<ExtentLine>,
}

/// `RW 4192256 SPARSE "disk-s001.vmdk"`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtentLine {
    pub sectors: u64,
    pub kind: Kind,
    pub file: String,
    /// In bytes; of a flat one.
    pub offset: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Flat,
    Sparse,
    Zero,
}

impl Descriptor {
    pub fn begins(bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let first = text.lines().find(|line| !line.trim().is_empty());
        first.is_some_and(|line| line.trim().eq_ignore_ascii_case("# Disk DescriptorFile"))
    }

    /// Lines that are not understood are passed over; a part that is not, ends the list: what is left then is no
    /// whole disk and has no parts.
    pub fn parse(text: &str) -> Descriptor {
        let mut descriptor = Descriptor::default();
        for line in text.lines().map(str::trim) {
            let value = |key: &str| {
                let (name, value) = line.split_once('=')?;
                let found = name.trim().eq_ignore_ascii_case(key);
                found.then(|| value.trim().trim_matches('"').to_owned())
            };
            if let Some(kind) = value("createType") {
                descriptor.kind = kind;
            } else if let Some(parent) = value("parentCID") {
                descriptor.parent = Some(parent);
            } else if ["RW ", "RDONLY ", "NOACCESS "]
                .iter()
                .any(|word| line.starts_with(word))
            {
                let Some(extent) = extent(line) else {
                    descriptor.extents.clear();
                    return descriptor;
                };
                descriptor.extents.push(extent);
            }
        }
        descriptor
    }

    /// An error where it holds only the changes to another image.
    pub fn stands_alone(&self) -> Result<(), ForeignError> {
        let parent = self.parent.as_deref().unwrap_or("ffffffff");
        if !parent.eq_ignore_ascii_case("ffffffff") {
            return Err(unsupported(
                "that holds only what differs from its parent; make one of both with `qemu-img convert` or `vmware-vdiskmanager -r`",
            ));
        }
        if self.kind.to_ascii_lowercase().contains("device") {
            return Err(damaged("it stands for a disk of another machine"));
        }
        Ok(())
    }
}

fn extent(line: &str) -> Option<ExtentLine> {
    let (words, rest) = match line.split_once('"') {
        Some((words, rest)) => (words, Some(rest)),
        None => (line, None),
    };
    let mut words = words.split_whitespace();
    words.next()?;
    let sectors = words.next()?.parse().ok()?;
    let kind = match words.next()? {
        "FLAT" | "VMFS" => Kind::Flat,
        "SPARSE" => Kind::Sparse,
        "ZERO" => Kind::Zero,
        _ => return None,
    };
    let (file, behind) = match (rest, kind) {
        (Some(rest), _) => rest.split_once('"')?,
        (None, Kind::Zero) => ("", ""),
        (None, _) => return None,
    };
    // A file beside it, never one elsewhere.
    if file.contains(['/', '\\', '\0']) || matches!(file, "." | "..") {
        return None;
    }
    let offset: u64 = match behind.trim() {
        "" => 0,
        number => number.split_whitespace().next()?.parse().ok()?,
    };
    Some(ExtentLine {
        sectors,
        kind,
        file: file.to_owned(),
        offset: offset.checked_mul(512)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_and_none_is_taken_from_elsewhere() {
        let text = "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"twoGbMaxExtentFlat\"\n\
            RW 4192256 FLAT \"a b-f001.vmdk\" 0\nRW 8 ZERO\nRW 12 FLAT \"x.vmdk\" 3\n";
        let descriptor = Descriptor::parse(text);
        assert!(Descriptor::begins(text.as_bytes()));
        assert!(descriptor.stands_alone().is_ok());
        let extents = &descriptor.extents;
        assert_eq!(extents.len(), 3);
        assert_eq!(extents[0].file, "a b-f001.vmdk");
        assert_eq!((extents[1].kind, extents[1].sectors), (Kind::Zero, 8));
        assert_eq!(extents[2].offset, 1536);
        for name in ["../x", "/etc/passwd", "a\\b", ".."] {
            let text = format!("RW 8 ZERO\nRW 1 FLAT \"{name}\" 0\n");
            assert!(Descriptor::parse(&text).extents.is_empty(), "{name}");
        }
        assert!(
            Descriptor::parse("parentCID=12345678\n")
                .stands_alone()
                .is_err()
        );
    }
}
