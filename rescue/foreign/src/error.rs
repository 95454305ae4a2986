//! Why an image of another program cannot be read.

use std::fmt;

use disk::source::ReadError;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ForeignError {
    Read(ReadError),
    /// It is of this format, and says what cannot be.
    Damaged {
        format: &'static str,
        what: String,
    },
    /// It is of this format and sound, and needs what is not there or not known; the text says what helps.
    Unsupported {
        format: &'static str,
        what: String,
    },
}

impl fmt::Display for ForeignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForeignError::Read(error) => error.fmt(f),
            ForeignError::Damaged { format, what } => {
                write!(
                    f,
                    "it is a damaged {format} image: {what}; use another copy of it"
                )
            }
            ForeignError::Unsupported { format, what } => {
                write!(f, "it is a {format} image {what}")
            }
        }
    }
}

impl std::error::Error for ForeignError {}

impl From<ReadError> for ForeignError {
    fn from(error: ReadError) -> ForeignError {
        ForeignError::Read(error)
    }
}
