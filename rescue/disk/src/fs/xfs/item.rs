//! What an item of the log changes. Numbers are those of the machine that logged them: little-endian ones only.

use super::record::BASIC;
use super::transaction::Item;
use crate::extent::Extent;
use crate::fields::Fields;

const EFI: u16 = 0x1236;
const EFD: u16 = 0x1237;
const UNLINKED: u16 = 0x1238;
const INODE: u16 = 0x123B;
const BUFFER: u16 = 0x123C;
const QUOTA: u16 = 0x123D;
const QUOTA_OFF: u16 = 0x123E;
const NEW_INODES: u16 = 0x123F;
/// Intents of reverse mappings, reference counts, mappings and attributes, and that they were done.
const INTENTS: std::ops::RangeInclusive<u16> = 0x1240..=0x1249;

/// Longest buffer that is logged: an inode cluster or a directory block of 64 KiB.
const BUFFER_LIMIT: u64 = 64 << 10;
const CHUNK: usize = 128;
const IS_INODES: u16 = 0x1;
const IS_CANCEL: u16 = 0x2;
const IS_QUOTA: u16 = 0x4 | 0x8 | 0x10;

#[derive(Debug)]
pub(super) enum Change<'a> {
    Buffer(Buffer<'a>),
    Inode(Inode<'a>),
    /// Blocks of the filesystem that are to be freed: first block and count.
    Free(Vec<(u64, u64)>),
    /// Nothing that is followed here.
    Other,
}

/// Pieces of one buffer.
#[derive(Debug)]
pub(super) struct Buffer<'a> {
    pub kind: Kind,
    pub extent: Extent,
    /// Where in the buffer each region goes.
    pub regions: Vec<(u64, &'a [u8])>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The buffer was given up: what the log held of it before counts no more.
    Cancel,
    /// Inodes: only the list of unlinked ones is in it; the rest comes in items of its own.
    Inodes,
    Quota,
    /// `XFS_BLFT_*`.
    Typed(u16),
}

/// One inode, as it is in memory.
#[derive(Debug)]
pub(super) struct Inode<'a> {
    /// Which parts follow the core (`XFS_ILOG_*`).
    pub parts: u32,
    pub cluster: Extent,
    /// Where in the cluster it stands.
    pub at: u64,
    pub core: &'a [u8],
    pub data: Option<&'a [u8]>,
}

/// `None` when the item is damaged or of a kind unknown here.
pub(super) fn change(item: &Item) -> Option<Change<'_>> {
    let first = item.regions.first()?;
    match Fields(first).u16(0)? {
        BUFFER => buffer(item).map(Change::Buffer),
        INODE => inode(item).map(Change::Inode),
        EFI => to_free(first).map(Change::Free),
        EFD | UNLINKED | QUOTA | QUOTA_OFF | NEW_INODES => Some(Change::Other),
        kind if INTENTS.contains(&kind) => Some(Change::Other),
        _ => None,
    }
}

fn buffer(item: &Item) -> Option<Buffer<'_>> {
    let (first, regions) = item.regions.split_first()?;
    let fields = Fields(first);
    let flags = fields.u16(4)?;
    let len = u64::from(fields.u16(6)?) * BASIC;
    let extent = Extent::new(fields.u64(8)?.checked_mul(BASIC)?, len)?;
    let kind = match flags {
        _ if flags & IS_CANCEL != 0 => Kind::Cancel,
        _ if flags & IS_INODES != 0 => Kind::Inodes,
        _ if flags & IS_QUOTA != 0 => Kind::Quota,
        _ => Kind::Typed(flags >> 11),
    };
    if len > BUFFER_LIMIT {
        return None;
    }
    let mut found = Buffer {
        kind,
        extent,
        regions: Vec::new(),
    };
    if kind == Kind::Cancel {
        return Some(found);
    }
    let words = usize::try_from(fields.u32(16)?).ok()?;
    let map = fields.bytes(20, words.checked_mul(4)?)?;
    let set = |bit: usize| {
        map.get(bit / 8)
            .is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    };
    let mut regions = regions.iter();
    let mut bit = 0;
    while bit < words * 32 {
        if !set(bit) {
            bit += 1;
            continue;
        }
        // A run of bits is one region or, where the buffer was not in one piece in memory, more.
        let region = regions.next()?;
        let count = region.len() / CHUNK;
        let whole = region.len().is_multiple_of(CHUNK) && count > 0;
        let at = (bit * CHUNK) as u64;
        if !whole || !(bit..bit + count).all(set) || at + region.len() as u64 > len {
            return None;
        }
        found.regions.push((at, region));
        bit += count;
    }
    Some(found)
}

fn inode(item: &Item) -> Option<Inode<'_>> {
    let (first, rest) = item.regions.split_first()?;
    let fields = Fields(first);
    // On a 32-bit machine there is no padding before the inode number.
    let moved = match first.len() {
        56 => 0,
        52 => 4,
        _ => return None,
    };
    let start = fields.u64(40 - moved)?.checked_mul(BASIC)?;
    let len = u64::from(fields.u32(48 - moved)?) * BASIC;
    let (core, rest) = rest.split_first()?;
    Some(Inode {
        parts: fields.u32(4)?,
        cluster: Extent::new(start, len).filter(|_| len <= BUFFER_LIMIT)?,
        at: fields.u32(52 - moved)?.into(),
        core,
        data: rest.first().map(Vec::as_slice),
    })
}

/// An extent has 16 bytes, or 12 where a 32-bit machine logged it.
fn to_free(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let fields = Fields(bytes);
    let count = usize::try_from(fields.u32(4)?).ok()?;
    let size = [16, 12]
        .into_iter()
        .find(|size| count.checked_mul(*size).map(|all| all + 16) == Some(bytes.len()))?;
    let extent = |n: usize| {
        let at = 16 + n * size;
        Some((fields.u64(at)?, fields.u32(at + 8)?.into()))
    };
    (0..count).map(extent).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    proptest! {
        #[test]
        fn an_item_of_any_bytes_is_endured(
            kind in 0x1230u16..0x124C,
            head in proptest::collection::vec(any::<u8>(), 0..80),
            lens in proptest::collection::vec(0usize..600, 0..5),
        ) {
            let mut first = kind.to_le_bytes().to_vec();
            first.extend(head);
            let mut regions = vec![first];
            regions.extend(lens.iter().map(|len| vec![0xA5; len / 7 * 7 + len % 2 * 128]));
            let item = Item { regions };
            if let Some(Change::Buffer(buffer)) = change(&item) {
                for (at, bytes) in &buffer.regions {
                    assert!(at + bytes.len() as u64 <= buffer.extent.len());
                }
            }
        }
    }

    #[test]
    fn a_buffer_of_two_runs_has_each_region_at_its_place() {
        let mut first = vec![0; 24];
        first[..2].copy_from_slice(&BUFFER.to_le_bytes());
        first[2] = 3;
        first[4..6].copy_from_slice(&(5u16 << 11).to_le_bytes());
        first[6] = 2;
        first[8] = 9;
        first[16] = 1;
        first[20] = 0b1100_0010;
        let regions = vec![first, vec![1; 128], vec![2; 256]];
        let item = Item { regions };
        let Some(Change::Buffer(buffer)) = change(&item) else {
            panic!("it is a buffer")
        };
        assert_eq!(buffer.kind, Kind::Typed(5));
        assert_eq!(buffer.extent, Extent::new(9 * 512, 1024).unwrap());
        let places: Vec<_> = buffer
            .regions
            .iter()
            .map(|(at, b)| (*at, b.len()))
            .collect();
        assert_eq!(places, [(128, 128), (768, 256)]);
    }
}
