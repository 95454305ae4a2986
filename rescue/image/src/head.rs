//! The head of an image: what it is an image of, and in which units it counts.

use disk::fields::Fields;
use disk::geometry::Geometry;

use crate::digest::{Digest, ImageId, LEAF};
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::states::GRANULE;

/// The newest version of the format that this program writes and reads.
pub const VERSION: u32 = 1;

/// Content of one data frame unless memory is small.
pub const CHUNK_SIZE: u32 = 4 << 20;

/// Largest chunk that is accepted: it bounds the memory of every reader.
pub const CHUNK_LIMIT: u32 = 16 << 20;

/// [`LEAF`] and [`GRANULE`] as the head holds them.
const LEAF_SIZE: u32 = 64 << 10;
const GRANULE_SIZE: u32 = 4 << 10;
const _: () = assert!(LEAF_SIZE as usize == LEAF && GRANULE_SIZE as usize == GRANULE);

/// Most cells of an image that is read; the seek table and the pages have room for twice as many chunks.
const CELLS_LIMIT: u64 = 1 << 25;

/// Most cells of one that may be written in any order: it bounds the memory that finds the newest chunk of each.
pub(crate) const ANY_ORDER_CELLS: u64 = 1 << 23;

/// The required feature of an image that was written in any order.
const ANY_ORDER: u64 = 1;

/// And of one that holds only what its ancestors do not.
const CHILD: u64 = 2;

/// Optional: parity may stand behind the root.
const PARITY: u64 = 1;

/// Optional: the manifest stands behind the root once more.
const SECOND_MANIFEST: u64 = 2;

/// Length of the head's fields, which are repeated in every page and at the end.
pub const HEAD_LEN: usize = 96;

/// An empty frame with checksum (RFC 8878, 3.1.1): many programs know a Zstandard stream only by the magic number
/// of a frame that is not skippable.
pub(crate) const LEAD: [u8; 13] = [
    0x28, 0xB5, 0x2F, 0xFD, 0x24, 0, 1, 0, 0, 0x99, 0xE9, 0xD8, 0x51,
];

/// Where the head's frame begins.
pub(crate) const HEAD_AT: u64 = LEAD.len() as u64;

/// For somebody who looks at the first bytes in ten years.
const FOR_PEOPLE: &[u8] = b"A disk image made by Rescue. This file is a Zstandard stream: \
`zstd -t` checks it and `zstd -dc` is the raw disk. Its format is described in rescue/image/FORMAT.md.\n";

/// In which order the chunks stand in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// As on the disk, each once.
    Disk,
    /// As they were read; of several for one cell the last counts.
    Any,
}

/// Whether an image holds all of its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lineage {
    Full,
    /// What its ancestors hold it leaves to them.
    Child,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    pub id: ImageId,
    pub geometry: Geometry,
    /// Power of two, 64 KiB to 16 MiB.
    pub chunk_size: u32,
    /// Of the source and its used map: an unfinished image is gone on with only where it is the same.
    pub fingerprint: Digest,
    /// Things in the image that a reader may ignore.
    pub optional_features: u64,
    /// An image begins in disk order and may leave it: pages and end say so from there on.
    pub order: Order,
    pub lineage: Lineage,
}

impl Head {
    /// `id` must be random, never used before.
    pub fn new(id: ImageId, geometry: Geometry, fingerprint: Digest) -> Head {
        Head {
            id,
            geometry,
            chunk_size: CHUNK_SIZE,
            fingerprint,
            optional_features: SECOND_MANIFEST,
            order: Order::Disk,
            lineage: Lineage::Full,
        }
    }

    /// Whether both are of one image, which may have left the order of the disk between them.
    pub(crate) fn same_image(&self, other: &Head) -> bool {
        let order = self.order;
        *self == Head { order, ..*other }
    }

    /// With parity behind the root.
    pub fn with_parity(self) -> Head {
        Head {
            optional_features: self.optional_features | PARITY,
            ..self
        }
    }

    pub(crate) fn has_parity(&self) -> bool {
        self.optional_features & PARITY != 0
    }

    pub(crate) fn has_second_manifest(&self) -> bool {
        self.optional_features & SECOND_MANIFEST != 0
    }

    /// Whether all that may be in the file is known, down to what a reader may ignore.
    pub(crate) fn is_known(&self) -> bool {
        self.optional_features & !(PARITY | SECOND_MANIFEST) == 0
    }

    /// With chunks of another size, brought into what is allowed for a disk of this size.
    pub fn with_chunk_size(self, bytes: u32) -> Head {
        let least = u32::try_from(self.geometry.size_bytes / ANY_ORDER_CELLS).unwrap_or(u32::MAX);
        let chunk_size = bytes
            .max(least)
            .clamp(LEAF_SIZE, CHUNK_LIMIT)
            .checked_next_power_of_two()
            .unwrap_or(CHUNK_LIMIT);
        Head { chunk_size, ..self }
    }

    /// Length of the cell of the disk's address space that begins at `address`.
    pub fn cell_len(&self, address: u64) -> u64 {
        let left = self.geometry.size_bytes.saturating_sub(address);
        left.min(u64::from(self.chunk_size) - address % u64::from(self.chunk_size))
    }

    /// Whether the newest chunk of each cell can be found in bounded memory.
    pub(crate) fn can_have_any_order(&self) -> bool {
        self.geometry.size_bytes / u64::from(self.chunk_size) <= ANY_ORDER_CELLS
    }

    /// Index and seek table have an end.
    pub(crate) fn check_size(&self) -> Result<(), ImageError> {
        if self.geometry.size_bytes / u64::from(self.chunk_size) <= CELLS_LIMIT {
            return Ok(());
        }
        let size = self.geometry.size_bytes;
        Err(ImageError::Codec(format!(
            "{size} bytes are too many chunks of {}",
            self.chunk_size
        )))
    }

    /// The head's frame, which stands behind [`LEAD`].
    pub(crate) fn build(&self, out: &mut Vec<u8>) {
        frame::build(FrameKind::Head, self.id, HEAD_AT, out, |out| {
            self.put(out);
            out.extend_from_slice(FOR_PEOPLE);
        });
    }

    /// The fields, [`HEAD_LEN`] bytes.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.chunk_size.to_le_bytes());
        out.extend_from_slice(&LEAF_SIZE.to_le_bytes());
        out.extend_from_slice(&GRANULE_SIZE.to_le_bytes());
        out.extend_from_slice(&self.geometry.size_bytes.to_le_bytes());
        out.extend_from_slice(&self.geometry.logical_sector.to_le_bytes());
        out.extend_from_slice(&self.geometry.physical_sector.to_le_bytes());
        let any_order = match self.order {
            Order::Disk => 0,
            Order::Any => ANY_ORDER,
        };
        let child = match self.lineage {
            Lineage::Full => 0,
            Lineage::Child => CHILD,
        };
        let required = any_order | child;
        out.extend_from_slice(&required.to_le_bytes());
        out.extend_from_slice(&self.optional_features.to_le_bytes());
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&self.fingerprint.0);
    }

    /// From the start of a body whose frame was found whole; `image` is what a person calls the file.
    pub(crate) fn parse(body: &[u8], id: ImageId, image: &str) -> Result<Head, ImageError> {
        let foreign = |found: &str| ImageError::Foreign {
            image: image.to_owned(),
            found: found.to_owned(),
        };
        let unknown = |what: String| ImageError::Unknown {
            image: image.to_owned(),
            what,
        };
        let short = || foreign("its head is too short");
        let fields = Fields(body);
        let version = fields.u32(0).ok_or_else(short)?;
        if version == 0 {
            return Err(foreign("its head has no version"));
        }
        if version > VERSION {
            let image = image.to_owned();
            return Err(ImageError::Newer { image, version });
        }
        let number = |at| fields.u32(at).ok_or_else(short);
        let required = fields.u64(32).ok_or_else(short)?;
        let strange = required & !(ANY_ORDER | CHILD);
        if strange != 0 {
            return Err(unknown(format!("required features {strange:#x}")));
        }
        let (order, lineage) = features(required);
        let (chunk_size, leaf, granule) = (number(4)?, number(8)?, number(12)?);
        if !chunk_size.is_power_of_two() || !(LEAF_SIZE..=CHUNK_LIMIT).contains(&chunk_size) {
            return Err(unknown(format!("chunks of {chunk_size} bytes")));
        }
        if leaf != LEAF_SIZE || granule != GRANULE_SIZE {
            return Err(unknown(format!(
                "leaves of {leaf} and granules of {granule} bytes"
            )));
        }
        let geometry = Geometry {
            size_bytes: fields.u64(16).ok_or_else(short)?,
            logical_sector: number(24)?,
            physical_sector: number(28)?,
        };
        if geometry.size_bytes > 1 << 60 {
            return Err(foreign("it claims a disk of more than 2^60 bytes"));
        }
        let head = Head {
            id,
            geometry,
            chunk_size,
            fingerprint: Digest(fields.array(64).ok_or_else(short)?),
            optional_features: fields.u64(40).ok_or_else(short)?,
            order,
            lineage,
        };
        if order == Order::Any && !head.can_have_any_order() {
            return Err(foreign("it claims more chunks than any order allows"));
        }
        Ok(head)
    }
}

fn features(required: u64) -> (Order, Lineage) {
    let order = match required & ANY_ORDER {
        0 => Order::Disk,
        _ => Order::Any,
    };
    let lineage = match required & CHILD {
        0 => Lineage::Full,
        _ => Lineage::Child,
    };
    (order, lineage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head::new(
            ImageId([3; 16]),
            Geometry::of_file(10 << 30),
            Digest([9; 32]),
        )
    }

    #[test]
    fn a_head_reads_back_as_it_was_written() {
        let head = head().with_chunk_size(1_000_000);
        let mut fields = Vec::new();
        head.put(&mut fields);
        assert_eq!(fields.len(), HEAD_LEN);
        assert_eq!(head.chunk_size, 1 << 20);
        assert_eq!(Head::parse(&fields, head.id, "x"), Ok(head));
    }

    #[test]
    fn a_newer_version_and_an_unknown_feature_are_refused_with_a_sentence() {
        let mut fields = Vec::new();
        head().put(&mut fields);
        fields[0] = 2;
        let error = Head::parse(&fields, head().id, "pc.img.zst").unwrap_err();
        assert_eq!(
            error.to_string(),
            "pc.img.zst has format version 2; this program reads up to version 1; use a newer Rescue"
        );
        fields[0] = 1;
        fields[32] = 4;
        let error = Head::parse(&fields, head().id, "pc.img.zst").unwrap_err();
        assert_eq!(
            error.to_string(),
            "pc.img.zst uses required features 0x4, which this program does not know; use a newer Rescue"
        );
    }

    #[test]
    fn chunk_sizes_stay_in_their_range() {
        assert_eq!(head().with_chunk_size(0).chunk_size, 64 << 10);
        assert_eq!(head().with_chunk_size(u32::MAX).chunk_size, 16 << 20);
        assert_eq!(head().cell_len(10 << 30), 0);
        assert_eq!(head().cell_len((10 << 30) - 512), 512);
    }
}
