//! $Volume: the label and the flags that Windows keeps about the whole.

use super::mft::Volume;
use super::record::What;
use crate::fields::{Fields, text_utf16};
use crate::fs::tree::TreeError;

const VOLUME_RECORD: u64 = 3;
const NAME: u32 = 0x60;
const INFORMATION: u32 = 0x70;
/// More than a label's 128 units, and more than the information has.
const LENGTH_LIMIT: u64 = 1024;
/// Windows found or expects errors; a check of it was begun and did not end.
const DIRTY: u16 = 0x0001;
const CHECK_UNDERWAY: u16 = 0x4000;

pub(super) struct Information {
    pub label: Option<String>,
    pub dirty: bool,
}

pub(super) fn information(volume: &Volume<'_>) -> Result<Information, TreeError> {
    let record = volume.record(VOLUME_RECORD)?;
    let read = |kind| match volume.value(&record, VOLUME_RECORD, What::unnamed(kind))? {
        Some(value) => value.read(volume.source, LENGTH_LIMIT).map(Some),
        None => Ok(None),
    };
    let label = read(NAME)?.map(|name| text_utf16(&name));
    let flags = read(INFORMATION)?.and_then(|bytes| Fields(&bytes).u16(10));
    let flags = flags.ok_or(TreeError::Damaged("it has no volume information"))?;
    Ok(Information {
        label: label.filter(|label| !label.is_empty()),
        dirty: flags & (DIRTY | CHECK_UNDERWAY) != 0,
    })
}
