//! Images of partclone, of both versions: which blocks of a filesystem are used, then these blocks, with checksums.

mod first;

use std::io::{self, Read};

use disk::extent::{Extent, ExtentMap};
use disk::fields::Fields;

use crate::File;
use crate::packed::{Joined, Packing};
use crate::stream::{Begin, Content};

const MAGIC: &[u8] = b"partclone-image\0";
const HEADER: usize = 110;
/// Of the bitmap: 2 TiB of blocks of 4 KiB.
const BITMAP_LIMIT: u64 = 64 << 20;
/// Of a checksum: XXH128.
const SUM_LIMIT: u64 = 16;
const CRC32: u16 = 0x20;
/// Of the blocks that share a checksum.
const GROUP_LIMIT: u64 = 16 << 20;
/// Most places that are remembered as damaged.
const DAMAGED_LIMIT: usize = 10_000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Of version 1, whose checksums tell nearly nothing.
    is_first: bool,
    device_bytes: u64,
    blocks: u64,
    block_bytes: u64,
    /// Bytes of a checksum; 0 for none.
    sum_bytes: u64,
    blocks_per_sum: u64,
    reseed: bool,
    /// Checksums that are passed over: of a kind that is not computed here.
    is_unchecked: bool,
}

impl Header {
    /// From the front of a stream; `Ok(None)` where it is none of partclone's. The text of an error says why.
    pub fn read(stream: &mut dyn Read) -> Result<Option<Header>, String> {
        let mut bytes = [0; HEADER];
        if stream.read_exact(&mut bytes).is_err() {
            return Ok(None);
        }
        let fields = Fields(&bytes);
        if !fields.starts_with(0, &MAGIC[..15]) {
            return Ok(None);
        }
        let header = match fields.bytes(30, 4) {
            Some(b"0001") => first::header(fields, stream).ok_or("its header is cut off")?,
            Some(b"0002") => Header::second(fields, &bytes)?,
            _ => return Err("it is of a version of partclone's format that is not known here; restore it with partclone and image the disk".into()),
        };
        let whole = header.blocks.checked_mul(header.block_bytes);
        let group = header.blocks_per_sum.checked_mul(header.block_bytes);
        let sound = header.block_bytes > 0
            && whole.is_some()
            && group.is_some_and(|bytes| bytes <= GROUP_LIMIT)
            && (header.sum_bytes == 0
                || header.sum_bytes <= SUM_LIMIT && header.blocks_per_sum > 0)
            && (header.is_unchecked || matches!(header.sum_bytes, 0 | 4));
        if !sound {
            return Err("its header says what cannot be; use another copy of it".into());
        }
        if header.blocks.div_ceil(8) > BITMAP_LIMIT {
            return Err("it has more blocks than are read here; restore it with partclone and image the disk".into());
        }
        Ok(Some(header))
    }

    /// Why damage in it is not seen.
    pub fn blind(&self) -> Option<&'static str> {
        match (self.is_first, self.is_unchecked, self.sum_bytes) {
            (true, _, _) => Some(
                "is in version 1 of partclone's format, whose checksums tell next to nothing of damage",
            ),
            (_, true, _) => Some(
                "has checksums (XXH64 or XXH128) that are not compared here: damage in it is not seen",
            ),
            (_, _, 0) => Some("has no checksums: damage in it is not seen"),
            _ => None,
        }
    }

    /// Of the device.
    pub fn bytes(&self) -> u64 {
        self.device_bytes.max(self.blocks * self.block_bytes)
    }

    fn second(fields: Fields<'_>, bytes: &[u8; HEADER]) -> Result<Header, String> {
        if fields.u32(106) != Some(!crc32fast::hash(&bytes[..106])) {
            return Err("its header is damaged; use another copy of it".into());
        }
        if fields.u8(105) != Some(1) {
            return Err("its bitmap is of a kind that is not known here; restore it with partclone and image the disk".into());
        }
        Header::of(fields).ok_or_else(|| "its header is cut off".into())
    }

    fn of(fields: Fields<'_>) -> Option<Header> {
        Some(Header {
            is_first: false,
            device_bytes: fields.u64(52)?,
            blocks: fields.u64(60)?,
            block_bytes: fields.u32(84)?.into(),
            sum_bytes: match fields.u16(96)? {
                0 => 0,
                _ => fields.u16(98)?.into(),
            },
            blocks_per_sum: fields.u32(100)?.into(),
            reseed: fields.u8(104)? != 0,
            is_unchecked: !matches!(fields.u16(96)?, 0 | CRC32),
        })
    }
}

/// The files of one image.
pub struct Image {
    pub parts: Vec<File>,
    pub packing: Packing,
}

impl Begin for Image {
    fn packed_bytes(&self) -> u64 {
        Joined::new(self.parts.clone()).size_bytes()
    }

    fn begin(&self) -> io::Result<Box<dyn Content>> {
        let mut stream = self.packing.open(&self.parts)?;
        let header = Header::read(&mut stream).map_err(io::Error::other)?;
        let header = header.ok_or(io::ErrorKind::InvalidData)?;
        let bitmap = match header.is_first {
            true => first::bitmap(&mut stream, header.blocks)?,
            false => bitmap(&mut stream, header.blocks)?,
        };
        Ok(Box::new(Expanded {
            stream,
            header,
            bitmap,
            at: 0,
            group_end: 0,
            group: Vec::new(),
            taken: 0,
            hasher: crc32fast::Hasher::new(),
            first: first::Sums::new(),
            damaged: ExtentMap::new(),
        }))
    }
}

/// Of version 2, with its checksum.
fn bitmap(stream: &mut dyn Read, blocks: u64) -> io::Result<Vec<u8>> {
    let mut bitmap = vec![0; usize::try_from(blocks.div_ceil(8)).unwrap_or(0)];
    stream.read_exact(&mut bitmap)?;
    let mut sum = [0; 4];
    stream.read_exact(&mut sum)?;
    match u32::from_le_bytes(sum) == !crc32fast::hash(&bitmap) {
        true => Ok(bitmap),
        false => Err(io::Error::other("the bitmap is damaged")),
    }
}

/// The device again: blocks that are not used are zeros.
struct Expanded {
    stream: Box<dyn Read + Send>,
    header: Header,
    bitmap: Vec<u8>,
    /// Next byte of the device.
    at: u64,
    /// Block behind the group of used blocks that share a checksum.
    group_end: u64,
    group: Vec<u8>,
    /// Of the group.
    taken: usize,
    hasher: crc32fast::Hasher,
    /// Those of version 1.
    first: first::Sums,
    damaged: ExtentMap,
}

impl Expanded {
    fn is_used(&self, block: u64) -> bool {
        let byte = usize::try_from(block / 8).ok();
        let byte = byte.and_then(|at| self.bitmap.get(at));
        byte.is_some_and(|byte| byte >> (block % 8) & 1 == 1)
    }

    /// Takes the next used blocks, up to their checksum.
    fn next_group(&mut self) -> io::Result<()> {
        let size = self.header.block_bytes;
        let most = match self.header.sum_bytes {
            0 => 1,
            _ => self.header.blocks_per_sum,
        };
        let first = self.group_end;
        let mut used = ExtentMap::new();
        let mut count = 0;
        while self.group_end < self.header.blocks && count < most {
            if self.is_used(self.group_end) {
                count += 1;
                let place = Extent::new(self.group_end * size, size);
                used.insert(place.expect("the blocks of a device fit into its bytes"));
            }
            self.group_end += 1;
        }
        let len = usize::try_from(count * size).expect("a group is limited");
        self.group.resize(len, 0);
        self.taken = 0;
        self.stream.read_exact(&mut self.group)?;
        if self.header.sum_bytes == 0 || count == 0 {
            return Ok(());
        }
        let good = match self.header.is_first {
            true => self.first.next(&mut self.group, &mut self.stream)?,
            false => self.is_good()?,
        };
        if !good {
            if self.damaged.count() > DAMAGED_LIMIT {
                // Too much to remember: all of it.
                used = Extent::between(first * size, self.header.blocks * size)
                    .into_iter()
                    .collect();
            }
            self.damaged = self.damaged.union(&used);
        }
        Ok(())
    }
}

impl Expanded {
    /// Reads the checksum behind a group.
    fn is_good(&mut self) -> io::Result<bool> {
        if self.header.is_unchecked {
            let mut sum = vec![0; usize::try_from(self.header.sum_bytes).unwrap_or(0)];
            return self.stream.read_exact(&mut sum).map(|()| true);
        }
        let mut sum = [0; 4];
        self.stream.read_exact(&mut sum)?;
        if self.header.reseed {
            self.hasher.reset();
        }
        self.hasher.update(&self.group);
        Ok(u32::from_le_bytes(sum) == !self.hasher.clone().finalize())
    }
}

impl Read for Expanded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let size = self.header.block_bytes;
        let block = self.at / size;
        let end = self.header.bytes();
        if buf.is_empty() || self.at >= end {
            return Ok(0);
        }
        // Behind the last block of the filesystem a device has a rest.
        if block >= self.header.blocks {
            let len = usize::try_from(end - self.at).unwrap_or(usize::MAX);
            let len = len.min(buf.len());
            buf[..len].fill(0);
            self.at += len as u64;
            return Ok(len);
        }
        if block >= self.group_end {
            self.next_group()?;
        }
        let left = usize::try_from(size - self.at % size).unwrap_or(usize::MAX);
        let len = left.min(buf.len());
        if self.is_used(block) {
            let from = self.taken;
            let bytes = self.group.get(from..from + len);
            buf[..len].copy_from_slice(bytes.ok_or(io::ErrorKind::InvalidData)?);
            self.taken += len;
        } else {
            buf[..len].fill(0);
        }
        self.at += len as u64;
        Ok(len)
    }
}

impl Content for Expanded {
    fn damaged(&self) -> ExtentMap {
        self.damaged.clone()
    }
}

/// A stream that is the device itself.
pub struct Plain {
    pub parts: Vec<File>,
    pub packing: Packing,
}

struct Through(Box<dyn Read + Send>);

impl Read for Through {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Content for Through {}

impl Begin for Plain {
    fn packed_bytes(&self) -> u64 {
        Joined::new(self.parts.clone()).size_bytes()
    }

    fn begin(&self) -> io::Result<Box<dyn Content>> {
        Ok(Box::new(Through(self.packing.open(&self.parts)?)))
    }
}
