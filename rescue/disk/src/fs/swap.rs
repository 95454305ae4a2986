//! swap: placeholder until its reader lands.

use crate::fs::{Filesystem, Reader};
use crate::source::{BlockSource, ReadError};

pub const READER: Reader = Reader {
    name: "swap",
    read,
    tree: None,
};

fn read(_source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    Ok(None)
}
