//! FAT12, FAT16 and FAT32: the used clusters by all copies of the table, and the files.

mod boot;
mod chain;
mod name;
mod reach;
mod table;
mod tree;

use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::{Basis, Filesystem, Parts, Reader, State, Used};
use crate::source::{BlockSource, ReadError, read_vec};
use boot::{Boot, Width};

pub const READER: Reader = Reader {
    name: "fat",
    read,
    tree: Some(tree::open),
};

/// More copies of the table than any tool makes.
const COPIES_LIMIT: u8 = 4;
/// Where the backup of the boot sector is (specification, "BPB_BkBootSec": no other value is recommended).
const BACKUP_SECTOR: u64 = 6;

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some((boot, backup)) = found(source)? else {
        return Ok(None);
    };
    let mut parts = Parts::default();
    parts.notes.extend(backup.map(Into::into));
    let (state, used) = used(source, &boot, &mut parts)?;
    let state = match state {
        State::Clean if !parts.notes.is_empty() => State::Dirty(parts.notes.join("; ")),
        state => state,
    };
    Ok(Some(Filesystem {
        kind: "vfat".into(),
        variant: Some(boot.width.name().into()),
        label: tree::label(source, &boot),
        uuid: boot
            .serial
            .map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF)),
        block_size: u32::try_from(boot.cluster_bytes).expect("a cluster has at most 512 KiB"),
        size_bytes: boot.size_bytes,
        state,
        used,
        parts: Box::new(parts),
    }))
}

fn boot(source: &dyn BlockSource) -> Result<Option<Boot>, ReadError> {
    Ok(found(source)?.map(|(boot, _)| boot))
}

/// The boot sector, and why it is not the first one.
fn found(source: &dyn BlockSource) -> Result<Option<(Boot, Option<&'static str>)>, ReadError> {
    if source.size_bytes() < 512 {
        return Ok(None);
    }
    match read_vec(source, 0, 512) {
        Ok(sector) => Ok(Boot::parse(&sector).map(|boot| (boot, None))),
        Err(ReadError::Unreadable(place)) => {
            let why = "its boot sector cannot be read, the backup was used";
            let found = backup(source)?.map(|boot| (boot, Some(why)));
            found.map(Some).ok_or(ReadError::Unreadable(place))
        }
        Err(error) => Err(error),
    }
}

/// Of FAT32, in the sixth sector behind the first as every tool puts it, with a table behind it that begins as one.
fn backup(source: &dyn BlockSource) -> Result<Option<Boot>, ReadError> {
    for sector in [512, 1024, 2048, 4096] {
        let bytes = match read_vec(source, BACKUP_SECTOR * sector, 512) {
            Ok(bytes) => bytes,
            Err(ReadError::Unreadable(_) | ReadError::BeyondEnd { .. }) => continue,
            Err(error) => return Err(error),
        };
        let fields = Fields(&bytes);
        let its_own = fields.u16(50).map(u64::from) == Some(BACKUP_SECTOR);
        let Some(boot) = Boot::parse(&bytes)
            .filter(|boot| its_own && boot.width == Width::Fat32 && boot.sector_bytes == sector)
        else {
            continue;
        };
        let first = match read_vec(source, boot.fat_start, 4) {
            Ok(first) => first,
            Err(ReadError::Unreadable(_)) => read_vec(source, boot.fat(1), 4)?,
            Err(error) => return Err(error),
        };
        let begins = [fields.u8(21).unwrap_or(0), 0xFF, 0xFF];
        if first.starts_with(&begins) {
            return Ok(Some(boot));
        }
    }
    Ok(None)
}

fn used(
    source: &dyn BlockSource,
    boot: &Boot,
    parts: &mut Parts,
) -> Result<(State, Used), ReadError> {
    let whole = |why: &str| Ok((State::Clean, Used::Whole(why.into())));
    if boot.size_bytes > source.size_bytes() {
        return whole("the filesystem is larger than its partition");
    }
    if boot.fat_count > COPIES_LIMIT {
        return whole("it claims more copies of its table than there can be");
    }
    let allocation = table::allocation(source, boot)?;
    let mut extents: ExtentMap = Extent::new(0, boot.data_start).into_iter().collect();
    for extent in allocation.used.iter() {
        extents.insert(extent);
    }
    parts.metadata = extents
        .within(Extent::new(0, boot.data_start).expect("there are sectors before the clusters"))
        .collect();
    parts.unknown = allocation.unknown;
    parts.notes.extend(allocation.note);
    // A table that was being written may know less than the directories.
    let doubtful = allocation.state != State::Clean || !allocation.copies_agree;
    let mut basis = Basis::Records;
    if doubtful {
        basis = Basis::Union;
        let Some(claims) = reach::claims(source, boot, &extents)? else {
            let why = "it was not unmounted, and its folders are too many to look into";
            return Ok((allocation.state, Used::Whole(why.into())));
        };
        extents = extents.union(&claims);
    }
    // Behind the last whole cluster.
    if let Some(tail) = Extent::between(boot.data_end(), source.size_bytes()) {
        extents.insert(tail);
    }
    Ok((allocation.state, Used::Map { basis, extents }))
}
