//! A cell that is partly its parent's: which of its leaves are stored, and how it is put together again.

use crate::chunk::{self, Entry, Kind};
use crate::codec::{Ancestors, Decoder, Encoded};
use crate::digest::{Digest, LEAF, LeafValue, leaf_count};
use crate::error::ImageError;
use crate::frame;
use crate::leafmap::{LeafMap, place};
use crate::reader::{Piece, Reader};
use crate::states::{State, States};

/// What the parent has of a cell.
struct Base<'p> {
    parent: &'p Reader,
    entry: Entry,
}

impl<'p> Base<'p> {
    /// What the parent cannot tell is stored again.
    fn of(parent: &'p Reader, encoded: &Encoded) -> Option<Base<'p>> {
        let extent = encoded.extent?;
        match parent.piece_at(extent.start()) {
            Ok(Some(Piece::Entry(entry))) if entry.kind.has_content() && entry.extent == extent => {
                Some(Base { parent, entry })
            }
            _ => None,
        }
    }

    fn has_states(&self, states: Option<&States>) -> bool {
        if states.is_none() && !self.entry.has_states() {
            return true;
        }
        let all_kept = States::all(self.entry.content_len(), State::Kept);
        let asked = states.unwrap_or(&all_kept);
        matches!(self.parent.states(&self.entry), Ok(Some(known)) if known == *asked)
    }

    /// The leaves that are not the parent's; `None` when it has none of them, or nobody knows.
    fn own_leaves(&self, digest: Digest, leaves: &[LeafValue]) -> Option<LeafMap> {
        if self.entry.digest == digest && !leaves.is_empty() {
            return Some(LeafMap::default());
        }
        let known = self.parent.leaf_values(&self.entry)?;
        let others = leaves.iter().zip(&known).enumerate();
        let own: LeafMap = others
            .filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(leaf, _)| leaf)
            .collect();
        (known.len() == leaves.len() && own.count() < leaves.len()).then_some(own)
    }
}

/// Makes of data what is left of it beside this parent. What is then the content of the data frame.
pub(super) fn subtract<'c>(
    parent: &Reader,
    content: &'c [u8],
    own: &'c mut Vec<u8>,
    encoded: &mut Encoded,
) -> &'c [u8] {
    let Some(base) = Base::of(parent, encoded) else {
        return content;
    };
    if base.entry.digest == encoded.digest && base.has_states(encoded.states.as_ref()) {
        encoded.kind = Some(Kind::Inherited);
        return &[];
    }
    let Some(map) = base.own_leaves(encoded.digest, &encoded.leaves) else {
        return content;
    };
    own.clear();
    for leaf in map.iter() {
        own.extend_from_slice(&content[place(leaf, content.len())]);
    }
    own.resize(map.count() * LEAF, 0);
    encoded.kind = Some(Kind::Patched);
    encoded.leaf_map = Some(map);
    own
}

impl Decoder {
    /// A patched chunk, each leaf from the nearest image that has it; what none has becomes zeros, as its digest
    /// will tell.
    pub(super) fn put_together(
        &mut self,
        of: Option<&Reader>,
        parent: Option<&Reader>,
        entry: &Entry,
        stored: &[u8],
        content: &mut [u8],
    ) -> Option<String> {
        content.fill(0);
        let mut missing = LeafMap::all(leaf_count(content.len()));
        let complaint = self.take(of, entry, stored, &mut missing, content);
        let mut below = std::mem::take(&mut self.below);
        let mut next = parent;
        while !missing.is_empty()
            && let Some(reader) = next
            && let Ok(Some(Piece::Entry(found))) = reader.piece_at(entry.extent.start())
            && found.extent == entry.extent
            && found.kind.has_content()
            && self.read_below(reader, &found, &mut below).is_ok()
        {
            // That it is what it was is proven by the digest of the whole.
            self.take(Some(reader), &found, &below, &mut missing, content);
            next = reader.parent_of(&found);
        }
        self.below = below;
        complaint
    }

    fn read_below(
        &self,
        reader: &Reader,
        found: &Entry,
        below: &mut Vec<u8>,
    ) -> Result<(), ImageError> {
        match self.ancestors {
            Ancestors::AsTheyStand => reader.read_stored(found, below),
            Ancestors::MadeGood => reader.read_made_good(found, below),
        }
    }

    /// The missing leaves of which this chunk has its own; what is wrong with its data frame.
    fn take(
        &mut self,
        of: Option<&Reader>,
        entry: &Entry,
        stored: &[u8],
        missing: &mut LeafMap,
        content: &mut [u8],
    ) -> Option<String> {
        let (header, data) = stored.split_at((entry.header_len as usize).min(stored.len()));
        let all = LeafMap::all(leaf_count(content.len()));
        let map = match entry.kind {
            Kind::Patched => own_leaves(of, entry, header),
            _ => Some(all),
        };
        let Some(map) = map else {
            return Some("which leaves it holds is damaged".to_owned());
        };
        let expected = usize::try_from(entry.frame_content()).expect("it is at most 16 MiB");
        self.own.resize(expected, 0);
        let complaint = complaint(
            self.zstd.decompress_to_buffer(data, &mut self.own[..]),
            expected,
        );
        for (leaf, own) in map.iter().zip(self.own.chunks(LEAF)) {
            if missing.has(leaf) {
                let to = &mut content[place(leaf, entry.content_len())];
                to.copy_from_slice(&own[..to.len()]);
            }
        }
        *missing = missing.without(&map);
        complaint
    }
}

/// From the chunk frame; where that is damaged, from beside the leaf values.
fn own_leaves(of: Option<&Reader>, entry: &Entry, header: &[u8]) -> Option<LeafMap> {
    let frame = frame::open(header, entry.offset).filter(|frame| chunk::describes(frame, entry));
    match frame {
        Some(frame) => chunk::leaf_map_of(&frame, entry),
        None => of?.leaf_map(entry),
    }
}

/// What is wrong when not so many bytes came out of a data frame.
pub(super) fn complaint(outcome: std::io::Result<usize>, expected: usize) -> Option<String> {
    match outcome {
        Ok(len) if len == expected => None,
        Ok(len) => Some(format!("{len} of {expected} bytes came out")),
        Err(error) => Some(error.to_string()),
    }
}
