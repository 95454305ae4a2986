//! MBR: placeholder until its reader lands.

use crate::source::{BlockSource, ReadError};
use crate::table::Table;

pub fn read(_source: &dyn BlockSource) -> Result<Option<Table>, ReadError> {
    Ok(None)
}
