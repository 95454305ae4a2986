//! $LogFile: whether the journal was closed when the volume was last left.
//!
//! After the Linux-NTFS project's documentation of $LogFile and `struct RESTART_HDR` of the kernel's
//! `fs/ntfs3/fslog.c`.

use super::log_pages::Area;
use super::mft::{DATA, Volume};
use super::record::{What, mend};
use super::stream::{Stream, Value};
use crate::fields::Fields;
use crate::fs::tree::TreeError;

const LOG_RECORD: u64 = 2;
/// How much of an emptied journal is looked at: both restart pages and the first pages behind them.
const EMPTY_LEN: u64 = 16 << 10;
const VOLUME_IS_CLEAN: u16 = 2;
const NO_CLIENT: u16 = 0xFFFF;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Journal {
    /// Windows closed it: records and bitmap are up to date.
    Closed,
    /// Filled with ones, as formatting and drivers without a journal leave it: it says nothing.
    Emptied,
    /// It may hold changes that are not in the records yet.
    Open { log: Stream, area: Area },
    /// The same, and it cannot be followed; the text says what was seen.
    Unclear(&'static str),
}

pub(super) fn journal(volume: &Volume<'_>) -> Result<Journal, TreeError> {
    let record = volume.record(LOG_RECORD)?;
    let value = volume.value(&record, LOG_RECORD, What::unnamed(DATA))?;
    let Some(Value::Stream(stream)) = value else {
        return Err(TreeError::Damaged("its journal has no content"));
    };
    if stream.initialized < EMPTY_LEN {
        return Ok(Journal::Unclear("its journal is too short"));
    }
    let mut start = vec![0; usize::try_from(EMPTY_LEN).expect("it is small")];
    stream.read_at(volume.source, 0, &mut start)?;
    if start.iter().all(|byte| *byte == 0xFF) {
        return Ok(Journal::Emptied);
    }
    let Some(page) = Fields(&start)
        .u32(16)
        .filter(|page| page.is_power_of_two() && (512..=64 << 10).contains(page))
    else {
        return Ok(Journal::Unclear("its journal has no restart page"));
    };
    let pages = [0, 1].map(|at| restart(volume, &stream, at * u64::from(page), page));
    let [first, second] = pages;
    let (Some(first), Some(second)) = (first?, second?) else {
        return Ok(Journal::Unclear("a restart page of its journal is damaged"));
    };
    let newest = if second.lsn > first.lsn {
        second
    } else {
        first
    };
    Ok(match (newest.closed, newest.area) {
        (true, _) => Journal::Closed,
        (false, Some(area)) => Journal::Open { log: stream, area },
        (false, None) => Journal::Unclear("its journal was not closed, and has an unknown format"),
    })
}

struct Restart {
    /// Grows with every change.
    lsn: u64,
    closed: bool,
    area: Option<Area>,
}

/// `None` when the page is damaged.
fn restart(
    volume: &Volume<'_>,
    log: &Stream,
    at: u64,
    page: u32,
) -> Result<Option<Restart>, TreeError> {
    let mut bytes = vec![0; usize::try_from(page).expect("64 KiB at most")];
    log.read_at(volume.source, at, &mut bytes)?;
    Ok(mend(&mut bytes, b"RSTR").ok().and_then(|()| {
        let fields = Fields(&bytes);
        let area = usize::from(fields.u16(24)?);
        let (in_use, flags) = (fields.u16(area + 12)?, fields.u16(area + 14)?);
        Some(Restart {
            lsn: fields.u64(area)?,
            closed: in_use == NO_CLIENT || flags & VOLUME_IS_CLEAN != 0,
            area: Area::parse(&bytes, log),
        })
    }))
}
