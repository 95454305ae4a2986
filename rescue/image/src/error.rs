//! Why an image could not be written or read.

use std::fmt;

use disk::extent::Extent;

use crate::store::StoreError;

/// Faults, each a sentence with the image, the fact and the remedy. Damage inside an image that can be
/// opened is not among them: it is listed as extents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImageError {
    Store(StoreError),
    /// Nothing in the file says that it is one of ours.
    Foreign {
        image: String,
        found: String,
    },
    /// Written by a newer version of the program.
    Newer {
        image: String,
        version: u32,
    },
    /// Uses something that this version does not know.
    Unknown {
        image: String,
        what: String,
    },
    /// The unfinished image belongs to another source, or the source has changed.
    OtherSource {
        image: String,
        what: String,
    },
    /// Chunks were not given in disk order, or not in whole cells.
    Order {
        expected: u64,
        given: Extent,
    },
    /// An image that cannot be the parent of another.
    NoParent {
        image: String,
        what: String,
    },
    /// An ancestor is not there, or is not the one that was.
    Orphan {
        image: String,
        parent: String,
        what: String,
    },
    /// A finished image that cannot be gone on with without losing some of it.
    NotWhole {
        image: String,
    },
    /// What cannot be read from one is not made into another.
    Damaged {
        image: String,
        place: Extent,
    },
    /// One that has taken the place of others, as their children know it.
    Settled {
        image: String,
    },
    /// More chunks than the index of an image in any order can hold.
    TooMany {
        image: String,
    },
    /// `finish` before the whole disk was given.
    Incomplete {
        expected: u64,
        given: u64,
    },
    /// Something in memory or in the compressor failed.
    Codec(String),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Store(error) => error.fmt(f),
            ImageError::Foreign { image, found } => write!(
                f,
                "{image} is not an image of this program ({found}); choose another file"
            ),
            ImageError::Newer { image, version } => write!(
                f,
                "{image} has format version {version}; this program reads up to version {}; use a newer Rescue",
                crate::head::VERSION
            ),
            ImageError::Unknown { image, what } => write!(
                f,
                "{image} uses {what}, which this program does not know; use a newer Rescue"
            ),
            ImageError::OtherSource { image, what } => write!(
                f,
                "{image} was begun for another state of the source ({what}); remove it to start anew, or choose another name"
            ),
            ImageError::Order { expected, given } => write!(
                f,
                "the image goes on at byte {expected}, but {} bytes at {} were given; this is a fault in the program, please report it",
                given.len(),
                given.start()
            ),
            ImageError::NoParent { image, what } => write!(
                f,
                "{image} cannot be a parent: {what}; choose another, or make a full image"
            ),
            ImageError::Orphan {
                image,
                parent,
                what,
            } => write!(
                f,
                "{image} needs its parent {parent}, and {what}; put that image back beside it"
            ),
            ImageError::NotWhole { image } => write!(
                f,
                "the index of {image} is damaged, and going on with it would lose what it describes; restore what it \
                 has with 'rescue restore', and make a new image"
            ),
            ImageError::TooMany { image } => write!(
                f,
                "{image} has as many chunks as an image in any order can have; finish it, or begin anew with larger chunks"
            ),
            ImageError::Incomplete { expected, given } => write!(
                f,
                "the image has {given} of {expected} bytes and cannot be finished; this is a fault in the program, please report it"
            ),
            ImageError::Damaged { .. } | ImageError::Settled { .. } => self.kept(f),
            ImageError::Codec(text) => write!(
                f,
                "compression failed: {text}; free some memory and repeat the command"
            ),
        }
    }
}

impl ImageError {
    /// Those that leave an image as it is.
    fn kept(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Damaged { image, place } => write!(
                f,
                "{image} is damaged in {} bytes at {} of the disk; it is kept as it is; see 'rescue check'",
                place.len(),
                place.start()
            ),
            ImageError::Settled { image } => write!(
                f,
                "{image} stands for other images, whose children need it as it is; make a new image"
            ),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ImageError::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// The store has already named itself, the file and the remedy.
impl From<StoreError> for ImageError {
    fn from(error: StoreError) -> ImageError {
        ImageError::Store(error)
    }
}
