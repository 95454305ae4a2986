//! The last partition of an MBR made larger; with a logical one, its record, the link to it and the container.

use super::{Grown, Patch, chs, stretched};
use crate::source::{BlockSource, ReadError};
use crate::table::mbr::{Chain, ENTRIES_AT, Entry, entries};
use crate::table::{Partition, Role, Table, read_if_there};

/// An entry of a sector, and how many sectors it shall have.
struct Change {
    record: u64,
    slot: usize,
    sectors: u64,
    /// Sector of the disk where its extent will end.
    end: u64,
}

pub fn grown(
    source: &dyn BlockSource,
    table: &Table,
    last: &Partition,
    size_bytes: u64,
) -> Result<Option<Grown>, ReadError> {
    let sector = u64::from(table.sector_size);
    let container = table
        .partitions
        .iter()
        .find(|p| p.role == Role::Extended && p.extent.covers(last.extent));
    let in_the_way = table.partitions.iter().any(|p| {
        p.role == Role::Extended
            && p.extent.end() > last.extent.start()
            && container.is_none_or(|c| c.number != p.number)
    });
    // Sector numbers have 32 bits, and so has every length.
    let limit = size_bytes.min(u64::from(u32::MAX) * sector);
    let Some(to) = stretched(last, limit).filter(|_| !in_the_way) else {
        return Ok(None);
    };
    let changes = match container {
        None => Some(vec![primary(last, to.len() / sector, to.end() / sector)]),
        Some(container) => logical(source, table, container, last, to.end() / sector)?,
    };
    let Some(changes) = changes else {
        return Ok(None);
    };
    let Some(patches) = patches(source, sector, &changes)? else {
        return Ok(None);
    };
    Ok(Some(Grown {
        patches,
        number: last.number,
        from: last.extent,
        to,
    }))
}

fn primary(partition: &Partition, sectors: u64, end: u64) -> Change {
    Change {
        record: 0,
        slot: usize::try_from(partition.number).unwrap_or(usize::MAX) - 1,
        sectors,
        end,
    }
}

/// `None` when the chain does not hold the partition any more.
fn logical(
    source: &dyn BlockSource,
    table: &Table,
    container: &Partition,
    last: &Partition,
    end: u64,
) -> Result<Option<Vec<Change>>, ReadError> {
    let sector = u64::from(table.sector_size);
    let first = container.extent.start() / sector;
    let outer = Entry {
        active: 0,
        kind: 5,
        start: u32::try_from(first).unwrap_or(u32::MAX),
        sectors: u32::try_from(container.extent.len() / sector).unwrap_or(u32::MAX),
    };
    let chain = Chain::read(source, outer)?;
    let start = last.extent.start() / sector;
    let Some((record, _)) = chain
        .partitions
        .iter()
        .find(|(record, entry)| record + u64::from(entry.start) == start)
    else {
        return Ok(None);
    };
    let mut changes = vec![primary(container, end - first, end)];
    let slot_where = |record: u64, wanted: &dyn Fn(&Entry) -> bool| {
        let bytes = read_if_there(source, record * sector, sector)?;
        Ok(bytes.and_then(|bytes| entries(&bytes).iter().position(wanted)))
    };
    let is_it = |e: &Entry| e.is_used() && !e.is_extended() && record + u64::from(e.start) == start;
    let Some(slot) = slot_where(*record, &is_it)? else {
        return Ok(None);
    };
    changes.push(Change {
        record: *record,
        slot,
        sectors: end - start,
        end,
    });
    let is_link =
        |e: &Entry| e.is_used() && e.is_extended() && first + u64::from(e.start) == *record;
    for other in chain.records.iter().map(|extent| extent.start() / sector) {
        if let Some(slot) = slot_where(other, &is_link)? {
            changes.push(Change {
                record: other,
                slot,
                sectors: end - record,
                end,
            });
        }
    }
    Ok(Some(changes))
}

/// The changed sectors, each once.
fn patches(
    source: &dyn BlockSource,
    sector: u64,
    changes: &[Change],
) -> Result<Option<Vec<Patch>>, ReadError> {
    let mut patches: Vec<Patch> = Vec::new();
    for change in changes {
        let offset = change.record * sector;
        let index = match patches.iter().position(|p| p.offset == offset) {
            Some(index) => index,
            None => match read_if_there(source, offset, sector)? {
                Some(bytes) => {
                    patches.push(Patch { offset, bytes });
                    patches.len() - 1
                }
                None => return Ok(None),
            },
        };
        let at = ENTRIES_AT + 16 * change.slot;
        let (Ok(sectors), Some(entry)) = (
            u32::try_from(change.sectors),
            patches[index].bytes.get_mut(at..at + 16),
        ) else {
            return Ok(None);
        };
        entry[12..].copy_from_slice(&sectors.to_le_bytes());
        entry[5..8].copy_from_slice(&chs(change.end - 1, [0xFE, 0xFF, 0xFF]));
    }
    Ok(Some(patches))
}
