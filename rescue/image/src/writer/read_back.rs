//! What is in an unfinished image already: a later pass completes it.

use std::sync::Arc;

use disk::extent::{Extent, ExtentMap};
use disk::source::BlockSource;

use crate::chunk::{self, Entry, Kind};
use crate::codec::{self, Decoder, Encoder};
use crate::digest::LeafValue;
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::index::{self, LeavesRef, Page};
use crate::reader::Piece;
use crate::reader::cache::Recent;
use crate::scan;
use crate::states::{State, States};
use crate::store::ReadFile;
use crate::unfinished_name;
use crate::writer::Writer;
use crate::writer::any_order::Course;

/// The file opened for reading, and a few of its pages.
pub(super) struct ReadBack {
    file: Box<dyn ReadFile>,
    pages: Recent<u64, Page, 16>,
    decoder: Decoder,
    stored: Vec<u8>,
}

/// An entry and where its leaf values are, if they are in the file already.
type Found = (Entry, Option<LeavesRef>);

impl Writer<'_> {
    /// Encodes and appends one cell: as [`Encoder::encode`] and [`Writer::append`].
    pub fn store_cell(
        &mut self,
        encoder: &mut Encoder,
        address: u64,
        content: &[u8],
        states: &States,
    ) -> Result<(), ImageError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        let stored = encoder
            .encode_over(self.family.parent, address, content, states, &mut encoded)
            .and_then(|()| self.append(&mut encoded));
        self.encoded = encoded;
        stored
    }

    /// The cell that begins at `address` as it was appended last, also by an earlier run: `content` becomes its
    /// bytes. `None`, and `content` is left empty, when it never was. What the store does not give back as it was
    /// written is zeros and [`State::NotTried`].
    pub fn read_back(
        &mut self,
        address: u64,
        content: &mut Vec<u8>,
    ) -> Result<Option<States>, ImageError> {
        content.clear();
        self.still_good()?;
        let cell = Extent::new(address, self.head.cell_len(address))
            .filter(|_| address.is_multiple_of(u64::from(self.head.chunk_size)));
        let Some(cell) = cell else {
            return Err(ImageError::Codec(format!("no chunk begins at {address}")));
        };
        self.end_run()?;
        let mut tool = self.read_back_tool()?;
        let found = self.newest_entry(address, &mut tool);
        let read = match found {
            Ok(Some(found)) => self.cell(cell, &found, &mut tool, content).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        self.read_back = Some(tool);
        read
    }

    /// With the file as long as it is now.
    pub(super) fn read_back_tool(&mut self) -> Result<ReadBack, ImageError> {
        let name = unfinished_name(&self.name);
        match self.read_back.take() {
            Some(tool) if tool.file.len() == self.file.len() => Ok(tool),
            Some(tool) => Ok(ReadBack {
                file: self.store.open(&name)?,
                ..tool
            }),
            None => Ok(ReadBack {
                file: self.store.open(&name)?,
                pages: Recent::default(),
                decoder: Decoder::for_content()?,
                stored: Vec::new(),
            }),
        }
    }

    fn newest_entry(&self, address: u64, tool: &mut ReadBack) -> Result<Option<Found>, ImageError> {
        let has_it = |entry: &&Entry| entry.extent.contains(address);
        let nth = match &self.course {
            Course::Left(newest) => match newest.get(address) {
                Some(place) => place.page,
                None => return Ok(None),
            },
            Course::Straight | Course::MayLeave => self
                .pages
                .partition_point(|page| page.extent.end() <= address),
        };
        // In any order the last that has it is the newest.
        let Some(place) = self.pages.get(nth) else {
            let found = self.entries.iter().rev().find(has_it);
            return Ok(found.map(|entry| (*entry, None)));
        };
        let page = self.page(place.offset, tool)?;
        let found = page.entries.iter().rev().find(has_it);
        Ok(found.map(|entry| (*entry, page.leaves)))
    }

    /// The page at this offset, which is one of ours.
    pub(super) fn page(&self, offset: u64, tool: &mut ReadBack) -> Result<Arc<Page>, ImageError> {
        if let Some(page) = tool.pages.get(&offset) {
            return Ok(page);
        }
        let Some((page, _)) = scan::read_page(&*tool.file, offset)? else {
            return Err(self.not_what_was_written());
        };
        let page = Arc::new(page);
        tool.pages.put(offset, page.clone());
        Ok(page)
    }

    fn cell(
        &self,
        cell: Extent,
        (entry, leaves): &Found,
        tool: &mut ReadBack,
        content: &mut Vec<u8>,
    ) -> Result<States, ImageError> {
        let len = usize::try_from(cell.len()).expect("a cell is at most 16 MiB");
        let nothing = |content: &mut Vec<u8>| {
            content.clear();
            content.resize(len, 0);
            States::all(len, State::NotTried)
        };
        if entry.kind == Kind::Inherited {
            return self.of_parent(cell, content);
        }
        if !entry.kind.has_content() && !entry.has_states() {
            content.resize(len, 0);
            return Ok(States::all(len, entry.kind.state()));
        }
        let stored_len = usize::try_from(entry.end() - entry.offset).expect("at most 17 MiB");
        tool.stored.resize(stored_len, 0);
        scan::read_what_is_readable(&*tool.file, entry.offset, &mut tool.stored)?;
        content.clear();
        content.resize(len, 0);
        let decoded =
            tool.decoder
                .decode_of(None, self.family.parent, entry, &tool.stored, content);
        match decoded {
            Ok(decoded) => Ok(decoded.states.unwrap_or_else(|| nothing(content))),
            Err(_) => {
                let values = leaf_values(entry, leaves.as_ref(), &*tool.file)?;
                let lost = codec::prove_leaves(entry, &values, content);
                let header = frame::open(&tool.stored, entry.offset);
                let states = match header.filter(|frame| chunk::describes(frame, entry)) {
                    Some(frame) if entry.has_states() => chunk::states_of(&frame, entry),
                    _ if entry.has_states() => None,
                    _ => Some(States::all(len, entry.kind.state())),
                };
                Ok(match states {
                    Some(states) => without(states, cell, &lost),
                    None => nothing(content),
                })
            }
        }
    }
}

impl Writer<'_> {
    /// What the parent has of a cell.
    fn of_parent(&self, cell: Extent, content: &mut Vec<u8>) -> Result<States, ImageError> {
        let Some(parent) = self.family.parent else {
            return Err(self.not_what_was_written());
        };
        let len = usize::try_from(cell.len()).expect("a cell is at most 16 MiB");
        content.clear();
        content.resize(len, 0);
        let states = match parent.piece_at(cell.start())? {
            Some(Piece::Entry(entry)) if entry.extent == cell => parent.states(&entry)?,
            _ => None,
        };
        match states {
            Some(states) if parent.read_at(cell.start(), content).is_ok() => Ok(states),
            _ => {
                content.fill(0);
                Ok(States::all(len, State::NotTried))
            }
        }
    }
}

/// What is lost and in use has to be read again.
fn without(mut states: States, cell: Extent, lost: &ExtentMap) -> States {
    let free: ExtentMap = states.extents(cell, State::Free).collect();
    for extent in lost.difference(&free).iter() {
        states.set(cell, extent, State::NotTried);
    }
    states
}

fn leaf_values(
    entry: &Entry,
    leaves: Option<&LeavesRef>,
    file: &dyn ReadFile,
) -> Result<Vec<LeafValue>, ImageError> {
    let mut frame = Vec::new();
    let Some(place) = leaves else {
        return Ok(Vec::new());
    };
    if !scan::read_frame(file, place.offset, FrameKind::Leaves, &mut frame)?
        || frame::digest(&frame) != place.digest
    {
        return Ok(Vec::new());
    }
    let body = &frame[frame::FRONT..frame.len() - 32];
    Ok(index::leaves_of(body, entry).unwrap_or_default().values)
}
