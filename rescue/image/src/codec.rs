//! The work that costs time: between the content of a chunk and its frame. One for each thread.

mod patch;

use std::fmt;

use disk::extent::{Extent, ExtentMap};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, DParameter};

use crate::chunk::{self, Entry, Kind};
use crate::digest::{self, Digest, ImageId, LEAF, LeafValue, leaf_count};
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::Head;
use crate::leafmap::LeafMap;
use crate::reader::Reader;
use crate::states::{State, States};
use crate::zeros::{self, ZeroFrames};

/// The default: fast. 3 is the other that pays.
pub const LEVEL: i32 = 1;

/// Matches reach over a whole chunk of the usual size: smaller and no slower than the windows of zstd's own levels up
/// to this one.
const WINDOW_LOG: u32 = 22;
const WINDOW_LEVELS: i32 = 9;

/// What level 1 is here: a larger table and a step of two where nothing matches. Measured on an operating system's
/// tree and documents against zstd's own level 1: the same size, a fifth to a quarter faster, both ways.
const FAST: [CParameter; 3] = [
    CParameter::HashLog(16),
    CParameter::TargetLength(2),
    CParameter::MinMatch(6),
];

/// Makes frames out of chunks; keeps its contexts and buffers from one to the next.
pub struct Encoder {
    zstd: Compressor<'static>,
    /// The leaves of a chunk that its parent does not have.
    own: Vec<u8>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

/// A chunk ready to be appended. Give it back to the encoder to use its memory again.
#[derive(Default)]
pub struct Encoded {
    pub(crate) extent: Option<Extent>,
    pub(crate) kind: Option<Kind>,
    pub(crate) digest: Digest,
    pub(crate) leaves: Vec<LeafValue>,
    pub(crate) states: Option<States>,
    pub(crate) leaf_map: Option<LeafMap>,
    /// The parent that has what is not in it.
    pub(crate) over: Option<ImageId>,
    pub(crate) header_len: usize,
    pub(crate) stored_len: usize,
    /// Chunk frame (its surroundings are filled in by the writer) and data frame; larger than what is used.
    pub(crate) bytes: Vec<u8>,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded")
            .field("extent", &self.extent)
            .field("kind", &self.kind)
            .field("stored_len", &self.stored_len)
            .finish_non_exhaustive()
    }
}

impl Encoded {
    pub fn extent(&self) -> Option<Extent> {
        self.extent
    }

    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Bytes it will take in the image, without its share of the index.
    pub fn stored_len(&self) -> usize {
        self.header_len + self.stored_len
    }
}

impl Encoder {
    pub fn new(level: i32) -> Result<Encoder, ImageError> {
        let codec = |error: std::io::Error| ImageError::Codec(error.to_string());
        let mut zstd = Compressor::new(level).map_err(codec)?;
        let always = [
            CParameter::ChecksumFlag(true),
            CParameter::ContentSizeFlag(true),
        ];
        let window = (level <= WINDOW_LEVELS).then_some(CParameter::WindowLog(WINDOW_LOG));
        let fast: &[CParameter] = if level == LEVEL { &FAST } else { &[] };
        let parameters = always.into_iter().chain(window);
        for parameter in parameters.chain(fast.iter().copied()) {
            zstd.set_parameter(parameter).map_err(codec)?;
        }
        Ok(Encoder {
            zstd,
            own: Vec::new(),
        })
    }

    /// One chunk: `content` is the cell that begins at `address`, with zeros in all granules that `states` does
    /// not call kept or unreadable. `into` may be one that was appended before.
    pub fn encode(
        &mut self,
        address: u64,
        content: &[u8],
        states: &States,
        into: &mut Encoded,
    ) -> Result<(), ImageError> {
        self.encode_over(None, address, content, states, into)
    }

    /// As [`Encoder::encode`], for a child of this parent: what that has is not compressed again.
    pub fn encode_over(
        &mut self,
        parent: Option<&Reader>,
        address: u64,
        content: &[u8],
        states: &States,
        into: &mut Encoded,
    ) -> Result<(), ImageError> {
        let extent = Extent::new(address, content.len() as u64);
        let Some(extent) = extent.filter(|_| content.len() <= crate::head::CHUNK_LIMIT as usize)
        else {
            let len = content.len();
            return Err(ImageError::Codec(format!(
                "a chunk of {len} bytes at {address}"
            )));
        };
        let uniform = states.uniform();
        into.extent = Some(extent);
        into.leaves.clear();
        into.digest = Digest::default();
        into.leaf_map = None;
        into.over = parent.map(Reader::id);
        into.header_len = 0;
        into.stored_len = 0;
        if zeros::is_zero(content) {
            into.kind = Some(uniform.map_or(Kind::Zero, Kind::of_zeros));
            into.states = uniform.is_none().then(|| states.clone());
            return Ok(());
        }
        into.kind = Some(Kind::Data);
        into.states = (uniform != Some(State::Kept)).then(|| states.clone());
        into.digest = digest::hash(content, &mut into.leaves);
        let mut own = std::mem::take(&mut self.own);
        let left = match parent {
            Some(parent) => patch::subtract(parent, content, &mut own, into),
            None => content,
        };
        let compressed = match into.kind {
            Some(Kind::Inherited) => Ok(()),
            _ => self.compress(left, into),
        };
        self.own = own;
        compressed
    }

    fn compress(&mut self, content: &[u8], into: &mut Encoded) -> Result<(), ImageError> {
        let len = into.extent.map_or(0, |extent| extent.len());
        let mapped = into.states.as_ref().map_or(0, |_| len);
        let leaves = match into.leaf_map {
            Some(_) => leaf_count(usize::try_from(len).expect("a chunk fits in memory")),
            None => 0,
        };
        into.header_len =
            usize::try_from(chunk::header_len(leaves, mapped)).expect("a header is below 8 KiB");
        let room = into.header_len + zstd::zstd_safe::compress_bound(content.len());
        if into.bytes.len() < room {
            into.bytes.resize(room, 0);
        }
        into.stored_len = self
            .zstd
            .compress_to_buffer(content, &mut into.bytes[into.header_len..])
            .map_err(|error| ImageError::Codec(error.to_string()))?;
        Ok(())
    }
}

impl Encoded {
    /// A chunk as it is stored in another image, which was proven to be good.
    pub(crate) fn repeat(
        &mut self,
        entry: &Entry,
        stored: &[u8],
        states: States,
        leaves: Vec<LeafValue>,
    ) {
        self.extent = Some(entry.extent);
        self.kind = Some(entry.kind);
        self.digest = entry.digest;
        self.leaves = leaves;
        self.states = entry.has_states().then_some(states);
        self.leaf_map = None;
        self.over = None;
        self.header_len = entry.header_len as usize;
        self.stored_len = entry.stored_len as usize;
        self.bytes.clear();
        self.bytes.extend_from_slice(stored);
    }

    fn own_leaves(&self) -> u16 {
        let count = self.leaf_map.map_or(0, |map| map.count());
        u16::try_from(count).expect("a cell has at most 256 leaves")
    }

    /// The chunk and data frames of a chunk with content, as they stand at `offset` of this image.
    pub(crate) fn place(&mut self, head: &Head, offset: u64) -> Option<(Entry, &[u8])> {
        let entry = Entry {
            extent: self.extent?,
            whole: self.extent?,
            generation: 0,
            kind: self.kind?,
            offset,
            header_len: u32::try_from(self.header_len).expect("a chunk frame is below 8 KiB"),
            stored_len: u32::try_from(self.stored_len).expect("a data frame is below 17 MiB"),
            digest: self.digest,
            flags: chunk::flags_for(self.states.as_ref(), head.order),
            own_leaves: self.own_leaves(),
        };
        let header = &mut self.bytes[..self.header_len];
        let maps = chunk::Maps {
            leaves: self.leaf_map.as_ref(),
            states: self.states.as_ref(),
        };
        chunk::put_body(
            &entry,
            maps,
            &mut header[frame::FRONT..self.header_len - 32],
        );
        frame::seal(FrameKind::Chunk, head.id, offset, header);
        Some((entry, &self.bytes[..self.header_len + self.stored_len]))
    }
}

/// Makes content out of what is stored, and proves it.
pub struct Decoder {
    zstd: Decompressor<'static>,
    leaves: Vec<LeafValue>,
    zeros: ZeroFrames,
    expected: Vec<u8>,
    /// Content of the data frame of a patched chunk.
    own: Vec<u8>,
    /// What is stored for the same cell in an ancestor.
    below: Vec<u8>,
    ancestors: Ancestors,
}

/// How the chunks of ancestors are read, over which a patched one is put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ancestors {
    AsTheyStand,
    MadeGood,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

/// A chunk whose content is proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// The state of each granule; `None` when the chunk frame that held them is damaged.
    pub states: Option<States>,
    /// Something around the content is damaged, though none of the content is.
    pub blemish: Option<Blemish>,
}

/// Damage that costs no content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blemish {
    /// The chunk frame, with the state map if there was one.
    ChunkFrame,
    /// The data frame decodes to the right content, but `zstd -t` would complain.
    DataFrame,
}

/// The content could not be proven; [`crate::reader::Reader::salvage`] tells how much of it is good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged {
    pub extent: Extent,
    pub text: String,
}

impl Decoder {
    pub fn new() -> Result<Decoder, ImageError> {
        let zstd = Decompressor::new().map_err(|error| ImageError::Codec(error.to_string()))?;
        Ok(Decoder {
            zstd,
            leaves: Vec::new(),
            zeros: ZeroFrames::default(),
            expected: Vec::new(),
            own: Vec::new(),
            below: Vec::new(),
            ancestors: Ancestors::AsTheyStand,
        })
    }

    /// One that proves the content and does not care whether `zstd -t` would like the frame around it.
    pub fn for_content() -> Result<Decoder, ImageError> {
        let mut decoder = Decoder::new()?;
        decoder
            .zstd
            .set_parameter(DParameter::ForceIgnoreChecksum(true))
            .map_err(|error| ImageError::Codec(error.to_string()))?;
        Ok(decoder)
    }

    /// `stored` as [`Reader::read_stored`] gave it. After `Ok`, `content` is what the disk held;
    /// for kinds without [`Kind::has_content`] it is left empty, as all of it is zeros. After [`Damaged`] it holds
    /// what came out, good only where [`Reader::salvage`] says so.
    pub fn decode(
        &mut self,
        reader: &Reader,
        entry: &Entry,
        stored: &[u8],
        content: &mut Vec<u8>,
    ) -> Result<Decoded, Damaged> {
        let length = match entry.kind.has_content() {
            true => entry.content_len(),
            false => 0,
        };
        content.resize(length, 0);
        self.decode_into(reader, entry, stored, content)
    }

    /// As [`Decoder::decode`], into memory that is as long as the content, if there is any; otherwise it is not
    /// touched.
    pub fn decode_into(
        &mut self,
        reader: &Reader,
        entry: &Entry,
        stored: &[u8],
        content: &mut [u8],
    ) -> Result<Decoded, Damaged> {
        self.decode_of(
            Some(reader),
            reader.parent_of(entry),
            entry,
            stored,
            content,
        )
    }

    /// As [`Decoder::decode_into`], with what the parity of the ancestors gives.
    pub(crate) fn decode_with_parity(
        &mut self,
        reader: &Reader,
        entry: &Entry,
        stored: &[u8],
        content: &mut [u8],
    ) -> Result<Decoded, Damaged> {
        self.ancestors = Ancestors::MadeGood;
        let decoded = self.decode_into(reader, entry, stored, content);
        self.ancestors = Ancestors::AsTheyStand;
        decoded
    }

    /// An entry of an image that may not be open for reading, but whose parent is.
    pub(crate) fn decode_of(
        &mut self,
        of: Option<&Reader>,
        parent: Option<&Reader>,
        entry: &Entry,
        stored: &[u8],
        content: &mut [u8],
    ) -> Result<Decoded, Damaged> {
        let header_len = (entry.header_len as usize).min(stored.len());
        let (header, data) = stored.split_at(header_len);
        let mut decoded = chunk_frame(entry, header);
        if !entry.kind.has_content() {
            // There is only one way to write so many zeros.
            self.expected.clear();
            self.zeros.write(entry.whole.len(), &mut self.expected);
            if data != self.expected {
                decoded.blemish = Some(Blemish::DataFrame);
            }
            return Ok(decoded);
        }
        let complaint = match entry.kind {
            Kind::Patched => self.put_together(of, parent, entry, stored, content),
            _ => patch::complaint(self.zstd.decompress_to_buffer(data, content), content.len()),
        };
        if digest::hash(content, &mut self.leaves) == entry.digest {
            // The content is proven, whatever the decoder thinks of the rest of the frame.
            if complaint.is_some() {
                decoded.blemish = Some(Blemish::DataFrame);
            }
            return Ok(decoded);
        }
        Err(Damaged {
            extent: entry.extent,
            text: complaint.unwrap_or_else(|| "the content has another BLAKE3".to_owned()),
        })
    }
}

/// Which leaves of what came out are not what was stored; they become zeros in `content`.
pub(crate) fn prove_leaves(entry: &Entry, values: &[LeafValue], content: &mut [u8]) -> ExtentMap {
    let mut damaged = ExtentMap::new();
    for (leaf, nth) in content.chunks_mut(LEAF).zip(0usize..) {
        let value = values.get(nth);
        if value.is_some_and(|value| digest::leaf_value(leaf, nth as u64) == *value) {
            continue;
        }
        leaf.fill(0);
        let start = entry.extent.start() + (nth * LEAF) as u64;
        damaged.insert(Extent::new(start, leaf.len() as u64).expect("a leaf is not empty"));
    }
    damaged
}

fn chunk_frame(entry: &Entry, header: &[u8]) -> Decoded {
    let frame = frame::open(header, entry.offset)
        .filter(|f| f.kind == FrameKind::Chunk && chunk::describes(f, entry));
    let len = usize::try_from(entry.extent.len()).unwrap_or(usize::MAX);
    let states = match &frame {
        Some(frame) if entry.has_states() => chunk::states_of(frame, entry),
        _ if !entry.has_states() => Some(States::all(len, entry.kind.state())),
        _ => None,
    };
    Decoded {
        states,
        blemish: frame.is_none().then_some(Blemish::ChunkFrame),
    }
}
