//! A partition as a stream: partclone's format, version 2, where its filesystem is one of partclone's, the bytes
//! themselves elsewhere; compressed, in files of a length that every filesystem takes.

use std::io::{self, Write};
use std::sync::Arc;

use disk::extent::ExtentMap;
use zstd::stream::write::Encoder;

use super::{OutFolder, Part};

/// Clonezilla's own limit is 4096 MB.
const FILE_BYTES: u64 = 4000 << 20;
const BLOCK: u64 = 4096;
/// Bytes that share a checksum.
const GROUP: u64 = 1 << 20;
/// Of a bitmap.
const BITMAP_LIMIT: u64 = 64 << 20;
const ZEROS: &[u8] = &[0; 64 << 10];

/// As `blkid` calls them, as Clonezilla's file names do, and as partclone's header does.
const KNOWN: &[(&str, &str, &str)] = &[
    ("ext2", "ext2", "EXTFS"),
    ("ext3", "ext3", "EXTFS"),
    ("ext4", "ext4", "EXTFS"),
    ("ntfs", "ntfs", "NTFS"),
    ("vfat", "vfat", "FAT"),
    ("exfat", "exfat", "EXFAT"),
    ("xfs", "xfs", "XFS"),
    ("btrfs", "btrfs", "BTRFS"),
    ("f2fs", "f2fs", "F2FS"),
];

pub struct Stream {
    out: Encoder<'static, Files>,
    /// Of the partition.
    size_bytes: u64,
    /// `None` for a partition that is taken whole.
    blocks: Option<Blocks>,
    /// Up to where the partition was taken.
    at: u64,
}

/// Which blocks are in the stream, and the checksum of those since the last one.
struct Blocks {
    block: u64,
    bitmap: Vec<u8>,
    hasher: crc32fast::Hasher,
    in_group: u64,
}

impl Stream {
    pub(super) fn new(
        part: &Part,
        used: &ExtentMap,
        level: i32,
        folder: Arc<dyn OutFolder>,
    ) -> io::Result<Stream> {
        let size_bytes = part.extent.len();
        let kind = part.filesystem.as_deref();
        let known = KNOWN
            .iter()
            .find(|(kind_there, _, _)| Some(*kind_there) == kind);
        let blocks = known.and_then(|_| Blocks::of(used, size_bytes));
        let (file, magic) = match (known, &blocks) {
            (Some((_, file, magic)), Some(_)) => (*file, *magic),
            _ => ("dd", ""),
        };
        let files = Files {
            folder,
            stem: format!("{}.{file}-ptcl-img.zst", part.name),
            number: 0,
            left: 0,
            open: None,
        };
        let mut out = Encoder::new(files, level)?;
        out.include_checksum(true)?;
        if let Some(blocks) = &blocks {
            out.write_all(&blocks.header(magic, size_bytes))?;
            out.write_all(&blocks.bitmap)?;
            out.write_all(&(!crc32fast::hash(&blocks.bitmap)).to_le_bytes())?;
        }
        Ok(Stream {
            out,
            size_bytes,
            blocks,
            at: 0,
        })
    }

    /// Behind what was put before; what lies between is zeros.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.zeros(offset)?;
        self.pass(bytes.len() as u64, Some(bytes))
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.zeros(self.size_bytes)?;
        if let Some(blocks) = &mut self.blocks
            && blocks.in_group > 0
        {
            self.out.write_all(&blocks.sum())?;
        }
        let mut files = self.out.finish()?;
        files.flush()
    }

    fn zeros(&mut self, to: u64) -> io::Result<()> {
        match to.checked_sub(self.at) {
            Some(len) => self.pass(len, None),
            None => Err(io::Error::other("parts of a disk came out of order")),
        }
    }

    /// The next `len` bytes of the partition.
    fn pass(&mut self, len: u64, bytes: Option<&[u8]>) -> io::Result<()> {
        let (begin, end) = (self.at, self.at + len);
        while self.at < end {
            let step = match &self.blocks {
                Some(blocks) => blocks.block - self.at % blocks.block,
                None => ZEROS.len() as u64,
            };
            let step = step.min(end - self.at);
            let from = index(self.at - begin);
            let is_in = self
                .blocks
                .as_ref()
                .is_none_or(|blocks| blocks.has(self.at));
            if is_in {
                match bytes {
                    Some(bytes) => self.emit(&bytes[from..from + index(step)])?,
                    None => self.emit_zeros(step)?,
                }
            }
            self.at += step;
        }
        Ok(())
    }

    fn emit_zeros(&mut self, len: u64) -> io::Result<()> {
        let mut left = len;
        while left > 0 {
            let now = left.min(ZEROS.len() as u64);
            self.emit(&ZEROS[..index(now)])?;
            left -= now;
        }
        Ok(())
    }

    /// At most to the end of a block.
    fn emit(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        if let Some(blocks) = &mut self.blocks {
            blocks.hasher.update(bytes);
            blocks.in_group += bytes.len() as u64;
            if blocks.in_group == blocks.block * blocks.per_sum() {
                let sum = blocks.sum();
                self.out.write_all(&sum)?;
            }
        }
        Ok(())
    }
}

impl Blocks {
    /// `None` for a partition that no blocks divide, or too many would.
    fn of(used: &ExtentMap, size_bytes: u64) -> Option<Blocks> {
        let mut block = BLOCK;
        while !size_bytes.is_multiple_of(block) {
            block /= 2;
            if block < 512 {
                return None;
            }
        }
        while size_bytes / block / 8 > BITMAP_LIMIT {
            block *= 2;
            if !size_bytes.is_multiple_of(block) {
                return None;
            }
        }
        let count = size_bytes / block;
        let mut bitmap = vec![0u8; index(count.div_ceil(8))];
        for extent in used.iter() {
            for nth in extent.start() / block..extent.end().div_ceil(block) {
                bitmap[index(nth / 8)] |= 1 << (nth % 8);
            }
        }
        Some(Blocks {
            block,
            bitmap,
            hasher: crc32fast::Hasher::new(),
            in_group: 0,
        })
    }

    fn has(&self, at: u64) -> bool {
        let nth = at / self.block;
        self.bitmap[index(nth / 8)] >> (nth % 8) & 1 == 1
    }

    fn per_sum(&self) -> u64 {
        (GROUP / self.block).max(1)
    }

    /// Of what came since the last one.
    fn sum(&mut self) -> [u8; 4] {
        self.in_group = 0;
        (!std::mem::take(&mut self.hasher).finalize()).to_le_bytes()
    }

    /// The offsets are those of partclone's `image_desc_v2`.
    fn header(&self, magic: &str, size_bytes: u64) -> Vec<u8> {
        let mut head = b"partclone-image\0".to_vec();
        let text = |head: &mut Vec<u8>, text: &str, len: usize| {
            let end = head.len() + len;
            head.extend(text.bytes().take(len - 1));
            head.resize(end, 0);
        };
        text(&mut head, concat!("rescue ", env!("CARGO_PKG_VERSION")), 14);
        head.extend(b"0002");
        head.extend(0xc0deu16.to_le_bytes());
        text(&mut head, magic, 16);
        let count = size_bytes / self.block;
        let used: u64 = self
            .bitmap
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum();
        for number in [size_bytes, count, used, used] {
            head.extend(number.to_le_bytes());
        }
        let word = |number: u64| {
            u32::try_from(number)
                .expect("blocks are small")
                .to_le_bytes()
        };
        head.extend(word(self.block));
        // The length of what follows; version 2, 64 bits, CRC-32 of four bytes.
        head.extend(word(18));
        for number in [2u16, 64, 32, 4] {
            head.extend(number.to_le_bytes());
        }
        head.extend(word(self.per_sum()));
        // Every checksum begins anew; a bit for each block.
        head.extend([1, 1]);
        let sum = !crc32fast::hash(&head);
        head.extend(sum.to_le_bytes());
        head
    }
}

/// `NAME.aa`, `NAME.ab` and on.
struct Files {
    folder: Arc<dyn OutFolder>,
    stem: String,
    number: u8,
    /// Room in the one that is open.
    left: u64,
    open: Option<Box<dyn Write + Send>>,
}

impl Write for Files {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.flush()?;
            let (tens, ones) = (self.number / 26, self.number % 26);
            if tens >= 26 || self.number == u8::MAX {
                return Err(io::Error::other(
                    "a partition takes more files than there are names for",
                ));
            }
            let suffix = [b'a' + tens, b'a' + ones].map(char::from);
            let name = format!("{}.{}{}", self.stem, suffix[0], suffix[1]);
            self.open = Some(self.folder.create(&name)?);
            (self.number, self.left) = (self.number + 1, FILE_BYTES);
        }
        let len = bytes.len().min(index(self.left));
        let open = self.open.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let written = open.write(&bytes[..len])?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open.as_mut().map_or(Ok(()), |open| open.flush())
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("it fits in memory")
}
