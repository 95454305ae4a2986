//! The records of $LogFile, from the oldest that may be needed to the last one that was written.
//!
//! A log sequence number says where its record stands and in which round through the ring it was written, so that
//! every record proves its own place. After the kernel's `fs/ntfs3/fslog.c`.

use super::log_pages::{Area, Pages, RECORD_HEAD};
use super::mft::length;
use crate::fields::Fields;
use crate::fs::tree::TreeError;

/// Tables of what is open or waiting are the longest records.
const RECORD_LIMIT: u64 = 4 << 20;

const UNREACHED: TreeError =
    TreeError::Damaged("its journal does not reach back to where it would be replayed from");
const TORN: TreeError = TreeError::Damaged("a record of its journal is missing");

pub(super) struct Records<'a> {
    pages: Pages<'a>,
    next: Option<Place>,
    /// The last one that is there with all its bytes.
    end: u64,
    /// One behind it, whose end was not written.
    cut: Option<u64>,
}

/// Where a record begins.
#[derive(Clone, Copy, Debug)]
struct Place {
    lsn: u64,
    page: u64,
    offset: u64,
    round: u64,
}

struct Head {
    len: u64,
    kind: u32,
}

/// What an open filesystem wrote, or a mark from which a replay begins.
pub(super) struct LogRecord {
    pub is_change: bool,
    pub bytes: Vec<u8>,
}

impl<'a> Records<'a> {
    pub fn begin(mut pages: Pages<'a>) -> Result<Records<'a>, TreeError> {
        let area = pages.area;
        let place = Place::of(&area, area.oldest).ok_or(UNREACHED)?;
        if head(&mut pages, place)?.is_none() {
            return Err(UNREACHED);
        }
        Ok(Records {
            pages,
            next: Some(place),
            end: 0,
            cut: None,
        })
    }

    /// `None` behind the last one, when it is proven that none is missing.
    pub fn next(&mut self) -> Result<Option<LogRecord>, TreeError> {
        let Some(place) = self.next.take() else {
            return Ok(None);
        };
        let head = head(&mut self.pages, place)?.ok_or(TORN)?;
        let Some((bytes, page, offset, round)) = self.body(place, head.len)? else {
            self.cut = Some(place.lsn);
            return self.ended().map(|()| None);
        };
        self.end = place.lsn;
        self.next = self.following(page, offset, round)?;
        if self.next.is_none() {
            self.ended()?;
        }
        Ok(Some(LogRecord {
            is_change: match head.kind {
                1 => true,
                2 => false,
                _ => {
                    return Err(TreeError::Damaged(
                        "its journal holds a record of an unknown kind",
                    ));
                }
            },
            bytes,
        }))
    }

    /// The data, and where they end: page, offset in it, round. `None` when a part was never written.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn body(
        &mut self,
        place: Place,
        len: u64,
    ) -> Result<Option<(Vec<u8>, u64, u64, u64)>, TreeError> {
        let area = self.pages.area;
        if len > RECORD_LIMIT.min(area.size / 2) {
            return Err(TreeError::Damaged(
                "a record of its journal is longer than it can be",
            ));
        }
        let (mut page, mut offset, mut round) =
            (place.page, place.offset + RECORD_HEAD, place.round);
        let mut bytes = Vec::with_capacity(length(len));
        loop {
            let missing = len - bytes.len() as u64;
            let part = missing.min(area.page - offset);
            match self.pages.page(page)? {
                Some((content, mark)) if mark.begun.max(mark.ended) >= place.lsn => {
                    bytes.extend_from_slice(&content[length(offset)..length(offset + part)]);
                }
                _ => return Ok(None),
            }
            if part == missing {
                return Ok(Some((bytes, page, offset + part, round)));
            }
            let (next, anew) = self.pages.after(page);
            (page, offset) = (next, area.data);
            round += u64::from(anew);
        }
    }

    /// The record that begins behind this place, in the same page or in the one after it.
    fn following(
        &mut self,
        page: u64,
        offset: u64,
        round: u64,
    ) -> Result<Option<Place>, TreeError> {
        let area = self.pages.area;
        let (next, anew) = self.pages.after(page);
        let places = [
            (page, offset.next_multiple_of(8), round),
            (next, area.data, round + u64::from(anew)),
        ];
        for (page, offset, round) in places {
            let Some(lsn) = area.lsn_at(round, page * area.page + offset) else {
                continue;
            };
            let place = Place {
                lsn,
                page,
                offset,
                round,
            };
            if head(&mut self.pages, place)?.is_some() {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// No page knows of a record behind the last one, and it is not older than the restart page.
    fn ended(&self) -> Result<(), TreeError> {
        let known = |lsn: u64| lsn <= self.end || self.cut == Some(lsn);
        let mut marks = self.pages.marks();
        let all = marks.all(|mark| mark.ended <= self.end && known(mark.begun));
        if all && self.pages.area.current <= self.end {
            Ok(())
        } else {
            Err(TORN)
        }
    }
}

impl Place {
    fn of(area: &Area, lsn: u64) -> Option<Place> {
        let at = area.place_of(lsn);
        let place = Place {
            lsn,
            page: at / area.page,
            offset: at % area.page,
            round: lsn >> area.place_bits,
        };
        ((area.first()..area.pages()).contains(&place.page) && place.offset >= area.data)
            .then_some(place)
    }
}

/// `None` when there is no such record.
fn head(pages: &mut Pages<'_>, place: Place) -> Result<Option<Head>, TreeError> {
    if place.offset + RECORD_HEAD > pages.area.page {
        return Ok(None);
    }
    Ok(pages.page(place.page)?.and_then(|(content, _)| {
        let at = length(place.offset);
        let fields = Fields(content);
        (fields.u64(at)? == place.lsn).then_some(Head {
            len: u64::from(fields.u32(at + 24)?),
            kind: fields.u32(at + 32)?,
        })
    }))
}
