//! GUID partition table: both copies are read, one is chosen, and every disagreement is told.
//!
//! Read by our own code: the `gpt` crate follows no alternate LBA, gives up on a damaged primary array, asserts
//! that entries are 128 bytes and allocates what a header says. Its table of type GUIDs is used (`types.rs`).

mod header;
mod types;

use crate::extent::{Extent, ExtentMap};
use crate::fields::{Fields, text_utf16};
use crate::source::{BlockSource, ReadError};
use crate::table::mbr::FirstSector;
use crate::table::{Partition, Role, Scheme, Table};
pub use header::{Copy, Flaw, Header, Place};

/// Both copies of a table, as far as they are there.
#[derive(Debug)]
pub struct Found {
    pub sector_size: u32,
    pub primary: Result<Copy, Flaw>,
    pub backup: Result<Copy, Flaw>,
    /// Sound copies at other places where a backup belongs: what an older table or a smaller disk left.
    pub strays: Vec<Copy>,
}

/// Looks for a table that counts in the disk's own sectors, then in 512 and in 4096 bytes. `protected_end` is
/// the last sector that a protective MBR covers: on a disk that grew the backup is there.
pub fn find(
    source: &dyn BlockSource,
    protected_end: Option<u64>,
) -> Result<Option<Found>, ReadError> {
    let own = source.geometry().logical_sector;
    let mut sizes = vec![own, 512, 4096];
    sizes.retain(|size| matches!(size, 512 | 4096));
    sizes.dedup();
    let mut flaw = Flaw::Absent;
    for sector_size in &sizes {
        match Copy::read(source, *sector_size, 1)? {
            Ok(primary) => return with_backup(source, *sector_size, primary).map(Some),
            Err(Flaw::Absent) => {}
            Err(found) => flaw = found,
        }
    }
    for sector_size in sizes {
        let last = last_lba(source, sector_size);
        for lba in [Some(last), protected_end].into_iter().flatten() {
            let backup = Copy::read(source, sector_size, lba)?;
            if backup.as_ref().is_ok_and(|copy| copy.whole().is_some()) {
                return Ok(Some(Found {
                    sector_size,
                    primary: Err(flaw),
                    backup,
                    strays: Vec::new(),
                }));
            }
        }
    }
    Ok(None)
}

fn with_backup(
    source: &dyn BlockSource,
    sector_size: u32,
    primary: Copy,
) -> Result<Found, ReadError> {
    let named = primary.header.alternate;
    let last = last_lba(source, sector_size);
    let mut backup = Copy::read(source, sector_size, named)?;
    let mut strays = Vec::new();
    if named != last
        && let Ok(at_end) = Copy::read(source, sector_size, last)?
    {
        let usable = |copy: &Copy| copy.whole().is_some();
        let same_disk = at_end.header.disk_guid == primary.header.disk_guid;
        if same_disk && usable(&at_end) && !backup.as_ref().is_ok_and(usable) {
            backup = Ok(at_end);
        } else {
            strays.push(at_end);
        }
    }
    Ok(Found {
        sector_size,
        primary: Ok(primary),
        backup,
        strays,
    })
}

fn last_lba(source: &dyn BlockSource, sector_size: u32) -> u64 {
    (source.size_bytes() / u64::from(sector_size)).saturating_sub(1)
}

/// The table of a disk whose protective MBR announces a GPT that is gone.
pub fn lost(source: &dyn BlockSource) -> Table {
    let sector_size = source.geometry().logical_sector;
    Table {
        scheme: Scheme::Gpt,
        id: String::new(),
        sector_size,
        partitions: Vec::new(),
        own: Extent::new(0, u64::from(sector_size))
            .into_iter()
            .collect(),
        notes: vec!["the first sector announces a GPT, but neither of its two copies can be used; everything on the disk is kept".into()],
        trusted: false,
    }
}

impl Found {
    /// The copy that counts: the primary when it is sound, else the backup.
    pub fn chosen(&self) -> Option<(&Header, &[u8])> {
        let whole = |copy: &'_ Result<Copy, Flaw>| copy.as_ref().is_ok_and(|c| c.whole().is_some());
        let copy = if whole(&self.primary) {
            &self.primary
        } else {
            &self.backup
        };
        copy.as_ref().ok().and_then(Copy::whole)
    }

    pub fn table(&self, source: &dyn BlockSource, first: &FirstSector) -> Table {
        let mut notes = Vec::new();
        let trusted = self.judge_copies(source, &mut notes) & self.judge_first(first, &mut notes);
        let mut table = Table {
            scheme: Scheme::Gpt,
            id: String::new(),
            sector_size: self.sector_size,
            partitions: Vec::new(),
            own: self.own(source.size_bytes()),
            notes,
            trusted,
        };
        if self.sector_size != source.geometry().logical_sector {
            table.notes.push(format!(
                "the table counts in sectors of {} bytes, the disk in {}",
                self.sector_size,
                source.geometry().logical_sector
            ));
        }
        let Some((header, entries)) = self.chosen() else {
            let header = self.primary.as_ref().or(self.backup.as_ref());
            table.id = header.map_or_else(|_| String::new(), |c| guid(&c.header.disk_guid));
            table.trusted = false;
            return table;
        };
        table.id = guid(&header.disk_guid);
        self.fill(header, entries, &mut table);
        table.judged(source.size_bytes())
    }

    fn fill(&self, header: &Header, entries: &[u8], table: &mut Table) {
        let size = usize::try_from(header.entry_size).expect("an entry is at most 4096 bytes");
        for (number, entry) in (1u32..).zip(entries.chunks_exact(size)) {
            if entry[..16] == [0; 16] {
                continue;
            }
            match partition(number, entry, self.sector_size) {
                Some((first, last, partition)) => {
                    if first < header.first_usable || last > header.last_usable {
                        table.trusted = false;
                        table.notes.push(format!(
                            "partition {number} lies outside the part of the disk the table gives to partitions"
                        ));
                    }
                    table.partitions.push(partition);
                }
                None => {
                    table.trusted = false;
                    table
                        .notes
                        .push(format!("partition {number} ends before it starts"));
                }
            }
        }
    }

    /// False when the two copies contradict each other.
    fn judge_copies(&self, source: &dyn BlockSource, notes: &mut Vec<String>) -> bool {
        for (name, copy) in [("primary", &self.primary), ("backup", &self.backup)] {
            match copy {
                Err(flaw) => notes.push(format!("the {name} GPT header {flaw}")),
                Ok(Copy {
                    entries: Err(flaw), ..
                }) => notes.push(format!("the {name} GPT array of entries {flaw}")),
                Ok(_) => {}
            }
        }
        let last = last_lba(source, self.sector_size);
        let mut sound = true;
        if let Ok(backup) = &self.backup {
            if backup.header.lba != last {
                notes.push("the backup GPT is not at the end of the disk".into());
            }
            if let Ok(primary) = &self.primary {
                let both = primary.entries.is_ok() && backup.entries.is_ok();
                if both && !primary.agrees_with(backup) {
                    notes.push("the primary and the backup GPT disagree".into());
                    sound = false;
                }
            }
        }
        if self.strays.iter().any(|stray| stray.whole().is_some()) {
            notes.push(
                "a backup GPT of another table or of a smaller disk is at the end too".into(),
            );
        }
        let limit = self.chosen().map(|(header, _)| header.last_usable);
        if limit.is_some_and(|limit| limit > last) {
            notes.push("the table was made for a larger disk".into());
            sound = false;
        }
        sound
    }

    /// False when the first sector does not say that there is a GPT and nothing else makes up for it.
    fn judge_first(&self, first: &FirstSector, notes: &mut Vec<String>) -> bool {
        match first {
            FirstSector::Protective { hybrid, .. } => {
                if *hybrid {
                    notes.push("the first sector is a hybrid MBR: it names partitions of its own beside the GPT".into());
                }
                true
            }
            FirstSector::Unreadable => {
                notes.push("the protective MBR cannot be read".into());
                match (&self.primary, &self.backup) {
                    (Ok(primary), Ok(backup)) => primary.agrees_with(backup),
                    _ => false,
                }
            }
            FirstSector::Mbr(_) | FirstSector::Empty(_) | FirstSector::Other => {
                notes.push("the protective MBR is not there".into());
                false
            }
        }
    }

    fn own(&self, size_bytes: u64) -> ExtentMap {
        let mut own: ExtentMap = Extent::new(0, u64::from(self.sector_size))
            .into_iter()
            .collect();
        for copy in [&self.primary, &self.backup].into_iter().flatten() {
            let entries = copy.header.entries_extent();
            for extent in [copy.header.extent(), entries].into_iter().flatten() {
                if extent.end() <= size_bytes {
                    own.insert(extent);
                }
            }
        }
        own
    }
}

/// One entry that is in use: its first and last sector, and what it says. `None` when its place is absurd.
fn partition(number: u32, entry: &[u8], sector_size: u32) -> Option<(u64, u64, Partition)> {
    let fields = Fields(entry);
    let (first, last) = (fields.u64(32)?, fields.u64(40)?);
    let start = first.checked_mul(u64::from(sector_size))?;
    let end = last.checked_add(1)?.checked_mul(u64::from(sector_size))?;
    let type_id = guid(&fields.array(0)?).to_ascii_uppercase();
    let name = text_utf16(fields.bytes(56, 72)?);
    let partition = Partition {
        number,
        extent: Extent::between(start, end)?,
        type_name: types::name(&type_id),
        type_id,
        uuid: Some(guid(&fields.array(16)?)),
        name: (!name.is_empty()).then_some(name),
        attributes: fields.u64(48)?,
        role: Role::Primary,
    };
    Some((first, last, partition))
}

/// A GUID as it is written: the first three groups are little-endian on the disk.
fn guid(bytes: &[u8; 16]) -> String {
    let fields = Fields(bytes);
    let (a, b, c) = (fields.u32(0), fields.u16(4), fields.u16(6));
    let (d, e) = (fields.be16(8), fields.be64(8));
    let tail = e.map(|e| e & 0xffff_ffff_ffff);
    let (Some(a), Some(b), Some(c), Some(d), Some(tail)) = (a, b, c, d, tail) else {
        return String::new();
    };
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{tail:012x}")
}
