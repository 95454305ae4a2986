//! FAT12, FAT16 and FAT32: the used clusters by all copies of the table, and the files.

mod boot;
mod chain;
mod name;
mod reach;
mod table;
mod tree;

use crate::extent::{Extent, ExtentMap};
use crate::fs::{Basis, Filesystem, Reader, State, Used};
use crate::source::{BlockSource, ReadError, read_vec};
use boot::Boot;

pub const READER: Reader = Reader {
    name: "fat",
    read,
    tree: Some(tree::open),
};

/// More copies of the table than any tool makes.
const COPIES_LIMIT: u8 = 4;

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some(boot) = boot(source)? else {
        return Ok(None);
    };
    let (state, used) = used(source, &boot)?;
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
        parts: Box::default(),
    }))
}

fn boot(source: &dyn BlockSource) -> Result<Option<Boot>, ReadError> {
    if source.size_bytes() < 512 {
        return Ok(None);
    }
    Ok(Boot::parse(&read_vec(source, 0, 512)?))
}

fn used(source: &dyn BlockSource, boot: &Boot) -> Result<(State, Used), ReadError> {
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
