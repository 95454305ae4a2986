//! exFAT: the used clusters by its allocation bitmap, and the files.
//!
//! After Microsoft's "exFAT file system specification". The bitmap alone says what is used: a file in one piece has
//! no chain in the table.

mod bitmap;
mod boot;
mod chain;
mod directory;
mod entry;
mod reach;
mod tree;

use crate::extent::Extent;
use crate::fs::gather::Gather;
use crate::fs::tree::TreeError;
use crate::fs::{Basis, Filesystem, Parts, Reader, State, Used};
use crate::source::{BlockSource, ReadError};
use boot::{Boot, Region};
use chain::Work;

pub const READER: Reader = Reader {
    name: "exfat",
    read,
    tree: Some(tree::open),
};

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some(region) = boot::find(source)? else {
        return Ok(None);
    };
    let shape = region.boot.as_ref();
    let mut parts = Parts::default();
    parts.notes.extend(region.backup.map(Into::into));
    let used = match used(source, &region, &mut parts) {
        Ok(used) => used,
        Err(TreeError::Read(ReadError::Gone(what))) => return Err(ReadError::Gone(what)),
        Err(error) => {
            if let TreeError::Read(ReadError::Unreadable(_)) = error {
                parts.notes.push(error.to_string());
            }
            Used::Whole(error.to_string())
        }
    };
    Ok(Some(Filesystem {
        kind: "exfat".into(),
        variant: None,
        label: shape.and_then(|boot| directory::label(source, boot)),
        uuid: region
            .serial
            .map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF)),
        block_size: shape.map_or(512, |boot| {
            u32::try_from(boot.cluster_bytes).expect("a cluster has at most 32 MiB")
        }),
        size_bytes: shape.map_or(0, |boot| boot.size_bytes),
        state: state(&region, &parts),
        used,
        parts: Box::new(parts),
    }))
}

fn state(region: &Region, parts: &Parts) -> State {
    if let Some(doubt) = &region.doubt {
        return State::Dirty(doubt.clone());
    }
    if !parts.notes.is_empty() {
        return State::Dirty(parts.notes.join("; "));
    }
    match &region.boot {
        Some(boot) if boot.mounted => State::Dirty("it was not unmounted".into()),
        Some(boot) if boot.failed => State::Dirty("it met errors of the disk".into()),
        _ => State::Clean,
    }
}

fn used(source: &dyn BlockSource, region: &Region, parts: &mut Parts) -> Result<Used, TreeError> {
    let whole = |why: &str| Ok(Used::Whole(why.into()));
    let (Some(boot), None) = (&region.boot, &region.doubt) else {
        let why = region.doubt.as_deref();
        return whole(why.unwrap_or("its boot sector contradicts itself"));
    };
    if boot.size_bytes > source.size_bytes() {
        return whole("the filesystem is larger than its partition");
    }
    if boot.fat_count != 1 {
        return whole("it keeps two tables and two bitmaps (TexFAT), which are not followed here");
    }
    let bitmap = bitmap::find(source, boot)?;
    let mut records = Gather::new(boot.cluster_bytes);
    parts.unknown = bitmap::runs(source, boot, &bitmap, &mut |start, end| {
        records.push(start, end);
    })?;
    if !parts.unknown.is_empty() {
        let lost = parts.unknown.total_bytes();
        parts.notes.push(format!(
            "the allocation bitmap cannot be read for {lost} bytes; they are kept"
        ));
    }
    let before = Extent::new(0, boot.fat_start + boot.fat_bytes);
    let own = bitmap.iter().map(|piece| piece.extent).chain(before);
    parts.metadata = own.collect();
    let mut extents = records.finish();
    // A bitmap that was being written may know less than the directories.
    let mut basis = Basis::Records;
    // Only the first boot sector says whether it was unmounted.
    if boot.mounted || boot.failed || region.backup.is_some() {
        basis = Basis::Union;
        let mut work = Work::default();
        let Some(claims) = reach::claims(source, boot, &extents, &mut work)? else {
            return whole("it was not unmounted, and its folders are too many to look into");
        };
        extents = reach::joined(&extents, &claims, boot.cluster_bytes);
    }
    for outside in outside(boot, source.size_bytes()) {
        extents.insert(outside);
    }
    Ok(Used::Map { basis, extents })
}

/// What is no cluster: everything before the first and behind the last.
fn outside(boot: &Boot, size_bytes: u64) -> impl Iterator<Item = Extent> {
    let before = Extent::new(0, boot.heap_start);
    let behind = Extent::between(boot.heap_end(), size_bytes);
    before.into_iter().chain(behind)
}
