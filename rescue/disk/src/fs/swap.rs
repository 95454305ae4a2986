//! Linux swap: only the header page matters, unless a sleeping system lies behind it.
//!
//! Layout: include/linux/swap.h, `union swap_header`; signatures of sleeping systems: kernel/power/swap.c,
//! uswsusp and TuxOnIce, as libblkid knows them.

use crate::extent::{Extent, ExtentMap};
use crate::fields::{Fields, text};
use crate::fs::{Basis, Filesystem, Reader, State, Used, uuid};
use crate::source::{BlockSource, ReadError, read_vec};

pub const READER: Reader = Reader {
    name: "swap",
    read,
    tree: None,
};

const PAGE_SIZES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
const SLEEPING: [&[u8]; 4] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001"];
const TUX_ON_ICE: &[u8] = &[0xED, 0xC3, 0x02, 0xE9, 0x98, 0x56, 0xE5, 0x0C];

/// What the first page of a swap file or a swap partition says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    /// Put-aside memory follows this page, of this many bytes; nobody needs it once the system is off.
    Swap { page_bytes: usize },
    /// A sleeping system is stored in it.
    Sleeping,
}

/// The header at the start of `head`, of which 64 KiB are enough.
pub fn header(head: &[u8]) -> Option<Header> {
    let fields = Fields(head);
    let mut found = PAGE_SIZES
        .into_iter()
        .filter_map(|page| Some((page, signature(fields, page)?)));
    found.next().map(|(page_bytes, signature)| match signature {
        Signature::Sleeping => Header::Sleeping,
        Signature::Old | Signature::New => Header::Swap { page_bytes },
    })
}

/// The last ten bytes of the first page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signature {
    Old,
    New,
    Sleeping,
}

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let largest = PAGE_SIZES[PAGE_SIZES.len() - 1] as u64;
    let head = read_vec(source, 0, source.size_bytes().min(largest))?;
    let fields = Fields(&head);
    let found = PAGE_SIZES
        .into_iter()
        .find_map(|page| Some((page, signature(fields, page)?)));
    Ok(found.map(|(page, signature)| describe(fields, page, signature, source.size_bytes())))
}

fn signature(fields: Fields<'_>, page: usize) -> Option<Signature> {
    let last = fields.bytes(page - 10, 10)?;
    if SLEEPING.iter().any(|s| last.starts_with(s)) || fields.starts_with(0, TUX_ON_ICE) {
        return Some(Signature::Sleeping);
    }
    match last {
        b"SWAPSPACE2" => Some(Signature::New),
        b"SWAP-SPACE" => Some(Signature::Old),
        _ => None,
    }
}

fn describe(
    fields: Fields<'_>,
    page: usize,
    signature: Signature,
    partition_bytes: u64,
) -> Filesystem {
    let block_size = u32::try_from(page).expect("a page has at most 64 KiB");
    let pages = (signature == Signature::New)
        .then(|| pages(fields))
        .flatten();
    let size_bytes = pages.map_or(partition_bytes, |n| n * u64::from(block_size));
    let sleeping = signature == Signature::Sleeping;
    let used = if sleeping {
        Used::Whole("a sleeping system is stored in it".into())
    } else if signature == Signature::New && (pages.is_none() || size_bytes > partition_bytes) {
        Used::Whole("its header does not fit the partition".into())
    } else {
        let header = Extent::new(0, u64::from(block_size));
        let tail = Extent::between(size_bytes, partition_bytes);
        Used::Map {
            basis: Basis::Records,
            extents: [header, tail].into_iter().flatten().collect::<ExtentMap>(),
        }
    };
    let named = signature != Signature::Old;
    Filesystem {
        kind: if sleeping { "swsuspend" } else { "swap" }.into(),
        variant: None,
        label: fields
            .bytes(1052, 16)
            .filter(|_| named)
            .map(text)
            .filter(|label| !label.is_empty()),
        uuid: fields.array(1036).filter(|_| named).and_then(uuid),
        block_size,
        size_bytes,
        state: if sleeping {
            State::Hibernated
        } else {
            State::Clean
        },
        used,
        parts: Box::default(),
    }
}

/// How many pages a header of version 1 claims; it is in the byte order of the machine that made it.
fn pages(fields: Fields<'_>) -> Option<u64> {
    let last = match fields.u32(1024)? {
        1 => fields.u32(1028)?,
        0x0100_0000 => fields.be32(1028)?,
        _ => return None,
    };
    Some(u64::from(last) + 1)
}
