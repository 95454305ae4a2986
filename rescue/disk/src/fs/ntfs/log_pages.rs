//! The pages of $LogFile: a ring of them, and copies of those that were written last.
//!
//! After the kernel's `fs/ntfs3/fslog.c` and the Linux-NTFS project's documentation of $LogFile.

use super::mft::length;
use super::record::mend;
use super::stream::Stream;
use crate::fields::Fields;
use crate::fs::tree::TreeError;
use crate::source::BlockSource;

/// What a restart page says of the pages behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Area {
    /// The format of Windows 8 and later, with more copies; else that of all before.
    pub second: bool,
    pub page: u64,
    /// Of the journal, as far as it is in use.
    pub size: u64,
    /// How many bits of a log sequence number say where in the journal a record stands, in units of 8 bytes.
    pub place_bits: u32,
    /// Where records begin in a page.
    pub data: u64,
    /// Last record when the restart page was written.
    pub current: u64,
    /// First record that may be needed.
    pub oldest: u64,
}

/// Journals have 64 MiB, and up to 4 GiB by hand.
const SIZE_LIMIT: u64 = 1 << 30;
/// Bytes in front of the data of a record.
pub(super) const RECORD_HEAD: u64 = 48;
const PIECE: u64 = 1 << 20;

impl Area {
    /// `restart` is a mended restart page. `None` when it contradicts itself.
    pub fn parse(restart: &[u8], log: &Stream) -> Option<Area> {
        let fields = Fields(restart);
        let area = usize::from(fields.u16(24)?);
        let client = area + usize::from(fields.u16(area + 22)?);
        let sequence_bits = fields.u32(area + 16)?;
        let page = u64::from(fields.u32(20)?);
        let second = match (fields.u16(28)?, fields.u16(26)?) {
            (1, 0 | 1) => false,
            (2, 0) => true,
            _ => return None,
        };
        let found = Area {
            second,
            page,
            size: fields.u64(area + 24)? / page.max(1) * page,
            place_bits: 64u32.checked_sub(sequence_bits)?,
            data: u64::from(fields.u16(area + 38)?),
            current: fields.u64(area)?,
            oldest: fields.u64(client)?,
        };
        // One client, which is NTFS, and it is open.
        let ours = (fields.u16(area + 8)?, fields.u16(area + 12)?) == (1, 0)
            && fields.starts_with(client + 32, b"N\0T\0F\0S\0")
            && u64::from(fields.u16(area + 36)?) == RECORD_HEAD;
        let sane = u64::from(fields.u32(16)?) == page
            && (4096..=64 << 10).contains(&page)
            && page.is_power_of_two()
            && found.size <= log.initialized.min(SIZE_LIMIT)
            && found.size / page > found.first() + 1
            && (16..=40).contains(&found.place_bits)
            && found.size <= 8 << found.place_bits
            && found.data.is_multiple_of(8)
            && (64..page / 2).contains(&found.data);
        (ours && sane).then_some(found)
    }

    /// The first page of the ring.
    pub fn first(&self) -> u64 {
        if self.second { 34 } else { 4 }
    }

    pub fn pages(&self) -> u64 {
        self.size / self.page
    }

    pub fn place_of(&self, lsn: u64) -> u64 {
        (lsn & ((1 << self.place_bits) - 1)) << 3
    }

    pub fn lsn_at(&self, round: u64, place: u64) -> Option<u64> {
        let high = round.checked_mul(1 << self.place_bits)?;
        high.checked_add(place >> 3)
    }
}

/// The newest content of a page of the ring, in the ring or in a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    /// Never written to.
    Blank,
    Torn,
    Good {
        /// Page of the journal that has the content.
        at: u32,
        mark: Mark,
    },
}

/// Log sequence numbers of a page: of the last record with bytes in it, and of the last that ends in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub begun: u64,
    pub ended: u64,
}

pub(super) struct Pages<'a> {
    pub area: Area,
    source: &'a dyn BlockSource,
    log: &'a Stream,
    slots: Vec<Slot>,
    /// The one that was asked for last.
    last: Option<(u64, Vec<u8>)>,
}

impl<'a> Pages<'a> {
    /// Looks at all of them.
    pub fn survey(
        source: &'a dyn BlockSource,
        log: &'a Stream,
        area: Area,
    ) -> Result<Pages<'a>, TreeError> {
        let mut pages = Pages {
            area,
            source,
            log,
            slots: vec![Slot::Blank; length(area.pages())],
            last: None,
        };
        let mut copies = Vec::new();
        let mut at = 2 * area.page;
        while at < area.size {
            let len = PIECE.min(area.size - at);
            let mut bytes = vec![0; length(len)];
            log.read_at(source, at, &mut bytes)?;
            for (number, page) in (at / area.page..).zip(bytes.chunks_exact_mut(length(area.page)))
            {
                let (slot, home) = pages.judge(number, page);
                match home {
                    None => pages.slots[length(number)] = slot,
                    Some(home) => copies.push((slot, home)),
                }
            }
            at += len;
        }
        for (copy, home) in copies {
            pages.prefer(copy, home)?;
        }
        if pages.slots.contains(&Slot::Torn) {
            return Err(TreeError::Damaged(
                "a page of its journal was written in part only",
            ));
        }
        Ok(pages)
    }

    /// What a page is, and for a copy where in the journal it belongs.
    fn judge(&self, number: u64, page: &mut [u8]) -> (Slot, Option<u64>) {
        let is_copy = number < self.area.first();
        let blank = [0, u32::MAX].contains(&Fields(page).u32(0).unwrap_or(0));
        let good = mend(page, b"RCRD").is_ok();
        let fields = Fields(page);
        let [own, ended] = [8, 32].map(|at| fields.u64(at).unwrap_or(0));
        let home = match (is_copy, self.area.second) {
            (false, _) => None,
            (true, true) => Some(u64::from(fields.u32(60).unwrap_or(0))),
            // The number of the last record has its place taken by that of the page.
            (true, false) => Some(own),
        };
        let begun = if is_copy && !self.area.second {
            ended
        } else {
            own
        };
        let slot = match (good, blank) {
            (true, _) => Slot::Good {
                at: u32::try_from(number).expect("a journal has 2^18 pages at most"),
                mark: Mark { begun, ended },
            },
            (false, true) => Slot::Blank,
            (false, false) => Slot::Torn,
        };
        (slot, home)
    }

    /// A copy counts where the page itself is older, or torn.
    fn prefer(&mut self, copy: Slot, home: u64) -> Result<(), TreeError> {
        let Slot::Good { mark: new, .. } = copy else {
            return Ok(());
        };
        let number = home / self.area.page;
        let inside = home.is_multiple_of(self.area.page)
            && (self.area.first()..self.area.pages()).contains(&number);
        if !inside {
            return Err(TreeError::Damaged(
                "a copy of a page of its journal belongs nowhere",
            ));
        }
        let slot = &mut self.slots[length(number)];
        let newer = match slot {
            Slot::Blank | Slot::Torn => true,
            Slot::Good { mark: old, .. } => new.newest() > old.newest(),
        };
        if newer {
            *slot = copy;
        }
        Ok(())
    }

    /// All that hold records.
    pub fn marks(&self) -> impl Iterator<Item = Mark> + '_ {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Good { mark, .. } => Some(*mark),
            Slot::Blank | Slot::Torn => None,
        })
    }

    /// The page of the ring that follows, and whether the ring begins anew with it.
    pub fn after(&self, number: u64) -> (u64, bool) {
        if number + 1 < self.area.pages() {
            (number + 1, false)
        } else {
            (self.area.first(), true)
        }
    }

    /// A page of the ring; `None` where there is nothing in it.
    pub fn page(&mut self, number: u64) -> Result<Option<(&[u8], Mark)>, TreeError> {
        let slot = usize::try_from(number)
            .ok()
            .and_then(|at| self.slots.get(at));
        let Some(Slot::Good { at, mark }) = slot.copied() else {
            return Ok(None);
        };
        if self.last.as_ref().is_none_or(|(last, _)| *last != number) {
            let mut bytes = vec![0; length(self.area.page)];
            let place = u64::from(at) * self.area.page;
            self.log.read_at(self.source, place, &mut bytes)?;
            mend(&mut bytes, b"RCRD").map_err(TreeError::Damaged)?;
            self.last = Some((number, bytes));
        }
        Ok(self.last.as_ref().map(|(_, bytes)| (&bytes[..], mark)))
    }
}

impl Mark {
    fn newest(self) -> u64 {
        self.begun.max(self.ended)
    }
}
