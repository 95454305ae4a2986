//! The formats of other programs that a disk can be written in.

use std::fmt;
use std::str::FromStr;

/// `raw`, `qcow2`, `vhdx`, `vmdk`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format(pub foreign::write::Kind);

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Format, String> {
        let all = foreign::write::Kind::ALL;
        let found = all.into_iter().find(|kind| kind.name() == text);
        found.map(Format).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|kind| kind.name()).collect();
            format!("'{text}' is no format; write one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}
