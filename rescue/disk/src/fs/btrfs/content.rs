//! A file's bytes: its extents, brought from addresses of the filesystem to this disk.

use super::item::Data;
use super::volume::Volume;
use crate::extent::Extent;
use crate::fs::tree::{Content, Piece, TreeError};

/// Most pieces of one file: 12 MiB of them.
const PIECE_LIMIT: usize = 1 << 19;
/// The longest beginning of a file that lies in a node.
const INLINE_LIMIT: u64 = 64 << 10;

/// Extents of one file as they are met, ascending.
pub(super) struct Gathered<'a> {
    volume: &'a Volume<'a>,
    size: u64,
    inline: Option<Vec<u8>>,
    pieces: Vec<Piece>,
    /// Why its bytes are not given, though some of them are known to be in the pieces.
    opaque: Option<&'static str>,
}

const PACKED: &str = "a compressed file";
const ELSEWHERE: &str = "a file that lies on other disks too";

impl<'a> Gathered<'a> {
    pub fn new(volume: &'a Volume<'a>, size: u64) -> Gathered<'a> {
        Gathered {
            volume,
            size,
            inline: None,
            pieces: Vec::new(),
            opaque: None,
        }
    }

    pub fn add(&mut self, at: u64, data: Data) -> Result<(), TreeError> {
        match data {
            Data::Hole => {}
            Data::InlinePacked => self.opaque = Some(PACKED),
            Data::Inline(bytes) if at == 0 => self.inline = Some(bytes),
            Data::Inline(_) => return Err(TreeError::Damaged("a file has its beginning twice")),
            Data::Stored { start, len, packed } => {
                if packed {
                    self.opaque = Some(PACKED);
                }
                self.stored(at, start, len)?;
            }
        }
        Ok(())
    }

    /// Split where a stripe ends; what other disks have is left out, and said.
    fn stored(&mut self, at: u64, start: u64, len: u64) -> Result<(), TreeError> {
        let Some((_, chunk)) = self.volume.chunks.find(start, len) else {
            return Err(TreeError::Damaged("a file leads out of the chunks"));
        };
        if at.checked_add(len).is_none() {
            return Err(TreeError::Damaged("a file is longer than there are"));
        }
        let mut done = 0;
        while done < len {
            let (mut copies, run) = chunk.copies(start - chunk.start + done);
            let run = run.min(len - done);
            match copies.next().and_then(|place| Extent::new(place, run)) {
                Some(extent) => self.piece(Piece {
                    at: at + done,
                    extent,
                })?,
                None => self.opaque = Some(ELSEWHERE),
            }
            done += run;
        }
        Ok(())
    }

    fn piece(&mut self, piece: Piece) -> Result<(), TreeError> {
        if let Some(last) = self.pieces.last_mut()
            && last.extent.end() == piece.extent.start()
            && last.at + last.extent.len() == piece.at
            && let Some(both) = Extent::between(last.extent.start(), piece.extent.end())
        {
            last.extent = both;
            return Ok(());
        }
        if self.pieces.len() == PIECE_LIMIT {
            return Err(TreeError::TooMany("pieces of one file"));
        }
        self.pieces.push(piece);
        Ok(())
    }

    pub fn finish(self) -> Result<Content, TreeError> {
        let extents = || self.pieces.iter().map(|piece| piece.extent).collect();
        if let Some(why) = self.opaque {
            let extents = extents();
            return Ok(Content::Opaque { why, extents });
        }
        match self.inline {
            None => Ok(Content::Pieces(self.pieces)),
            Some(mut bytes) if self.pieces.is_empty() && self.size <= INLINE_LIMIT => {
                // What the file was made longer by reads as zeros.
                bytes.resize(usize::try_from(self.size).expect("64 KiB at most"), 0);
                Ok(Content::Inline(bytes))
            }
            Some(_) => Ok(Content::Opaque {
                why: "a file that begins in a node and goes on behind it",
                extents: extents(),
            }),
        }
    }
}
