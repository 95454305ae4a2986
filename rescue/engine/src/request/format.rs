//! The formats of other programs that a disk can be written in.

use std::fmt;
use std::str::FromStr;

use foreign::write::Kind;

/// `raw`, `qcow2`, `vhdx`, `vmdk`, `clonezilla`, `bmap`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    File(Kind),
    /// A directory.
    Clonezilla,
    /// What bmaptool wants beside a raw disk: it holds sums, no bytes.
    Bmap,
}

impl Format {
    fn all() -> impl Iterator<Item = Format> {
        let files = Kind::ALL.into_iter().map(Format::File);
        files.chain([Format::Clonezilla, Format::Bmap])
    }

    fn name(self) -> &'static str {
        match self {
            Format::File(kind) => kind.name(),
            Format::Clonezilla => "clonezilla",
            Format::Bmap => "bmap",
        }
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Format, String> {
        let found = Format::all().find(|format| format.name() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Format::all().map(Format::name).collect();
            format!("'{text}' is no format; write one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
