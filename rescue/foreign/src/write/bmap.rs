//! The block map of bmaptool, format 2.0: which blocks of a raw disk are to be written, and the SHA-256 of each range.

use std::io;

use disk::geometry::Geometry;
use sha2::{Digest, Sha256};

use super::Out;

const BLOCK: u64 = 4096;
const SUM_LEN: usize = 64;

/// Blocks `first..=last`.
struct Range {
    first: u64,
    last: u64,
    sum: [u8; 32],
}

/// The parts of a disk, ascending; of a block that they do not fill the rest is zeros.
pub struct Bmap {
    map: Map,
    out: Box<dyn Out>,
    /// Of the range that grows, its first block and the sum of all in front of `block`.
    begun: Option<(u64, Sha256)>,
    /// Number and bytes of the newest block.
    block: Option<(u64, Vec<u8>)>,
}

impl std::fmt::Debug for Bmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bmap")
    }
}

impl Bmap {
    pub fn new(geometry: Geometry, out: Box<dyn Out>) -> Bmap {
        Bmap {
            map: Map {
                size_bytes: geometry.size_bytes,
                ranges: Vec::new(),
            },
            out,
            begun: None,
            block: None,
        }
    }

    /// Behind what was put before.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.map.size_bytes) {
            return Err(io::Error::other("a part of a disk lies behind its end"));
        }
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let inside = usize::try_from(at % BLOCK).expect("it is less than a block");
            let (now, later) = rest.split_at(rest.len().min(self.length(at / BLOCK) - inside));
            let block = self.at(at / BLOCK)?;
            block[inside..inside + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// The last block may be cut by the end of the disk.
    fn length(&self, number: u64) -> usize {
        let left = self.map.size_bytes - number * BLOCK;
        usize::try_from(left.min(BLOCK)).expect("it is a block at most")
    }

    fn at(&mut self, number: u64) -> io::Result<&mut Vec<u8>> {
        match &self.block {
            Some((newest, _)) if *newest > number => {
                return Err(io::Error::other("parts of a disk came out of order"));
            }
            Some((newest, _)) if *newest == number => {}
            _ => {
                self.end_block(Some(number));
                self.block = Some((number, vec![0; self.length(number)]));
            }
        }
        let (_, block) = self.block.as_mut().expect("it was set just now");
        Ok(block)
    }

    /// Adds the newest block to its range, which ends there unless `next` touches it.
    fn end_block(&mut self, next: Option<u64>) {
        let Some((number, bytes)) = self.block.take() else {
            return;
        };
        let (first, mut sum) = self.begun.take().unwrap_or((number, Sha256::new()));
        sum.update(&bytes);
        if next == Some(number + 1) {
            self.begun = Some((first, sum));
            return;
        }
        self.map.ranges.push(Range {
            first,
            last: number,
            sum: sum.finalize().into(),
        });
    }

    /// The file's own sum is that of the file with zeros in its place.
    pub fn finish(mut self) -> io::Result<()> {
        self.end_block(None);
        let mut sum = Sha256::new();
        self.map.text(&"0".repeat(SUM_LEN), &mut |text| {
            sum.update(text);
            Ok(())
        })?;
        let sum = hex(&sum.finalize());
        let mut at = 0;
        let Bmap { map, mut out, .. } = self;
        map.text(&sum, &mut |text| {
            out.put(at, text.as_bytes())?;
            at += text.len() as u64;
            Ok(())
        })?;
        out.end(at)
    }
}

struct Map {
    size_bytes: u64,
    ranges: Vec<Range>,
}

impl Map {
    /// `sum` is what it says of itself.
    fn text(&self, sum: &str, emit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let mapped: u64 = self.ranges.iter().map(|r| r.last - r.first + 1).sum();
        emit(&format!(
            "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n\
             \x20   <ImageSize> {} </ImageSize>\n\
             \x20   <BlockSize> {BLOCK} </BlockSize>\n\
             \x20   <BlocksCount> {} </BlocksCount>\n\
             \x20   <MappedBlocksCount> {mapped} </MappedBlocksCount>\n\
             \x20   <ChecksumType> sha256 </ChecksumType>\n\
             \x20   <BmapFileChecksum> {sum} </BmapFileChecksum>\n\
             \x20   <BlockMap>\n",
            self.size_bytes,
            self.size_bytes.div_ceil(BLOCK),
        ))?;
        for Range { first, last, sum } in &self.ranges {
            let range = match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            };
            let sum = hex(sum);
            emit(&format!(
                "        <Range chksum=\"{sum}\"> {range} </Range>\n"
            ))?;
        }
        emit("    </BlockMap>\n</bmap>\n")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
