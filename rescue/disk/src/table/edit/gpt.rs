//! A GPT on a larger disk: both headers say where the other one is, the backup stands at the new end.

use super::{Grown, Patch, chs, stretched};
use crate::extent::{Extent, ExtentMap};
use crate::source::{BlockSource, ReadError};
use crate::table::gpt::{self, Copy, Found, Header, Place};
use crate::table::mbr::{ENTRIES_AT, FirstSector, SIGNATURE_AT, entries};
use crate::table::{Partition, Table, read_if_there};

/// Everything that the new table is made of.
pub struct Moved<'a> {
    table: &'a Table,
    first_sector: Option<Vec<u8>>,
    /// Where the source's own backups are.
    backups: Vec<Extent>,
    header: Header,
    entries: Vec<u8>,
    /// Where the primary array stands.
    entries_lba: u64,
    /// The array there is not the one that counts, or was changed.
    write_entries: bool,
    /// Last sector of the destination.
    last: u64,
    old_last: u64,
}

impl<'a> Moved<'a> {
    /// `None` when the source's table cannot be carried over.
    pub fn new(
        source: &dyn BlockSource,
        table: &'a Table,
        size_bytes: u64,
    ) -> Result<Option<Moved<'a>>, ReadError> {
        let first = FirstSector::read(source)?;
        let Some(found) = gpt::find(source, first.protected_end())? else {
            return Ok(None);
        };
        let sector = u64::from(found.sector_size);
        if found.sector_size != table.sector_size {
            return Ok(None);
        }
        let Some(mut moved) = Moved::from_found(&found, table, size_bytes / sector) else {
            return Ok(None);
        };
        moved.old_last = (source.size_bytes() / sector).saturating_sub(1);
        moved.first_sector = read_if_there(source, 0, 512)?;
        Ok(Some(moved))
    }

    fn from_found(found: &Found, table: &'a Table, sectors: u64) -> Option<Moved<'a>> {
        let (chosen, entries) = found.chosen()?;
        let (header, entries_lba, write_entries) = match &found.primary {
            Ok(primary) => (
                &primary.header,
                primary.header.entries_lba,
                primary.whole().is_none(),
            ),
            // Rebuilt from the backup, where every tool puts it.
            Err(_) => (chosen, 2, true),
        };
        let fits = entries_lba >= 2
            && entries_lba.checked_add(header.entries_sectors())? <= header.first_usable
            && header.entries_bytes() == entries.len() as u64;
        let moved = Moved {
            table,
            first_sector: None,
            backups: backups(found, chosen),
            header: header.clone(),
            entries: entries.to_vec(),
            entries_lba,
            write_entries,
            last: sectors.checked_sub(1)?,
            old_last: 0,
        };
        (fits && moved.last_usable()? >= header.last_usable).then_some(moved)
    }

    /// The new backup's array stands right before its header, and the last usable sector before that.
    fn last_usable(&self) -> Option<u64> {
        self.backup_entries_lba()?.checked_sub(1)
    }

    fn backup_entries_lba(&self) -> Option<u64> {
        self.last.checked_sub(self.header.entries_sectors())
    }

    pub fn patches(&self) -> Vec<Patch> {
        let (Some(last_usable), Some(backup_entries)) =
            (self.last_usable(), self.backup_entries_lba())
        else {
            return Vec::new();
        };
        let sector = self.header.sector_size();
        let place = |lba, alternate, entries_lba| Place {
            lba,
            alternate,
            last_usable,
            entries_lba,
        };
        let header = |place: Place| Patch {
            offset: place.lba * sector,
            bytes: self.header.encoded(place, &self.entries),
        };
        let array = |lba| Patch {
            offset: lba * sector,
            bytes: self.entries.clone(),
        };
        let mut patches = vec![
            self.protective(),
            header(place(1, self.last, self.entries_lba)),
        ];
        if self.write_entries {
            patches.push(array(self.entries_lba));
        }
        patches.push(array(backup_entries));
        patches.push(header(place(self.last, 1, backup_entries)));
        let wiped = self.wiped(&patches);
        patches.extend(wiped);
        patches
    }

    /// The first sector with the announcing entry over the whole of the disk. Boot code and, in a hybrid
    /// MBR, the other entries stay.
    fn protective(&self) -> Patch {
        let sectors = u32::try_from(self.last).unwrap_or(u32::MAX);
        let mut bytes = match &self.first_sector {
            Some(bytes) => bytes.clone(),
            None => fresh_protective(),
        };
        let guard = (0usize..)
            .zip(entries(&bytes))
            .find(|(_, e)| e.kind == 0xEE);
        if let Some((slot, entry)) = guard {
            let others = entries(&bytes)
                .iter()
                .any(|e| e.is_used() && e.kind != 0xEE);
            // In a hybrid MBR it often covers no more than the table itself.
            if !others || entry.end() > self.old_last {
                let at = ENTRIES_AT + 16 * slot;
                let size = sectors.saturating_sub(entry.start.saturating_sub(1));
                bytes[at + 12..at + 16].copy_from_slice(&size.to_le_bytes());
                bytes[at + 5..at + 8].copy_from_slice(&chs(self.last, [0xFF; 3]));
            }
        }
        Patch { offset: 0, bytes }
    }

    /// Zeros where the source had its backup: a tool that scans for tables must not find it in the middle of
    /// the larger disk. Nothing inside a partition and nothing just written is touched.
    fn wiped(&self, patches: &[Patch]) -> Vec<Patch> {
        let mut wiped: ExtentMap = self.backups.iter().copied().collect();
        let written = patches
            .iter()
            .filter_map(|p| Extent::new(p.offset, p.bytes.len() as u64));
        let partitions = self.table.partitions.iter().map(|p| p.extent);
        for extent in written.chain(partitions) {
            wiped.remove(extent);
        }
        wiped
            .iter()
            .map(|extent| Patch {
                offset: extent.start(),
                bytes: vec![0; usize::try_from(extent.len()).expect("arrays are small")],
            })
            .collect()
    }
}

/// Headers and arrays of the backups of this disk.
fn backups(found: &Found, chosen: &Header) -> Vec<Extent> {
    let ours = |copy: &&Copy| copy.header.disk_guid == chosen.disk_guid && copy.header.lba > 1;
    found
        .backup
        .iter()
        .chain(&found.strays)
        .filter(ours)
        .flat_map(|copy| [copy.header.extent(), copy.header.entries_extent()])
        .flatten()
        .collect()
}

/// For a disk whose own first sector cannot be read.
fn fresh_protective() -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let entry = [0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0, 1, 0, 0, 0];
    bytes[ENTRIES_AT..ENTRIES_AT + 16].copy_from_slice(&entry);
    bytes[SIGNATURE_AT..].copy_from_slice(&[0x55, 0xAA]);
    bytes
}

pub fn grown(
    source: &dyn BlockSource,
    table: &Table,
    last: &Partition,
    size_bytes: u64,
) -> Result<Option<Grown>, ReadError> {
    let Some(mut moved) = Moved::new(source, table, size_bytes)? else {
        return Ok(None);
    };
    Ok(moved.grow(last).map(|to| Grown {
        patches: moved.patches(),
        number: last.number,
        from: last.extent,
        to,
    }))
}

impl Moved<'_> {
    fn grow(&mut self, partition: &Partition) -> Option<Extent> {
        let sector = self.header.sector_size();
        let limit = self.last_usable()?.checked_add(1)?.checked_mul(sector)?;
        let to = stretched(partition, limit)?;
        let size = usize::try_from(self.header.entry_size).ok()?;
        let slot = usize::try_from(partition.number).ok()?.checked_sub(1)?;
        let at = slot.checked_mul(size)?.checked_add(40)?;
        let field = self.entries.get_mut(at..at + 8)?;
        field.copy_from_slice(&(to.end() / sector - 1).to_le_bytes());
        self.write_entries = true;
        Some(to)
    }
}
