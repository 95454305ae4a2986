//! Why a filesystem cannot be followed, for the readers that have nothing more to say than that.

use std::fmt;

use crate::source::ReadError;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    Read(ReadError),
    /// A structure contradicts itself or is unknown here; the text says which.
    Refused(&'static str),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Trouble {
        Trouble::Read(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Read(error) => error.fmt(f),
            Trouble::Refused(why) => f.write_str(why),
        }
    }
}
