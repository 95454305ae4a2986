//! Reads an image: its entries in disk order, what is stored for each, and any byte of the disk.

mod ancestors;
pub(crate) mod cache;
mod log;
mod made_good;
mod open;
pub(crate) mod page;
mod pieces;
mod random;
mod rebuild;
mod survey;

use std::fmt;
use std::sync::Mutex;

use disk::extent::ExtentMap;

use crate::chunk::{self, Entry, Kind};
use crate::codec;
use crate::digest::{Digest, ImageId};
use crate::end::End;
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::Head;
use crate::manifest::{Manifest, Parent};
use crate::scan;
use crate::states::States;
use crate::store::{ReadFile, Store};
use cache::Cache;
use log::Log;
use made_good::Healing;
use page::Slot;

pub use made_good::Met;
pub use pieces::{Piece, Pieces};

/// An open image. Holds the list of its pages, one or two pages and a few chunks, whatever its size.
pub struct Reader {
    file: Box<dyn ReadFile>,
    name: String,
    head: Head,
    /// Of the head's frame, where that is whole.
    head_len: Option<u32>,
    end: Option<End>,
    manifest: Option<Manifest>,
    slots: Vec<Slot>,
    /// In any order only.
    log: Option<Log>,
    file_name: String,
    /// 0 for the image that was opened, 1 for its parent.
    generation: u8,
    parent: Option<Box<Reader>>,
    ancestors: Vec<Parent>,
    /// Whose place it has taken.
    stands_for: Vec<Parent>,
    kin_len: Option<u32>,
    /// Of its children and of itself, while a chain is opened.
    pages_of_chain: usize,
    notes: Vec<String>,
    cache: Mutex<Cache>,
    healing: Healing,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("name", &self.name)
            .field("head", &self.head)
            .field("pages", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens the file of this name, finished or not. Where the index is damaged it is rebuilt from what is
    /// beside the chunks, and [`Reader::notes`] says so. A child needs its ancestors in the same store.
    pub fn open(store: &dyn Store, name: &str) -> Result<Reader, ImageError> {
        let mut reader = Reader::open_alone(store, name)?;
        let nearest = reader.read_kin()?;
        reader.find_parent(store, nearest)?;
        Ok(reader)
    }

    /// The image of this name as `file` has it, which is not what stands in the store.
    pub(crate) fn over(
        store: &dyn Store,
        file: Box<dyn ReadFile>,
        name: &str,
    ) -> Result<Reader, ImageError> {
        let mut reader = open::open(file, format!("{}/{name}", store.describe()))?;
        name.clone_into(&mut reader.file_name);
        let nearest = reader.read_kin()?;
        reader.find_parent(store, nearest)?;
        Ok(reader)
    }

    /// Without ancestors: for what it says of itself.
    pub(crate) fn open_alone(store: &dyn Store, name: &str) -> Result<Reader, ImageError> {
        let mut reader = open::open(store.open(name)?, format!("{}/{name}", store.describe()))?;
        name.clone_into(&mut reader.file_name);
        Ok(reader)
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn head_len(&self) -> Option<u32> {
        self.head_len
    }

    pub(crate) fn kin_len(&self) -> Option<u32> {
        self.kin_len
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(crate) fn file(&self) -> &dyn ReadFile {
        &*self.file
    }

    /// Store and file, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    pub fn id(&self) -> ImageId {
        self.head.id
    }

    /// `None` when the image is unfinished or the manifest is damaged.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Whether its end was found: otherwise it is unfinished, cut off or damaged there.
    pub fn is_finished(&self) -> bool {
        self.end.is_some()
    }

    /// Digest of the index of a finished image.
    pub fn index(&self) -> Option<Digest> {
        self.end.map(|end| end.root.digest)
    }

    pub fn stored_bytes(&self) -> u64 {
        self.file.len()
    }

    /// What was found damaged on opening, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Everything the image describes, in disk order.
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces::new(self)
    }

    /// The piece that holds this byte of the disk; `None` behind its end.
    pub fn piece_at(&self, offset: u64) -> Result<Option<Piece>, ImageError> {
        let piece = match self.own_piece_at(offset)? {
            Some(Piece::Entry(entry)) if entry.kind == Kind::Inherited => {
                self.inherited(entry.extent, offset)?
            }
            own => own,
        };
        if let Some(Piece::Lost(_)) = piece {
            self.healing.met.note_lost();
        }
        Ok(piece)
    }

    /// As this image's own index has it.
    pub(crate) fn own_piece_at(&self, offset: u64) -> Result<Option<Piece>, ImageError> {
        if offset >= self.head.geometry.size_bytes {
            return Ok(None);
        }
        let nth = self
            .slots
            .partition_point(|slot| slot.extent.end() <= offset);
        if nth == self.slots.len() {
            return Ok(None);
        }
        Ok(self
            .page(nth)?
            .pieces()
            .find(|piece| piece.extent().contains(offset)))
    }

    /// What of the disk no entry describes, because the index and the chunk frames there are gone. Damage
    /// inside chunks shows when they are decoded.
    pub fn damage(&self) -> Result<ExtentMap, ImageError> {
        let mut lost = ExtentMap::new();
        for piece in self.pieces() {
            if let Piece::Lost(extent) = piece? {
                lost.insert(extent);
            }
        }
        Ok(lost)
    }

    /// The state of each granule of an entry, without its content; `None` when the chunk frame is damaged.
    pub fn states(&self, entry: &Entry) -> Result<Option<States>, ImageError> {
        if !entry.has_states() {
            let len = usize::try_from(entry.extent.len()).unwrap_or(usize::MAX);
            return Ok(Some(States::all(len, entry.kind.state())));
        }
        let owner = self.owner(entry);
        let mut buf = Vec::new();
        if !scan::read_frame(&*owner.file, entry.offset, FrameKind::Chunk, &mut buf)? {
            return Ok(None);
        }
        let frame = frame::open(&buf, entry.offset).filter(|frame| frame.id == owner.head.id);
        Ok(frame.and_then(|frame| chunk::states_of(&frame, entry)))
    }

    /// Chunk frame and data frame of an entry, in one read. What the store cannot give becomes zeros, which
    /// decoding finds out.
    pub fn read_stored(&self, entry: &Entry, stored: &mut Vec<u8>) -> Result<(), ImageError> {
        let file = &*self.owner(entry).file;
        let len = entry.end() - entry.offset;
        stored.resize(
            usize::try_from(len).expect("a stored chunk is at most 17 MiB"),
            0,
        );
        if entry.end() > file.len() {
            stored.fill(0);
            let there = file.len().saturating_sub(entry.offset);
            let there = usize::try_from(there).expect("it is less than the chunk");
            scan::read_what_is_readable(file, entry.offset, &mut stored[..there])?;
        } else {
            scan::read_what_is_readable(file, entry.offset, stored)?;
        }
        Ok(())
    }

    /// After [`crate::codec::Damaged`]: the parts of the chunk that are not proven good, as extents of the
    /// disk. They are set to zeros in `content`; everything else in it is what the disk held.
    pub fn salvage(&self, entry: &Entry, content: &mut [u8]) -> Result<ExtentMap, ImageError> {
        if !entry.kind.has_content() {
            return Ok(ExtentMap::new());
        }
        let known = self.owner(entry).leaves(entry)?.unwrap_or_default();
        Ok(codec::prove_leaves(entry, &known.values, content))
    }
}
