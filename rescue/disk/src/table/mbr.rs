//! MBR: four entries in the first sector, and chains of logical partitions in extended ones.
//!
//! Numbered and followed as the Linux kernel does it (block/partitions/msdos.c), so that a partition here is
//! the one a user knows. `mbrman` checks the first sector; its reader of logical partitions refuses chains that
//! go backwards, which are legal, and adds sector numbers without a check, so the chain is followed here.

mod entry;

use std::collections::HashSet;
use std::io::Cursor;

use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::source::{BlockSource, ReadError};
use crate::table::{PARTITION_LIMIT, Partition, Role, Scheme, Table, read_if_there};
pub use entry::{ENTRIES_AT, Entry, SIGNATURE_AT, entries};

/// Longest chain of extended boot records that is followed.
const CHAIN_LIMIT: usize = 1024;

/// What the first sector of a disk is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FirstSector {
    Unreadable,
    /// It announces a GPT.
    Protective {
        hybrid: bool,
        /// Last sector covered by the announcing entry.
        end: Option<u64>,
    },
    /// A table with partitions.
    Mbr(Vec<u8>),
    /// A table without any.
    Empty(Vec<u8>),
    /// No table; perhaps the boot sector of a filesystem.
    Other,
}

impl FirstSector {
    pub fn read(source: &dyn BlockSource) -> Result<FirstSector, ReadError> {
        if source.size_bytes() < 512 {
            return Ok(FirstSector::Other);
        }
        let Some(sector) = read_if_there(source, 0, 512)? else {
            return Ok(FirstSector::Unreadable);
        };
        // Refuses a wrong signature and active flags other than 00 and 80, as the kernel does.
        if mbrman::MBRHeader::read_from(&mut Cursor::new(&sector)).is_err() {
            return Ok(FirstSector::Other);
        }
        let used: Vec<Entry> = entries(&sector)
            .into_iter()
            .filter(|e| e.is_used())
            .collect();
        if let Some(guard) = used.iter().find(|e| e.kind == 0xEE) {
            return Ok(FirstSector::Protective {
                hybrid: used.iter().any(|e| e.kind != 0xEE),
                end: guard.end().checked_sub(1),
            });
        }
        // mkfs.fat gives a filesystem without a partition a table with one entry for all of the disk.
        if is_boot_sector(&sector) && used.iter().all(|e| e.start == 0) {
            return Ok(FirstSector::Other);
        }
        Ok(match used.is_empty() {
            true => FirstSector::Empty(sector),
            false => FirstSector::Mbr(sector),
        })
    }

    /// Last sector that a protective MBR covers.
    pub fn protected_end(&self) -> Option<u64> {
        match self {
            FirstSector::Protective { end, .. } => *end,
            _ => None,
        }
    }
}

/// The boot sector of FAT, exFAT, NTFS or BitLocker ends in the same two bytes as an MBR.
fn is_boot_sector(sector: &[u8]) -> bool {
    let fields = Fields(sector);
    if [&b"NTFS    "[..], b"EXFAT   ", b"-FVE-FS-"]
        .iter()
        .any(|name| fields.starts_with(3, name))
    {
        return true;
    }
    let jump = matches!(fields.u8(0), Some(0xEB | 0xE9));
    let sector_size = fields.u16(11).unwrap_or(0);
    let cluster = fields.u8(13).unwrap_or(0);
    let media = fields.u8(21).unwrap_or(0);
    jump && (512..=4096).contains(&sector_size)
        && sector_size.is_power_of_two()
        && cluster.is_power_of_two()
        && fields.u16(14) != Some(0)
        && matches!(fields.u8(16), Some(1..=8))
        && (media == 0xF0 || media >= 0xF8)
}

pub fn read(source: &dyn BlockSource, first: &FirstSector) -> Result<Option<Table>, ReadError> {
    let (FirstSector::Mbr(sector) | FirstSector::Empty(sector)) = first else {
        return Ok(None);
    };
    let sector_size = source.geometry().logical_sector;
    let mut table = Table {
        scheme: Scheme::Mbr,
        id: format!("{:08x}", Fields(sector).u32(440).unwrap_or(0)),
        sector_size,
        partitions: Vec::new(),
        own: Extent::new(0, u64::from(sector_size)).into_iter().collect(),
        notes: Vec::new(),
        trusted: true,
    };
    let boot_sector = is_boot_sector(sector);
    if boot_sector {
        table.trusted = false;
        table.notes.push(
            "the first sector is a partition table and the boot sector of a filesystem".into(),
        );
    }
    let mut containers = Vec::new();
    for (number, entry) in (1u32..).zip(entries(sector)) {
        if !entry.is_used() {
            continue;
        }
        let role = if entry.is_extended() {
            containers.push(entry);
            Role::Extended
        } else {
            Role::Primary
        };
        table.add(number, &entry, 0, role);
    }
    // Where a boot sector's text happens to look like entries, nothing of them is inside the disk.
    if boot_sector
        && table
            .partitions
            .iter()
            .any(|p| p.extent.end() > source.size_bytes())
    {
        return Ok(None);
    }
    for container in containers {
        let chain = Chain::read(source, container)?;
        table.take(chain);
    }
    let mut table = table.judged(source.size_bytes());
    table.judge_containers();
    Ok(Some(table))
}

impl Table {
    fn add(&mut self, number: u32, entry: &Entry, base: u64, role: Role) {
        let sector_size = u64::from(self.sector_size);
        let extent = Extent::new(
            (base + u64::from(entry.start)) * sector_size,
            u64::from(entry.sectors) * sector_size,
        );
        self.partitions.push(Partition {
            number,
            extent: extent.expect("33-bit sector numbers of at most 4096 bytes fit in 64 bits"),
            type_id: format!("{:02X}", entry.kind),
            type_name: entry.type_name().map(str::to_owned),
            uuid: None,
            name: None,
            attributes: u64::from(entry.active),
            role,
        });
    }

    fn take(&mut self, chain: Chain) {
        let logical = |p: &&Partition| p.role == Role::Logical;
        let next = 5 + self.partitions.iter().filter(logical).count();
        for (index, (record, entry)) in chain.partitions.iter().enumerate() {
            let number = u32::try_from(next + index).expect("chains are short");
            self.add(number, entry, *record, Role::Logical);
        }
        self.own = self.own.union(&chain.records);
        self.trusted &= chain.notes.is_empty();
        self.notes.extend(chain.notes);
    }

    /// A container must not overlap a primary partition, and must hold its logical ones.
    fn judge_containers(&mut self) {
        let of = |role: Role| self.partitions.iter().filter(move |p| p.role == role);
        let mut notes = Vec::new();
        for container in of(Role::Extended) {
            notes.extend(
                of(Role::Primary)
                    .filter(|p| p.extent.intersect(container.extent).is_some())
                    .map(|p| format!("partition {} lies inside the extended one", p.number)),
            );
        }
        notes.extend(
            of(Role::Logical)
                .filter(|p| !of(Role::Extended).any(|c| c.extent.covers(p.extent)))
                .map(|p| format!("partition {} leaves the extended one", p.number)),
        );
        self.trusted &= notes.is_empty();
        self.notes.extend(notes);
    }
}

/// The logical partitions of one extended partition.
#[derive(Debug, Default)]
pub struct Chain {
    /// Each with the sector of the record its start counts from, in chain order.
    pub partitions: Vec<(u64, Entry)>,
    /// Bytes of the extended boot records.
    pub records: ExtentMap,
    pub notes: Vec<String>,
}

impl Chain {
    pub fn read(source: &dyn BlockSource, container: Entry) -> Result<Chain, ReadError> {
        let sector_size = u64::from(source.geometry().logical_sector);
        let first = u64::from(container.start);
        let (mut at, mut sectors) = (first, u64::from(container.sectors));
        let mut chain = Chain::default();
        let mut seen = HashSet::new();
        loop {
            if !seen.insert(at) || seen.len() > CHAIN_LIMIT {
                chain.note("the chain of logical partitions runs in a circle");
                return Ok(chain);
            }
            let Some(record) = read_if_there(source, at * sector_size, sector_size)? else {
                chain.note("an extended boot record cannot be read; logical partitions behind it are not known");
                return Ok(chain);
            };
            if !Fields(&record).starts_with(SIGNATURE_AT, &[0x55, 0xAA]) {
                if at != first {
                    chain.note(
                        "the chain of logical partitions leads to a sector that is no boot record",
                    );
                }
                return Ok(chain);
            }
            chain.records.insert(
                Extent::new(at * sector_size, sector_size).expect("it was just read, so it exists"),
            );
            let entries = entries(&record);
            for (slot, entry) in entries.iter().enumerate() {
                if entry.is_used()
                    && !entry.is_extended()
                    && fits(slot, entry, at, sectors, &container)
                {
                    chain.partitions.push((at, *entry));
                }
            }
            if chain.partitions.len() > PARTITION_LIMIT {
                chain.note("there are too many logical partitions");
                return Ok(chain);
            }
            let Some(link) = entries.iter().find(|e| e.is_used() && e.is_extended()) else {
                return Ok(chain);
            };
            (at, sectors) = (first + u64::from(link.start), u64::from(link.sectors));
        }
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

/// The third and fourth entry of a record are believed only when they lie inside; they may be garbage.
fn fits(slot: usize, entry: &Entry, record: u64, sectors: u64, container: &Entry) -> bool {
    let (start, end) = (record + u64::from(entry.start), record + entry.end());
    slot < 2
        || (entry.end() <= sectors && start >= u64::from(container.start) && end <= container.end())
}
