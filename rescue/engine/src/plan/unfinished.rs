//! Whether an unfinished image is one of this disk as it is now.
//!
//! A disk that gets worse between two runs says less of itself: an end that told of its table cannot be read any
//! more, a map is lost and what it called free is kept. That is no other disk. Somebody who wrote to the disk shows
//! by what is in use where the maps are whole, by other ends of the disk and by other beginnings of its partitions:
//! most filesystems note there that they were mounted.

use disk::extent::{Extent, ExtentMap};
use disk::layout::{Content, Layout};
use disk::source::BlockSource;
use image::chunk::Entry;
use image::digest::Digest;
use image::error::ImageError;
use image::head::Lineage;
use image::reader::{Piece, Reader};
use image::states::{GRANULE, State};

use super::Plan;
use crate::host::Disk;
use crate::identity::{Fingerprint, Identity};

/// As much of each end as an identity's fingerprint covers.
const ENDS: u64 = 64 << 10;
/// As much of each partition's beginning as has every filesystem's superblock.
const BEGINNING: u64 = 128 << 10;
/// How much of a fingerprint is of the device alone.
const DEVICE: usize = 16;

/// The first half is of the device and of what the user leaves out of it, the second of its ends and of what is kept.
pub fn fingerprint(disk: &Disk, plan: &Plan) -> Digest {
    let device = Identity {
        fingerprint: Fingerprint([0; 32]),
        ..disk.identity.clone()
    };
    let mut device = serde_json::to_vec(&device).expect("an identity is plain data");
    for left in plan.left_out.iter() {
        device.extend_from_slice(&left.start().to_le_bytes());
        device.extend_from_slice(&left.len().to_le_bytes());
    }
    let mut state = blake3::Hasher::new();
    state.update(&disk.identity.fingerprint.0);
    for extent in plan.used.iter() {
        state.update(&extent.start().to_le_bytes());
        state.update(&extent.len().to_le_bytes());
    }
    let mut both = *state.finalize().as_bytes();
    both[..DEVICE].copy_from_slice(&blake3::hash(&device).as_bytes()[..DEVICE]);
    Digest(both)
}

/// Whether `reader`'s image is what is begun of this plan for `disk`.
pub fn is_begun(
    reader: &Reader,
    plan: &Plan,
    disk: &Disk,
    source: &dyn BlockSource,
) -> Result<bool, ImageError> {
    let used = &plan.used;
    let (then, now) = (reader.head().fingerprint, fingerprint(disk, plan));
    if then.0[..DEVICE] != now.0[..DEVICE] || reader.head().geometry != source.geometry() {
        return Ok(false);
    }
    let as_it_was = match then == now {
        true => true,
        // What a child left to its parent tells nothing of the map that it was begun with.
        false => reader.head().lineage != Lineage::Child && knows_less(reader, disk, used)?,
    };
    Ok(as_it_was && has_same_marks(reader, plan, disk, source)?)
}

/// Nothing of what the image has is free now, and what it left out as free is kept now only where nobody knows.
fn knows_less(reader: &Reader, disk: &Disk, used: &ExtentMap) -> Result<bool, ImageError> {
    let size = disk.geometry.size_bytes;
    let unknown = match &disk.layout {
        Ok(layout) => {
            let told = layout.classes();
            let unsure = told.unknown.union(&told.metadata);
            // That a key is not given again is no loss of the disk's.
            unsure
                .aligned_out(GRANULE as u64, size)
                .difference(&locked(layout))
        }
        Err(_) => ExtentMap::whole(size),
    };
    for piece in reader.pieces() {
        let Piece::Entry(entry) = piece? else {
            continue;
        };
        for state in [State::Kept, State::Unreadable, State::NotTried] {
            let had: ExtentMap = parts(reader, &entry, state)?.into_iter().collect();
            if !had.difference(used).is_empty() {
                return Ok(false);
            }
        }
        let free: ExtentMap = parts(reader, &entry, State::Free)?.into_iter().collect();
        if !free.intersection(used).difference(&unknown).is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Partitions with something encrypted for which no key was given.
fn locked(layout: &Layout) -> ExtentMap {
    let wants_key = |content: &Content| content.layers().iter().any(|layer| layer.wants_key());
    let locked = layout
        .partitions()
        .filter(|(_, content)| wants_key(content));
    locked.map(|(partition, _)| partition.extent).collect()
}

/// What would differ if somebody had used the disk.
fn marks(disk: &Disk) -> ExtentMap {
    let size = disk.geometry.size_bytes;
    let ends = [(0, ENDS), (size.saturating_sub(ENDS), ENDS)];
    let partitions = disk.layout.iter().flat_map(Layout::partitions);
    let beginnings = partitions.map(|(partition, _)| (partition.extent.start(), BEGINNING));
    let disk = Extent::between(0, size);
    ends.into_iter()
        .chain(beginnings)
        .filter_map(|(start, len)| Extent::new(start, len)?.intersect(disk?))
        .collect()
}

fn has_same_marks(
    reader: &Reader,
    plan: &Plan,
    disk: &Disk,
    source: &dyn BlockSource,
) -> Result<bool, ImageError> {
    for mark in marks(disk).iter() {
        let mut at = mark.start();
        while at < mark.end() {
            let Some(piece) = reader.piece_at(at)? else {
                break;
            };
            if let Piece::Entry(entry) = &piece {
                let kept = ExtentMap::from(parts(reader, entry, State::Kept)?);
                let kept = kept.difference(&plan.left_out);
                let mut kept = kept.within(mark);
                if kept.any(|part| differs(reader, source, part)) {
                    return Ok(false);
                }
            }
            at = piece.extent().end();
        }
    }
    Ok(true)
}

/// What cannot be read on either side is no difference.
fn differs(reader: &Reader, source: &dyn BlockSource, part: Extent) -> bool {
    let read = |from: &dyn BlockSource| {
        let mut bytes = vec![0; usize::try_from(part.len()).expect("a mark fits in memory")];
        from.read_at(part.start(), &mut bytes).map(|()| bytes).ok()
    };
    match (read(reader), read(source)) {
        (Some(then), Some(now)) => then != now,
        _ => false,
    }
}

/// Of an entry, what is in this state; nothing where its states are damaged.
fn parts(reader: &Reader, entry: &Entry, state: State) -> Result<Vec<Extent>, ImageError> {
    if entry.has_states() {
        let states = reader.states(entry)?;
        let states = states.iter();
        return Ok(states
            .flat_map(|states| states.extents(entry.extent, state))
            .collect());
    }
    Ok(match entry.kind.state() == state {
        true => vec![entry.extent],
        false => Vec::new(),
    })
}
