//! A chunk: one cell of the disk's address space, or a run of cells whose content is zeros, and the small frame
//! that stands before its data.

use disk::extent::Extent;
use disk::fields::Fields;

use crate::digest::{Digest, LEAF, leaf_count};
use crate::frame::{self, Frame};
use crate::head::{Head, Lineage, Order};
use crate::leafmap::LeafMap;
use crate::states::{State, States};
use crate::zeros::{RUN_LIMIT, ZeroFrames};

/// Fields of a chunk frame, before the maps.
const FIELDS: usize = 64;

/// Set when a state map follows the fields.
const HAS_STATES: u8 = 1;

/// Set in chunks that do not stand in the order of the disk: a newer one for the same cell may follow.
const ANY_ORDER: u8 = 2;

/// What a chunk holds. All without [`Kind::has_content`] are zeros in the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Data,
    /// Used by something (unless the state map says otherwise), and all zeros.
    Zero,
    /// Nothing uses it: a restore may leave the destination as it is.
    Free,
    /// The disk could not give any of it.
    Unreadable,
    /// Nobody has tried to read it.
    NotTried,
    /// An ancestor has it. A reader gives what the ancestor has instead.
    Inherited,
    /// A cell, some leaves of which the parent has.
    Patched,
}

impl Kind {
    pub(crate) fn number(self) -> u8 {
        match self {
            Kind::Data => 1,
            Kind::Zero => 2,
            Kind::Free => 3,
            Kind::Unreadable => 4,
            Kind::NotTried => 5,
            Kind::Inherited => 6,
            Kind::Patched => 7,
        }
    }

    fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Data,
            2 => Kind::Zero,
            3 => Kind::Free,
            4 => Kind::Unreadable,
            5 => Kind::NotTried,
            6 => Kind::Inherited,
            7 => Kind::Patched,
            _ => return None,
        })
    }

    /// The state of all its granules where there is no state map.
    pub fn state(self) -> State {
        match self {
            Kind::Data | Kind::Patched | Kind::Zero => State::Kept,
            Kind::Free => State::Free,
            Kind::Unreadable => State::Unreadable,
            // Nobody knows it without the ancestor.
            Kind::NotTried | Kind::Inherited => State::NotTried,
        }
    }

    /// Whether there is anything to decode.
    pub fn has_content(self) -> bool {
        matches!(self, Kind::Data | Kind::Patched)
    }

    /// The kind of zeros that are all in this state.
    pub fn of_zeros(state: State) -> Kind {
        match state {
            State::Kept => Kind::Zero,
            State::Free => Kind::Free,
            State::Unreadable => Kind::Unreadable,
            State::NotTried => Kind::NotTried,
        }
    }
}

/// What the index knows of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where on the disk: one cell, or for a run several.
    pub extent: Extent,
    /// As the chunk frame has it: larger where newer chunks took a part of a run.
    pub(crate) whole: Extent,
    /// In whose file it is: 0 for the image that was opened, 1 for its parent, and so on.
    pub(crate) generation: u8,
    pub kind: Kind,
    /// Where in the file its chunk frame begins.
    pub offset: u64,
    pub header_len: u32,
    /// Of the data frame directly behind the chunk frame.
    pub stored_len: u32,
    /// Of the content; zeros where the kind says everything.
    pub digest: Digest,
    pub(crate) flags: u8,
    /// Of a [`Kind::Patched`] chunk: how many leaves its data frame holds.
    pub(crate) own_leaves: u16,
}

impl Entry {
    /// Some of its granules are in another state than the rest.
    pub fn has_states(&self) -> bool {
        self.flags & HAS_STATES != 0
    }

    /// Of the chunk itself: chunk frame and data frame.
    pub(crate) fn frames(&self) -> u64 {
        match self.kind {
            Kind::Inherited => 1,
            _ => 2,
        }
    }

    pub(crate) fn in_any_order(&self) -> bool {
        self.flags & ANY_ORDER != 0
    }

    /// The part of a run in which no newer chunk has taken its place.
    pub(crate) fn part(self, extent: Extent) -> Option<Entry> {
        let may = self.extent == extent || !self.kind.has_content() && !self.has_states();
        (may && self.extent.covers(extent)).then_some(Entry { extent, ..self })
    }

    /// First byte of the file behind its data frame.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.header_len) + u64::from(self.stored_len)
    }

    /// Length of its content in memory; only for what [`Kind::has_content`], which is never longer than a chunk.
    pub(crate) fn content_len(&self) -> usize {
        usize::try_from(self.extent.len()).expect("a data chunk is at most 16 MiB")
    }

    /// Length of what its data frame decompresses to; no more than 16 MiB, or 1 GiB of zeros.
    pub(crate) fn frame_content(&self) -> u64 {
        match self.kind {
            Kind::Patched => u64::from(self.own_leaves) * LEAF as u64,
            _ => self.extent.len(),
        }
    }

    /// Of the map of its own leaves.
    fn leaf_map_len(&self) -> usize {
        match self.kind {
            Kind::Patched => LeafMap::len(leaf_count(self.content_len())),
            _ => 0,
        }
    }

    /// From numbers nobody vouches for; `None` when they cannot be right for this disk.
    pub(crate) fn checked(self, head: &Head) -> Option<Entry> {
        let chunk_size = u64::from(head.chunk_size);
        let (start, len) = (self.extent.start(), self.extent.len());
        let at_cells = start.is_multiple_of(chunk_size)
            && (self.extent.end().is_multiple_of(chunk_size)
                || self.extent.end() == head.geometry.size_bytes);
        let single = len == head.cell_len(start);
        let stored = u64::from(self.stored_len);
        let plausible = if self.kind == Kind::Data {
            single && stored <= bound(len)
        } else if self.kind == Kind::Patched {
            let leaves = usize::try_from(len.div_ceil(LEAF as u64)).ok()?;
            let some = leaves > 1 && usize::from(self.own_leaves) < leaves;
            let child = head.lineage == Lineage::Child;
            child && single && some && stored <= bound(self.frame_content())
        } else if self.kind == Kind::Inherited {
            let child = head.lineage == Lineage::Child;
            child && len <= RUN_LIMIT && stored == 0 && !self.has_states()
        } else {
            len <= RUN_LIMIT
                && stored == ZeroFrames::frame_len(len)
                && (single || !self.has_states())
        };
        if !at_cells || !plausible {
            return None;
        }
        let header = self.header_len_should_be();
        let fits = self.extent.end() <= head.geometry.size_bytes
            && self.flags & !(HAS_STATES | ANY_ORDER) == 0
            && (self.own_leaves == 0 || self.kind == Kind::Patched)
            && u64::from(self.header_len) == header
            && self.offset.checked_add(header + stored).is_some();
        fits.then_some(self)
    }

    fn header_len_should_be(&self) -> u64 {
        let leaves = match self.kind {
            Kind::Patched => leaf_count(self.content_len()),
            _ => 0,
        };
        header_len(
            leaves,
            if self.has_states() {
                self.extent.len()
            } else {
                0
            },
        )
    }

    /// 32 bytes in front of the digest: as they stand in a page.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.whole.start().to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&run_len(self.whole).to_le_bytes());
        out.extend_from_slice(&self.stored_len.to_le_bytes());
        out.extend_from_slice(&self.header_len.to_le_bytes());
        out.extend_from_slice(&[self.kind.number(), self.flags]);
        out.extend_from_slice(&self.own_leaves.to_le_bytes());
        out.extend_from_slice(&self.digest.0);
    }

    /// The inverse of [`Entry::put`].
    pub(crate) fn parse(bytes: &[u8], head: &Head) -> Option<Entry> {
        let fields = Fields(bytes);
        let extent = Extent::new(fields.u64(0)?, u64::from(fields.u32(16)?))?;
        Entry {
            extent,
            whole: extent,
            generation: 0,
            kind: Kind::from_number(fields.u8(28)?)?,
            offset: fields.u64(8)?,
            header_len: fields.u32(24)?,
            stored_len: fields.u32(20)?,
            digest: Digest(fields.array(32)?),
            flags: fields.u8(29)?,
            own_leaves: fields.u16(30)?,
        }
        .checked(head)
    }

    /// From the chunk frame at `offset`.
    pub(crate) fn from_header(frame: &Frame<'_>, offset: u64, head: &Head) -> Option<Entry> {
        let fields = Fields(frame.body);
        let extent = Extent::new(fields.u64(0)?, u64::from(fields.u32(8)?))?;
        Entry {
            extent,
            whole: extent,
            generation: 0,
            kind: Kind::from_number(fields.u8(16)?)?,
            offset,
            header_len: u32::try_from(frame.body.len() + frame::AROUND).ok()?,
            stored_len: fields.u32(12)?,
            digest: Digest(fields.array(32)?),
            flags: fields.u8(17)?,
            own_leaves: fields.u16(18)?,
        }
        .checked(head)
    }
}

/// Length of a chunk frame with a map of `leaves` and a state map for `mapped` bytes of content (0: no map).
pub(crate) fn header_len(leaves: usize, mapped: u64) -> u64 {
    let states = usize::try_from(mapped).map_or(0, States::packed_len);
    (frame::AROUND + FIELDS + LeafMap::len(leaves) + states) as u64
}

/// The maps that may stand in a chunk frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Maps<'a> {
    pub leaves: Option<&'a LeafMap>,
    pub states: Option<&'a States>,
}

/// Puts the body of a chunk frame at `out`, which is exactly as long.
pub(crate) fn put_body(entry: &Entry, maps: Maps<'_>, out: &mut [u8]) {
    let (fields, rest) = out.split_at_mut(FIELDS);
    put_fields(entry, fields);
    let (leaves, states) = rest.split_at_mut(entry.leaf_map_len());
    if let Some(map) = maps.leaves {
        map.put(leaves);
    }
    if let Some(map) = maps.states {
        states.copy_from_slice(map.packed());
    }
}

fn put_fields(entry: &Entry, fields: &mut [u8]) {
    fields.fill(0);
    fields[..8].copy_from_slice(&entry.whole.start().to_le_bytes());
    fields[8..12].copy_from_slice(&run_len(entry.whole).to_le_bytes());
    fields[12..16].copy_from_slice(&entry.stored_len.to_le_bytes());
    fields[16] = entry.kind.number();
    fields[17] = entry.flags;
    fields[18..20].copy_from_slice(&entry.own_leaves.to_le_bytes());
    fields[32..].copy_from_slice(&entry.digest.0);
}

pub(crate) fn flags_for(states: Option<&States>, order: Order) -> u8 {
    let mapped = if states.is_some() { HAS_STATES } else { 0 };
    let any = match order {
        Order::Disk => 0,
        Order::Any => ANY_ORDER,
    };
    mapped | any
}

/// Whether a chunk frame says the same as the index.
pub(crate) fn describes(frame: &Frame<'_>, entry: &Entry) -> bool {
    let mut expected = [0; FIELDS];
    put_fields(entry, &mut expected);
    frame.body.len() + frame::AROUND == entry.header_len as usize
        && frame.body.starts_with(&expected)
}

/// The state map of a chunk, from its chunk frame.
pub(crate) fn states_of(frame: &Frame<'_>, entry: &Entry) -> Option<States> {
    States::from_packed(
        usize::try_from(entry.extent.len()).ok()?,
        frame.body.get(FIELDS + entry.leaf_map_len()..)?,
    )
}

/// Which leaves a patched chunk holds, from its chunk frame.
pub(crate) fn leaf_map_of(frame: &Frame<'_>, entry: &Entry) -> Option<LeafMap> {
    let leaves = leaf_count(entry.content_len());
    LeafMap::parse(
        frame.body.get(FIELDS..)?,
        leaves,
        usize::from(entry.own_leaves),
    )
}

/// No data frame of this content is longer (the bound that the zstd manual gives, and some room).
pub(crate) fn bound(content: u64) -> u64 {
    content + (content >> 8) + 1024
}

fn run_len(extent: Extent) -> u32 {
    u32::try_from(extent.len()).expect("a chunk or run is at most 1 GiB")
}
